//! What lexpr and its guard say to each other: one JSON document a line, requests on the
//! guard's standard input, replies on its standard output. No I/O here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

use super::pump::LogRules;

/// Raised with every change of this file: lexpr may have been replaced on disk while it runs,
/// and then starts a guard of another version.
pub const PROTOCOL: u32 = 3;

/// Text of the operating system, which need not be UTF-8: a string where it is, else its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OsText {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<&OsStr> for OsText {
    fn from(text: &OsStr) -> Self {
        match text.to_str() {
            Some(text) => Self::Utf8(text.to_owned()),
            None => Self::Bytes(text.as_bytes().to_vec()),
        }
    }
}

impl From<OsText> for OsString {
    fn from(text: OsText) -> Self {
        match text {
            OsText::Utf8(text) => text.into(),
            OsText::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

/// From lexpr. The end of the stream means that lexpr is gone: everything is killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum Request {
    Start(Box<Start>),
    /// End the run with this number, if it has not ended by itself.
    Cancel {
        run: u64,
    },
}

/// One command to run; the next may start when this one has [`Reply::Ended`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Unique within the life of a guard.
    pub run: u64,
    /// The program's path and its arguments.
    pub argv: Vec<OsText>,
    pub cwd: OsText,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(OsText, OsText)>,
    /// An existing file; standard output and error are appended to it.
    pub log: OsText,
    pub log_rules: LogRules,
    pub timeout_ms: u64,
    /// Between TERM and KILL after a timeout or a cancel.
    pub grace_ms: u64,
    /// The program's path and its arguments: run should lexpr die before the command has ended, when all
    /// that descends from the guard is gone. It ends what does not descend from it. Empty: nothing.
    pub at_death: Vec<OsText>,
}

/// From the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Reply {
    /// Always the first.
    Ready {
        protocol: u32,
    },
    /// The command runs as this process, which leads a process group of the same number.
    Started {
        pid: i32,
    },
    /// It could not be started, and nothing is left of it.
    NotStarted {
        why: String,
    },
    Ended(Ended),
}

/// The command has ended, and so has everything it started, but for `survivors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub end: End,
    pub cause: Cause,
    /// Until the command itself ended; ending what it left behind is not counted.
    pub duration_ms: u64,
    /// Processes that did not even end when killed: in an uninterruptible wait, or another user's.
    pub survivors: Vec<i32>,
    /// Bytes of its output that are not in the log.
    pub log_dropped_bytes: u64,
    /// Why its output could not be written.
    pub log_failure: Option<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    Code(i32),
    Signal(i32),
}

/// Why a command ended when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    Itself,
    Timeout,
    Cancel,
}

/// `message` as one line.
///
/// # Errors
/// Never for the types of this module.
pub fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_utf_8_arrive_as_they_were() {
        for bytes in [b"plain".as_slice(), b"", b"\xff\xfe/\n\"", "caf\u{e9}".as_bytes()] {
            let text = OsText::from(OsStr::from_bytes(bytes));
            let start = Start {
                run: 1,
                argv: vec![text.clone()],
                cwd: text.clone(),
                env: vec![(text.clone(), text.clone())],
                log: text,
                log_rules: LogRules { max_bytes: 1, secrets: vec![bytes.to_vec()] },
                timeout_ms: u64::MAX,
                grace_ms: 0,
                at_death: vec![OsText::from(OsStr::from_bytes(bytes))],
            };
            let request = Request::Start(Box::new(start));
            let sent = line(&request).unwrap();
            assert_eq!(sent.iter().filter(|&&byte| byte == b'\n').count(), 1, "one line");
            assert_eq!(serde_json::from_slice::<Request>(&sent).unwrap(), request);
        }
    }
}
