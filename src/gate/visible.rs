//! What of a command's output a terminal would show: a value that is interrupted by colours is the same to
//! whoever reads it, and so is to be struck out.

/// The bytes that are left without escape sequences (ECMA-48), control characters and marks that reorder text,
/// and where each of them stands.
#[derive(Debug, Default)]
pub(super) struct Visible {
    pub(super) bytes: Vec<u8>,
    pub(super) places: Vec<usize>,
    /// Where a sequence begins that has not ended; what follows may belong to it.
    pub(super) open_at: Option<usize>,
}

impl Visible {
    /// `None` where all of it is visible.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let is_visible = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
        if text.iter().all(is_visible) { None } else { Some(Self::in_text(text, false)) }
    }

    fn in_text(text: &[u8], with_returns: bool) -> Self {
        let mut visible = Self::default();
        let mut at = 0;
        while at < text.len() {
            let is_kept = with_returns && text[at] == b'\r';
            match if is_kept { Sequence::None } else { invisible(&text[at..]) } {
                Sequence::None => {
                    visible.bytes.push(text[at]);
                    visible.places.push(at);
                    at += 1;
                }
                Sequence::Ended(len) => at += len,
                Sequence::Open => {
                    visible.open_at = Some(at);
                    break;
                }
            }
        }
        visible
    }
}

/// What a terminal would be left showing: of a line that was written over and over with carriage returns the
/// last version.
pub(super) fn as_plain_text(text: &str) -> String {
    let visible = Visible::in_text(text.as_bytes(), true).bytes;
    let mut plain = String::with_capacity(visible.len());
    for line in String::from_utf8_lossy(&visible).split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        plain.push_str(line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default());
        plain.push_str(end);
    }
    plain
}

enum Sequence {
    None,
    /// So many bytes.
    Ended(usize),
    Open,
}

/// What the text begins with.
fn invisible(text: &[u8]) -> Sequence {
    match *text {
        [0x1b, ..] => escape(text),
        [b'\n' | b'\t', ..] => Sequence::None,
        [0..0x20 | 0x7f, ..] => Sequence::Ended(1),
        // U+009B is a sequence's beginning in one character; the other controls beyond ASCII stand alone.
        [0xc2, 0x9b, ..] => until_final(text, 2),
        [0xc2, 0x80..=0x9f, ..] => Sequence::Ended(2),
        [0xe2, 0x80, 0xaa..=0xae, ..] | [0xe2, 0x81, 0xa6..=0xa9, ..] => Sequence::Ended(3),
        [0xc2] | [0xe2] | [0xe2, 0x80 | 0x81] => Sequence::Open,
        _ => Sequence::None,
    }
}

fn escape(text: &[u8]) -> Sequence {
    match text.get(1) {
        None => Sequence::Open,
        // CSI: parameters, then one final character.
        Some(b'[') => until_final(text, 2),
        // OSC, DCS, SOS, PM, APC: until BEL or ESC \. One that is not ended does not eat lines.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let rest = text[2..].iter().enumerate();
            for (at, byte) in rest.map(|(at, byte)| (at + 2, *byte)) {
                match (byte, text.get(at + 1)) {
                    (b'\n', _) => return Sequence::Ended(at),
                    (0x07, _) => return Sequence::Ended(at + 1),
                    (0x1b, Some(b'\\')) => return Sequence::Ended(at + 2),
                    _ => {}
                }
            }
            Sequence::Open
        }
        // Intermediate characters, then one final: ESC ( B.
        Some(b' '..=b'/') => match text[1..].iter().position(|byte| !matches!(byte, b' '..=b'/')) {
            None => Sequence::Open,
            Some(at) => Sequence::Ended(1 + at + one_visible(&text[1 + at..])),
        },
        Some(_) => Sequence::Ended(1 + one_visible(&text[1..])),
    }
}

/// The bytes of the first character (UTF-8), unless it is a control character.
fn one_visible(text: &[u8]) -> usize {
    let goes_on = text[1..].iter().take_while(|byte| matches!(byte, 0x80..=0xbf)).count();
    match text[0] {
        0..0x20 | 0x7f => 0,
        0xc0.. => 1 + goes_on.min(3),
        _ => 1,
    }
}

/// Parameters from `start` on, then one final character.
fn until_final(text: &[u8], start: usize) -> Sequence {
    match text[start..].iter().position(|byte| !matches!(byte, b' '..=b'?')) {
        None => Sequence::Open,
        Some(at) => Sequence::Ended(start + at + usize::from(matches!(text[start + at], b'@'..=b'~'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(text: &str) -> String {
        Visible::of(text.as_bytes()).map_or(text.to_owned(), |visible| String::from_utf8(visible.bytes).unwrap())
    }

    #[test]
    fn colours_titles_and_controls_are_not_visible_and_all_else_is() {
        for (text, expected) in [
            ("plain\n\ttext", "plain\n\ttext"),
            ("\u{1b}[1;31mer\u{1b}[K\u{1b}[0mror", "error"),
            ("\u{1b}]0;title\u{7}te\u{1b}]8;;http://x\u{1b}\\xt", "text"),
            ("\u{1b}(Bplain \u{9b}1mtext\u{85}", "plain text"),
            ("open \u{1b}]0;never ended\nnext", "open \nnext"),
            ("a\u{0}b\rc\u{8}d\u{202e}e\u{2066}f", "abcdef"),
            ("w\u{f6}rter \u{4e2d} \u{2014}", "w\u{f6}rter \u{4e2d} \u{2014}"),
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn colours_titles_and_overwritten_lines_leave_their_text() {
        for (text, expected) in [
            ("\u{1b}[1;31merror\u{1b}[0m: no", "error: no"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bplain", "plain"),
            ("10%\r50%\r100%\r\ndone\r\n", "100%\ndone\n"),
            ("open \u{1b}]0;never ended\nnext", "open \nnext"),
            ("tab\tbell\u{7}\u{0}nul", "tab\tbellnul"),
            ("\u{202e}desrever", "desrever"),
            ("cut \u{1b}[", "cut "),
            ("\u{1b}\u{4e2d}odd", "odd"),
        ] {
            assert_eq!(as_plain_text(text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_byte_knows_its_place_and_what_has_not_ended_is_told() {
        let text = b"a\x1b[1mb";
        let found = Visible::of(text).unwrap();
        assert_eq!(found.places, [0, 5]);
        assert_eq!(found.open_at, None);
        for cut in 2..5 {
            assert_eq!(Visible::of(&text[..cut]).unwrap().open_at, Some(1), "{cut} bytes");
        }
    }
}
