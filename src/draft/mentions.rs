//! What a commit message says its branch depends on: `Depends-on:` and `Requires:`, as trailers or
//! as a list that such a line begins.
//!
//! Words in, words out: which branch a word means is [`super::names`]' business. What stands in a
//! code fence is somebody's example and is not read.

/// The words that begin such a line, in lower case and without the colon.
const KEYS: [&str; 3] = ["depends-on", "depends on", "requires"];

/// One thing that a message says is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// As written in the message: `Depends-on`.
    pub key: String,
    /// Without bullets, quotes and brackets: `feature/a`, `#12`.
    pub word: String,
    /// It stands alone between commas or on its line, so that it is meant to name something; words of
    /// a sentence may name nothing.
    pub alone: bool,
}

/// All that `message` mentions, in its order, each once.
pub fn mentions(message: &str) -> Vec<Mention> {
    let mut found: Vec<Mention> = Vec::new();
    let mut fence: Option<Fence> = None;
    let mut open: Option<List> = None;
    for line in message.lines() {
        if let Some(begun) = &fence {
            if begun.is_ended_by(line) {
                fence = None;
            }
            continue;
        }
        if let Some(begun) = Fence::begun_by(line) {
            (fence, open) = (Some(begun), None);
            continue;
        }
        let (text, is_bullet) = without_bullet(line);
        let (key, values, is_plain) = match key_of(text) {
            Some((key, values)) => (key.to_owned(), values, values.trim().is_empty()),
            None => match open.take().filter(|list| list.has(line, text, is_bullet)) {
                Some(list) => (list.key, text, list.is_plain),
                None => continue,
            },
        };
        for part in values.split(',') {
            let words: Vec<&str> = part.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect();
            for word in &words {
                let mention = Mention { key: key.clone(), word: (*word).to_owned(), alone: words.len() == 1 };
                if found.iter().all(|known| known.word != mention.word) {
                    found.push(mention);
                }
            }
        }
        open = Some(List { key, is_plain, goes_on: values.trim_end().ends_with(',') });
    }
    found
}

/// A list that goes on below the line that began it.
struct List {
    key: String,
    /// Nothing stood behind the key: words that are not set in belong to it.
    is_plain: bool,
    /// The line above ended in a comma.
    goes_on: bool,
}

impl List {
    /// Whether a line belongs to it: set in, as trailers are folded, with a bullet, or nothing but names.
    fn has(&self, line: &str, text: &str, is_bullet: bool) -> bool {
        let is_set_in = line.starts_with([' ', '\t']);
        let are_names = text.split(',').all(|part| part.split_whitespace().count() <= 1);
        !text.is_empty() && (is_bullet || is_set_in || (self.is_plain || self.goes_on) && are_names)
    }
}

/// A block that begins and ends with a line of so many backticks or tildes
/// (<https://spec.commonmark.org/0.31.2/#fenced-code-blocks>).
struct Fence {
    mark: char,
    length: usize,
}

impl Fence {
    const SHORTEST: usize = 3;

    fn of(line: &str) -> Option<(Self, &str)> {
        let text = line.trim_start();
        let mark = text.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let rest = text.trim_start_matches(mark);
        let length = text.len() - rest.len();
        (length >= Self::SHORTEST).then_some((Self { mark, length }, rest))
    }

    fn begun_by(line: &str) -> Option<Self> {
        // Backticks behind backticks make a span of code in a line.
        Self::of(line).filter(|(fence, rest)| fence.mark != '`' || !rest.contains('`')).map(|(fence, _)| fence)
    }

    fn is_ended_by(&self, line: &str) -> bool {
        Self::of(line)
            .is_some_and(|(end, rest)| end.mark == self.mark && end.length >= self.length && rest.trim().is_empty())
    }
}

/// The line without white space around it and the bullet it begins with, and whether it had one.
fn without_bullet(line: &str) -> (&str, bool) {
    let text = line.trim();
    match text.strip_prefix(['-', '*', '+']).filter(|rest| rest.starts_with(char::is_whitespace)) {
        Some(rest) => (rest.trim_start(), true),
        None => (text, false),
    }
}

/// What a line begins with and what follows its colon, where it is one of [`KEYS`].
fn key_of(text: &str) -> Option<(&str, &str)> {
    let (key, values) = text.split_once(':')?;
    let key = key.trim_matches(['*', '_']).trim_end();
    // `**Depends-on:** a` is how it is written to be bold.
    let values = if text.starts_with(['*', '_']) { values.trim_start_matches(['*', '_']) } else { values };
    KEYS.iter().any(|known| key.eq_ignore_ascii_case(known)).then_some((key, values))
}

/// A word without what people put around one.
fn bare(word: &str) -> &str {
    // `.lock` may end a word, a full stop may not: no branch ends with one (git-check-ref-format(1)).
    word.trim_start_matches(AROUND).trim_end_matches(|c| AROUND.contains(&c) || matches!(c, '.' | ':' | '!'))
}

const AROUND: [char; 10] = ['`', '"', '\'', '(', ')', '[', ']', '<', '>', ';'];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(message: &str) -> Vec<String> {
        mentions(message).into_iter().map(|mention| mention.word).collect()
    }

    #[test]
    fn trailers_lists_and_bullets_are_read() {
        assert_eq!(words("a: b\n\nDepends-on: feature/a, #12\nRequires: PR-7\n"), ["feature/a", "#12", "PR-7"]);
        assert_eq!(words("x\n\ndepends-On: a\n  b,\n\tc\nnot this"), ["a", "b", "c"]);
        assert_eq!(words("x\n\nDepends-on:\n- a\n* `b`\n\n- c"), ["a", "b"]);
        assert_eq!(words("x\n\nRequires:\nfeature/a\nfeature/b\n\nfeature/c"), ["feature/a", "feature/b"]);
        assert_eq!(words("x\n\nDepends on: a,\nb"), ["a", "b"]);
        assert_eq!(words("x\n\n- **Depends-on:** (#3), <a>.\n"), ["#3", "a"]);
        assert_eq!(words("Depends-on: a\nDepends-on: a, b"), ["a", "b"]);
    }

    #[test]
    fn what_is_said_in_passing_or_in_code_is_not_taken() {
        assert_eq!(words("This depends on: nothing much\nrequired: a"), [""; 0]);
        assert_eq!(words("x\n\n```\nDepends-on: a\n``\nDepends-on: b\n```\nDepends-on: c"), ["c"]);
        assert_eq!(words("x\n\n~~~~ text\nDepends-on: a\n~~~\n```\n~~~~~\nRequires: b"), ["b"]);
        assert_eq!(words("x\n\n```never closed\nDepends-on: a"), [""; 0]);
        assert_eq!(words("x\n\n``` `a` ```\nDepends-on: b"), ["b"]);
        assert_eq!(words("Depends-on: a\n```\n- b\n```\n- c"), ["a"]);
        assert_eq!(words("Depends-on: a\nSigned-off-by: b"), ["a"]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn words_of_a_sentence_are_told_from_names() {
        let found = mentions("Requires: python 3.12, #4");
        let alone: Vec<_> = found.iter().map(|mention| (&*mention.word, mention.alone)).collect();
        assert_eq!(alone, [("python", false), ("3.12", false), ("#4", true)]);
    }
}
