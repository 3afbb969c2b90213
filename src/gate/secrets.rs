//! Values that must not be written anywhere: which variables hold them, and striking them out of
//! a stream of bytes. A value that a gate prints in another form (encoded, or in parts) is not
//! recognised.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use aho_corasick::{AhoCorasick, MatchKind};

/// What stands where a secret stood.
const STRUCK_OUT: &[u8] = b"***";

/// Parts of names that say what a variable holds.
const TELLING: [&str; 11] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "PRIVATE_KEY",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "SIGNING_KEY",
];

/// A shorter value of a variable that nobody listed is no secret but a word (`true`, `1`, `none`).
const SHORTEST_GUESSED: usize = 6;

/// A shorter line of a longer value may be anything.
const SHORTEST_LINE: usize = 16;

/// The values of variables whose names look like secrets, and of those named in `listed`; of a
/// value with several lines each long one counts, too, because output is often by lines.
pub(super) fn values<'a>(
    environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    listed: &[String],
) -> Vec<Vec<u8>> {
    let mut values = BTreeSet::new();
    for (name, value) in environment {
        let value = value.as_bytes();
        let is_listed = listed.iter().any(|listed| name == OsStr::new(listed));
        if value.is_empty() || !(is_listed || (value.len() >= SHORTEST_GUESSED && tells_of_a_secret(name))) {
            continue;
        }
        values.insert(value.to_vec());
        let lines = value.split(|byte| *byte == b'\n').filter(|line| line.len() >= SHORTEST_LINE);
        values.extend(lines.map(<[u8]>::to_vec));
    }
    values.into_iter().collect()
}

fn tells_of_a_secret(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    TELLING.iter().any(|part| name.contains(part)) || name.ends_with("_KEY") || name.ends_with("_PAT")
}

/// Passes bytes on without the secrets in them, wherever the writes that bring them begin and end.
pub(super) struct Striking<W: Write> {
    secrets: Option<AhoCorasick>,
    longest: usize,
    /// The end of what came, which may be the beginning of a secret.
    held: Vec<u8>,
    to: W,
}

impl<W: Write> Striking<W> {
    /// # Errors
    /// Where there are more secrets than can be looked for.
    pub(super) fn new(secrets: &[Vec<u8>], to: W) -> io::Result<Self> {
        let searcher = match secrets {
            [] => None,
            // Of two secrets one of which begins with the other, the longer one.
            some => Some(
                AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(some).map_err(io::Error::other)?,
            ),
        };
        let longest = secrets.iter().map(Vec::len).max().unwrap_or_default();
        Ok(Self { secrets: searcher, longest, held: Vec::new(), to })
    }

    /// Passes on what is held; nothing follows.
    ///
    /// # Errors
    /// Where the other end cannot be written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.pass_on(true)?;
        Ok(self.to)
    }

    fn pass_on(&mut self, is_the_end: bool) -> io::Result<()> {
        let Some(secrets) = &self.secrets else { return Ok(()) };
        // What begins before here is all there, and would have been found.
        let certain = if is_the_end { self.held.len() } else { (self.held.len() + 1).saturating_sub(self.longest) };
        let mut at = 0;
        for found in secrets.find_iter(&self.held).take_while(|found| found.start() < certain) {
            self.to.write_all(&self.held[at..found.start()])?;
            self.to.write_all(STRUCK_OUT)?;
            at = found.end();
        }
        if at < certain {
            self.to.write_all(&self.held[at..certain])?;
            at = certain;
        }
        self.held.drain(..at);
        Ok(())
    }
}

impl<W: Write> Write for Striking<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.secrets.is_none() {
            return self.to.write(bytes);
        }
        self.held.extend_from_slice(bytes);
        self.pass_on(false)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(secrets: &[&str], text: &[u8], piece: usize) -> String {
        let secrets: Vec<Vec<u8>> = secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        let mut striking = Striking::new(&secrets, Vec::new()).unwrap();
        for piece in text.chunks(piece) {
            striking.write_all(piece).unwrap();
        }
        String::from_utf8_lossy(&striking.finish().unwrap()).into_owned()
    }

    #[test]
    fn a_secret_is_struck_out_however_it_is_cut_into_writes() {
        let text = b"a hunter22 b hunter2 c hunter222 hunter2";
        for piece in 1..text.len() {
            assert_eq!(struck(&["hunter2", "hunter22"], text, piece), "a *** b *** c ***2 ***", "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_secret_arrives_whole() {
        let text: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let mut striking = Striking::new(&[b"nowhere".to_vec()], Vec::new()).unwrap();
        for piece in text.chunks(7) {
            striking.write_all(piece).unwrap();
        }
        assert_eq!(striking.finish().unwrap(), text);
        assert_eq!(struck(&[], b"hunter2", 3), "hunter2");
    }

    #[test]
    fn names_tell_what_is_secret_and_the_plan_may_list_more() {
        let environment = [
            ("GITHUB_TOKEN", "ghp_abcdef"),
            ("npm_config_password", "correct horse"),
            ("DEPLOY_KEY", "-----BEGIN KEY-----\nfirst line of the key\nx\n"),
            ("USE_TOKEN", "1"),
            ("HOME", "/home/ann"),
            ("SSH_AUTH_SOCK", "/tmp/agent"),
            ("PIN", "42"),
            ("EMPTY_SECRET", ""),
        ];
        let environment = environment.map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let found = values(environment, &["PIN".to_owned()]);
        let found: Vec<_> = found.iter().map(|value| String::from_utf8_lossy(value)).collect();
        assert_eq!(
            found,
            [
                "-----BEGIN KEY-----",
                "-----BEGIN KEY-----\nfirst line of the key\nx\n",
                "42",
                "correct horse",
                "first line of the key",
                "ghp_abcdef"
            ]
        );
    }
}
