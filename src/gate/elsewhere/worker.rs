//! What a worker on a node is told: variables for `worker.sh`. Values that must not be seen are among them, so they are
//! handed on in environments alone.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use super::Errand;
use super::account::nonce;
use super::exchange::{Exchange, object_format};
use super::leavings::{files_of, pathspecs};
use crate::vocabulary::names::SubjectDigest;

/// Run by the shell on the node.
pub(super) const SCRIPT: &str = include_str!("worker.sh");

/// As long as a slot's: what fetches dependencies may wait for others.
const SETUP_TIMEOUT: Duration = Duration::from_secs(3600);
/// For one fetch of one commit, the wait for others on the node included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// For sending back what the gate left.
pub(super) const LONGEST_SENDING: Duration = FETCH_TIMEOUT;
/// How long a node may take until the gate begins: waiting for the cache, fetching, and once more past a damaged cache.
pub(super) const LONGEST_PREPARATION: Duration = Duration::from_secs(4 * FETCH_TIMEOUT.as_secs());
/// How often a worker says that it is there before its silence means something: a node that is busy misses some.
const BEATS: u32 = 9;
/// How much of the end is kept of a log that is too long, as in `pump`.
const LOG_TAIL_BYTES: u64 = 1024 * 1024;
/// What the worker says in a log that it has cut, with room to spare.
const LOG_NOTE_BYTES: u64 = 200;

/// An errand's variable cannot be handed on.
#[derive(Debug, thiserror::Error)]
#[error(
    "the variable `{0}` cannot be given to a gate elsewhere: a name is letters, digits and `_`, and begins with no digit"
)]
pub(super) struct NotAName(String);

/// How an errand is to be done, beyond what it says itself.
#[derive(Debug)]
pub(super) struct Instructions<'a> {
    pub(super) errand: &'a Errand,
    pub(super) exchange: &'a Exchange,
    /// Of the exchange: where the commit is.
    pub(super) at: &'a str,
    /// Of the exchange: where what came of it goes, if nobody listens.
    pub(super) result: Option<&'a str>,
    pub(super) work_dir: Option<&'a Path>,
    pub(super) grace: Duration,
    /// After so long without a word from the worker it is taken for lost.
    pub(super) silence: Duration,
    /// lexpr's own environment.
    pub(super) environment: &'a [(OsString, OsString)],
}

/// How long the node may take for the setup.
pub(super) fn setup_limit(errand: &Errand) -> Duration {
    if errand.setup.is_some() { SETUP_TIMEOUT } else { Duration::ZERO }
}

impl Instructions<'_> {
    /// # Errors
    /// Where a variable's name is none for a shell.
    pub(super) fn variables(&self) -> Result<Vec<(&'static str, OsString)>, NotAName> {
        let errand = self.errand;
        let log_tail = LOG_TAIL_BYTES.min(errand.log_rules.max_bytes / 2);
        let log_head = errand.log_rules.max_bytes.saturating_sub(log_tail + LOG_NOTE_BYTES);
        let (commit, format) = (errand.commit.to_string(), object_format(errand.commit));
        let address = self.exchange.address();
        let seconds = |duration: Duration| format!("{:.3}", duration.as_secs_f64());
        let work_dir = self.work_dir.map_or(OsStr::new(""), Path::as_os_str);
        Ok(vec![
            ("ERRAND_NONCE", nonce(&errand.ticket, errand.commit).into()),
            ("ERRAND_TICKET", errand.ticket.clone().into()),
            ("ERRAND_EXCHANGE", address.into()),
            ("ERRAND_CACHE", SubjectDigest::of([address.as_bytes(), format.as_bytes()]).to_string().into()),
            ("ERRAND_REF", self.at.into()),
            ("ERRAND_RESULT", self.result.unwrap_or_default().into()),
            ("ERRAND_FILES", self.exchange.name_of(&files_of(&errand.ticket)).into()),
            ("ERRAND_ARTIFACTS", OsString::from_vec(words(&pathspecs(&errand.artifacts)))),
            ("ERRAND_FORMAT", format.into()),
            ("ERRAND_COMMIT", commit.into()),
            ("ERRAND_WORK_DIR", work_dir.to_owned()),
            ("ERRAND_SETUP", errand.setup.clone().unwrap_or_default().into()),
            ("ERRAND_SETUP_TIMEOUT", SETUP_TIMEOUT.as_secs().to_string().into()),
            ("ERRAND_COMMAND", errand.command.clone().into()),
            ("ERRAND_CWD", errand.cwd.clone().into()),
            ("ERRAND_ENV", self.exports()?),
            ("ERRAND_TIMEOUT", seconds(errand.timeout).into()),
            ("ERRAND_GRACE", seconds(self.grace).into()),
            ("ERRAND_BEAT", seconds(self.silence / BEATS).into()),
            ("ERRAND_FETCH_TIMEOUT", FETCH_TIMEOUT.as_secs().to_string().into()),
            ("ERRAND_LOG_HEAD", log_head.to_string().into()),
            ("ERRAND_LOG_TAIL", log_tail.to_string().into()),
        ])
    }

    /// The gate's environment, for a shell to read.
    fn exports(&self) -> Result<OsString, NotAName> {
        let passed = self.environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())));
        let passed = passed.filter(|(name, _)| self.errand.pass_env.iter().any(|passed| passed == name));
        let own = self.errand.env.iter().map(|(name, value)| (name.as_str(), OsStr::new(value)));
        let mut exports = Vec::new();
        // The gate's own last: they stand.
        for (name, value) in passed.chain(own) {
            if !is_name(name) {
                return Err(NotAName(name.to_owned()));
            }
            exports.extend_from_slice(format!("export {name}=").as_bytes());
            exports.extend(quoted(value.as_bytes()));
            exports.push(b'\n');
        }
        Ok(OsString::from_vec(exports))
    }
}

/// Words for a POSIX shell.
fn words(texts: &[String]) -> Vec<u8> {
    texts.iter().map(|text| quoted(text.as_bytes())).collect::<Vec<_>>().join(&b' ')
}

/// One word for a POSIX shell.
pub(super) fn quoted(text: &[u8]) -> Vec<u8> {
    let mut word = vec![b'\''];
    for &byte in text {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            byte => word.push(byte),
        }
    }
    word.push(b'\'');
    word
}

fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}
