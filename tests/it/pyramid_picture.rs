//! The pyramid in pages: names that can be told apart, lines that blame nobody who is not to blame, words that are the
//! table's.

use std::collections::BTreeSet;

use lexpr::report::dry_run::{DryRun, DryRunItem};
use lexpr::report::{Format, Report};

use crate::report_faces::dry;
use crate::report_stories::item;

fn page(report: DryRun) -> String {
    let page = Report::DryRun(Box::new(report)).render(Format::Html);
    page.split_once("</style>").unwrap().1.to_owned()
}

/// What stands in the boxes of these items, without their signs.
fn labels(names: &[String]) -> Vec<String> {
    let like = dry().items[0].clone();
    let items = names.iter().map(|name| DryRunItem { item: item(name, 0, &[], &["unit"]), ..like.clone() }).collect();
    let page = page(DryRun { items, ..dry() });
    let boxes = page.lines().filter(|line| line.starts_with("<a class=\"item "));
    let text = |line: &str| line.rsplit_once("\">").unwrap().1.trim_end_matches("</text></a>").to_owned();
    boxes.map(|line| text(line).split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn items_of_a_picture_are_told_apart_by_their_labels() {
    let numbered =
        |stem: &str, number: usize| (1..=number).map(|nth| format!("{stem}-{nth:03}-refactor")).collect::<Vec<_>>();
    let kinds = ["refactor", "rename-the-handlers", "rename-the-handler-tests"];
    let families: Vec<Vec<String>> = vec![
        numbered("team/change", 300),
        numbered("web-frontend", 20),
        ["web-frontend", "api-backend", "web-backend"].iter().flat_map(|stem| numbered(stem, 20)).collect(),
        (0..60).map(|nth| format!("agent-{}/task-{nth}-{}", nth % 4, kinds[nth % 3])).collect(),
        (0..12).map(|nth| format!("onelongwordwithoutend{nth:02}andmoreofit")).collect(),
        (0..12).map(|nth| format!("日本語の項目名前がとても-{nth:02}-長い名前です")).collect(),
    ];
    for names in families {
        let labels = labels(&names);
        assert_eq!(labels.len(), names.len());
        let different: BTreeSet<&String> = labels.iter().collect();
        assert_eq!(different.len(), names.len(), "{labels:#?}");
    }
    assert_eq!(labels(&numbered("team/change", 300))[16], "…017-refactor");
    assert_eq!(labels(&numbered("web-frontend", 20))[16], "…017-refactor");
    // Where ends and beginning tell them apart already, they are what is shown.
    let others = ["31-retry-of-uploads".to_owned(), "32-retry-of-uploads".to_owned(), "short".to_owned()];
    assert_eq!(labels(&others), ["31-ret…uploads", "32-ret…uploads", "short"]);
}

#[test]
fn a_line_is_red_only_from_what_blocks_up_to_what_it_blocks() {
    // auth conflicts and users depends on it; api, on which users depends as well, lands.
    let page = page(dry());
    let line = |ends: &str| page.lines().find(|line| line.contains(&format!("data-of=\"{ends}\""))).unwrap().to_owned();
    let red = |line: &str| ["failed", "conflicted", "blocked"].iter().any(|class| line.contains(class));
    assert!(!red(&line("0 3")), "{}", line("0 3"));
    assert!(line("1 3").starts_with("<path class=\"conflicted h"), "{}", line("1 3"));
    assert!(line("0 3").starts_with("<path class=\"h"), "it has its hue: {}", line("0 3"));
    let legend = "Lines lead up from what is needed to what needs it; dashed red ones, from what blocks to what is blocked by it.";
    assert!(page.contains(legend), "{page}");
    let one = DryRun { items: dry().items[..1].to_vec(), ..dry() };
    assert!(!self::page(one).contains("Lines lead up"));
}

#[test]
fn a_page_of_a_dry_run_has_one_word_for_what_would_land() {
    let page = page(dry());
    assert!(page.contains("<p><span class=\"badge lands\">· lands</span> "), "{page}");
    assert!(page.contains("<td><span class=\"badge lands\">· lands</span></td>"), "{page}");
    assert!(page.contains("<title>api: lands</title>") && !page.contains("waiting"), "{page}");
}
