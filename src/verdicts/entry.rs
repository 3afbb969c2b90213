//! One remembered pass as bytes: what its key is made of, what it rests on, and its log, compressed.
//! Whatever is not exactly what was written is damage.

use serde::{Deserialize, Serialize};
use zlib_rs::{DeflateConfig, InflateConfig, ReturnCode, compress_bound, compress_slice, decompress_slice};

use crate::vocabulary::names::{FileDigest, RunId, VerdictKey};
use crate::vocabulary::verdict::{FoundPass, KeyParts};

/// The version of what follows: another format has another number, and another folder.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8] = b"lexpr-verdict-1\n";
const CHECKSUM_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;

/// A gate's command may be a script, but who writes a book into a plan gets no verdicts remembered.
const MOST_TOLD_BYTES: usize = 256 * 1024;

/// A log of more is not kept: a gate that passed is rarely read up on, and never in so much.
pub(super) const MOST_LOG_BYTES: usize = 16 << 20;

/// Of an entry, which is read and checked as a whole each time that it is looked up.
const MOST_COMPRESSED_BYTES: usize = 1 << 20;

/// No entry is larger.
pub const MOST_BYTES: u64 =
    (MAGIC.len() + CHECKSUM_BYTES + LENGTH_BYTES + MOST_TOLD_BYTES + MOST_COMPRESSED_BYTES) as u64;

/// What is remembered of a pass besides its log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    pub parts: KeyParts,
    pub run: RunId,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    pub duration_ms: u64,
    pub flaky: bool,
    /// Of the whole log, whether it is kept or not.
    pub log_digest: Option<FileDigest>,
    /// Bytes of the log that is kept.
    log_bytes: Option<usize>,
    /// The pass in whose place this one came, with when that was found: too old by then, mostly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<(RunId, u64)>,
}

/// The bytes are not what was written under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry is damaged")]
pub struct Damage;

/// An entry with its log, which is still compressed.
#[derive(Debug)]
pub struct Kept<'a> {
    pub entry: Entry,
    compressed: &'a [u8],
}

/// The pass as bytes, with `log` where that is not too large; `None` where all of it is. `replaced`: the
/// run and the time of the pass in whose place it comes.
pub fn encode(pass: &FoundPass, log: Option<&[u8]>, replaced: Option<(RunId, u64)>) -> Option<Vec<u8>> {
    let log_digest = pass.log.as_ref().map(|(_, digest)| *digest);
    // One that was changed since is not the gate's.
    let log = log.filter(|log| log.len() <= MOST_LOG_BYTES && Some(digest(log)) == log_digest);
    let compressed = log.and_then(|log| Some((log.len(), compress(log)?)));
    let entry = Entry {
        parts: pass.parts.clone(),
        run: pass.run.clone(),
        at_ms: pass.at_ms,
        duration_ms: pass.duration_ms,
        flaky: pass.flaky,
        log_digest,
        log_bytes: compressed.as_ref().map(|(bytes, _)| *bytes),
        replaced,
    };
    let told = serde_json::to_vec(&entry).expect("an entry is made of strings, numbers and lists");
    if told.len() > MOST_TOLD_BYTES {
        return None;
    }
    let length = u32::try_from(told.len()).ok()?.to_le_bytes();
    let compressed = compressed.map(|(_, bytes)| bytes).unwrap_or_default();
    let body = [&length, told.as_slice(), &compressed].concat();
    Some([MAGIC, blake3::hash(&body).as_bytes(), &body].concat())
}

/// # Errors
/// Where a single bit is not as it was written, or it was written under another key.
pub fn decode(key: VerdictKey, bytes: &[u8]) -> Result<Kept<'_>, Damage> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Damage)?;
    let (checksum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or(Damage)?;
    if blake3::hash(body).as_bytes() != checksum {
        return Err(Damage);
    }
    let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>().ok_or(Damage)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Damage)?;
    let (told, compressed) = rest.split_at_checked(length).ok_or(Damage)?;
    let entry: Entry = serde_json::from_slice(told).map_err(|_| Damage)?;
    // What is copied from one repository to another under a wrong name is nobody's verdict.
    if entry.parts.key() != key {
        return Err(Damage);
    }
    Ok(Kept { entry, compressed })
}

impl Kept<'_> {
    /// The log; `None` where none was kept.
    pub fn log(&self) -> Option<Vec<u8>> {
        let bytes = self.entry.log_bytes.filter(|bytes| *bytes <= MOST_LOG_BYTES)?;
        let mut log = vec![0; bytes];
        let (read, code) = decompress_slice(&mut log, self.compressed, InflateConfig::default());
        let is_whole = code == ReturnCode::Ok && read.len() == bytes;
        (is_whole && Some(digest(&log)) == self.entry.log_digest).then_some(log)
    }
}

fn compress(log: &[u8]) -> Option<Vec<u8>> {
    let mut compressed = vec![0; compress_bound(log.len())];
    let (written, code) = compress_slice(&mut compressed, log, DeflateConfig::default());
    let written = written.len();
    if code != ReturnCode::Ok || written > MOST_COMPRESSED_BYTES {
        return None;
    }
    compressed.truncate(written);
    Some(compressed)
}

/// As `gate::digest` has it of a file.
fn digest(log: &[u8]) -> FileDigest {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(log).as_bytes()[..16]);
    FileDigest::from_bytes(short)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vocabulary::names::{DefinitionDigest, SubjectDigest, TreeId};
    use crate::vocabulary::verdict::{GateParts, Surroundings};

    /// A pass of gate `unit` on a tree that `subject` stands for.
    pub(in crate::verdicts) fn pass(subject: &str, log: Option<&[u8]>) -> FoundPass {
        FoundPass {
            parts: KeyParts {
                gate: GateParts {
                    name: "unit".into(),
                    definition: DefinitionDigest::of([b"unit".as_slice()]),
                    run: "make test".to_owned(),
                    cwd: String::new(),
                    env: BTreeMap::new(),
                    inputs: None,
                    artifacts: Vec::new(),
                    timeout_ms: None,
                    clean: false,
                    runtime: "local".to_owned(),
                },
                subject: SubjectDigest::of([subject.as_bytes()]),
                tree: TreeId::from_bytes(&[1; 20]).unwrap(),
                context: None,
                surroundings: Surroundings { platform: "test".to_owned(), ..Surroundings::default() },
            },
            run: RunId::new("20260101-000000-000-aaaa"),
            at_ms: 1_000_000,
            duration_ms: 70,
            flaky: false,
            log: log.map(|log| ("unit.log".into(), digest(log))),
        }
    }

    #[test]
    fn a_pass_and_its_log_come_back_as_they_were_and_the_log_takes_less() {
        let log = b"running 1 test\n".repeat(1000);
        let pass = pass("a", Some(&log));
        let bytes = encode(&pass, Some(&log), None).unwrap();
        assert!(bytes.len() < log.len() / 5, "{} bytes", bytes.len());
        let kept = decode(pass.parts.key(), &bytes).unwrap();
        assert_eq!((&kept.entry.parts, &kept.entry.run), (&pass.parts, &pass.run));
        assert_eq!(kept.log().unwrap(), log);
    }

    #[test]
    fn an_entry_of_which_any_byte_is_changed_cut_or_added_is_damaged() {
        let pass = pass("a", Some(b"fine\n"));
        let (key, whole) = (pass.parts.key(), encode(&pass, Some(b"fine\n"), None).unwrap());
        assert!(decode(key, &whole).is_ok());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(decode(key, &changed).is_err(), "byte {at} changed");
            assert!(decode(key, &whole[..at]).is_err(), "cut to {at} bytes");
        }
        assert!(decode(key, &[whole.as_slice(), b"x"].concat()).is_err());
        let other = self::pass("b", None).parts.key();
        assert!(decode(other, &whole).is_err(), "under another key");
    }

    #[test]
    fn a_log_that_is_too_large_or_not_the_one_that_was_judged_is_not_kept_and_the_pass_is() {
        let random: Vec<u8> = blake3::hash(b"seed").as_bytes().iter().cycle().take(64).copied().collect();
        let mut incompressible = vec![0; 2 << 20];
        blake3::Hasher::new().update(&random).finalize_xof().fill(&mut incompressible);
        for (log, found) in [(&incompressible[..], &incompressible[..]), (b"as judged", b"as changed")] {
            let pass = pass("a", Some(log));
            let bytes = encode(&pass, Some(found), None).unwrap();
            let kept = decode(pass.parts.key(), &bytes).unwrap();
            assert_eq!((kept.log(), kept.entry.log_digest), (None, Some(digest(log))));
        }
        let mut endless = pass("a", None);
        endless.parts.gate.run = "x".repeat(MOST_TOLD_BYTES);
        assert_eq!(encode(&endless, None, None), None);
    }
}
