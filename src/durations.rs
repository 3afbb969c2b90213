//! How long gates took in earlier runs of a repository, and how its items fared, kept in lexpr's folder. A hint
//! and no more: what cannot be read is not known, what cannot be written is not learned, and two runs that end
//! at once may forget what one of them learned.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::vocabulary::event::{Decision, Event, GateOutcome, JobGate, Recorded};
use crate::vocabulary::names::{DefinitionDigest, JobId};
use crate::vocabulary::outcomes::Outcomes;

/// Another format has another number.
const FORMAT: u32 = 1;

/// How much of what is remembered the newest run decides; what lies further back fades.
const NEWEST_COUNTS: f64 = 0.3;

/// Gates remembered; those that have not run for the longest time are forgotten first.
const MOST_GATES: usize = 10_000;

/// The file, and whatever else a file of a hint may be is not read.
const MOST_BYTES: u64 = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    format: u32,
    gates: HashMap<DefinitionDigest, OfAGate>,
    #[serde(default)]
    items: Outcomes,
}

/// What lies further back than so many items fades.
const MOST_ITEMS: u32 = 1_000;

/// Both together, of which as much fades as is needed to leave [`MOST_ITEMS`].
fn faded(older: Outcomes, newer: Outcomes) -> Outcomes {
    let sum = |old: u32, new: u32| u64::from(old) + u64::from(new);
    let (passed, failed) = (sum(older.passed, newer.passed), sum(older.failed, newer.failed));
    let all = (passed + failed).max(u64::from(MOST_ITEMS));
    let left = |count: u64| {
        let share = (count * u64::from(MOST_ITEMS) + all / 2) / all;
        u32::try_from(share).unwrap_or(MOST_ITEMS)
    };
    Outcomes { passed: left(passed), failed: left(failed) }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfAGate {
    /// From the start of an attempt to its pass.
    ms: f64,
    /// When that was, in milliseconds since the Unix epoch.
    last_ms: u64,
}

/// What earlier runs of the repository know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    /// How long gates take, in milliseconds.
    pub gates: Vec<(DefinitionDigest, u64)>,
    pub items: Outcomes,
}

pub fn recall(common_dir: &Path) -> Recalled {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a negative or huge one is no duration, and is 0 or huge"
    )]
    let whole = |of: &OfAGate| of.ms.round() as u64;
    let Remembered { gates, items, .. } = read(&file(common_dir));
    Recalled { gates: gates.iter().map(|(gate, of)| (*gate, whole(of))).collect(), items }
}

fn file(common_dir: &Path) -> PathBuf {
    common_dir.join("lexpr").join("durations.json")
}

fn read(file: &Path) -> Remembered {
    let is_small = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= MOST_BYTES);
    let text = if is_small { fs::read(file).unwrap_or_default() } else { Vec::new() };
    let remembered: Option<Remembered> = serde_json::from_slice(&text).ok();
    let nothing = Remembered { format: FORMAT, gates: HashMap::new(), items: Outcomes::default() };
    remembered.filter(|remembered| remembered.format == FORMAT).unwrap_or(nothing)
}

/// What a run teaches: shown its events, it knows how long the gates that passed took.
#[derive(Debug, Default)]
pub struct Lesson(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    under_way: HashMap<JobId, Vec<JobGate>>,
    passed: Vec<(DefinitionDigest, OfAGate)>,
    items: Outcomes,
}

impl Lesson {
    pub fn hear(&self, recorded: &Recorded) {
        // What was heard before a panic is as good as any.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &recorded.event {
            Event::JobStarted(job) => drop(seen.under_way.insert(job.job, job.gates.clone())),
            Event::JobFinished { job } => drop(seen.under_way.remove(job)),
            Event::GateFinished(finished) if finished.outcome == GateOutcome::Passed => {
                let gates = seen.under_way.get(&finished.job).map(Vec::as_slice).unwrap_or_default();
                if let Some(gate) = gates.iter().find(|gate| gate.key == finished.key) {
                    let gate = gate.definition;
                    #[expect(clippy::cast_precision_loss, reason = "a gate takes less than 2^52 milliseconds")]
                    seen.passed.push((gate, OfAGate { ms: finished.duration_ms as f64, last_ms: recorded.at_ms }));
                }
            }
            Event::Landed(landed) if landed.from != landed.to => {
                seen.items.passed += u32::try_from(landed.items.len()).unwrap_or(u32::MAX);
            }
            Event::ItemDecided(decided) if decided.decision == Decision::Failed => seen.items.failed += 1,
            _ => {}
        }
    }

    /// Adds what was learned to what earlier runs knew.
    pub fn keep(self, common_dir: &Path) {
        let seen = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if seen.passed.is_empty() && seen.items == Outcomes::default() {
            return;
        }
        let file = file(common_dir);
        let Remembered { mut gates, items, .. } = read(&file);
        for (gate, newest) in seen.passed {
            let known = gates.entry(gate).or_insert(newest);
            known.ms += (newest.ms - known.ms) * NEWEST_COUNTS;
            known.last_ms = newest.last_ms;
        }
        if gates.len() > MOST_GATES {
            let mut last: Vec<u64> = gates.values().map(|of| of.last_ms).collect();
            last.sort_unstable_by_key(|at| Reverse(*at));
            let oldest_kept = last[MOST_GATES - 1];
            gates.retain(|_, of| of.last_ms >= oldest_kept);
        }
        let text = serde_json::to_vec(&Remembered { format: FORMAT, gates, items: faded(items, seen.items) })
            .unwrap_or_default();
        // Written in its place: what a crash cuts short is not read, and nothing is left behind.
        let _ = fs::write(&file, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::event::{GateFinished, JobPurpose, JobStarted, Verdict};
    use crate::vocabulary::names::{ApexId, CommitId, GateName, TreeId, VerdictKey, WorkerId};

    /// The events of one gate that takes so long.
    fn lesson(gate: DefinitionDigest, ms: u64, outcome: GateOutcome) -> Lesson {
        let (name, key) = (GateName::new("unit"), VerdictKey::of([b"key".as_slice()]));
        let job = JobStarted {
            job: JobId(1),
            worker: WorkerId(0),
            purpose: JobPurpose::Apex { apex: ApexId(1), members: 1 },
            commit: CommitId::from_bytes(&[1; 20]).unwrap(),
            tree: TreeId::from_bytes(&[1; 20]).unwrap(),
            gates: vec![JobGate { name: name.clone(), key, definition: gate, required: true }],
            more: false,
        };
        let finished = GateFinished {
            job: JobId(1),
            gate: name,
            key,
            attempt: 1,
            outcome,
            verdict: Some(Verdict::Passed { flaky: false }),
            duration_ms: ms,
            backoff_ms: None,
            peak_memory_bytes: None,
            log: "".into(),
            log_digest: None,
            tail: String::new(),
            artifacts: Vec::new(),
            missing_artifacts: Vec::new(),
            elsewhere: None,
        };
        let lesson = Lesson::default();
        for (seq, event) in
            [Event::JobStarted(Box::new(job)), Event::GateFinished(Box::new(finished))].into_iter().enumerate()
        {
            lesson.hear(&Recorded { seq: seq as u64, at_ms: 5, event });
        }
        lesson
    }

    #[test]
    fn the_newest_passes_count_most_and_failures_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lexpr")).unwrap();
        let gate = DefinitionDigest::of([b"gate".as_slice()]);
        assert_eq!(recall(folder.path()).gates, []);
        lesson(gate, 7, GateOutcome::Failed { exit_code: 1 }).keep(folder.path());
        assert_eq!(recall(folder.path()).gates, []);
        lesson(gate, 1000, GateOutcome::Passed).keep(folder.path());
        assert_eq!(recall(folder.path()).gates, [(gate, 1000)]);
        lesson(gate, 2000, GateOutcome::Passed).keep(folder.path());
        assert_eq!(recall(folder.path()).gates, [(gate, 1300)]);
    }

    #[test]
    fn how_items_fared_is_remembered_and_what_lies_far_back_fades() {
        assert_eq!(
            faded(Outcomes { passed: 3, failed: 1 }, Outcomes { passed: 5, failed: 0 }),
            Outcomes { passed: 8, failed: 1 }
        );
        let mut fates = Outcomes::default();
        for _ in 0..100 {
            fates = faded(fates, Outcomes { passed: 90, failed: 10 });
        }
        assert_eq!(fates, Outcomes { passed: 900, failed: 100 });
        for _ in 0..100 {
            fates = faded(fates, Outcomes { passed: 100, failed: 0 });
        }
        assert_eq!(fates.passed + fates.failed, 1000);
        assert!(fates.failed <= 5, "{fates:?}");
        let most = Outcomes { passed: u32::MAX, failed: u32::MAX };
        assert_eq!(faded(most, most), Outcomes { passed: 500, failed: 500 });
    }

    #[test]
    fn a_damaged_file_is_nothing_known_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lexpr")).unwrap();
        let gate = DefinitionDigest::of([b"gate".as_slice()]);
        lesson(gate, 1000, GateOutcome::Passed).keep(folder.path());
        let whole = fs::read(file(folder.path())).unwrap();
        for len in 0..whole.len() {
            fs::write(file(folder.path()), &whole[..len]).unwrap();
            assert_eq!(recall(folder.path()).gates, [], "{len} bytes");
        }
        lesson(gate, 500, GateOutcome::Passed).keep(folder.path());
        assert_eq!(recall(folder.path()).gates, [(gate, 500)]);
    }
}
