//! The pool on machines of which everything is known: how many workers are best, too.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// How finely time goes on.
const STEP_MS: u64 = 100;

const MIB: u64 = 1 << 20;

/// A machine and the gates that run on it, all of one kind; more of them always wait.
#[derive(Clone)]
struct Machine {
    cores: f64,
    /// Processors that others take.
    others: f64,
    /// Processors that a gate takes that nothing holds up.
    cpu: f64,
    /// So many gates at once can be served by what they share (a database, a disk); more wait for it.
    shared: f64,
    shared_is_disk: bool,
    memory: u64,
    threshold: Option<u64>,
    gate_ms: u64,
    /// The kernel counts nothing.
    is_blind: bool,
    /// It counts who waited for what.
    counts_stalls: bool,
}

impl Machine {
    fn of(cores: u32) -> Self {
        Self {
            cores: f64::from(cores),
            others: 0.0,
            cpu: 1.0,
            shared: f64::INFINITY,
            shared_is_disk: false,
            memory: 10 * MIB,
            threshold: None,
            gate_ms: 3000,
            is_blind: false,
            counts_stalls: true,
        }
    }
}

struct Seen {
    /// When each change was made.
    changes: Vec<(u64, Resize)>,
    size: u32,
    passed: u64,
}

impl Seen {
    fn changes_after(&self, at_ms: u64) -> usize {
        self.changes.iter().filter(|(at, _)| *at > at_ms).count()
    }

    fn size_at(&self, at_ms: u64) -> Option<u32> {
        self.changes.iter().rev().find(|(at, _)| *at <= at_ms).map(|(_, resize)| resize.to)
    }
}

/// A pool on a machine that changes at times.
struct Trial {
    controller: Controller,
    /// When each gate began, and how much of it is left to do, in milliseconds of an idle machine.
    gates: VecDeque<(u64, f64)>,
    begun: u64,
    now_ms: u64,
    seen: Seen,
}

impl Trial {
    fn new(at_first: u32, ceiling: u32) -> Self {
        Self {
            controller: Controller::new(at_first, ceiling, 0),
            gates: VecDeque::new(),
            begun: 0,
            now_ms: 0,
            seen: Seen { changes: Vec::new(), size: at_first, passed: 0 },
        }
    }

    fn run(mut self, machine: &Machine, until_ms: u64) -> Self {
        while self.now_ms < until_ms {
            let began_ms = self.now_ms;
            let mut sums = [0.0; 5];
            while self.now_ms < began_ms + WINDOW_MS {
                let used = self.gates.len() as u64 * machine.memory;
                while self.gates.len() < self.seen.size as usize {
                    let is_held_back = machine.threshold.is_some_and(|threshold| used > threshold);
                    if is_held_back && !self.gates.is_empty() {
                        break;
                    }
                    // From two thirds to four thirds of the usual.
                    self.begun += 1;
                    let share = 2.0 / 3.0 + (self.begun * 37 % 100) as f64 / 150.0;
                    self.gates.push_back((self.now_ms, machine.gate_ms as f64 * share));
                }
                let sums_of_step = self.step(machine);
                for (sum, of_step) in sums.iter_mut().zip(sums_of_step) {
                    *sum += of_step * STEP_MS as f64 / WINDOW_MS as f64;
                }
            }
            self.decide(machine, sums);
        }
        self
    }

    /// Mean busy, waited, stalled, idle and own processors of one step.
    fn step(&mut self, machine: &Machine) -> [f64; 5] {
        let busy = self.gates.len() as f64;
        let served = (machine.shared / busy).min(1.0);
        let wanted = busy * machine.cpu * served;
        let got = (wanted + machine.others).min(machine.cores) * wanted / (wanted + machine.others).max(0.001);
        let pace = served * if wanted > 0.0 { got / wanted } else { 1.0 };
        self.now_ms += STEP_MS;
        let now_ms = self.now_ms;
        for (_, left) in &mut self.gates {
            *left -= pace * STEP_MS as f64;
        }
        let gate = DefinitionDigest::of([b"gate".as_slice()]);
        for (began_ms, _) in self.gates.iter().filter(|(_, left)| *left <= 0.0) {
            self.controller.gate_passed(gate, now_ms, now_ms - began_ms);
            self.seen.passed += 1;
        }
        self.gates.retain(|(_, left)| *left > 0.0);
        let full = (wanted + machine.others) / machine.cores;
        let waited = ((full - 0.8) / 0.3).clamp(0.0, 1.0);
        let stalled = if machine.shared_is_disk && served < 1.0 { 1.0 - served } else { 0.0 };
        [busy, waited, stalled, (machine.cores - wanted - machine.others).max(0.0), got]
    }

    fn decide(&mut self, machine: &Machine, [busy, waited, stalled, idle, own]: [f64; 5]) {
        let counted = |value: f64| (!machine.is_blind).then_some(value);
        let now_busy = u32::try_from(self.gates.len()).unwrap();
        let window = Window {
            at_ms: self.now_ms,
            busy: now_busy,
            mean_busy: busy,
            work_waits: true,
            memory: machine.threshold.map(|threshold_bytes| Memory {
                used_bytes: u64::from(now_busy) * machine.memory,
                threshold_bytes,
                per_gate_bytes: if self.seen.passed > 0 { machine.memory } else { 0 },
            }),
            waited_for_cpu: counted(waited).filter(|_| machine.counts_stalls),
            stalled_on_io: counted(stalled).filter(|_| machine.counts_stalls),
            idle_cores: counted(idle),
            own_cores: counted(own),
        };
        if let Some(resize) = self.controller.decide(&window) {
            assert_eq!(resize.from, self.seen.size);
            self.seen.size = resize.to;
            self.seen.changes.push((self.now_ms, resize));
        }
    }
}

const MINUTE_MS: u64 = 60_000;

fn run(machine: &Machine, at_first: u32, ceiling: u32, minutes: u64) -> Seen {
    Trial::new(at_first, ceiling).run(machine, minutes * MINUTE_MS).seen
}

#[test]
fn gates_that_compute_get_one_worker_a_processor() {
    for cores in [1, 2, 4, 8, 64] {
        for counts_stalls in [true, false] {
            let seen = run(&Machine { counts_stalls, ..Machine::of(cores) }, cores, 4 * cores, 60);
            assert_eq!((seen.size, seen.changes.len()), (cores, 0), "{cores}");
        }
    }
}

#[test]
fn gates_that_wait_get_as_many_workers_as_there_may_be() {
    for gate_ms in [300, 3000, 600_000] {
        let seen = run(&Machine { cpu: 0.02, gate_ms, ..Machine::of(2) }, 2, 8, 60);
        assert_eq!((seen.size, seen.changes.len()), (8, 4), "{gate_ms}: {:?}", seen.changes);
        let (at_ms, _) = seen.changes[3];
        assert!(at_ms <= 4 * (LONGEST_TRIAL_MS + WINDOW_MS), "{gate_ms}: only after {at_ms} ms");
    }
    // Whatever others do with the processors: these hardly need one.
    let beside_others = Machine { cpu: 0.02, others: 4.0, ..Machine::of(2) };
    assert_eq!(run(&beside_others, 2, 8, 60).size, 8);
}

#[test]
fn gates_that_compute_half_of_the_time_get_two_workers_a_processor() {
    let machine = Machine { cpu: 0.5, ..Machine::of(4) };
    let seen = run(&machine, 4, 16, 60);
    assert!((6..=9).contains(&seen.size), "{:?}", seen.changes);
    let fixed = run(&machine, 4, 4, 60);
    assert!(seen.passed * 10 >= fixed.passed * 14, "{} against {}", seen.passed, fixed.passed);
}

#[test]
fn invariant_7_gates_that_need_memory_get_as_many_workers_as_it_holds() {
    let machine = Machine { memory: 1000 * MIB, threshold: Some(4500 * MIB), cpu: 0.1, ..Machine::of(8) };
    let seen = run(&machine, 8, 32, 60);
    assert_eq!(seen.size, 4, "{:?}", seen.changes);
    assert!(seen.size_at(MINUTE_MS).is_some_and(|size| size == 4), "{:?}", seen.changes);
    assert_eq!(seen.changes_after(MINUTE_MS), 0, "it flaps: {:?}", seen.changes);
    assert!(matches!(seen.changes[0].1.reason, PoolReason::MemoryTight { .. }));
    // From below it does not come to more than fit.
    let seen = run(&machine, 2, 8, 60);
    assert_eq!((seen.size, seen.changes.iter().all(|(_, resize)| resize.to <= 4)), (4, true), "{:?}", seen.changes);
    // One that does not fit is run all the same.
    let seen = run(&Machine { memory: 5000 * MIB, ..machine }, 8, 32, 60);
    assert_eq!((seen.size, seen.passed > 0), (1, true), "{:?}", seen.changes);
}

#[test]
fn workers_that_get_no_more_done_are_taken_back_and_tried_again_ever_less_often() {
    for is_blind in [false, true] {
        let machine = Machine { cpu: 0.02, shared: 3.0, is_blind, ..Machine::of(2) };
        let seen = run(&machine, 2, 8, 120);
        let reasons = seen.changes.iter().filter(|(_, r)| matches!(r.reason, PoolReason::NoGain { .. })).count();
        assert!(reasons > 0, "{:?}", seen.changes);
        // Three are best: it is there nearly all of the time.
        assert!((2..=4).contains(&seen.size), "{:?}", seen.changes);
        assert!(seen.changes_after(60 * MINUTE_MS) <= 12, "it flaps: {:?}", seen.changes);
        let fixed = run(&machine, 3, 3, 120);
        assert!(seen.passed * 10 >= fixed.passed * 9, "{} against {}", seen.passed, fixed.passed);
    }
}

#[test]
fn workers_that_wait_for_the_disk_are_taken_back() {
    let machine = Machine { cpu: 0.02, shared: 3.0, gate_ms: 600_000, shared_is_disk: true, ..Machine::of(2) };
    let seen = Trial::new(2, 16).run(&Machine { shared: 16.0, ..machine.clone() }, 10 * MINUTE_MS);
    assert_eq!(seen.seen.size, 16);
    let seen = seen.run(&machine, 300 * MINUTE_MS).seen;
    assert!(seen.changes.iter().any(|(_, r)| matches!(r.reason, PoolReason::IoPressure { .. })), "{:?}", seen.changes);
    assert!((2..=8).contains(&seen.size), "{:?}", seen.changes);
}

#[test]
fn what_was_added_is_taken_back_when_gates_come_to_compute_and_no_more_than_that() {
    let waiting = Machine { cpu: 0.02, ..Machine::of(4) };
    let trial = Trial::new(4, 16).run(&waiting, 5 * MINUTE_MS);
    assert_eq!(trial.seen.size, 16);
    let seen = trial.run(&Machine::of(4), 60 * MINUTE_MS).seen;
    assert!(seen.changes.iter().any(|(_, r)| matches!(r.reason, PoolReason::CpuPressure { .. })), "{:?}", seen.changes);
    assert!((4..=5).contains(&seen.size), "{:?}", seen.changes);
    assert!(seen.changes.iter().all(|(_, resize)| resize.to >= 4), "{:?}", seen.changes);
    // Nor is it where others are at it.
    assert_eq!(run(&Machine { others: 8.0, ..Machine::of(4) }, 4, 16, 60).size, 4);
}

#[test]
fn where_nothing_is_counted_what_gets_done_guides() {
    let blind = Machine { is_blind: true, ..Machine::of(2) };
    assert_eq!(run(&Machine { cpu: 0.02, ..blind.clone() }, 2, 8, 60).size, 8);
    let seen = run(&blind, 2, 8, 120);
    assert!((2..=3).contains(&seen.size), "{:?}", seen.changes);
    assert!(seen.changes_after(60 * MINUTE_MS) <= 12, "it flaps: {:?}", seen.changes);
}

fn windows() -> impl Strategy<Value = Window> {
    let share = || prop::option::of(0.0..1.0);
    let memory = prop::option::of((0..9_u64, 0..9_u64, 0..9_u64)).prop_map(|memory| {
        memory.map(|(used_bytes, threshold_bytes, per_gate_bytes)| Memory {
            used_bytes,
            threshold_bytes,
            per_gate_bytes,
        })
    });
    let cores = || prop::option::of(0.0..9.0);
    (0..40_u32, any::<bool>(), memory, share(), share(), cores(), cores()).prop_map(
        |(busy, work_waits, memory, waited_for_cpu, stalled_on_io, idle_cores, own_cores)| Window {
            at_ms: 0,
            busy,
            mean_busy: f64::from(busy),
            work_waits,
            memory,
            waited_for_cpu,
            stalled_on_io,
            idle_cores,
            own_cores,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariant_7_whatever_is_measured_there_is_one_worker_and_never_more_than_the_ceiling(
        windows in prop::collection::vec((windows(), 0..12_u64), 1..60), at_first in 1..9_u32, ceiling in 1..33_u32,
    ) {
        let mut controller = Controller::new(at_first, ceiling, 0);
        let (mut size, mut at_ms) = (at_first, 0);
        for (window, passes) in windows {
            at_ms += WINDOW_MS;
            for nth in 0..passes {
                controller.gate_passed(DefinitionDigest::of([b"gate".as_slice()]), at_ms, 300 * nth);
            }
            if let Some(Resize { from, to, .. }) = controller.decide(&Window { at_ms, ..window }) {
                prop_assert_eq!(from, size);
                prop_assert!(to >= 1 && to <= ceiling.max(at_first) && to != from, "{} -> {}", from, to);
                size = to;
            }
        }
    }
}
