//! Documents made to hurt: too deep, too large, too many, or noise. Each gets an answer, soon,
//! and none a panic.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;

use lexpr::diagnostics::{self, Style};
use lexpr::plan::check::{Invalid, check};
use lexpr::plan::problem::Severity;
use proptest::prelude::*;

fn refused(text: &str) -> Invalid {
    check("plan.yaml", text.as_bytes()).map(|_| ()).expect_err("a bad plan")
}

fn only_message(text: &str) -> String {
    let invalid = refused(text);
    assert_eq!(invalid.problems.len(), 1, "{invalid}");
    invalid.problems[0].message.clone()
}

#[test]
fn nesting_a_hundred_thousand_deep_is_refused_with_its_place() {
    let deep = [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        format!("schemaVersion: v1\nitems: {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
    ];
    for text in deep {
        let invalid = refused(&text);
        assert_eq!(invalid.problems.len(), 1);
        assert!(invalid.problems[0].message.starts_with("nested too deeply"), "{}", invalid.problems[0].message);
        assert!(invalid.problems[0].at.is_some());
    }
}

#[test]
fn aliases_that_expand_to_gigabytes_are_refused() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        let _ = writeln!(laughs, "a{n}: &a{n} [{before}]");
    }
    let long_text = format!("a: &a \"{}\\n\"\nb: [{}]\n", "x".repeat(1_000_000), "*a, ".repeat(2_000));
    let mut merges = String::from("a0: &a0 { k: v }\n");
    for n in 1..40 {
        let _ = writeln!(merges, "a{n}: &a{n} {{ <<: [*a{}, *a{}], k{n}: v }}", n - 1, n - 1);
    }
    for text in [laughs, long_text] {
        assert_eq!(only_message(&text), "the aliases of this document expand to far more than the document itself");
    }
    refused(&merges);
}

#[test]
fn many_items_may_share_one_anchor() {
    let mut text = String::from("schemaVersion: v1\nitems:\n  - name: first\n    gates: &gates\n");
    for gate in 0..10 {
        let _ = writeln!(text, "      - {{ name: g{gate}, run: make {gate}, env: {{ A: b }}, inputs: [src/**] }}");
    }
    for item in 0..2_000 {
        let _ = writeln!(text, "  - {{ name: pr-{item}, gates: *gates }}");
    }
    let plan = check("plan.yaml", text.as_bytes()).unwrap().plan;
    assert_eq!(plan.items.len(), 2_001);
    assert!(plan.items.iter().all(|item| item.gates.len() == 10));
}

#[test]
fn names_of_three_hundred_bytes_are_refused_and_of_two_hundred_are_not() {
    let plan = |name: &str| format!("schemaVersion: v1\nitems:\n  - name: {name}\n");
    assert!(only_message(&plan(&"a".repeat(300))).contains("300 characters: at most 200"));
    assert!(only_message(&plan(&"ü".repeat(150))).contains("300 bytes: at most 200"));
    assert!(check("plan.yaml", plan(&"a".repeat(200)).as_bytes()).is_ok());
    assert!(check("plan.yaml", plan(&"ü".repeat(100)).as_bytes()).is_ok());
}

#[test]
fn twenty_thousand_mistakes_are_all_told_of() {
    let mut text = String::from("schemaVersion: v1\nitems:\n");
    for item in 0..5_000 {
        let _ = writeln!(text, "  - {{ name: pr-{item}, deps: [no-{item}, 7], colour: red, priority: x }}");
    }
    let invalid = refused(&text);
    assert_eq!(invalid.problems.len(), 20_000);
    assert!(invalid.problems.is_sorted_by_key(|problem| problem.at.map(|span| span.start)));
    let shown = diagnostics::text(&invalid.source_text, &invalid.problems, Style::Plain);
    assert_eq!(shown.matches("error: ").count(), 20_000);
}

#[test]
fn a_ring_of_thousands_is_printed_whole() {
    let mut text = String::from("schemaVersion: v1\nitems:\n");
    for item in 0..5_000 {
        let _ = writeln!(text, "  - {{ name: n{item}, deps: [n{}] }}", (item + 1) % 5_000);
    }
    let message = only_message(&text);
    assert_eq!(message.matches(" -> ").count(), 5_000);
    assert!(message.contains("n4999 -> n0 (lines 3, 4, "));
}

#[test]
fn a_long_line_is_shown_in_part() {
    let items: Vec<String> = (0..3_000).map(|item| format!("{{\"name\":\"pr-{item}\",\"deps\":[\"pr-x\"]}}")).collect();
    let text = format!("{{\"schemaVersion\":\"1.0.0\",\"items\":[{}]}}", items.join(","));
    let invalid = refused(&text);
    assert_eq!(invalid.problems.len(), 3_000);
    let shown = diagnostics::text(&invalid.source_text, &invalid.problems[1_000..1_001], Style::Plain);
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_not_utf_8_or_not_text_is_refused() {
    for bytes in [&b"\xff\xfe"[..], b"\x00\x01\x02", b"schemaVersion: v1\nitems: [\xc3\x28]\n", b"\xef\xbb\xbf\xff"] {
        assert!(check("plan.yaml", bytes).is_err());
    }
    let with_mark = b"\xef\xbb\xbfschemaVersion: v1\nitems: [{ name: a }]\n";
    assert!(check("plan.yaml", with_mark).is_ok());
    assert!(check("plan.yaml", b"schemaVersion: v1\r\nitems:\r\n- name: a\r\n").is_ok());
}

#[test]
fn control_sequences_in_a_plan_do_not_reach_the_terminal() {
    for text in ["\u{9b}31m: x", "na\u{1b}[31mme: x", "{\u{7f}\u{85}\u{202e}: x}", "? \"\u{9b}\"\n: 1"] {
        try_all(text.as_bytes()).unwrap();
    }
}

/// Everything one can do with a document, without a panic; problems keep to the text.
fn try_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (source, problems) = match check("plan.yaml", bytes) {
        Ok(checked) => {
            prop_assert!(checked.warnings.iter().all(|problem| problem.severity == Severity::Warning));
            (checked.places.source().clone(), checked.warnings)
        }
        Err(invalid) => {
            prop_assert!(invalid.problems.iter().any(|problem| problem.severity == Severity::Error));
            (invalid.source_text, invalid.problems)
        }
    };
    for problem in &problems {
        let span = problem.at.unwrap();
        prop_assert!(span.start <= span.end && span.end as usize <= source.text.len(), "{:?}", problem);
    }
    prop_assert!(problems.is_sorted_by_key(|problem| problem.at.map(|span| span.start)));
    let shown = diagnostics::text(&source, &problems, Style::Plain);
    prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{:?}", shown);
    diagnostics::json(&source, &problems);
    Ok(())
}

const EXAMPLES: [&str; 4] = [
    include_str!("../../plans/monorepo.yaml"),
    include_str!("../../plans/retries.yaml"),
    include_str!("../../plans/typescript.json"),
    include_str!("bad_plans/cycle_through_alias.yaml"),
];

/// Pieces that mean something to YAML or to plans.
const PIECES: [&str; 24] = [
    "*api",
    "&x ",
    "<<: ",
    "- ",
    "\n  ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "|\n",
    "!!str ",
    "---\n",
    "~",
    "\t",
    "#",
    "deps: [checkout]",
    "name: -x",
    "\u{202e}",
    "\u{1b}",
    "1e999",
    "at: []",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn noise_is_no_plan_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        try_all(&bytes)?;
    }

    #[test]
    fn text_is_no_panic(text in "[a-c:\\-\\[\\]{}&*!|>'\"#%@,? \n\u{0}-\u{1f}ü\u{10000}]{0,80}") {
        try_all(text.as_bytes())?;
    }

    #[test]
    fn a_plan_with_a_part_replaced_is_no_panic(
        example in prop::sample::select(&EXAMPLES[..]),
        at in any::<prop::sample::Index>(),
        cut in 0_usize..40,
        piece in prop::sample::select(&PIECES[..]),
    ) {
        let floor = |at: usize| (0..=at.min(example.len())).rev().find(|at| example.is_char_boundary(*at)).unwrap();
        let start = floor(at.index(example.len()));
        let end = floor(start + cut).max(start);
        try_all(format!("{}{piece}{}", &example[..start], &example[end..]).as_bytes())?;
    }
}
