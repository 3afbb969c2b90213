//! How a run ended, as far as it must not depend on whether it was killed; and how two ends differ.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use lexpr::journal;
use lexpr::vocabulary::event::{Event, Recorded, Verdict};

use crate::world::World;

/// How long what a run has started may take to be gone after it.
const DYING: Duration = Duration::from_secs(20);

/// A gate's name and the key of its verdict.
pub type Judged = (String, String);

/// How often something happened under each key.
pub type Counts = BTreeMap<Judged, usize>;

#[derive(Debug)]
pub struct End {
    /// What must be the same, by name, as text.
    facts: BTreeMap<&'static str, String>,
    /// Verdicts in the journal.
    pub verdicts: Counts,
    /// Gates that began, counted from outside.
    pub starts: Counts,
    pub events: Vec<Recorded>,
    /// The target moved by others, or not to be moved.
    pub disturbances: Vec<String>,
}

/// Verdicts that a journal holds, passes and failures alone.
pub fn verdicts(events: &[Recorded]) -> Counts {
    let mut counts = Counts::new();
    for recorded in events {
        if let Event::GateFinished(finished) = &recorded.event
            && matches!(finished.verdict, Some(Verdict::Passed { .. } | Verdict::Failed))
        {
            *counts.entry((finished.gate.to_string(), finished.key.to_string())).or_default() += 1;
        }
    }
    counts
}

/// Gates that began, from the byte `from` of the trace on. What `events` say of jobs tells which key
/// a gate had on a tree.
pub fn starts(world: &World, from: usize, events: &[Recorded]) -> Counts {
    let mut keys = HashMap::new();
    for recorded in events {
        if let Event::JobStarted(started) = &recorded.event {
            let tree = started.tree.to_string();
            keys.extend(started.gates.iter().map(|gate| ((gate.name.to_string(), tree.clone()), gate.key.to_string())));
        }
    }
    let trace = std::fs::read_to_string(world.trace()).unwrap_or_default();
    let mut counts = Counts::new();
    for line in trace[from..].lines() {
        let (gate, tree) = line.split_once(' ').unwrap();
        let key = &keys[&(gate.to_owned(), tree.to_owned())];
        *counts.entry((gate.to_owned(), key.clone())).or_default() += 1;
    }
    counts
}

impl End {
    /// Reads it all; `Err` says what must not be so, however a run got to its end.
    pub fn of(world: &World, code: i32) -> Result<Self, String> {
        let path = world.journal().ok_or("there is no journal")?;
        let journal = journal::read(&path).map_err(|error| error.to_string())?;
        let mut facts = BTreeMap::from([("exit code", code.to_string())]);
        let mut landings = String::new();
        let mut disturbances = Vec::new();
        let mut decided = BTreeMap::new();
        for recorded in &journal.events {
            match &recorded.event {
                Event::Landed(landed) => {
                    landings.push_str(&format!("{} -> {}: {:?}\n", landed.from, landed.to, landed.items));
                    let receipt = landed.receipt.as_ref().ok_or("a landing has no receipt")?;
                    let receipt = std::fs::read(receipt).map_err(|error| format!("{receipt}: {error}"))?;
                    let receipt: serde_json::Value =
                        serde_json::from_slice(&receipt).map_err(|error| format!("a receipt: {error}"))?;
                    if receipt["composite"] != landed.to.to_string() {
                        return Err(format!("the receipt of {} is of {}", landed.to, receipt["composite"]));
                    }
                }
                Event::ItemDecided(item) => {
                    decided.insert(item.item.to_string(), format!("{:?}", item.decision));
                }
                Event::RunFinished { items, .. } => {
                    let items: Vec<String> =
                        items.iter().map(|item| format!("{} {}", item.name, item.status)).collect();
                    facts.insert("statuses", items.join("\n"));
                }
                Event::TargetMoved { .. } | Event::RunHalted { .. } => {
                    disturbances.push(format!("{:?}", recorded.event));
                }
                _ => {}
            }
        }
        facts.insert("landings", landings);
        facts.insert("decisions", format!("{decided:#?}"));
        let refs = |folder: &Path| world.git_in(folder, &["for-each-ref", "--format=%(refname) %(objectname)"]);
        facts.insert("refs", refs(&world.start_folder()));
        if let Some(remote) = world.remote() {
            facts.insert("remote", refs(&remote));
            nothing_left_in(&remote)?;
            world.git_in(&remote, &["fsck", "--connectivity-only", "--no-dangling"]);
        }
        let mut checkouts = String::new();
        for folder in world.checkouts() {
            for args in [
                &["status", "--porcelain=v2", "--branch", "--untracked-files=all", "--ignored"][..],
                &["ls-files", "-s"],
                // The working tree as git would write it anew.
                &["diff", "HEAD"],
                &["symbolic-ref", "HEAD"],
            ] {
                checkouts.push_str(&format!("{args:?}\n{}\n", world.git_in(&folder, args)));
            }
        }
        facts.insert("checkouts", checkouts);
        world.git_in(&world.start_folder(), &["fsck", "--connectivity-only", "--no-dangling"]);
        nothing_left_in(&world.git_dir())?;
        nobody_left(world)?;
        Ok(Self {
            facts,
            verdicts: verdicts(&journal.events),
            starts: starts(world, 0, &journal.events),
            events: journal.events,
            disturbances,
        })
    }

    /// Why `self`, after `kills`, is not as `undisturbed` is.
    pub fn compare(&self, undisturbed: &Self, kills: usize) -> Result<(), String> {
        for (name, fact) in &self.facts {
            let expected = &undisturbed.facts[name];
            if fact != expected {
                return Err(format!("{name}: expected\n{expected}\nand found\n{fact}"));
            }
        }
        if self.verdicts != undisturbed.verdicts {
            return Err(format!("verdicts: expected\n{:#?}\nand found\n{:#?}", undisturbed.verdicts, self.verdicts));
        }
        for (judged, starts) in &self.starts {
            let expected = undisturbed.starts.get(judged).copied().unwrap_or_default();
            // One that was killed in the middle has no verdict and runs again.
            if *starts > expected + kills {
                return Err(format!("{judged:?} began {starts} times, {expected} times undisturbed"));
            }
        }
        Ok(())
    }
}

/// Locks, temporary files and folders for composites.
fn nothing_left_in(git_dir: &Path) -> Result<(), String> {
    let mut open = vec![git_dir.to_owned()];
    let mut runs = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_lexprs_lock = folder.ends_with("lexpr/locks");
            let is_left = (name.ends_with(".lock") && !is_lexprs_lock)
                || name.starts_with("tmp_")
                || name.starts_with(".tmp")
                || name == "composites.git"
                || name == "lexpr-index"
                || name.starts_with("incoming-");
            if is_left {
                return Err(format!("{} is left", path.display()));
            }
            runs += usize::from(folder == git_dir.join("lexpr/runs"));
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    if runs > 1 { Err(format!("{runs} runs are left, of one")) } else { Ok(()) }
}

fn nobody_left(world: &World) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let left = world.processes();
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > DYING {
            return Err(format!("processes are left: {left:?}"));
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
