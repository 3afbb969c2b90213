//! Documents made to hurt: too deep, too large, too many, or noise. Each gets an answer, soon,
//! and none a panic.

use std::fmt::Write as _;

use lexpr::cli::check::{self as check_command, Format};
use lexpr::diagnostics::{self, Style};
use lexpr::plan::check::{Invalid, check};
use proptest::prelude::*;

use crate::fuzz_seeds::fuzz::plan::try_all;

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

/// Ten lists of ten of the list before, and so on.
fn laughs(generations: usize) -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..generations {
        let before = format!("*a{}, ", n - 1).repeat(10);
        let _ = writeln!(text, "a{n}: &a{n} [{before}]");
    }
    text
}

fn merges(generations: usize) -> String {
    let mut text = String::from("a0: &a0 { k: v }\n");
    for n in 1..generations {
        let _ = writeln!(text, "a{n}: &a{n} {{ <<: [*a{}, *a{}], k{n}: v }}", n - 1, n - 1);
    }
    text
}

fn items_by_alias(gates: usize, aliases: usize) -> String {
    let gates = "{ name: x, run: y, colour: red }, ".repeat(gates);
    format!(
        "schemaVersion: v1\nitems:\n  - &item\n    name: a\n    gates: [{gates}]\n{}",
        "  - *item\n".repeat(aliases)
    )
}

fn text_by_alias(bytes: usize, aliases: usize) -> String {
    format!("schemaVersion: v1\ntarget: &a \"{}\\n\"\nitems: [{}]\n", "x".repeat(bytes), "*a, ".repeat(aliases))
}

fn block_on(glob: &str) -> String {
    format!(
        "schemaVersion: v1\npolicy: {{ blockOn: [\"{glob}\"] }}\nitems: [{{ name: a, gates: [{{ name: g, run: x }}] }}]\n"
    )
}

fn one_name_and_almost_the_same(bytes: usize) -> String {
    let name = "x".repeat(bytes - 1);
    format!("schemaVersion: v1\nitems:\n  - {{ name: a, deps: [{name}x] }}\n  - {{ name: {name}y }}\n")
}

/// What hurts in small: seeds for a fuzzer.
pub fn small_bombs() -> Vec<(String, String)> {
    let bombs = [
        ("deep-flow", "[".repeat(30)),
        ("deep-maps", "{a: ".repeat(30)),
        ("deep-block", (0..30).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("laughs", laughs(3)),
        ("merges", merges(4)),
        ("items-by-alias", items_by_alias(2, 8)),
        ("text-by-alias", text_by_alias(40, 8)),
        ("nested-glob", block_on(&format!("{}a{}", "{".repeat(12), "}".repeat(12)))),
        ("long-glob", block_on(&"?[!a]".repeat(20))),
        ("near-names", one_name_and_almost_the_same(60)),
        ("long-key", format!("schemaVersion: v1\n? {}\n: x\n", "k".repeat(300))),
        ("windows", "schemaVersion: v1\r\nitems:\r\n- name: a\r\n".to_owned()),
        ("control", "? \"\u{9b}\"\n: { \u{7f}\u{85}\u{202e}: 1 }\n".to_owned()),
    ];
    bombs.map(|(name, text)| (name.to_owned(), text)).to_vec()
}

#[test]
fn aliases_that_expand_to_gigabytes_are_refused() {
    for text in [laughs(12), items_by_alias(50, 100_000), text_by_alias(100_000, 2_000), text_by_alias(1_000, 100_000)]
    {
        assert_eq!(only_message(&text), "the aliases of this document expand to far more than the document itself");
    }
    refused(&merges(40));
}

#[test]
fn more_of_anything_than_a_plan_needs_is_refused_with_the_limit() {
    let long_key = format!("schemaVersion: v1\n? {}\n: x\n", "k".repeat(1025));
    let keys =
        |count: usize| (0..count).fold(String::from("schemaVersion: v1\n"), |text, at| text + &format!("k{at}: 1\n"));
    for (text, limit, line) in [
        (
            format!("schemaVersion: v1\ntarget: {}\n", "x".repeat(131_073)),
            "a text of 131073 bytes, of which at most 131072 are read",
            2,
        ),
        (long_key, "a key of 1025 bytes, of which at most 1024 are read", 2),
        (keys(20_000), "a map with more than 10000 keys", 10_001),
        (
            format!("schemaVersion: v1\nitems: [{}]\n", "x,".repeat(1_000_001)),
            "a list with more than 1000000 entries",
            2,
        ),
        ("x".repeat((128 << 20) + 1), "more than 134217728 bytes", 0),
    ] {
        let invalid = refused(&text);
        assert_eq!(invalid.problems.len(), 1);
        assert_eq!(invalid.problems[0].message, format!("too large for a plan: {limit}"));
        assert_eq!(invalid.problems[0].at.map_or(0, |span| span.line), line);
    }
    // A command as long as any that can be run is one.
    let text =
        format!("schemaVersion: v1\nitems: [{{ name: a, gates: [{{ name: g, run: {} }}] }}]\n", "x".repeat(131_072));
    assert!(check("plan.yaml", text.as_bytes()).is_ok());
}

#[test]
fn a_file_larger_than_a_plan_can_be_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.yaml");
    // All of it a hole: nobody could have read that.
    std::fs::File::create(&path).unwrap().set_len(1 << 36).unwrap();
    for path in [path.to_str().unwrap(), "/dev/zero"] {
        let mut out = Vec::new();
        let code = check_command::run(path, Format::Text(Style::Plain), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(code, 2);
        assert!(out.starts_with("error: too large for a plan: more than 134217728 bytes\n"), "{out}");
    }
}

#[test]
fn names_far_too_long_are_not_compared_with_each_other() {
    // The table of all pairs of their letters would take 80 GB.
    let invalid = refused(&one_name_and_almost_the_same(100_000));
    assert!(
        invalid.problems.iter().all(|problem| problem.hint.as_ref().is_none_or(|hint| !hint.contains("did you mean")))
    );
}

#[test]
fn globs_that_no_matcher_can_hold_are_refused() {
    for glob in [
        format!("{}a{}", "{".repeat(30_000), "}".repeat(30_000)),
        format!("{}a{}", "{".repeat(300), "}".repeat(300)),
        "?".repeat(60_000),
        "[!a]".repeat(15_000),
    ] {
        assert!(only_message(&block_on(&glob)).contains("not a glob"), "{}", only_message(&block_on(&glob)));
    }
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
        try_all(text.as_bytes());
    }
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
        try_all(&bytes);
    }

    #[test]
    fn text_is_no_panic(text in "[a-c:\\-\\[\\]{}&*!|>'\"#%@,? \n\u{0}-\u{1f}ü\u{10000}]{0,80}") {
        try_all(text.as_bytes());
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
        try_all(format!("{}{piece}{}", &example[..start], &example[end..]).as_bytes());
    }
}
