//! Bad plans get clear errors: what is shown for each file of `bad_plans`, whole.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use lexpr::cli::check::{self, Format};
use lexpr::diagnostics::Style;

fn shown(path: &Path, format: Format) -> (u8, String) {
    let mut out = Vec::new();
    let code = check::run(path.to_str().unwrap(), format, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn every_bad_plan_is_explained_in_file_order_with_its_lines() {
    let mut paths: Vec<_> = fs::read_dir("tests/it/bad_plans").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let (code, text) = shown(&path, Format::Text(Style::Plain));
        let name = path.file_name().unwrap().to_str().unwrap();
        insta::assert_snapshot!(name, format!("exit {code}\n{text}"));
    }
}
