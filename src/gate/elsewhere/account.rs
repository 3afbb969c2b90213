//! The account that a worker gives of an errand, and what is believed of it. Pure: text in, outcome out.

use super::{Errand, Left, Returned};
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::{CommitId, SubjectDigest};

/// Of what git, the shell and the engine say beside the account, this many lines go into a message.
const REMARKS: usize = 4;

/// The shell's word for "ended by a signal": its status is this plus the signal's number (POSIX, XCU 2.8.2, says
/// "greater than 128"; dash, bash and busybox add).
const SIGNALED: i32 = 128;
const LAST_SIGNAL: i32 = 64;
/// KILL, by which the kernel ends what takes too much memory.
const KILLED: i32 = SIGNALED + 9;

/// By which an account is known to be of this errand.
pub(super) fn nonce(ticket: &str, commit: CommitId) -> String {
    SubjectDigest::of([ticket.as_bytes(), commit.as_bytes()]).to_string()
}

/// What a worker has said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) node: Option<String>,
    /// The engine's name for what runs there.
    pub(super) step: Option<String>,
    /// The gate itself has begun.
    pub(super) has_begun: bool,
    ran_ms: u64,
    peak_memory_bytes: Option<u64>,
    is_short_of_memory: bool,
    is_time_up: bool,
    /// It did not end when it was asked to.
    is_killed: bool,
    trouble: Option<String>,
    left: Left,
    /// The tree and the exit code.
    proof: Option<(String, i32)>,
    /// What others wrote beside it, last.
    remarks: Vec<String>,
}

/// What the engine says of the errand's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EngineSays {
    /// Why it cannot have passed, if so.
    pub(super) against_a_pass: Option<String>,
    pub(super) out_of_memory: bool,
    /// In its own words, for a message.
    pub(super) remarks: Vec<String>,
}

impl Account {
    pub(super) fn read(text: &[u8], nonce: &str) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut account = Self::default();
        // A line that has not ended may yet say something else.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let said = line.strip_prefix("lexpr-").and_then(|said| said.split_once(' '));
            match said.and_then(|(what, said)| Some((what, said.strip_prefix(nonce)?.trim_start()))) {
                Some((what, said)) => account.take_note(what, said),
                None if line.trim().is_empty() => {}
                None => account.remarks.push(line.trim().to_owned()),
            }
        }
        account.remarks = last(account.remarks);
        account
    }

    fn take_note(&mut self, what: &str, said: &str) {
        match what {
            "at" => {
                let (node, step) = said.split_once(' ').unwrap_or((said, ""));
                self.node = Some(node.to_owned());
                self.step = Some(step.to_owned());
            }
            "begun" => self.has_begun = true,
            "ran" => self.ran_ms = said.parse().unwrap_or_default(),
            "memory" => self.peak_memory_bytes = said.parse().ok(),
            "short-of-memory" => self.is_short_of_memory = true,
            "time-up" => {
                self.is_time_up = true;
                self.is_killed = said == "KILL";
            }
            "left" => self.left = Left::Sent(said.to_owned()),
            "lost" => self.left = Left::Lost(said.to_owned()),
            "trouble" => self.trouble = Some(said.to_owned()),
            "proof" => {
                let proof = said.split_once(' ').and_then(|(tree, code)| Some((tree.to_owned(), code.parse().ok()?)));
                self.proof = proof;
            }
            _ => {}
        }
    }

    /// All has been said.
    pub(super) fn is_over(&self) -> bool {
        self.is_time_up || self.proof.is_some() || self.trouble.is_some()
    }

    /// What the engine wrote where the worker does (`slurmstepd-w1: error: …`).
    pub(super) fn engine_remarks(&self) -> impl Iterator<Item = &str> {
        self.remarks.iter().map(String::as_str).filter(|line| line.starts_with("slurmstepd"))
    }

    /// What is believed, once all is said.
    pub(super) fn outcome(&self, errand: &Errand, engine: &EngineSays) -> GateOutcome {
        let expected = errand.tree.to_string();
        if self.is_time_up {
            let after_ms = u64::try_from(errand.timeout.as_millis()).unwrap_or(u64::MAX);
            return GateOutcome::TimedOut { after_ms, signal: self.is_killed.then_some(KILLED - SIGNALED) };
        }
        match &self.proof {
            Some((tree, _)) if *tree != expected => {
                self.infrastructure(engine, &format!("it checked out the tree {tree}, and not {expected}"))
            }
            Some((_, 0)) => match &engine.against_a_pass {
                None => GateOutcome::Passed,
                Some(_) if self.ended_for_memory(engine) => GateOutcome::Failed { exit_code: KILLED },
                Some(why) => self.infrastructure(engine, &format!("it says that the gate passed, but {why}")),
            },
            Some((_, code)) if (SIGNALED + 1..=SIGNALED + LAST_SIGNAL).contains(code) => {
                GateOutcome::Signaled { signal: code - SIGNALED }
            }
            Some((_, code)) => GateOutcome::Failed { exit_code: *code },
            None if self.ended_for_memory(engine) => GateOutcome::Failed { exit_code: KILLED },
            None => match &self.trouble {
                Some(trouble) => self.infrastructure(engine, trouble),
                None => self.infrastructure(engine, "it ended without a word on how the gate ended"),
            },
        }
    }

    pub(super) fn returned(&self, outcome: GateOutcome, engine: &EngineSays, queued_ms: u64) -> Returned {
        Returned {
            out_of_memory: self.ended_for_memory(engine) && outcome != GateOutcome::Passed,
            outcome,
            node: self.node.clone(),
            queued_ms,
            ran_ms: self.ran_ms,
            peak_memory_bytes: self.peak_memory_bytes,
            left: self.left.clone(),
        }
    }

    fn ended_for_memory(&self, engine: &EngineSays) -> bool {
        self.is_short_of_memory || engine.out_of_memory
    }

    /// `why` with the node, and with what was said beside it.
    pub(super) fn infrastructure(&self, engine: &EngineSays, why: &str) -> GateOutcome {
        let mut message = match &self.node {
            Some(node) => format!("node {node}: {why}"),
            None => why.to_owned(),
        };
        let remarks = last(self.remarks.iter().chain(&engine.remarks).cloned().collect());
        if !remarks.is_empty() {
            message = format!("{message}: {}", remarks.join("; "));
        }
        GateOutcome::Infrastructure { message }
    }
}

fn last(mut lines: Vec<String>) -> Vec<String> {
    lines.drain(..lines.len().saturating_sub(REMARKS));
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn errand() -> Errand {
        Errand {
            ticket: "t-1".to_owned(),
            commit: "1".repeat(40).parse().unwrap(),
            tree: "2".repeat(40).parse().unwrap(),
            setup: None,
            command: "true".to_owned(),
            cwd: String::new(),
            env: Default::default(),
            pass_env: Vec::new(),
            artifacts: Vec::new(),
            timeout: Duration::from_secs(7),
            log: "/log".into(),
            log_rules: Default::default(),
        }
    }

    fn outcome(said: &str, engine: &EngineSays) -> GateOutcome {
        let errand = errand();
        let nonce = nonce(&errand.ticket, errand.commit);
        let text = said.replace('N', &nonce).replace('T', &errand.tree.to_string());
        Account::read(text.as_bytes(), &nonce).outcome(&errand, engine)
    }

    #[test]
    fn invariant_1_a_pass_is_believed_only_with_the_line_of_this_errand_and_tree_and_an_engine_that_agrees() {
        let agrees = EngineSays::default();
        assert_eq!(outcome("lexpr-at N w1 1.2\nlexpr-begun N 1\nlexpr-proof N T 0\n", &agrees), GateOutcome::Passed);
        let other = "3".repeat(40);
        for said in [
            String::new(),
            "lexpr-at N w1 1.2\nlexpr-begun N 1\n".to_owned(),
            // Cut off: it may have been going to say 07.
            "lexpr-proof N T 0".to_owned(),
            "lexpr-proof N T\n".to_owned(),
            "lexpr-proof N T zero\n".to_owned(),
            "lexpr-proof N T 0 \n".to_owned(),
            format!("lexpr-proof N {other} 0\n"),
            format!("lexpr-proof {other} T 0\n"),
            "said lexpr-proof N T 0\n".to_owned(),
            "lexpr-proof N T 0\nlexpr-proof N T\n".to_owned(),
        ] {
            let outcome = outcome(&said, &agrees);
            assert!(matches!(outcome, GateOutcome::Infrastructure { .. }), "{said:?}: {outcome:?}");
        }
        let contradicts = EngineSays { against_a_pass: Some("Slurm says NODE_FAIL".to_owned()), ..agrees };
        let GateOutcome::Infrastructure { message } = outcome("lexpr-at N w1 1.2\nlexpr-proof N T 0\n", &contradicts)
        else {
            panic!()
        };
        assert_eq!(message, "node w1: it says that the gate passed, but Slurm says NODE_FAIL");
    }

    #[test]
    fn a_failure_is_told_as_the_shell_told_it() {
        let agrees = EngineSays { against_a_pass: Some("the job's state is FAILED".to_owned()), ..Default::default() };
        for (code, expected) in [
            (1, GateOutcome::Failed { exit_code: 1 }),
            (128, GateOutcome::Failed { exit_code: 128 }),
            (139, GateOutcome::Signaled { signal: 11 }),
            (255, GateOutcome::Failed { exit_code: 255 }),
        ] {
            assert_eq!(outcome(&format!("lexpr-proof N T {code}\n"), &agrees), expected);
        }
        let timed_out = GateOutcome::TimedOut { after_ms: 7000, signal: None };
        assert_eq!(outcome("lexpr-time-up N \n", &agrees), timed_out);
        let killed = GateOutcome::TimedOut { after_ms: 7000, signal: Some(9) };
        assert_eq!(outcome("lexpr-time-up N KILL\n", &agrees), killed);
    }

    #[test]
    fn what_was_ended_for_want_of_memory_is_told_as_that_and_never_passes() {
        let says = EngineSays {
            against_a_pass: Some("the job's state is OUT_OF_MEMORY".to_owned()),
            out_of_memory: true,
            remarks: Vec::new(),
        };
        for said in ["", "lexpr-begun N 1\n", "lexpr-proof N T 0\n", "lexpr-trouble N no room\n"] {
            assert_eq!(outcome(said, &says), GateOutcome::Failed { exit_code: KILLED }, "{said:?}");
        }
        let account = Account::read(b"", "n");
        assert!(account.returned(GateOutcome::Failed { exit_code: KILLED }, &says, 0).out_of_memory);
    }

    #[test]
    fn trouble_is_told_with_what_was_said_beside_it() {
        let engine = EngineSays { remarks: vec!["srun: error".to_owned()], ..Default::default() };
        let said = "lexpr-at N w2 1.0\nfatal: no route\nlexpr-trouble N the commit could not be fetched\n";
        let expected = "node w2: the commit could not be fetched: fatal: no route; srun: error";
        assert_eq!(outcome(said, &engine), GateOutcome::Infrastructure { message: expected.to_owned() });
    }
}
