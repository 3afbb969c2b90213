//! The log files of what runs in slots: their names, their digests, and the bounded end of one
//! as text that can be shown to a person. Commands write them themselves; nothing is piped.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::visible::as_plain_text;
use crate::vocabulary::names::{FileDigest, JobId, VerdictKey};

/// What a report shows of a failed gate: a screenful.
const TAIL_BYTES: usize = 4 * 1024;
const TAIL_LINES: usize = 40;
/// What is read to find that much: colours and progress bars can take most of it.
const TAIL_RAW_BYTES: u64 = 64 * 1024;
/// Of a name in a file's name, which holds more and may be 255 bytes long.
const NAME_BYTES: usize = 80;

/// `name` as part of a file's name: letters and digits of any script, `-`, `_` and `.` stay,
/// everything else becomes `-`. Different names may become the same.
pub(super) fn as_file_name(name: &str) -> String {
    let mut safe: String =
        name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }).collect();
    let end = (0..=NAME_BYTES.min(safe.len())).rev().find(|&at| safe.is_char_boundary(at));
    safe.truncate(end.unwrap_or_default());
    // Neither hidden nor a step upwards.
    if safe.starts_with('.') {
        safe.replace_range(..1, "-");
    }
    safe
}

/// Of the log of an attempt of a gate, or of what ran before it. Unique: a key is gated once in a job.
pub(super) fn file_name(name: &str, key: VerdictKey, job: JobId, attempt: u32) -> String {
    format!("{}-{}{}", as_file_name(name), key.in_file_names(), job.log_ending(attempt))
}

/// The digest of a log that nobody writes to any more, and its end. One that cannot be read has no digest, and its end is
/// not known.
pub(super) fn of_ended(path: &Path) -> (Option<FileDigest>, String) {
    (digest(path).ok(), tail(path).unwrap_or_default())
}

/// The digest of a file of any size.
///
/// # Errors
/// Where it cannot be read.
pub fn digest(path: &Path) -> io::Result<FileDigest> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Ok(FileDigest::from_bytes(short))
}

/// The last lines of a log as plain text, within [`TAIL_BYTES`] and [`TAIL_LINES`].
///
/// # Errors
/// Where it cannot be read.
pub(super) fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(TAIL_RAW_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut raw = Vec::new();
    file.take(TAIL_RAW_BYTES).read_to_end(&mut raw)?;
    // A line of which the beginning is missing begins anywhere, even within a character.
    let whole_lines = match raw.iter().position(|&byte| byte == b'\n') {
        Some(end) if from > 0 && end + 1 < raw.len() => &raw[end + 1..],
        _ => &raw,
    };
    Ok(end_of(&as_plain_text(&String::from_utf8_lossy(whole_lines))))
}

fn end_of(text: &str) -> String {
    let text = text.trim_end();
    let from = text.rmatch_indices('\n').nth(TAIL_LINES - 1).map_or(0, |(newline, _)| newline + 1);
    let lines = &text[from..];
    if lines.len() <= TAIL_BYTES {
        return lines.to_owned();
    }
    let from = (lines.len() - TAIL_BYTES..lines.len()).find(|&at| lines.is_char_boundary(at));
    let cut = &lines[from.unwrap_or(lines.len())..];
    match cut.split_once('\n') {
        Some((_, rest)) if !rest.is_empty() => rest.to_owned(),
        _ => cut.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_become_names_of_files() {
        for (name, expected) in [
            ("unit", "unit"),
            ("e2e/chrome 120", "e2e-chrome-120"),
            ("../../etc", "-.-..-etc"),
            ("prüfung\n\u{1b}[1m", "prüfung---1m"),
            (".hidden", "-hidden"),
            ("", ""),
        ] {
            assert_eq!(as_file_name(name), expected);
        }
        assert_eq!(as_file_name(&"ü".repeat(100)).len(), NAME_BYTES);
    }

    #[test]
    fn a_tail_is_bounded_whole_lines_of_valid_text_whatever_the_log_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let tail_of = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            tail(&path).unwrap()
        };
        assert_eq!(tail_of(b""), "");
        assert_eq!(tail_of(b"one\ntwo\n\n"), "one\ntwo");
        assert_eq!(tail_of(b"\xff\xfebad \xc3\n"), "\u{fffd}\u{fffd}bad \u{fffd}");

        let many: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
        let lines: Vec<String> = tail_of(many.as_bytes()).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.first().unwrap(), "line 99960");

        let wide = format!("{}\n", "é".repeat(200)).repeat(1000);
        let tail = tail_of(wide.as_bytes());
        assert!(tail.len() <= TAIL_BYTES && tail.lines().all(|line| line == "é".repeat(200)));

        let endless = tail_of("é".repeat(1_000_000).as_bytes());
        assert!((TAIL_BYTES - 4..=TAIL_BYTES).contains(&endless.len()));
    }

    #[test]
    fn a_digest_is_that_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, b"hello").unwrap();
        let expected = &blake3::hash(b"hello").to_hex()[..32];
        assert_eq!(digest(&path).unwrap().to_string(), expected);
    }
}
