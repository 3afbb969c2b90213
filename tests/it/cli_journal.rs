//! A journal whose end a crash has spoilt: what is left out of it is said, and the run goes on.

use std::io::Write as _;

use crate::cli_world::World;

#[test]
fn invariant_6_what_is_cut_off_a_journal_is_said_however_the_run_is_shown() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let gate = "schemaVersion: v1\npolicy: {maxWorkers: 1}\ngates: [{name: g, run: 'sleep 1000'}]\nitems: [{name: a}, {name: b}]\n";
    world.merge(gate, &["--execute", "--deadline", "1", "--progress", "none"]).expect(130);
    let journal = world.repo().join(".git/lexpr/runs").read_dir().unwrap().next().unwrap().unwrap().path();
    let journal = journal.join("journal.jsonl");
    let before = std::fs::read(&journal).unwrap();
    // As a block that was never written, and one of another file.
    let tail = [&[0; 400][..], b"\nof another file\n", &[0; 83]].concat();
    std::fs::OpenOptions::new().append(true).open(&journal).unwrap().write_all(&tail).unwrap();

    let said = world.lexpr(["resume", "--progress", "none", "--deadline", "1"]).expect(130);
    assert!(said.stderr.contains(&format!("last {} bytes", tail.len())), "{}", said.stderr);
    let after = std::fs::read(&journal).unwrap();
    assert_eq!(after[..before.len()], before, "nothing of what was whole");
    assert!(after.len() > before.len() && !after.contains(&0), "and the rest is gone");

    // Damage with an event behind it is none that anything is cut off for.
    let mut damaged = after.clone();
    damaged[before.len() - 3] ^= 1;
    std::fs::write(&journal, &damaged).unwrap();
    let said = world.lexpr(["resume", "--progress", "none"]).expect(1);
    assert!(said.stderr.contains("the journal is damaged"), "{}", said.stderr);
    assert_eq!(std::fs::read(&journal).unwrap(), damaged, "and it stays as it is");
}
