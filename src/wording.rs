//! How the faces spell times, sizes and text that others wrote.
//!
//! Names, paths, messages and logs come from plans, repositories and gates, so none of them
//! reaches a terminal before it went through [`shown`] or [`block`]. Nothing here prints.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar as _;

/// How many names or paths a sentence holds before it says `and N more`.
const NAMES_SHOWN: usize = 8;

/// `text` on one line, with every character that could move a cursor, ring a bell, hide or
/// reorder what follows written as an escape such as `\n`, `\x1b` or `\u{202e}`.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(unsafe_to_show) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        push_shown(&mut safe, c);
    }
    Cow::Owned(safe)
}

/// The output of a program as lines that are safe to show: colours and other terminal sequences
/// are removed (an open one eats no more than its line), of a line that was redrawn (`\r`) the
/// last drawing stays, tabs become spaces, and what is left of control characters is removed or
/// escaped as by [`shown`]. No newline at the end.
pub fn block(output: &str) -> String {
    let mut safe = String::with_capacity(output.len());
    for line in output.trim_end().lines() {
        let plain = anstream::adapter::strip_str(line).to_string();
        let drawn = plain.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
        for c in drawn.chars() {
            match c {
                '\t' => safe.push_str("    "),
                other => push_shown(&mut safe, other),
            }
        }
        safe.push('\n');
    }
    safe.truncate(safe.trim_end().len());
    safe
}

/// The last `lines` lines of [`block`], each after `margin` and cut to `cells` with an ellipsis,
/// and a first line that says so where others were left out.
pub fn tail(output: &str, lines: usize, cells: usize, margin: &str) -> Vec<String> {
    let safe = block(output);
    let all: Vec<&str> = if safe.is_empty() { Vec::new() } else { safe.lines().collect() };
    let hidden = all.len().saturating_sub(lines);
    let cut = (hidden > 0).then(|| format!("{margin}(what came before is in the log)"));
    let rest = all[hidden..].iter().map(|line| format!("{margin}{}", shortened(line, cells)).trim_end().to_owned());
    cut.into_iter().chain(rest).collect()
}

/// The beginning of `line` that is at most `columns` cells wide, and how wide that is. Colours
/// take no cells and are kept whole, those after the cut too, so that none stays switched on.
pub fn cut(line: &str, columns: usize) -> (String, usize) {
    let (mut text, mut width, mut full) = (String::with_capacity(line.len()), 0, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            text.push(c);
            for c in chars.by_ref() {
                text.push(c);
                // A letter ends it (ECMA-48, 5.4).
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
            continue;
        }
        let cells = c.width().unwrap_or(0);
        full |= width + cells > columns;
        if !full {
            text.push(c);
            width += cells;
        }
    }
    (text, width)
}

/// `line` if it is at most `cells` wide, else its beginning and an ellipsis.
pub fn shortened(line: &str, cells: usize) -> String {
    let (whole, _) = cut(line, cells);
    match cells.checked_sub(1) {
        Some(before) if whole.len() < line.len() => format!("{}…", cut(line, before).0),
        _ => whole,
    }
}

fn push_shown(safe: &mut String, c: char) {
    match c {
        '\n' => safe.push_str("\\n"),
        '\r' => safe.push_str("\\r"),
        '\t' => safe.push_str("\\t"),
        c if u32::from(c) < 0x80 && c.is_control() => {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\x{:02x}", u32::from(c));
        }
        c if unsafe_to_show(c) => {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        }
        c => safe.push(c),
    }
}

/// How what lexpr itself puts between backticks begins: names of others may have backticks of their own, which are theirs.
const OWN_CODE: [&str; 4] = ["lexpr ", "git ", "gitdir: ", "landing: "];

/// The parts of a sentence, each with whether it is a command or a setting that lexpr put between backticks, which are
/// left out. Any other backtick is text.
pub fn in_backticks(sentence: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = Some(sentence);
    let mut is_code = false;
    std::iter::from_fn(move || {
        let left = rest?;
        if is_code {
            is_code = false;
            let (part, behind) = left.split_once('`')?;
            rest = Some(behind);
            return Some((part, true));
        }
        let mut from = 0;
        while let Some(open) = left[from..].find('`').map(|at| from + at) {
            let inside = &left[open + 1..];
            if inside.contains('`') && OWN_CODE.iter().any(|own| inside.starts_with(own)) {
                is_code = true;
                rest = Some(inside);
                return Some((&left[..open], false));
            }
            from = open + 1;
        }
        rest = None;
        Some((left, false))
    })
}

/// `text` as a shell reads it as one word, safe to show: as it is where nothing in it means anything to a shell, else in
/// single quotes; in `$'…'` (POSIX.1-2024, 2.2.4) where it has characters that are not to be shown.
pub fn shell_word(text: &str) -> String {
    let means_nothing = |c: char| c.is_ascii_alphanumeric() || "_@%+:,./-".contains(c);
    if !text.is_empty() && text.chars().all(means_nothing) {
        return text.to_owned();
    }
    if !text.contains(unsafe_to_show) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut quoted = String::from("$'");
    for c in text.chars() {
        match c {
            '\\' | '\'' => quoted.extend(['\\', c]),
            c if !unsafe_to_show(c) => quoted.push(c),
            '\n' => quoted.push_str("\\n"),
            // Bytes, which no locale changes, of three digits each: whatever follows is no more of them.
            c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                let _ = write!(quoted, "\\{byte:03o}");
            }),
        }
    }
    quoted.push('\'');
    quoted
}

/// Control characters of both sets, line and paragraph separators, and the invisible characters
/// that change the direction or the extent of a text (Unicode Technical Report 36, section 2.5).
fn unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// `: 1 failed, 2 blocked`, without what there is none of; nothing where there is none of anything.
pub fn counted<'a>(numbers: impl IntoIterator<Item = (usize, &'a str)>) -> String {
    let some: Vec<String> = numbers
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    if some.is_empty() { String::new() } else { format!(": {}", some.join(", ")) }
}

/// `3 items`, `1 item`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `a, b, c`, and after the first eight `and 4 more`. Each is made safe to show.
pub fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| shown(name.as_ref()).into_owned()).collect();
    let first = names[..names.len().min(NAMES_SHOWN)].join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Milliseconds as people say them: `0.4s`, `12.3s`, `4m 05s`, `2h 03m`.
pub fn duration(ms: u64) -> String {
    /// From here on tenths of a second are noise.
    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 3_600_000;
    if ms < MINUTE_MS {
        format!("{}.{}s", ms / 1000, ms % 1000 / 100)
    } else if ms < HOUR_MS {
        format!("{}m {:02}s", ms / MINUTE_MS, ms % MINUTE_MS / 1000)
    } else {
        format!("{}h {:02}m", ms / HOUR_MS, ms % HOUR_MS / MINUTE_MS)
    }
}

/// Milliseconds as [`duration`] says them, without tenths of seconds: for what is shown again and again while it goes
/// on, which then changes once a second.
pub fn live_duration(ms: u64) -> String {
    if ms < 60_000 { format!("{}s", ms / 1000) } else { duration(ms) }
}

/// How long before `now_ms` something was, both in milliseconds since the Unix epoch: `just now`,
/// `5 min ago`, `3 h ago`, `12 d ago`.
pub fn ago(now_ms: u64, then_ms: u64) -> String {
    const MINUTE_S: u64 = 60;
    const HOUR_S: u64 = 3600;
    const DAY_S: u64 = 86_400;
    // A clock that was set back makes no future.
    match now_ms.saturating_sub(then_ms) / 1000 {
        0..MINUTE_S => "just now".to_owned(),
        seconds @ MINUTE_S..HOUR_S => format!("{} min ago", seconds / MINUTE_S),
        seconds @ HOUR_S..DAY_S => format!("{} h ago", seconds / HOUR_S),
        seconds => format!("{} d ago", seconds / DAY_S),
    }
}

/// Bytes in binary units with three digits or fewer before the point: `512 B`, `1.5 MiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut tenths = u128::from(number) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if tenths < 1000 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// The short name of a ref, safe to show: `main` for `refs/heads/main`.
pub fn ref_name(full: &str) -> Cow<'_, str> {
    shown(full.strip_prefix("refs/heads/").unwrap_or(full))
}

/// Colours, or none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    coloured: bool,
}

/// What a word means, so that one meaning has one colour everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    /// Worth a look, nobody's fault.
    Notice,
    /// Less important than what stands around it.
    Quiet,
    Strong,
}

impl Paint {
    pub const PLAIN: Self = Self { coloured: false };
    pub const COLOURED: Self = Self { coloured: true };

    /// What the environment asks for on this stream: `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`,
    /// `TERM` and whether it is a terminal, in anstream's reading of them.
    pub fn for_stream(stream: &impl anstream::stream::RawStream) -> Self {
        Self { coloured: anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never }
    }

    /// `text`, which must be safe already, in the colour of `tone`.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.coloured {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Notice => AnsiColor::Yellow.on_default(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_come_out_raw() {
        assert_eq!(shown("feature/ä ok"), "feature/ä ok");
        assert_eq!(shown("a\x1b[2Jb\nc\u{202e}d\u{9b}"), "a\\x1b[2Jb\\nc\\u{202e}d\\u{9b}");
        let every: String = (0..=0x2100).filter_map(char::from_u32).collect();
        assert!(!shown(&every).contains(unsafe_to_show));
        assert!(!block(&every).contains(|c| c != '\n' && unsafe_to_show(c)));
    }

    #[test]
    fn what_lexpr_puts_between_backticks_is_code_and_no_other_backtick_is_lost() {
        let parts = |sentence| in_backticks(sentence).filter(|(part, _)| !part.is_empty()).collect::<Vec<_>>();
        assert_eq!(parts("plain"), [("plain", false)]);
        assert_eq!(parts("`git b` goes on, `lexpr c`"), [("git b", true), (" goes on, ", false), ("lexpr c", true)]);
        assert_eq!(parts("fix a`b, `lexpr c`."), [("fix a`b, ", false), ("lexpr c", true), (".", false)]);
        assert_eq!(parts("fix a`b, `rm`, `lexpr x"), [("fix a`b, `rm`, `lexpr x", false)]);
    }

    #[test]
    fn a_log_loses_colours_and_redrawn_lines_but_no_text() {
        let log = "\x1b[31mred\x1b[0m\n 1%\r 50%\r100%\r\n\x1b]0;open\n\tin\u{202e}\n\n";
        assert_eq!(block(log), "red\n100%\n\n    in\\u{202e}");
        assert_eq!(tail("1\n2\n3\n", 2, 9, "| "), ["| (what came before is in the log)", "| 2", "| 3"]);
        assert!(tail("", 2, 9, "| ").is_empty());
    }

    #[test]
    fn a_long_line_of_a_log_is_cut_by_cells_and_says_so() {
        assert_eq!(tail("abcdef\nabcdefg\n\n", 2, 6, "| "), ["| abcdef", "| abcde…"]);
        assert_eq!(tail("日本語", 1, 6, "| "), ["| 日本語"]);
        assert_eq!(tail("日本語", 1, 5, "| "), ["| 日本…"]);
        assert_eq!(tail("日本語", 1, 4, "| "), ["| 日…"], "a character that would stand half outside is left out");
        assert_eq!([shortened("ab", 1), shortened("ab", 0)], ["…", ""]);
    }

    #[test]
    fn a_line_is_cut_by_cells_and_its_colours_stay_whole() {
        assert_eq!(cut("abc", 3), ("abc".to_owned(), 3));
        assert_eq!(cut("abcd", 3), ("abc".to_owned(), 3));
        assert_eq!(cut("日本語", 5), ("日本".to_owned(), 4));
        assert_eq!(cut("\u{1b}[1mab\u{1b}[0m c", 1), ("\u{1b}[1ma\u{1b}[0m".to_owned(), 1));
        assert_eq!(cut("e\u{301}f", 1), ("e\u{301}".to_owned(), 1), "an accent takes no cell of its own");
        assert_eq!(cut("abc", 0), (String::new(), 0));
    }

    #[test]
    fn times_and_sizes_read_well() {
        let times = [0, 450, 59_999, 60_000, 3_599_999, 7_380_000].map(duration);
        assert_eq!(times, ["0.0s", "0.4s", "59.9s", "1m 00s", "59m 59s", "2h 03m"]);
        assert_eq!([999, 59_999, 60_000].map(live_duration), ["0s", "59s", "1m 00s"]);
        let agos = [0, 59_999, 60_000, 3_600_000, 86_400_000].map(|then| ago(86_400_000, 86_400_000 - then));
        assert_eq!(agos, ["just now", "just now", "1 min ago", "1 h ago", "1 d ago"]);
        assert_eq!(ago(0, 5), "just now");
        let sizes = [0, 1023, 1024, 1_572_864, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "1.0 GiB", "16383 PiB"]);
    }
}
