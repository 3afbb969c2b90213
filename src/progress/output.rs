//! The last line that each running gate printed. Output is no event: it is looked at now and then, where gates write
//! it, and only its end is read, so that no gate can flood anything and none waits for a terminal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::vocabulary::names::{GateName, JobId, VerdictKey};
use crate::wording::block;

/// What is read of the end of a log: progress bars and colours can take most of it.
const END_BYTES: u64 = 4 * 1024;

/// How the name of a log begins that the slot's setup writes.
const SETUP: &str = "setup";

/// An attempt of a gate that runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Running {
    pub job: JobId,
    /// `None` for what precedes the first.
    pub gate: Option<(GateName, VerdictKey)>,
    pub attempt: u32,
}

impl Running {
    /// What the name of its log ends in.
    fn ending(&self) -> String {
        let ending = self.job.log_ending(self.attempt);
        self.gate.as_ref().map_or_else(|| ending.clone(), |(_, key)| format!("-{}{ending}", key.in_file_names()))
    }

    /// The setup before a gate has its key in the name of its log, too.
    fn may_be_of_setup(&self) -> bool {
        self.gate.as_ref().is_none_or(|(gate, _)| gate.as_str() == SETUP)
    }
}

/// What was seen of logs.
#[derive(Debug)]
pub(super) struct Output {
    logs: PathBuf,
    known: BTreeMap<Running, Known>,
}

#[derive(Debug)]
struct Known {
    log: PathBuf,
    length: u64,
    line: String,
}

impl Output {
    /// Of the logs in this folder.
    pub(super) fn of(logs: PathBuf) -> Self {
        Self { logs, known: BTreeMap::new() }
    }

    /// The last lines of those that have printed something, safe to show. The others are forgotten.
    pub(super) fn look(&mut self, running: Vec<Running>) -> BTreeMap<Running, String> {
        self.known.retain(|known, _| running.contains(known));
        let unknown: Vec<Running> = running.into_iter().filter(|running| !self.known.contains_key(running)).collect();
        if !unknown.is_empty() {
            self.find(&unknown);
        }
        for known in self.known.values_mut() {
            // What cannot be read is not shown.
            if let Ok(Some((length, line))) = last_line(&known.log, known.length) {
                (known.length, known.line) = (length, line);
            }
        }
        self.known.iter().map(|(running, known)| (running.clone(), known.line.clone())).collect()
    }

    /// Reads the names of all logs once.
    fn find(&mut self, unknown: &[Running]) {
        let endings: Vec<String> = unknown.iter().map(Running::ending).collect();
        for entry in std::fs::read_dir(&self.logs).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_setup =
                |ending: &str| name.strip_suffix(ending).is_some_and(|rest| rest.split('-').next() == Some(SETUP));
            for (running, ending) in unknown.iter().zip(&endings) {
                if name.ends_with(ending) && (running.may_be_of_setup() || !is_setup(ending)) {
                    let known = Known { log: entry.path(), length: 0, line: String::new() };
                    self.known.insert(running.clone(), known);
                }
            }
        }
    }
}

/// How long a log is and the last line in it that is not blank; `None` where it is as long as it was.
fn last_line(log: &Path, length: u64) -> io::Result<Option<(u64, String)>> {
    let mut file = File::open(log)?;
    let now = file.metadata()?.len();
    if now == length {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(now.saturating_sub(END_BYTES)))?;
    let mut end = Vec::new();
    file.take(END_BYTES).read_to_end(&mut end)?;
    Ok(Some((now, last_of(&end))))
}

/// The last line that says something; of one that is redrawn, what stands there.
fn last_of(end: &[u8]) -> String {
    let text = block(&String::from_utf8_lossy(end));
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(gate: &str) -> VerdictKey {
        VerdictKey::of([gate.as_bytes()])
    }

    fn running(gate: Option<&str>) -> Running {
        Running { job: JobId(1), gate: gate.map(|gate| (GateName::new(gate), key(gate))), attempt: 1 }
    }

    /// What is seen of one gate; nothing where it has no log yet.
    fn seen(output: &mut Output, gate: Option<&str>) -> String {
        output.look(vec![running(gate)]).remove(&running(gate)).unwrap_or_default()
    }

    #[test]
    fn the_last_line_is_the_last_that_says_something_without_what_moves_a_cursor() {
        let cases: [(&[u8], &str); 8] = [
            (b"", ""),
            (b"one\ntwo\n\n  \n", "two"),
            (b"one\nhalf a li", "half a li"),
            (b"\x1b[1;32m   Compiling\x1b[0m lexpr\n", "Compiling lexpr"),
            (b" 10%\r 50%\r 99%\r", "99%"),
            (b"\x1b[2K\r 50%\x1b[1A", "50%"),
            (b"\x1b]0;title\x07tab\there\n", "tab    here"),
            (b"\xff\xfe \xe6\x97\xa5\n", "\u{fffd}\u{fffd} \u{65e5}"),
        ];
        for (output, expected) in cases {
            assert_eq!(last_of(output), expected, "{output:?}");
        }
    }

    #[test]
    fn a_gate_that_floods_its_log_costs_the_end_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(format!("unit-{}-1-1.log", key("unit").in_file_names()));
        std::fs::write(&log, "é".repeat(3_000_000)).unwrap();
        let line = seen(&mut Output::of(folder.path().to_owned()), Some("unit"));
        assert!(!line.is_empty() && line.len() as u64 <= END_BYTES + 4, "{}", line.len());
    }

    #[test]
    fn a_gate_is_shown_what_it_printed_itself_and_nothing_of_those_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, gate: &str, ending: &str, text: &str| {
            let name = format!("{name}-{}{ending}", key(gate).in_file_names());
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        let mut output = Output::of(folder.path().to_owned());
        assert_eq!(seen(&mut output, None), "");
        write("setup", "unit", "-1-1.log", "added 12 packages\n");
        write("setup", "unit", "-11-1.log", "another job's\n");
        write("unit", "unit", "-1-2.log", "another attempt's\n");
        assert_eq!(seen(&mut output, None), "added 12 packages");
        assert_eq!(seen(&mut output, Some("unit")), "");
        write("unit", "unit", "-1-1.log", "test a ... ok\n");
        assert_eq!(seen(&mut output, Some("unit")), "test a ... ok");
        write("unit", "unit", "-1-1.log", "test a ... ok\ntest b ... ok\n");
        assert_eq!(seen(&mut output, Some("unit")), "test b ... ok");
        assert_eq!(seen(&mut output, Some("lint")), "");
        write("lint", "lint", "-1-1.log", "3 warnings\n");
        assert_eq!(seen(&mut output, Some("lint")), "3 warnings");
        assert!(output.look(Vec::new()).is_empty());
    }
}
