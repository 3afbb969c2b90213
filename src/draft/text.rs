//! A draft as YAML, with its reasons as comments.

use std::fmt::Write as _;

use super::names::item_name;
use super::{Draft, DraftDep, DraftItem};
use crate::wording::shown;

/// The whole plan.
pub fn plan_text(draft: &Draft) -> String {
    let mut text = String::from("schemaVersion: v1\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "target: {}", scalar(&draft.target));
    if let Some(setup) = &draft.setup {
        let inputs: Vec<String> = setup.inputs.iter().map(|input| scalar(input)).collect();
        let _ = writeln!(
            text,
            "policy:\n  # Guessed: once for each working folder, and again when one of the files changes."
        );
        let _ = writeln!(text, "  setup: {{ run: {}, inputs: [{}] }}", scalar(&setup.run), inputs.join(", "));
    }
    if draft.gates.is_empty() {
        text.push_str("# No gates: every item passes unseen. Give some with --gate NAME=COMMAND.\n");
    } else {
        text.push_str("gates:\n");
    }
    for gate in &draft.gates {
        let why = gate.why.as_ref().map(|why| comment(&format!("guessed: {why}"))).unwrap_or_default();
        let _ = writeln!(text, "  - {{ name: {}, run: {} }}{why}", scalar(&gate.name), scalar(&gate.run));
    }
    for other in &draft.other_gates {
        let _ = writeln!(text, "  # There is also {}", shown(other));
    }
    text.push_str(if draft.items.is_empty() { "items: []\n" } else { "items:\n" });
    for item in &draft.items {
        text.push_str(&item_text(item, "  "));
    }
    for (name, why) in &draft.left_out {
        let _ = writeln!(text, "  # Left out: {}, {why}", shown(name));
    }
    text
}

/// One entry of the list of items, set in by `margin`.
pub(super) fn item_text(item: &DraftItem, margin: &str) -> String {
    let name = item_name(&item.name);
    let mut text = format!("{margin}- name: {}\n", scalar(&name));
    if name != item.name {
        let _ = writeln!(text, "{margin}  branch: {}", scalar(&item.name));
    }
    for note in &item.notes {
        let _ = writeln!(text, "{margin} {}", comment(note));
    }
    if !item.deps.is_empty() {
        let _ = writeln!(text, "{margin}  deps:");
    }
    for dep in &item.deps {
        text.push_str(&dep_text(dep, &format!("{margin}    ")));
    }
    text
}

/// One entry of a list of dependencies, set in by `margin`.
pub(super) fn dep_text(dep: &DraftDep, margin: &str) -> String {
    format!("{margin}- {}{}\n", scalar(&item_name(&dep.name)), comment(&dep.why))
}

/// Behind something on its line.
pub(super) fn comment(text: &str) -> String {
    format!(" # {}", shown(text))
}

/// What YAML reads as this very text: as it is where nobody could take it for anything else, else as a JSON string, which
/// YAML reads as it is meant.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// Words that some reader of YAML takes for something else than text, whatever their case
/// (<https://yaml.org/type/bool.html>, <https://yaml.org/type/null.html>).
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

fn is_plain(text: &str) -> bool {
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_simple = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b' ');
    begins_well
        && !text.ends_with(' ')
        && text.bytes().all(is_simple)
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::draft::DraftGate;
    use crate::draft::gates::GuessedSetup;
    use crate::plan::check::check;

    #[test]
    fn a_draft_is_written_with_its_reasons() {
        let dep = |name: &str, why: &str| DraftDep { name: name.to_owned(), why: why.to_owned() };
        let item = |name: &str, deps| DraftItem { name: name.to_owned(), deps, notes: Vec::new() };
        let mut b =
            item("b: 2", vec![dep("a", "its head is in this branch"), dep("no", "1a2b3c4 says `Requires: no`")]);
        b.notes.push("1a2b3c4 says `Requires: #9`, which is no branch here".to_owned());
        let draft = Draft {
            target: "main".to_owned(),
            gates: vec![
                DraftGate { name: "test".to_owned(), run: "make test".to_owned(), why: None },
                DraftGate { name: "lint".to_owned(), run: "x=y # z".to_owned(), why: Some("it is there".to_owned()) },
            ],
            setup: Some(GuessedSetup { run: "npm ci".to_owned(), inputs: vec!["package-lock.json".to_owned()] }),
            other_gates: vec!["just test (justfile)".to_owned()],
            items: vec![item("a", Vec::new()), b, item("no", Vec::new())],
            left_out: vec![("old".to_owned(), "in base".to_owned())],
            ..Draft::default()
        };
        let text = plan_text(&draft);
        assert_eq!(
            text,
            "\
schemaVersion: v1
target: main
policy:
  # Guessed: once for each working folder, and again when one of the files changes.
  setup: { run: npm ci, inputs: [package-lock.json] }
gates:
  - { name: test, run: make test }
  - { name: lint, run: \"x=y # z\" } # guessed: it is there
  # There is also just test (justfile)
items:
  - name: a
  - name: \"b: 2\"
    # 1a2b3c4 says `Requires: #9`, which is no branch here
    deps:
      - a # its head is in this branch
      - \"no\" # 1a2b3c4 says `Requires: no`
  - name: \"no\"
  # Left out: old, in base
"
        );
        let plan = check("plan", text.as_bytes()).unwrap().plan;
        assert_eq!(plan.items[1].deps.len(), 2);
    }

    proptest! {
        #[test]
        fn whatever_a_command_is_it_is_read_as_it_was_meant(run in "\\PC{1,30}|[ -~]{1,20}|(yes|No|~|1e5|0x1|null)") {
            let draft = Draft {
                target: "main".to_owned(),
                gates: vec![DraftGate { name: "g".to_owned(), run: run.clone(), why: Some(run.clone()) }],
                items: vec![DraftItem { name: "a".to_owned(), deps: Vec::new(), notes: vec![run.clone()] }],
                left_out: vec![(run.clone(), run.clone())],
                ..Draft::default()
            };
            let text = plan_text(&draft);
            match check("plan", text.as_bytes()) {
                Ok(checked) => prop_assert_eq!(&checked.plan.items[0].gates[0].run, &run),
                // A command of white space is none.
                Err(_) => prop_assert!(run.trim().is_empty() || run.contains('\0'), "{}", text),
            }
        }
    }
}
