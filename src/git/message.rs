//! The words of a commit: who, when, and what the message says, as UTF-8.
//!
//! Only text in and text out. Whatever bytes an input commit holds, what is made of it is a
//! commit that git and its fsck accept.

use gix::ObjectId;

use super::objects::Commit;
use crate::vocabulary::names::CommitId;

/// The trailer by which later runs know that a head has landed under another id.
pub const HEAD_TRAILER: &str = "Lexpr-Head";

/// The trailer that says by whom and why an item was let land although not all of its gates passed.
pub const OVERRIDE_TRAILER: &str = "Lexpr-Override";

const CO_AUTHOR_TRAILER: &str = "Co-authored-by";

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    pub email: String,
    /// Since the Unix epoch; 0 where the commit has no readable date, as in git.
    pub seconds: u64,
    /// `+0100`
    pub zone: String,
}

impl Signature {
    /// From the raw line of a commit, `Name <email> seconds zone`, in the commit's encoding.
    pub fn parse(raw: &[u8], encoding: Option<&[u8]>) -> Self {
        // git, too, looks for the date after the last `>`: a name may hold anything.
        let end = raw.iter().rposition(|b| *b == b'>').unwrap_or(raw.len());
        let (who, date) = raw.split_at(end);
        let date = String::from_utf8_lossy(date.strip_prefix(b">").unwrap_or(date)).into_owned();
        let mut words = date.split_ascii_whitespace();
        let seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let zone = words.next().filter(|word| is_zone(word)).unwrap_or("+0000").to_owned();
        let who = to_utf8(who, encoding);
        let (name, email) = who.split_once('<').unwrap_or((&who, ""));
        Self { name: without_crud(name), email: without_crud(email), seconds, zone }
    }

    /// The line as git writes it.
    pub fn line(&self) -> String {
        let Self { name, email, seconds, zone } = self;
        let gap = if name.is_empty() { "" } else { " " };
        format!("{name}{gap}<{email}> {seconds} {zone}")
    }
}

fn is_zone(word: &str) -> bool {
    word.len() == 5 && word.starts_with(['+', '-']) && word[1..].bytes().all(|b| b.is_ascii_digit())
}

/// What would end a name or an address early is left out, as `git commit` does.
fn without_crud(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '<' | '>' | '\n' | '\0')).collect::<String>().trim().to_owned()
}

/// Whether the bytes of a commit in this encoding can be read without asking git.
pub fn is_readable(encoding: Option<&[u8]>) -> bool {
    encoding.is_none_or(|name| is_utf8_name(name) || is_latin1_name(name))
}

fn is_utf8_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"utf-8") || name.eq_ignore_ascii_case(b"utf8")
}

fn is_latin1_name(name: &[u8]) -> bool {
    [&b"iso-8859-1"[..], b"iso8859-1", b"latin1", b"latin-1"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Bytes in a commit's encoding as text. Bytes that are no UTF-8 where UTF-8 is meant stand for
/// Latin-1 characters, as `git commit` assumes (`verify_utf8` in git's `commit.c`).
pub fn to_utf8(bytes: &[u8], encoding: Option<&[u8]>) -> String {
    if encoding.is_some_and(is_latin1_name) {
        return bytes.iter().map(|b| char::from(*b)).collect();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|b| char::from(*b)));
    }
    text
}

/// A message's first paragraph on one line, as git's `%s`.
pub fn subject(message: &str) -> String {
    let lines = message.lines().map(str::trim).skip_while(|line| line.is_empty());
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The heads that `Lexpr-Head` trailers of a message name.
pub fn landed_heads(message: &[u8]) -> Vec<ObjectId> {
    let mut heads = Vec::new();
    for line in message.split(|b| *b == b'\n') {
        let Some(value) = line.strip_prefix(HEAD_TRAILER.as_bytes()).and_then(|rest| rest.strip_prefix(b": ")) else {
            continue;
        };
        heads.extend(ObjectId::from_hex(value.trim_ascii()));
    }
    heads
}

/// `Merge feature/auth: <subject>`
pub fn merge_message(branch: &str, subject: &str) -> String {
    let branch = shown_branch(branch);
    if subject.is_empty() { format!("Merge {branch}\n") } else { format!("Merge {branch}: {subject}\n") }
}

/// A branch as people write it, on one line.
fn shown_branch(branch: &str) -> String {
    let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
    branch.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One commit of what a squash puts together.
#[derive(Debug)]
pub struct Squashed {
    pub author: Signature,
    pub message: String,
}

/// The message of a squash: the one commit's own, or the first one's subject and a list of all;
/// then the co-authors and the head.
pub fn squash_message(branch: &str, commits: &[Squashed], head: CommitId) -> String {
    let mut co_authors: Vec<String> = Vec::new();
    let mut message = match commits {
        [] => format!("Squash {}\n", shown_branch(branch)),
        [one] => without_our_trailers(&one.message),
        [first, ..] => {
            let list = commits.iter().map(|commit| format!("* {}\n", subject(&commit.message))).collect::<String>();
            format!("{}\n\n{list}", subject(&first.message))
        }
    };
    if let [first, rest @ ..] = commits
        && !rest.is_empty()
    {
        let is_first = |value: &str| value.ends_with(&format!("<{}>", first.author.email));
        for commit in commits {
            let author = format!("{} <{}>", commit.author.name, commit.author.email);
            let named = commit.message.lines().filter_map(|line| line.strip_prefix("Co-authored-by: "));
            for person in std::iter::once(author.as_str()).chain(named.map(str::trim)) {
                if !is_first(person) && !co_authors.iter().any(|known| known == person) {
                    co_authors.push(person.to_owned());
                }
            }
        }
    }
    for person in &co_authors {
        message = with_trailer(&message, CO_AUTHOR_TRAILER, person);
    }
    with_trailer(&message, HEAD_TRAILER, &head.to_string())
}

/// A replayed commit's message; the last one of an item names the head.
pub fn replay_message(original: &str, head: Option<CommitId>) -> String {
    let message = without_our_trailers(original);
    match head {
        Some(head) => with_trailer(&message, HEAD_TRAILER, &head.to_string()),
        None => message,
    }
}

/// A message that says so, where it is so.
pub fn with_override(message: String, overridden: Option<&str>) -> String {
    match overridden {
        Some(why) => with_trailer(&message, OVERRIDE_TRAILER, why),
        None => message,
    }
}

/// Words copied from a branch must not claim that some other head has landed, nor that somebody let it.
fn without_our_trailers(message: &str) -> String {
    let ours = [HEAD_TRAILER, OVERRIDE_TRAILER];
    let claims = |line: &str| ours.iter().any(|key| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(": ")));
    message.lines().filter(|line| !claims(line)).map(|line| format!("{line}\n")).collect()
}

/// Appends a trailer, to the trailers at the end where there are some, else after an empty line.
fn with_trailer(message: &str, key: &str, value: &str) -> String {
    let body = message.trim_end();
    let mut paragraphs = body.rsplit("\n\n");
    let last = paragraphs.next().unwrap_or("");
    // The first paragraph is the subject, even where it looks like a trailer.
    let ends_in_trailers = paragraphs.next().is_some() && !last.is_empty() && last.lines().all(is_trailer);
    match (body.is_empty(), ends_in_trailers) {
        (true, _) => format!("{key}: {value}\n"),
        (false, true) => format!("{body}\n{key}: {value}\n"),
        (false, false) => format!("{body}\n\n{key}: {value}\n"),
    }
}

/// `Token: value`, as `git interpret-trailers` knows it.
fn is_trailer(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(token, value)| {
        !token.is_empty() && !value.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// The raw bytes of a commit.
pub fn commit_bytes(
    tree: ObjectId,
    parents: &[ObjectId],
    author: &Signature,
    committer: &Signature,
    message: &str,
) -> Vec<u8> {
    let mut text = format!("tree {tree}\n");
    for parent in parents {
        text.push_str(&format!("parent {parent}\n"));
    }
    text.push_str(&format!("author {}\ncommitter {}\n\n", author.line(), committer.line()));
    // A NUL would end the message for git.
    text.extend(message.chars().filter(|c| *c != '\0'));
    text.into_bytes()
}

/// A commit's people and message as text.
#[derive(Clone, Debug)]
pub struct Words {
    pub author: Signature,
    pub committer: Signature,
    pub message: String,
}

impl Words {
    pub fn of(commit: &Commit) -> Self {
        let encoding = commit.encoding.as_deref();
        Self {
            author: Signature::parse(&commit.author, encoding),
            committer: Signature::parse(&commit.committer, encoding),
            message: to_utf8(&commit.message, encoding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> CommitId {
        "3f2a".repeat(10).parse().unwrap()
    }

    fn by(name: &str, message: &str) -> Squashed {
        let author = Signature { name: name.into(), email: format!("{name}@x"), seconds: 1, zone: "+0000".into() };
        Squashed { author, message: message.into() }
    }

    #[test]
    fn signatures_survive_whatever_a_commit_holds() {
        let known = Signature::parse(b"Ann B <ann@x> 1700000000 -0230", None);
        assert_eq!(known.line(), "Ann B <ann@x> 1700000000 -0230");
        assert_eq!(Signature::parse(b"<ann@x> 5 +0100", None).line(), "<ann@x> 5 +0100");
        assert_eq!(Signature::parse(b"", None).line(), "<> 0 +0000");
        assert_eq!(Signature::parse(b"A <b <c>> nonsense", None).line(), "A <b c> 0 +0000");
        assert_eq!(Signature::parse(b"J\xf6rg <j@x> 7 +9", None).line(), "J\u{f6}rg <j@x> 7 +0000");
        assert_eq!(Signature::parse(b"J\xf6rg <j@x> 7 +0900", Some(b"ISO-8859-1")).name, "J\u{f6}rg");
    }

    #[test]
    fn a_squash_of_one_commit_keeps_its_words_and_of_several_lists_them() {
        let one = squash_message("f", &[by("ann", "Add x\n\nBecause.\n\nRefs: #1\n")], head());
        assert_eq!(one, format!("Add x\n\nBecause.\n\nRefs: #1\nLexpr-Head: {}\n", head()));
        let several = [by("ann", "Add x"), by("bob", "Fix\nx\n\nlong"), by("ann", "y\n\nCo-authored-by: C <c@x>")];
        assert_eq!(
            squash_message("f", &several, head()),
            format!(
                "Add x\n\n* Add x\n* Fix x\n* y\n\nCo-authored-by: bob <bob@x>\nCo-authored-by: C <c@x>\n\
                 Lexpr-Head: {}\n",
                head()
            )
        );
    }

    #[test]
    fn copied_words_claim_no_landing() {
        let forged = format!("Add x\n\nLexpr-Head: {}\n", "ab".repeat(20));
        let message = squash_message("f", &[by("ann", &forged)], head());
        assert_eq!(landed_heads(message.as_bytes()), [ObjectId::from_hex(head().to_string().as_bytes()).unwrap()]);
        assert!(landed_heads(replay_message(&forged, None).as_bytes()).is_empty());
    }

    #[test]
    fn a_trailer_stands_in_a_paragraph_of_its_own_or_with_others() {
        assert_eq!(with_trailer("fix: it\n", "K", "v"), "fix: it\n\nK: v\n");
        assert_eq!(with_trailer("s\n\nA: b\n", "K", "v"), "s\n\nA: b\nK: v\n");
        assert_eq!(with_trailer("", "K", "v"), "K: v\n");
    }
}
