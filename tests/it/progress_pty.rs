//! The live view of the real binary on a real pseudoterminal, of which what it writes is drawn on a terminal in memory.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use lexpr::progress::screen::Size;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cli_world::{World, must_hear_interrupts, wait_for};
use crate::fake_terminal::FakeTerminal;

/// Where a frame begins and ends.
const HOLD: &[u8] = b"\x1b[?2026h";
const SHOW: &[u8] = b"\x1b[?2026l";

/// lexpr on a terminal of its own.
struct Watched {
    master: OwnedFd,
    child: Child,
    terminal: FakeTerminal,
    raw: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Watched {
    /// `lexpr ARGS` in a terminal of this size.
    fn start(world: &World, args: &[&str], environment: &[(&str, &str)], size: Size) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tell_size(&master, size);
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let side = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
        let mut command = world.command(args);
        command.env("TERM", "xterm-256color").envs(environment.iter().copied()).stdout(side()).stderr(side());
        let child = command.spawn().unwrap();
        // Nobody but lexpr may have the other side open, or its end would not be heard of.
        drop(command);
        let (terminal, raw) = (FakeTerminal::new(size), Arc::<Mutex<Vec<u8>>>::default());
        let reader = {
            let (mut from, terminal, raw) =
                (File::from(master.try_clone().unwrap()), terminal.clone(), Arc::clone(&raw));
            std::thread::spawn(move || {
                let (mut chunk, mut held) = (vec![0; 64 * 1024], Vec::new());
                // Linux says EIO once the last one has closed the other side.
                while let Ok(read @ 1..) = from.read(&mut chunk) {
                    raw.lock().unwrap().extend_from_slice(&chunk[..read]);
                    held.extend_from_slice(&chunk[..read]);
                    let whole: Vec<u8> = held.drain(..whole_frames(&held)).collect();
                    terminal.clone().write_all(&whole).unwrap();
                }
            })
        };
        Self { master, child, terminal, raw, reader }
    }

    fn text(&self) -> String {
        self.terminal.unwrapped()
    }

    #[track_caller]
    fn wait_for(&self, part: &str) {
        let text = Mutex::new(String::new());
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(part, || {
                *text.lock().unwrap() = self.text();
                text.lock().unwrap().contains(part).then_some(())
            });
        }));
        assert!(seen.is_ok(), "{part:?} never stood in\n{}", text.lock().unwrap());
    }

    fn resize(&self, size: Size) {
        self.terminal.resize(size);
        tell_size(&self.master, size);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, what stands on the terminal in the end, and all that was ever written.
    fn end(mut self) -> (i32, String, String) {
        let code = self.child.wait().unwrap().code().unwrap();
        drop(self.master);
        self.reader.join().unwrap();
        let raw = String::from_utf8(self.raw.lock().unwrap().clone()).unwrap();
        (code, self.terminal.unwrapped(), raw)
    }
}

fn tell_size(master: &OwnedFd, size: Size) {
    let (ws_col, ws_row) = (size.columns.try_into().unwrap(), size.rows.try_into().unwrap());
    tcsetwinsize(master, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// How much of `bytes` is frames that have ended, and lines between frames.
fn whole_frames(bytes: &[u8]) -> usize {
    let last = |what: &[u8]| bytes.windows(what.len()).rposition(|found| found == what);
    let shown = last(SHOW).map_or(0, |at| at + SHOW.len());
    if last(HOLD).is_some_and(|at| at >= shown) {
        return shown;
    }
    let line = bytes[shown..].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    shown + line
}

/// Three items, of which one fails; gates wait for a file.
fn world() -> (World, String) {
    let branches = ["a", "b", "c"].map(|name| (name, [(name, "new\n")]));
    let branches: Vec<_> = branches.iter().map(|(name, files)| (*name, "main", files.as_slice())).collect();
    let world = World::new(&[("first", "1\n")], &branches);
    let plan = format!(
        "schemaVersion: v1\npolicy: {{ maxWorkers: 3 }}\ngates:\n  - name: unit\n    run: |\n      \
         printf 'first line\\n\\033[31mwaiting\\033[0m for \\346\\227\\245'\n      \
         until [ -e '{}' ]; do sleep 0.02; done\n      \
         if [ -e b ]; then echo; echo assertion failed; exit 1; fi\nitems:\n  \
         - {{ name: a }}\n  - {{ name: b }}\n  - {{ name: c }}\n",
        world.path("go").display()
    );
    let plan = world.plan(&plan).to_str().unwrap().to_owned();
    (world, plan)
}

const WIDE: Size = Size { columns: 90, rows: 24 };

#[test]
fn on_a_real_terminal_the_live_view_follows_a_resize_and_leaves_a_clean_screen() {
    let (world, plan) = world();
    let watched = Watched::start(&world, &["merge", &plan, "--execute"], &[], WIDE);
    watched.wait_for("0/3 landed, 3 running");
    watched.wait_for("a: unit | waiting for 日\n");
    watched.resize(Size { columns: 20, rows: 10 });
    watched.wait_for("0/3, 3 running\n");
    watched.wait_for("s b: unit\n");
    watched.resize(WIDE);
    watched.wait_for("0/3 landed, 3 running");
    watched.wait_for("b: unit | waiting for 日\n");
    std::fs::write(world.path("go"), "").unwrap();
    let (code, text, raw) = watched.end();
    assert_eq!(code, 3, "{text}");
    let (failed, ends) = text.split_once("finished   exit code 3\n").unwrap();
    assert!(failed.contains("| assertion failed\n"), "the tail of the log: {text}");
    assert!(failed.contains("reproduce: lexpr gate run b unit "), "{text}");
    assert!(ends.contains("2 of 3 items landed on main"), "{text}");
    for left in ["0/3", "1/3", "2/3", ": unit |", "more worker"] {
        assert!(!text.contains(left), "{left:?} is left of the block:\n{text}");
    }
    assert!(!raw.contains("\u{1b}[?25l"), "a cursor that is never hidden need not be shown again");
}

#[test]
fn after_a_stop_the_live_view_is_drawn_below_what_the_shell_wrote_and_an_interrupt_leaves_a_clean_screen() {
    must_hear_interrupts();
    let (world, plan) = world();
    let watched = Watched::start(&world, &["merge", &plan, "--execute"], &[], WIDE);
    watched.wait_for("a: unit | waiting for 日\n");
    watched.signal(Signal::STOP);
    let status = format!("/proc/{}/status", watched.child.id());
    wait_for("the stop", || std::fs::read_to_string(&status).unwrap().contains("State:\tT").then_some(()));
    wait_for("all that was written before it", || {
        let raw = watched.raw.lock().unwrap();
        (whole_frames(&raw) == raw.len()).then_some(())
    });
    watched.terminal.clone().write_all(b"[1]+ Stopped\r\n$ fg\r\n").unwrap();
    watched.signal(Signal::CONT);
    wait_for("the block below the shell's lines", || {
        let text = watched.text();
        let (_, below) = text.split_once("[1]+ Stopped\n$ fg\n")?;
        (below.contains("0/3 landed") && below.contains("c: unit | waiting for 日\n")).then_some(())
    });
    watched.signal(Signal::INT);
    let (code, text, _) = watched.end();
    assert_eq!(code, 130, "{text}");
    let (_, below) = text.split_once("[1]+ Stopped\n$ fg\n").unwrap();
    assert!(below.contains("SIGINT: ending the gates that run") && below.contains("`lexpr resume "), "{text}");
    assert!(!below.contains("0/3 landed") && !below.contains(": unit |"), "{text}");
}

#[test]
fn colours_and_redrawing_are_as_the_environment_asks() {
    let shown = |environment: &[(&str, &str)]| {
        let (world, plan) = world();
        std::fs::write(world.path("go"), "").unwrap();
        let (code, _, raw) = Watched::start(&world, &["merge", &plan, "--execute"], environment, WIDE).end();
        assert_eq!(code, 3, "{raw}");
        raw
    };
    let (red, block) = ("\u{1b}[31m", "/3 landed");
    let raw = shown(&[]);
    assert!(raw.contains(red) && raw.contains(block), "{raw:?}");
    let raw = shown(&[("NO_COLOR", "1")]);
    let mut sequences = raw.split("\u{1b}[").skip(1);
    assert!(raw.contains(block) && !sequences.any(|rest| rest.find(char::is_alphabetic) == rest.find('m')), "{raw:?}");
    let raw = shown(&[("TERM", "dumb")]);
    assert!(!raw.contains('\u{1b}') && !raw.contains(block), "{raw:?}");
}

#[test]
fn in_a_pipe_there_are_plain_lines_and_colours_where_they_are_forced() {
    let said = |force: bool| {
        let (world, plan) = world();
        std::fs::write(world.path("go"), "").unwrap();
        let mut command = world.command(["merge", &plan, "--execute"]);
        if force {
            command.env("CLICOLOR_FORCE", "1");
        }
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let plain = said(false);
    assert!(!plain.contains('\u{1b}') && plain.contains("finished   exit code 3"), "{plain:?}");
    let coloured = said(true);
    assert!(coloured.contains("\u{1b}[32m") && !coloured.contains("\u{1b}[?2026h"), "{coloured:?}");
}
