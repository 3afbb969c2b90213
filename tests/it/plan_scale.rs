//! Plans of many thousand items take memory in proportion, and no more of it than was measured.
//!
//! Only on Linux: elsewhere nobody says how much memory a process took.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "a person starts lexpr")]

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Dependencies of an item on average.
const MEAN_DEGREE: usize = 3;

/// Bytes of memory that an item with [`MEAN_DEGREE`] dependencies may take. 1.1 kB were measured,
/// of which a fifth is the text.
const ITEM_BYTES: u64 = 1_500;

fn document(items: usize) -> String {
    let mut text = String::from("schemaVersion: v1\ngates: [{ name: unit, run: 'true' }]\nitems:\n");
    for at in 0..items {
        let deps: Vec<String> = (1..=MEAN_DEGREE * 2)
            .map(|step| step * 7)
            .filter(|_| at % 2 == 0)
            .filter(|step| *step <= at)
            .map(|step| format!("item-{}", at - step))
            .collect();
        let _ = writeln!(text, "  - {{name: item-{at}, deps: [{}]}}", deps.join(", "));
    }
    text
}

/// The most memory that `lexpr order` of so many items took, in bytes. It is asked when the first
/// of the order has arrived, and the rest waits in a pipe that is full: all memory was needed then.
fn peak_of_order(folder: &Path, items: usize) -> u64 {
    let plan = folder.join(format!("{items}.yaml"));
    fs::write(&plan, document(items)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lexpr"))
        .args(["order", plan.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut order = vec![0; 1];
    out.read_exact(&mut order).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    out.read_to_end(&mut order).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(String::from_utf8(order).unwrap().contains(&format!("\n{items}. ")));
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_grows_with_the_items_and_no_faster() {
    let folder = tempfile::tempdir().unwrap();
    let [few, more, most] = [10_000, 20_000, 40_000].map(|items| peak_of_order(folder.path(), items));
    for (items, smaller, larger) in [(10_000, few, more), (20_000, more, most)] {
        let each = larger.saturating_sub(smaller) / items;
        assert!(each <= ITEM_BYTES, "{each} bytes for each of {items} more items: {few}, {more}, {most}");
    }
}
