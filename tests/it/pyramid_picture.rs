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
