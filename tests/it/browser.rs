//! A real Chromium without a window, driven over its DevTools protocol (<https://chromedevtools.github.io/devtools-protocol/>)
//! through a pair of pipes: no port, and no crate for WebSockets.

#![expect(clippy::disallowed_methods, reason = "a browser is started, as a person would")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_world::wait_for;

/// A browser that has not answered a question by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the browser is called, here and there.
const NAMES: &str = "chromium chromium-browser google-chrome google-chrome-stable";

/// A page in a browser that ends with the test that started it.
pub struct Browser {
    process: Child,
    questions: ChildStdin,
    messages: Receiver<Value>,
    asked: u64,
    session: Option<String>,
    /// What the browser told without being asked.
    pub events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// With a profile of its own, and no way to another machine.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It reads from descriptor 3 and writes to 4, which only a shell can give it without unsafe code.
        let line = format!(
            "for name in {NAMES}; do command -v $name >/dev/null && exec $name \"$@\" 3<&0 4>&1 0</dev/null 1>&2; done; exit 127"
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &line, "sh", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Shared memory is small in containers.
            .args(["--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-breakpad"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut process = command.spawn().unwrap();
        let questions = process.stdin.take().unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap());
        let (tell, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let told = serde_json::from_slice(message.strip_suffix(b"\0").unwrap_or(&message));
                if told.is_err() || tell.send(told.unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser =
            Self { process, questions, messages, asked: 0, session: None, events: Vec::new(), _profile: profile };
        let page = browser.ask("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.ask("Target.attachToTarget", json!({"targetId": page, "flatten": true}));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol and gives its result; panics where the browser refuses.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut question = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = &self.session {
            question["sessionId"] = json!(session);
        }
        if self.questions.write_all(format!("{question}\0").as_bytes()).is_err() {
            self.is_gone();
        }
        loop {
            match self.messages.recv_timeout(PATIENCE) {
                Ok(message) if message["id"] == self.asked => {
                    assert!(message["error"].is_null(), "{method}: {message}");
                    return message["result"].clone();
                }
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: Chromium does not answer"),
                Err(RecvTimeoutError::Disconnected) => self.is_gone(),
            }
        }
    }

    #[track_caller]
    fn is_gone(&mut self) -> ! {
        let status = self.process.wait().unwrap();
        assert_ne!(status.code(), Some(127), "there is no Chromium (one of {NAMES}): apt-get install chromium");
        panic!("Chromium ended: {status}");
    }

    /// Opens the page and waits until it is there, its script included.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        let answer = self.ask("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until(&format!("location.href.startsWith({}) && document.readyState === 'complete'", json!(url)));
    }

    /// What a script comes to in the page; a promise is waited for.
    #[track_caller]
    pub fn js(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a script comes to something true.
    #[track_caller]
    pub fn until(&mut self, script: &str) {
        wait_for(script, || (self.js(&format!("Boolean({script})")) == true).then_some(()));
    }

    /// Presses and lets go a key, as a keyboard does.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            other => panic!("{other} has no code here"),
        };
        let mut params = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if let Some(text) = text {
            params["text"] = json!(text);
        }
        self.ask("Input.dispatchKeyEvent", params.clone());
        params["type"] = json!("keyUp");
        self.ask("Input.dispatchKeyEvent", params);
    }

    /// Clicks with the mouse into the middle of what the script gives.
    #[track_caller]
    pub fn click(&mut self, script: &str) {
        let middle = self.js(&format!(
            "(() => {{ const one = {script}; one.scrollIntoView({{block: 'center'}}); const box = one.getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({"type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1});
            self.ask("Input.dispatchMouseEvent", params);
        }
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", params);
    }

    /// As for a reader who prefers `scheme`, `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The events of this name so far.
    pub fn told(&self, method: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["method"] == method).collect()
    }

    /// Panics where the page raised an error, wrote to the console, broke its own policy, opened a dialog, or asked
    /// anybody but `server` (`http://HOST:PORT`).
    #[track_caller]
    pub fn must_be_at_peace_with(&mut self, server: &str) {
        // What was told before this answer has been taken in.
        self.js("0");
        for trouble in
            ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening"]
        {
            assert_eq!(self.told(trouble), Vec::<&Value>::new());
        }
        let requests = self.told("Network.requestWillBeSent");
        let asked: Vec<&str> = requests.iter().filter_map(|event| event["params"]["request"]["url"].as_str()).collect();
        assert!(!asked.is_empty());
        for url in asked {
            let path = url.strip_prefix(server);
            assert!(url == "about:blank" || path.is_some_and(|path| path.starts_with('/')), "{url}");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It has started processes of its own, in its group.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}
