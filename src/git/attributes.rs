//! What `.gitattributes` have to say about merging (gitattributes(5)).
//!
//! Patterns are not matched as git matches them: of those that are more than a name, a path or an
//! ending it is said that they may match anything.

/// Where they stand, in any folder.
pub const FILE_NAME: &[u8] = b".gitattributes";

/// What git parts the words of a line by (`blank` in its `attr.c`), after the line's end was taken off.
const BLANKS: &[u8] = b" \t\r";

/// Whether attributes hold any that merging in memory heeds (gitattributes(5)): the driver, the size
/// of markers, and what is taken for text while similar files are looked for.
pub fn says_how_to_merge(attributes: &[u8]) -> bool {
    String::from_utf8_lossy(attributes).lines().filter(|line| !line.trim_start().starts_with('#')).any(|line| {
        line.split(|char: char| u8::try_from(char).is_ok_and(|byte| BLANKS.contains(&byte)))
            .filter(|word| !word.is_empty())
            .skip(1)
            .any(|word| {
                let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
                match name.trim_start_matches(['-', '!']) {
                    "merge" | "binary" | "conflict-marker-size" => true,
                    // `diff=rust` and the like only choose how a diff is shown.
                    "diff" => value.is_none(),
                    _ => false,
                }
            })
    })
}

/// The lines of one `.gitattributes` that decide how a text is merged without a conflict: by `merge`, or
/// by `binary`, which unsets it. (`conflict-marker-size` shows in conflicts only.)
#[derive(Debug, Default)]
pub struct MergeRules(Vec<Pattern>);

#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    /// The path's last name, or the end of the path from a name on.
    Name(Vec<u8>),
    /// `*.png`
    Ending(Vec<u8>),
    Anything,
}

impl MergeRules {
    pub fn parse(attributes: &[u8]) -> Self {
        let attributes = attributes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(attributes);
        let lines = attributes.split(|byte| *byte == b'\n');
        Self(lines.filter_map(Pattern::of_line).collect())
    }

    /// Whether they may say something of the file at `path`, from the repository's top.
    pub fn may_concern(&self, path: &[u8]) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(name) => {
                path.strip_suffix(name.as_slice()).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
            }
            Pattern::Ending(ending) => path.ends_with(ending),
            Pattern::Anything => true,
        })
    }
}

impl Pattern {
    /// `None` where the line says nothing about merging.
    fn of_line(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| BLANKS.contains(byte)).filter(|word| !word.is_empty());
        let pattern = words.next().filter(|word| !word.starts_with(b"#"))?;
        let decides = |word: &[u8]| {
            let name = word.split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = name.strip_prefix(b"-").or(name.strip_prefix(b"!")).unwrap_or(name);
            matches!(name, b"merge" | b"binary")
        };
        words.any(decides).then(|| Self::of(pattern))
    }

    fn of(pattern: &[u8]) -> Self {
        // `[attr]` names what others may use; `"` begins a quoted pattern.
        let is_plain = |text: &[u8]| !text.iter().any(|byte| b"*?[\\\"".contains(byte));
        match pattern.strip_prefix(b"*") {
            Some(ending) if is_plain(ending) && !ending.contains(&b'/') => Self::Ending(ending.to_vec()),
            _ if is_plain(pattern) => Self::Name(pattern.strip_prefix(b"/").unwrap_or(pattern).to_vec()),
            _ => Self::Anything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attributes_that_merging_heeds_stand_in_an_old_gits_way() {
        for heeded in ["* merge=union", "*.png binary", "*.snap -diff", "a -merge", "[attr]x -diff -merge"] {
            assert!(says_how_to_merge(heeded.as_bytes()), "{heeded}");
        }
        for other in ["* text=auto", "*.rs diff=rust", "# a merge", "merge text", "*.sh eol=lf"] {
            assert!(!says_how_to_merge(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn rules_of_merging_concern_what_they_may_match_and_nothing_else() {
        let rules = MergeRules::parse(
            b"\xef\xbb\xbf*.png binary\n  # *.rs binary\n*.rs diff=rust text eol=lf conflict-marker-size=9\n\
              /docs/list merge=union\r\nLOCK\t-merge\n*.sh whitespace=merge\nform\x0cfeed -merge\n",
        );
        for path in ["a.png", "x/y.png", "docs/list", "a/docs/list", "LOCK", "x/LOCK", "form\x0cfeed"] {
            assert!(rules.may_concern(path.as_bytes()), "{path}");
        }
        for path in ["a.rs", "a.sh", "list", "mydocs/list", "UNLOCK", "png", "# *.rs", "form"] {
            assert!(!rules.may_concern(path.as_bytes()), "{path}");
        }
        for anything in
            ["[attr]x -diff merge=ours", "\"a b\" binary", "a*b !merge", "*/x binary", "[ab] binary", "\\a merge"]
        {
            assert!(MergeRules::parse(anything.as_bytes()).may_concern(b"other"), "{anything}");
        }
    }
}
