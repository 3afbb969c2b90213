//! The live page in a real browser (Debian's `chromium`): it shows the run, follows it, and is for everybody.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::browser::Browser;
use crate::cli_runs::runs;
use crate::cli_world::{World, must_hear_interrupts, wait_for};
use crate::gate_guard::send;
use crate::report_stories::{eventful, hostile, hung};
use crate::serve_live::Served;

/// As a tag, it would run the script: between attributes a slash is as good as a space.
const HOSTILE: &str = "x<img/src=q/onerror=alert(1)>";

/// A run and its live page; ends with the test.
struct Run {
    process: Child,
    /// `http://HOST:PORT`
    server: String,
}

impl Run {
    /// Starts lexpr, its page at `address`.
    fn start(world: &World, args: &[&str], address: &str) -> Self {
        let mut process = world
            .command(args)
            .args(["--metrics-addr", address, "--metrics-linger", "600"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("live page: ") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the run ended without saying where its page is");
        }
        std::thread::spawn(move || std::io::read_to_string(stderr));
        let server = line.trim_start_matches("live page: ").trim().trim_end_matches('/').to_owned();
        Self { process, server }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Of four items: `a`, `b` on it, one with a hostile name, and one that fails. Each gate says that it runs, goes on
/// once its file `more-…` is there, and ends once `go-…` is.
fn world() -> World {
    let world = World::new(
        &[("README.md", "# A project\n")],
        &[
            ("a", "main", &[("a", "1")]),
            ("b", "a", &[("b", "1")]),
            (HOSTILE, "main", &[("c", "1")]),
            ("bad", "main", &[("bad", "1")]),
        ],
    );
    let room = world.path("room");
    std::fs::create_dir(&room).unwrap();
    let room = room.display();
    let item = |name: &str, key: &str, deps: &str, end: &str| {
        format!(
            "  - name: '{name}'\n    deps: [{deps}]\n    gates:\n      - name: unit\n        run: |\n          \
             printf 'first <b>bold</b> \\033[31mred\\033[0m\\n'; touch {room}/started-{key}\n          \
             until [ -e {room}/more-{key} ]; do sleep 0.02; done; echo second\n          \
             until [ -e {room}/go-{key} ]; do sleep 0.02; done; {end}\n"
        )
    };
    world.plan(&format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 3, secondOpinion: false}}\nitems:\n{}{}{}{}",
        item("a", "a", "", "true"),
        item("b", "b", "a", "true"),
        item(HOSTILE, "x", "", "true"),
        item("bad", "bad", "", "echo '<i>why</i>'; false")
    ));
    world
}

fn touch(world: &World, name: &str) {
    std::fs::write(world.path("room").join(name), "").unwrap();
}

fn wait_for_start(world: &World, key: &str) {
    let started = world.path("room").join(format!("started-{key}"));
    wait_for("a gate", || started.exists().then_some(()));
}

fn merge(world: &World) -> Run {
    let plan = world.path("plan.yaml");
    let run = Run::start(world, &["merge", plan.to_str().unwrap(), "--execute"], "127.0.0.1:0");
    wait_for_start(world, "a");
    run
}

/// The script for an item of the picture.
fn item(name: &str) -> String {
    format!("[...document.querySelectorAll('a.item')].find((one) => one.dataset.title === {})", Value::from(name))
}

fn is(name: &str, state: &str) -> String {
    format!("{}.classList.contains('{state}')", item(name))
}

/// The headline of the newest run's report.
fn headline(world: &World) -> String {
    let page = world.lexpr(["report", "--format", "html"]).stdout;
    let (_, rest) = page.split_once("<h1>").unwrap();
    rest.split_once("</h1>").unwrap().0.to_owned()
}

#[test]
fn the_page_follows_a_run_to_its_end_and_answers_mouse_and_keyboard() {
    let world = world();
    let run = merge(&world);
    let mut browser = Browser::start();
    browser.open(&format!("{}/", run.server));
    browser.js(
        "window.kept = 'not reloaded'; window.said = []; new MutationObserver(() => said.push(document.getElementById('live').textContent)) \
         .observe(document.getElementById('live'), {childList: true})",
    );
    // It renders.
    browser.until(&format!("{} && {} && {}", is("a", "running"), is(HOSTILE, "running"), is("bad", "running")));
    assert_eq!(browser.js("document.querySelectorAll('a.item').length"), 4);
    assert_eq!(browser.js("document.querySelectorAll('#items tbody tr').length"), 4);
    assert_eq!(browser.js(&is("b", "waiting")), true);
    browser
        .until("document.querySelector('#items tr:nth-child(2) td:nth-child(3)').textContent.includes('waits for a')");
    // A hostile name is text.
    assert_eq!(browser.js("document.querySelectorAll('img, #pyramid b, #items i').length"), 0);
    assert_eq!(browser.js(&format!("document.body.textContent.includes({})", Value::from(HOSTILE))), true);

    // A log is shown as it is written, as text, without colours.
    let log = "[...document.querySelectorAll('#now button[data-log]')].find((one) => one.closest('tr').cells[1].textContent === 'a')";
    browser.js(&format!("const log = {log}; log.focus(); log.click()"));
    browser.until("document.getElementById('panel-text').textContent === 'first <b>bold</b> red\\n'");
    touch(&world, "more-a");
    browser.until("document.getElementById('panel-text').textContent === 'first <b>bold</b> red\\nsecond\\n'");
    browser.press("Escape");
    assert_eq!(browser.js("document.getElementById('panel').hidden"), true);
    assert_eq!(browser.js("document.activeElement.closest('tr')?.cells[1].textContent"), "a");

    // Why, by keyboard: from the picture's buttons to the items, whose focus outlives updates.
    browser.js("document.querySelector('[data-key=zoom-all]').focus()");
    let has_focus = format!("document.activeElement === {}", item("b"));
    for _ in 0..20 {
        if browser.js(&has_focus) == true {
            break;
        }
        browser.press("Tab");
    }
    assert_eq!(browser.js(&has_focus), true, "the keyboard reaches it");
    assert_eq!(browser.js("document.querySelectorAll('.edges .lit').length"), 1, "its line is shown");
    assert_eq!(browser.js("document.querySelectorAll('.item.near').length"), 1, "and what is at its end");
    browser.press("Enter");
    browser.until("document.getElementById('panel-text').textContent.startsWith('b waits for its turn.')");
    browser.js("window.before = document.querySelector('svg.pyramid')");
    // A fold that is open stays so, too.
    browser.js("document.querySelector('#item-0 details').open = true");
    touch(&world, "go-a");
    wait_for_start(&world, "b");
    browser.until(&is("b", "running"));
    browser.until("document.getElementById('panel-text').textContent.startsWith('b is being judged.')");
    assert_eq!(browser.js("document.querySelector('svg.pyramid') !== before"), true, "the picture was made anew");
    browser.press("Escape");
    assert_eq!(browser.js(&has_focus), true, "back where it was");
    assert_eq!(browser.js("document.querySelector('#item-0 details').open"), true);

    // The focus stays on a fold that is made anew. Why, with the mouse.
    browser.js("document.querySelector('#item-0 summary').focus()");
    touch(&world, "more-bad");
    touch(&world, "go-bad");
    browser.until(&is("bad", "failed"));
    assert_eq!(
        browser.js("document.activeElement.tagName + document.activeElement.closest('tr')?.id"),
        "SUMMARYitem-0"
    );
    wait_for("the panel", || {
        // What is clicked on may move while the page is made anew.
        browser.click(&item("bad"));
        let says = browser.js("document.getElementById('panel-text').textContent.includes('bad is failed')");
        (says == true).then_some(())
    });
    browser.click("document.getElementById('panel-close')");
    browser.until("document.getElementById('panel').hidden");

    // The picture is enlarged and moved.
    let all = browser.js("document.querySelector('svg.pyramid').getAttribute('viewBox')");
    let press = |key: &str| {
        format!(
            "document.querySelector('[data-key={key}]').click(), document.querySelector('svg.pyramid').getAttribute('viewBox')"
        )
    };
    let enlarged = browser.js(&press("zoom-in"));
    assert_ne!(enlarged, all);
    assert_ne!(browser.js(&press("zoom-right")), enlarged);
    assert_eq!(browser.js(&press("zoom-all")), all);

    // To the end.
    for name in ["more-b", "go-b", "more-x", "go-x"] {
        touch(&world, name);
    }
    browser.until("document.body.dataset.finished === 'true'");
    browser.until(&[is("a", "landed"), is("b", "landed"), is(HOSTILE, "landed"), is("bad", "failed")].join(" && "));
    let headline = headline(&world);
    assert!(headline.starts_with("3 of 4 items landed on main"), "{headline}");
    assert_eq!(browser.js("document.querySelector('h1').textContent"), *headline);
    assert_eq!(browser.js("document.title"), *headline);
    assert_eq!(browser.js("window.kept"), "not reloaded");
    let said =
        browser.js("said.filter((line) => line.startsWith('The run has ended: 3 of 4')).length + '/' + said.length");
    assert!(said == "1/1" || said == "1/2", "what is read aloud are news: {said}, {}", browser.js("said"));
    browser.must_be_at_peace_with(&run.server);
}

/// Cuts the run off with `signal` and resumes it on the same port.
fn survives(signal: Signal) {
    let world = world();
    let mut run = merge(&world);
    let mut browser = Browser::start();
    browser.open(&format!("{}/", run.server));
    browser.js("window.kept = 'not reloaded'");
    browser.until(&is("a", "running"));
    send(run.pid(), signal);
    if signal == Signal::INT {
        browser.until("document.body.dataset.finished === 'true'");
        // It lingers until it is told again.
        send(run.pid(), signal);
    }
    run.process.wait().unwrap();
    browser.until("/lost|with it/.test(document.getElementById('live').textContent)");
    for name in ["a", "b", "x", "bad"] {
        touch(&world, &format!("more-{name}"));
        touch(&world, &format!("go-{name}"));
    }
    let id = runs(&world)[0]["run"].as_str().unwrap().to_owned();
    let port = run.server.trim_start_matches("http://");
    let again = Run::start(&world, &["resume", &id], port);
    assert_eq!(again.server, run.server);
    browser.until(&[is("a", "landed"), is("b", "landed"), is(HOSTILE, "landed"), is("bad", "failed")].join(" && "));
    browser.until("document.getElementById('live').textContent.startsWith('The run has ended: 3 of 4')");
    assert_eq!(browser.js("document.querySelector('h1').textContent"), *headline(&world));
    assert_eq!(browser.js("window.kept"), "not reloaded");
}

#[test]
fn the_page_comes_back_by_itself_when_a_killed_run_is_resumed_on_its_port() {
    survives(Signal::KILL);
}

#[test]
fn the_page_comes_back_by_itself_when_an_interrupted_run_is_resumed_on_its_port() {
    must_hear_interrupts();
    survives(Signal::INT);
}

/// The page of a story, in a browser.
struct Story {
    served: Served,
    /// The server lives in it.
    runtime: tokio::runtime::Runtime,
    browser: Browser,
}

impl Story {
    fn open(events: &[lexpr::vocabulary::event::Recorded]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let served = runtime.block_on(Served::new(Path::new("/nowhere")));
        served.show(events);
        let mut browser = Browser::start();
        browser.open(&format!("{}/", served.url()));
        browser.until("document.body.dataset.seq");
        Self { served, runtime, browser }
    }

    fn end(mut self) {
        self.browser.must_be_at_peace_with(&self.served.url());
        drop(self.browser);
        self.runtime.block_on(self.served.stop());
    }
}

/// Gives what is written in too little contrast to what is behind it, and states whose outline is hard to see
/// (WCAG 2.2, 1.4.3 and 1.4.11). Looks there are that no run shows at once are added first.
const CONTRASTS: &str = r#"(() => {
  const looks = "landed overridden before passed running waiting failed conflicted blocked unjudged skipped".split(" ");
  const more = document.createElement("div");
  more.innerHTML = looks.map((look) => `<span class="badge ${look}">${look}</span><svg class="pyramid">` +
    `<a class="item ${look}"><rect width="50" height="20"></rect><text y="15">${look}</text></a></svg>`).join("") +
    `<i id="canvas" style="background:Canvas">canvas</i>`;
  document.querySelector("main").append(more);
  document.getElementById("panel").hidden = false;
  document.getElementById("panel-text").textContent = "text";
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], [br, bg, bb]) => [r * a + br * (1 - a), g * a + bg * (1 - a), b * a + bb * (1 - a), 1];
  const canvas = parse(getComputedStyle(document.getElementById("canvas")).backgroundColor);
  const behind = (one) => one ? over(parse(getComputedStyle(one).backgroundColor), behind(one.parentElement)) : canvas;
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ratio = (one, other) => {
    const [more, less] = [light(one), light(other)].sort((a, b) => b - a);
    return (more + 0.05) / (less + 0.05);
  };
  const faded = (one) => one ? Number(getComputedStyle(one).opacity) * faded(one.parentElement) : 1;
  const bad = [];
  let seen = 0;
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || one.localName === "title" || !one.getClientRects().length) continue;
    const style = getComputedStyle(one);
    const inPicture = one instanceof SVGElement;
    const shape = inPicture && [...one.parentElement.children].find((other) => /^(rect|path)$/.test(other.localName) && other.closest(".item,.target"));
    const ground = shape ? over(parse(getComputedStyle(shape).fill), canvas) : inPicture ? canvas : behind(one);
    const [r, g, b, a] = parse(inPicture ? style.fill : style.color);
    const found = ratio(over([r, g, b, a * faded(one)], ground), ground);
    seen += 1;
    if (found < 4.5) bad.push(`${one.outerHTML.slice(0, 80)}: ${found.toFixed(2)}`);
    if (shape && ratio(parse(getComputedStyle(shape).stroke), canvas) < 3) bad.push(`outline of ${one.outerHTML.slice(0, 80)}`);
  }
  more.remove();
  document.getElementById("panel").hidden = true;
  if (seen < 50) bad.push(`only ${seen} texts`);
  return [bad, canvas];
})()"#;

#[test]
fn times_go_on_while_nothing_happens_from_where_they_are() {
    let mut events = hung();
    let mut story = Story::open(&events);
    let cell = "document.querySelector('#now td[data-since]').textContent";
    assert_eq!(story.browser.js(cell), "1h 00m", "it did not begin when the page was opened");
    story.end();
    events.iter_mut().for_each(|event| event.at_ms += 3_600_000 - 70_000);
    let mut story = Story::open(&events);
    let headline = "document.querySelector('h1').textContent";
    for shown in [cell, headline, "document.querySelector('.gauges dd [data-since]').textContent", "document.title"] {
        let before = story.browser.js(shown);
        assert!(before.as_str().unwrap().contains("1m "), "{shown}: {before}");
        story.browser.until(&format!("{shown} !== {before} && /1m [0-5][0-9]s/.test({shown})"));
    }
    assert_eq!(story.browser.js("document.title"), story.browser.js(headline));
    story.end();
}

#[test]
fn the_page_is_readable_in_light_and_in_dark() {
    let mut story = Story::open(&eventful());
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        story.browser.prefer(scheme);
        let found = story.browser.js(CONTRASTS);
        assert_eq!(found[0], serde_json::json!([]), "{scheme}");
        grounds.push(found[1].clone());
    }
    assert_ne!(grounds[0], grounds[1], "the two are not the same");
    story.end();
}

#[test]
fn what_a_screen_reader_finds_has_a_name_and_a_place() {
    let mut story = Story::open(&eventful());
    // What is folded is found once it is unfolded.
    story.browser.js("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })");
    let tree = story.browser.ask("Accessibility.getFullAXTree", serde_json::json!({}));
    let nodes: Vec<(&str, &str)> = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["ignored"] == false)
        .map(|node| (node["role"]["value"].as_str().unwrap_or(""), node["name"]["value"].as_str().unwrap_or("")))
        .collect();
    let of = |role: &str| nodes.iter().filter(|(is, _)| *is == role).map(|(_, name)| *name).collect::<Vec<_>>();
    assert_eq!(of("main").len(), 1);
    assert_eq!(of("status").len(), 1);
    for role in ["link", "button", "region", "image", "heading", "columnheader", "DisclosureTriangle"] {
        assert!(!of(role).is_empty(), "{role}: {nodes:?}");
        assert!(of(role).iter().all(|name| !name.trim().is_empty()), "{role}: {:?}", of(role));
    }
    assert!(of("link").iter().any(|name| name.starts_with("auth: ")), "an item has its name and its state");
    // Of many buttons that read alike, each says what it is for.
    let buttons = of("button");
    assert!(buttons.iter().any(|name| name.starts_with("log of ")) && buttons.contains(&"why auth"), "{buttons:?}");
    assert!(!buttons.contains(&"log") && !buttons.contains(&"why"), "{buttons:?}");
    // The page begins with its headline, and only one part of the page speaks by itself.
    assert_eq!(story.browser.js("[...document.querySelectorAll('h1,h2,h3')].map((one) => one.localName)[0]"), "h1");
    assert_eq!(story.browser.js("document.querySelectorAll('[aria-live],[role=status],[role=alert]').length"), 1);
    story.end();
}

#[test]
fn a_narrow_screen_scrolls_only_in_boxes_and_hostile_text_breaks_nothing() {
    for events in [eventful(), hostile()] {
        let mut story = Story::open(&events);
        story.browser.resize(400, 800);
        let wide = "(() => { const root = document.documentElement; return root.scrollWidth <= 400 || \
            [...document.querySelectorAll('body *')].filter((one) => !one.closest('.scroll') && one.getBoundingClientRect().right > 400).map((one) => one.outerHTML.slice(0, 90)); })()";
        assert_eq!(story.browser.js(wide), true);
        assert_eq!(story.browser.js("document.scripts.length"), 1, "its own");
        story.end();
    }
}
