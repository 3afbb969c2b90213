//! Values that must not be written: which variables hold them, in which forms they are looked for,
//! and striking them out of a stream of bytes. What the README says of secrets is said of this file.
//! A value that a gate prints in yet another form, or in parts, is not recognised; colours in it make no parts.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use aho_corasick::{AhoCorasick, MatchKind};

use super::visible::Visible;

/// What stands where a secret stood.
const STRUCK_OUT: &[u8] = b"***";

/// Parts of names, in capitals, that say that a variable holds a secret.
const TELLING: [&str; 16] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDS",
    "COOKIE",
    "WEBHOOK",
    "CONNECTION_STRING",
    "PRIVATE_KEY",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "SIGNING_KEY",
    "ENCRYPTION_KEY",
];
/// The last words of such names: elsewhere in a name they mean something else (`SSH_AUTH_SOCK`,
/// `KEY_COUNT`).
const TELLING_AT_THE_END: [&str; 8] = ["KEY", "PAT", "AUTH", "DSN", "PASS", "PW", "PWD", "JWT"];
/// The last words of names that say where a secret lies. Where it lies is none, and to strike out a
/// folder would spoil half a log.
const PLACES: [&str; 4] = ["FILE", "PATH", "DIR", "SOCK"];

/// Shorter values that nobody listed are found by chance all over a log (`1`, `on`, `sh`).
const SHORTEST_GUESSED: usize = 4;
/// From here on a value counts even where it is all letters or all digits; a shorter one of that
/// kind is a word or a number (`main`, `true`, `8080`).
const SHORTEST_PLAIN: usize = 6;
/// What settings are set to, and no secrets are.
const SETTINGS: [&str; 12] = [
    "default",
    "enabled",
    "disabled",
    "required",
    "optional",
    "always",
    "master",
    "develop",
    "staging",
    "production",
    "localhost",
    "bearer",
];
/// A shorter line of a longer value may be anything, as may a shorter user of a URL be any name; the
/// forms of a shorter value are too short to be told from chance. GitLab masks nothing shorter.
const SHORTEST_PART: usize = 8;

/// More of a stream is never held back for an escape sequence that does not end.
const MOST_HELD: usize = 1 << 20;

/// What is to be struck out: the values of variables whose names look like secrets and of those named
/// in `listed`, and the credentials in values that are URLs, whatever their names; each as it is, line
/// by line, and as JSON, URLs and Base64 have it.
pub(super) fn values<'a>(
    environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    listed: &[String],
) -> Vec<Vec<u8>> {
    let mut values = BTreeSet::new();
    for (name, value) in environment {
        let value = value.as_bytes();
        // A file that was read into a variable has a newline at its end, which a command may drop.
        let trimmed = value.trim_ascii();
        let is_listed = listed.iter().any(|listed| name == OsStr::new(listed));
        let credentials = Credentials::of(trimmed);
        let counts = is_listed || credentials.is_some() || tells_of_a_secret(name) && may_be_a_secret(trimmed);
        if !counts || trimmed.is_empty() {
            continue;
        }
        values.insert(value.to_vec());
        values.insert(trimmed.to_vec());
        let lines = trimmed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        values.extend(lines.filter(|line| line.len() >= SHORTEST_PART).map(<[u8]>::to_vec));
        values.extend(credentials.into_iter().flat_map(|credentials| credentials.secrets));
    }
    let long = values.iter().filter(|value| value.len() >= SHORTEST_PART);
    let other_forms: Vec<_> = long.flat_map(|value| other_forms(value)).collect();
    values.extend(other_forms);
    values.into_iter().collect()
}

fn tells_of_a_secret(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase().replace(['-', '.'], "_");
    let last = name.rsplit('_').next().unwrap_or_default();
    let is_a_place = PLACES.contains(&last);
    let at_the_end = TELLING_AT_THE_END.contains(&last) || last.ends_with("PWD");
    // The shell's own.
    let is_a_folder = matches!(name.as_str(), "PWD" | "OLDPWD");
    !is_a_place && !is_a_folder && (at_the_end || TELLING.iter().any(|part| name.contains(part)))
}

/// Whether a value is more than a word, a number or a setting.
fn may_be_a_secret(value: &[u8]) -> bool {
    let is_plain = value.iter().all(u8::is_ascii_alphabetic) || value.iter().all(u8::is_ascii_digit);
    let shortest = if is_plain { SHORTEST_PLAIN } else { SHORTEST_GUESSED };
    value.len() >= shortest && !SETTINGS.iter().any(|setting| value.eq_ignore_ascii_case(setting.as_bytes()))
}

/// What a URL gives away.
struct Credentials {
    /// The password, or a user that is as long as a token; as it stands there, and decoded.
    secrets: Vec<Vec<u8>>,
}

impl Credentials {
    /// Of a value that is a URL with a password or a token before its host (RFC 3986, 3.2.1).
    fn of(value: &[u8]) -> Option<Self> {
        let scheme = value.windows(3).position(|three| three == b"://")?;
        let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        if scheme == 0 || !value[..scheme].iter().all(is_scheme) {
            return None;
        }
        let rest = &value[scheme + 3..];
        let authority = rest.split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
        // A password that was not encoded may have an @, and even a slash, of its own.
        let host = authority.iter().rposition(|byte| *byte == b'@').or_else(|| {
            let whole = rest.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
            whole.contains(&b':').then(|| whole.iter().rposition(|byte| *byte == b'@')).flatten()
        })?;
        let user_info = &rest[..host];
        let colon = user_info.iter().position(|byte| *byte == b':');
        let (user, password) = match colon {
            Some(colon) => (&user_info[..colon], &user_info[colon + 1..]),
            None => (user_info, &b""[..]),
        };
        let mut secrets = Vec::new();
        // What a database is set up with for tests (`postgres:postgres@`) is a word that stands everywhere.
        if password != user && may_be_a_secret(password) {
            secrets.push(password);
        }
        // `https://TOKEN@host`, `https://TOKEN:x-oauth-basic@host`.
        if user.len() >= 2 * SHORTEST_PART {
            secrets.push(user);
        }
        if secrets.is_empty() {
            return None;
        }
        let decoded: Vec<_> = secrets.iter().map(|secret| percent_decoded(secret)).collect();
        Some(Self { secrets: secrets.into_iter().map(<[u8]>::to_vec).chain(decoded).collect() })
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// A value as it stands in JSON, in a URL and in Base64, as GitHub's runner looks for it, too.
fn other_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms: Vec<Vec<u8>> = (0..3).flat_map(|before| in_base64(value, before)).collect();
    let percent = value.iter().flat_map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => vec![*byte],
        other => format!("%{other:02X}").into_bytes(),
    });
    forms.push(percent.collect());
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(json) = serde_json::to_string(text)
    {
        let inside = &json[1..json.len() - 1];
        forms.push(inside.as_bytes().to_vec());
        // As those write it who keep to ASCII (Python's `json`).
        forms.push(inside.chars().flat_map(in_ascii).collect());
    }
    forms
}

/// A character in JSON, by itself or as one or two escapes.
fn in_ascii(character: char) -> Vec<u8> {
    if character.is_ascii() {
        return vec![character as u8];
    }
    let mut units = [0; 2];
    character.encode_utf16(&mut units).iter().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()).collect()
}

/// What of the Base64 (RFC 4648) of any text is certain where the value stands in it behind `before`
/// bytes, modulo 3: in both alphabets, without the digits that its neighbours have a part in.
fn in_base64(value: &[u8], before: usize) -> [Vec<u8>; 2] {
    let padded: Vec<u8> = std::iter::repeat_n(0, before).chain(value.iter().copied()).collect();
    let digit_count = padded.len() * 8 / 6;
    let digits = (before * 8).div_ceil(6)..digit_count;
    let digit = |at: usize| {
        let bit = at * 6;
        let pair = u16::from_be_bytes([padded[bit / 8], padded.get(bit / 8 + 1).copied().unwrap_or_default()]);
        usize::from(pair >> (10 - bit % 8) & 63)
    };
    let alphabets: [&[u8; 64]; 2] = [
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    ];
    alphabets.map(|alphabet| digits.clone().map(|at| alphabet[digit(at)]).collect())
}

/// Takes the secrets out of texts; all of a text where they are too many to be looked for.
pub(super) fn strike<'a>(texts: impl IntoIterator<Item = &'a mut String>, secrets: &[Vec<u8>]) {
    let mut striking = Striking::new(secrets, Vec::new());
    for text in texts {
        let struck = striking.as_mut().ok().and_then(|striking| {
            striking.write_all(text.as_bytes()).and_then(|()| striking.pass_on(true)).ok()?;
            Some(std::mem::take(&mut striking.to))
        });
        *text = String::from_utf8_lossy(struck.as_deref().unwrap_or(STRUCK_OUT)).into_owned();
    }
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
        let whole = |len: usize| if is_the_end { len } else { (len + 1).saturating_sub(self.longest) };
        let mut certain = whole(self.held.len());
        let mut found: Vec<Range<usize>> = secrets.find_iter(&self.held).map(|found| found.range()).collect();
        if let Some(Visible { bytes, places, open_at }) = Visible::of(&self.held) {
            found.extend(secrets.find_iter(&bytes).map(|found| places[found.start()]..places[found.end() - 1] + 1));
            // A sequence without an end does not make us hold all that follows.
            if !is_the_end && self.held.len() < MOST_HELD {
                let open_at = open_at.unwrap_or(self.held.len());
                certain = certain.min(places.get(whole(bytes.len())).copied().unwrap_or(open_at)).min(open_at);
            }
        }
        found.sort_unstable_by_key(|found| (found.start, Reverse(found.end)));
        let mut at = 0;
        for found in found.into_iter().take_while(|found| found.start < certain) {
            if found.start >= at {
                self.to.write_all(&self.held[at..found.start])?;
                self.to.write_all(STRUCK_OUT)?;
            }
            at = at.max(found.end);
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

    fn found(environment: &[(&str, &str)], listed: &[&str]) -> BTreeSet<String> {
        let environment = environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let listed: Vec<String> = listed.iter().map(|name| (*name).to_owned()).collect();
        let values = values(environment, &listed);
        values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn names_tell_what_is_secret_and_the_plan_may_list_more() {
        for name in [
            "GITHUB_TOKEN",
            "npm_config_password",
            "MYSQL_PWD",
            "DBPWD",
            "NPM_AUTH",
            "npm_config__auth",
            "SESSION_COOKIE",
            "COOKIE",
            "SENTRY_DSN",
            "DB_PASS",
            "AWS_ACCESS_KEY_ID",
            "deploy-key",
            "GH_PAT",
            "SLACK_WEBHOOK_URL",
            "AZURE_STORAGE_CONNECTION_STRING",
        ] {
            assert!(found(&[(name, "hunter2")], &[]).contains("hunter2"), "{name}");
        }
        for name in ["HOME", "PWD", "OLDPWD", "SSH_AUTH_SOCK", "GIT_ASKPASS", "KEYBOARD", "PASSWORD_FILE", "PIN"] {
            assert_eq!(found(&[(name, "/home/ann2")], &[]), BTreeSet::new(), "{name}");
        }
        assert!(found(&[("PIN", "4")], &["PIN"]).contains("4"), "whatever is listed counts");
    }

    #[test]
    fn a_secret_is_struck_out_though_colours_and_controls_stand_in_it() {
        for text in [
            "a \u{1b}[01;31m\u{1b}[Khunt\u{1b}[m\u{1b}[Ker2 b",
            "a hun\u{0}ter\u{1b}]0;title\u{7}2 b",
            "a h\u{1b}(Bu\u{9b}1mn\u{8}t\u{202e}er\r2 b",
        ] {
            for piece in 1..=text.len() {
                let left = struck(&["hunter2"], text.as_bytes(), piece);
                assert!(left.starts_with("a ") && left.ends_with(" b") && left.contains("***"), "{left:?}, by {piece}");
                assert!(!left.contains('h') && !left.contains('2'), "{left:?}, by {piece}");
            }
        }
        // One that never ends holds nothing up for ever.
        let endless = format!("\u{1b}]{} hunter2", "x".repeat(3 * MOST_HELD));
        let left = struck(&["hunter2"], endless.as_bytes(), 1 << 16);
        assert!(left.ends_with(" ***") && left.len() > 3 * MOST_HELD);
    }

    #[test]
    fn a_secret_is_found_in_json_that_keeps_to_ascii() {
        assert!(found(&[("A_TOKEN", "pa ss\u{e9}\u{1f511}")], &[]).contains("pa ss\\u00e9\\ud83d\\udd11"));
    }

    #[test]
    fn words_numbers_and_settings_are_no_secrets_whatever_the_name() {
        for value in ["", "1", "/", "on", "abc", "true", "main", "8080", "none", "default", "Enabled", "localhost"] {
            assert_eq!(found(&[("USE_TOKEN", value)], &[]), BTreeSet::new(), "{value}");
        }
        for value in ["a1b2", "s3cr!", "geheim", "123456"] {
            assert!(found(&[("USE_TOKEN", value)], &[]).contains(value), "{value}");
        }
    }

    #[test]
    fn the_credentials_in_a_url_are_secret_whatever_the_variable_is_called() {
        let whole = "postgres://app:p%40ss-w0rd@db.example.org/app";
        let secrets = found(&[("DATABASE_URL", whole)], &[]);
        for secret in [whole, "p%40ss-w0rd", "p@ss-w0rd"] {
            assert!(secrets.contains(secret), "{secret} in {secrets:?}");
        }
        assert!(!secrets.contains("app") && !secrets.contains("db.example.org"), "{secrets:?}");
        assert!(found(&[("PROXY", "http://u:a/b@c1@h:1/")], &[]).contains("a/b@c1"), "encoded badly");
        let token = "ghp_0123456789abcdef";
        assert!(found(&[("REMOTE", &format!("https://{token}@example.org/x.git"))], &[]).contains(token));
        for harmless in [
            "https://example.org/a@b",
            "ssh://git@example.org/x",
            "postgres://postgres:postgres@localhost/t",
            "a://",
            "://:",
        ] {
            assert_eq!(found(&[("WHERE", harmless)], &[]), BTreeSet::new(), "{harmless}");
        }
    }

    #[test]
    fn a_value_of_several_lines_counts_line_by_line_and_without_the_space_around_it() {
        let secrets =
            found(&[("DEPLOY_KEY", "-----BEGIN KEY-----\r\n  first line\nx\n"), ("A_TOKEN", "hunter2\n")], &[]);
        for secret in ["-----BEGIN KEY-----", "first line", "hunter2"] {
            assert!(secrets.contains(secret), "{secret} in {secrets:?}");
        }
        assert!(!secrets.contains("x"));
    }

    #[test]
    fn a_secret_is_found_in_json_in_urls_and_in_base64_wherever_it_stands_there() {
        let secrets = found(&[("A_TOKEN", "a\"b/c>d?e~f")], &[]);
        for form in ["a\\\"b/c>d?e~f", "a%22b%2Fc%3Ed%3Fe~f"] {
            assert!(secrets.contains(form), "{form} in {secrets:?}");
        }
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        // `printf %s TEXT | base64`, with 0, 1, 2 and 5 bytes before the secret and some after it.
        for printed in [
            "YSJiL2M+ZD9lfmY=",
            "dWEiYi9jPmQ/ZX5mcw==",
            "dXVhImIvYz5kP2V+Zg==",
            "YW5uOjphImIvYz5kP2V+ZiE=",
            "YSJiL2M-ZD9lfmY",
        ] {
            assert!(struck(&secrets, printed.as_bytes(), 5).contains("***"), "{printed}");
        }
    }
}
