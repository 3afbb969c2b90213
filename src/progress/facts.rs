//! Which events are worth a line, and what the line says.
//!
//! A line is the time since the run began, one word for what happened, and the rest. Beginnings
//! are not worth one, with the exception of an apex: it may take as long as everything before it.

use crate::report::json::passed;
use crate::report::outcome::{how_it_ended, outcome_text};
use crate::report::resizing;
use crate::report::summary::{evidence, evidence_on_target, limit_name};
use crate::report::view::{AttemptView, ItemView, JobView, RunView, Stage, run_time_ms};
use crate::vocabulary::event::{
    Decision, Event, GateFinished, GateOutcome, HeldBy, ItemDecided, JobPurpose, Landed, LandedByOthers, LimitOn,
    Recorded, RunStarted, SingledOutFor, UndoDirection, Undone, Verdict, in_one_line,
};
use crate::vocabulary::names::{CommitId, ItemName, JobId};
use crate::wording::{Paint, Tone, block, bytes, count, duration, list, ref_name, shown};

/// The lines for `recorded`, which `view` has taken in already. Safe to show, without newlines.
pub fn lines(view: &RunView, recorded: &Recorded, paint: Paint) -> Vec<String> {
    let page = Page { view, paint, at_ms: recorded.at_ms };
    match &recorded.event {
        Event::RunStarted(run) => page.run_started(run),
        Event::JobStarted(job) => match &job.purpose {
            JobPurpose::Apex { apex, members }
                if view.apexes.get(apex).is_some_and(|a| a.height() == *members as usize) =>
            {
                let gates = list(job.gates.iter().map(|gate| gate.name.as_str()));
                vec![page.line(Tone::Quiet, "proving", &format!("{}: {gates}", subject(view, &job.purpose)))]
            }
            _ => Vec::new(),
        },
        Event::ChecksMissing { job, .. } => page.checks_missing(*job).into_iter().collect(),
        Event::GateWaits { job, .. } => page.held_up(*job).into_iter().collect(),
        Event::GateFinished(run) => {
            page.gate_finished(run).into_iter().chain(page.newly_missing_artifacts(run)).collect()
        }
        Event::JobFinished { job } => page.probe_finished(*job),
        Event::ItemDecided(decided) => page.decided(decided),
        Event::SingledOut { item, why, .. } => {
            let why = match why {
                SingledOutFor::Gate { gate, .. } => format!("{} fails once it is there", shown(gate.as_str())),
                SingledOutFor::Neighbours => "those before it all left their groups".to_owned(),
                SingledOutFor::Conflict => "it cannot be merged with its group".to_owned(),
                SingledOutFor::Infrastructure { gate } => format!("{} could not be run", shown(gate.as_str())),
            };
            let text = format!("{}: {why}; it is judged alone", shown(item.as_str()));
            vec![page.line(Tone::Quiet, "singled out", &text)]
        }
        Event::ItemDeferred { item, reason } => {
            let text =
                format!("{}: {}; it waits for its dependencies", shown(item.as_str()), shown(&reason.to_string()));
            vec![page.line(Tone::Notice, "deferred", &text)]
        }
        Event::GateRedOnTarget { gate, definition, .. } => {
            let target = view.target();
            let text = format!("{target} already fails {}, without any of these items", shown(gate.as_str()));
            let shown_by = view.failure_on_target(*definition);
            let evidence = shown_by.iter().flat_map(|attempt| evidence_on_target(&attempt.run, &target, paint));
            std::iter::once(page.line(Tone::Bad, "red", &text)).chain(evidence.map(|line| page.more(&line))).collect()
        }
        Event::Overridden(overridden) => {
            let text = format!("{}: {}", shown(overridden.item.as_str()), shown(&overridden.to_string()));
            vec![page.line(Tone::Notice, "overridden", &text)]
        }
        Event::Landed(landed) => vec![page.landed(landed)],
        Event::TargetMoved { from, to, landed, .. } => page.target_moved(*from, *to, landed),
        Event::Throttled { used_bytes, threshold_bytes } => vec![page.line(
            Tone::Notice,
            "held back",
            &format!("{} of memory in use, threshold {}", bytes(*used_bytes), bytes(*threshold_bytes)),
        )],
        Event::Unthrottled { used_bytes, waited_ms } => vec![page.line(
            Tone::Quiet,
            "resumed",
            &format!("after {}, {} of memory in use", duration(*waited_ms), bytes(*used_bytes)),
        )],
        Event::PoolResized { from, to, reason } => {
            let text = format!("{from} -> {to}: {}", resizing::words(reason));
            vec![page.line(Tone::Quiet, "workers", &text)]
        }
        Event::LimitHeld { limit, why, for_ms } => page.limit_held(limit, *why, *for_ms).into_iter().collect(),
        Event::RunResumed { .. } => vec![page.resumed()],
        Event::Interrupted { signal } => {
            let running: Vec<String> =
                view.jobs.values().filter(|job| job.ended_at_ms.is_none()).map(|job| subject_of(view, job)).collect();
            let ending = match running.as_slice() {
                [] => String::new(),
                running => format!(": the gates of {} are being ended", list(running)),
            };
            vec![page.line(Tone::Notice, "stopping", &format!("on {}{ending}", shown(signal)))]
        }
        Event::RunHalted { message, .. } => {
            let text = block(message);
            let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
            let more = rest.lines().map(|line| page.more(line));
            std::iter::once(page.line(Tone::Bad, "halted", first)).chain(more).collect()
        }
        Event::RunFinished { exit_code, .. } => {
            let tone = if *exit_code == 0 { Tone::Good } else { Tone::Bad };
            vec![page.line(tone, "finished", &format!("exit code {exit_code}"))]
        }
        Event::Undone(undone) => vec![page.undone(undone)],
        Event::UndoGivenUp { why } => vec![page.line(Tone::Notice, "not undone", &shown(&in_one_line(why)))],
        Event::Composed(_)
        | Event::InputsDigested { .. }
        | Event::GateStarted { .. }
        | Event::VerdictReused { .. }
        | Event::GroupFormed { .. }
        | Event::LimitFreed { .. }
        | Event::ApexFormed { .. }
        | Event::LandingIntended(_)
        | Event::UndoIntended { .. } => Vec::new(),
    }
}

fn items(number: usize) -> String {
    count(number, "item")
}

/// What every line needs.
struct Page<'a> {
    view: &'a RunView,
    paint: Paint,
    at_ms: u64,
}

impl Page<'_> {
    fn line(&self, tone: Tone, word: &str, rest: &str) -> String {
        let since = duration(run_time_ms(&self.view.pauses, self.view.started_at_ms, self.at_ms));
        let word = self.paint.paint(tone, &format!("{word:<10}"));
        format!("{} {word} {rest}", self.paint.paint(Tone::Quiet, &format!("{since:>8}")))
    }

    /// A line under another one.
    fn more(&self, text: &str) -> String {
        format!("{:>20}{text}", "")
    }

    fn run_started(&self, run: &RunStarted) -> Vec<String> {
        let push = run.push.as_deref().map(|remote| format!(", pushed to {}", shown(remote))).unwrap_or_default();
        let mut lines = vec![self.line(
            Tone::Strong,
            "run",
            &format!(
                "{}: {}{} onto {} at {}{push}, {} at once{}",
                shown(run.run.as_str()),
                if run.urgent { "urgent, " } else { "" },
                items(run.items.len()),
                ref_name(&run.target),
                run.base.short(),
                run.workers_at_first.unwrap_or(run.max_workers),
                match run.workers_at_first {
                    Some(_) => format!(" at first, {} at most", run.max_workers),
                    None => " at most".to_owned(),
                }
            ),
        )];
        for item in &run.items {
            if let Some(how) = &item.already_landed {
                lines.push(self.line(
                    Tone::Quiet,
                    "landed",
                    &format!("{} before: {}", shown(item.name.as_str()), shown(how)),
                ));
            }
        }
        lines
    }

    fn resumed(&self) -> String {
        let run = self.view.run.as_ref().map(|run| shown(run.run.as_str())).unwrap_or_default();
        let all = self.view.items.len();
        let is_decided = |item: &&ItemView| matches!(self.view.stage(item), Stage::Passed | Stage::Done);
        let decided = match self.view.items.iter().filter(is_decided).count() {
            0 => "nothing decided yet".to_owned(),
            some if some == all => "all decided".to_owned(),
            some => format!("{some} decided"),
        };
        self.line(Tone::Strong, "resumed", &format!("{run}: {} onto {}, {decided}", items(all), self.view.target()))
    }

    fn gate_finished(&self, run: &GateFinished) -> Vec<String> {
        let Some(job) = self.view.jobs.get(&run.job) else { return Vec::new() };
        let Some(attempt) = self.view.job_attempts(job).next_back() else { return Vec::new() };
        let gate = format!("{} on {}", shown(run.gate.as_str()), subject_of(self.view, job));
        let how = outcome_text(&run.outcome);
        let line = match run.verdict {
            Some(Verdict::Passed { .. }) if attempt.flake => {
                self.line(Tone::Notice, "flaky", &format!("{gate} passed after a failure on the same tree"))
            }
            Some(Verdict::Passed { .. }) => return Vec::new(),
            None => {
                let wait = run.backoff_ms.map(|ms| format!(" in {}", duration(ms))).unwrap_or_default();
                self.line(
                    Tone::Notice,
                    "again",
                    &format!("{gate}: {how}; attempt {}{wait}", run.attempt.saturating_add(1)),
                )
            }
            // What it refutes is said when the job ends.
            Some(Verdict::Failed) if attempt.required && is_probe(&job.purpose) => {
                return Vec::new();
            }
            Some(Verdict::Failed) => {
                let how = how_it_ended(run);
                let optional = if attempt.required { "" } else { " (optional)" };
                self.line(Tone::Notice, "red", &format!("{gate}{optional}: {how}"))
            }
            Some(Verdict::Unknown) if run.outcome == GateOutcome::Cancelled && self.view.interrupted.is_none() => {
                self.line(Tone::Quiet, "stopped", &format!("{gate}: it stands elsewhere by now"))
            }
            Some(Verdict::Unknown) if matches!(run.outcome, GateOutcome::RateLimited { .. }) => {
                self.line(Tone::Notice, "again", &format!("{gate}: {how}; it is asked for again"))
            }
            Some(Verdict::Unknown) => self.line(Tone::Notice, "no verdict", &format!("{gate}: {how}")),
        };
        let mut lines = vec![line];
        // A failure that decides an item is shown with the decision; of this one there is no other word.
        if !attempt.required && run.outcome.is_failure() && !run.log.is_empty() {
            lines.push(self.more(&format!("log: {}", shown(&run.log))));
            let again = whose(&job.purpose).and_then(|item| self.view.reproduce(item, &run.gate));
            lines.extend(again.map(|command| self.more(&format!("reproduce: {command}"))));
        }
        lines
    }

    /// Once for each gate, however many commits wait for it and however long.
    fn checks_missing(&self, id: JobId) -> Option<String> {
        let job = self.view.jobs.get(&id)?;
        let unreported = job.unreported.as_ref().filter(|unreported| unreported.is_news)?;
        let gate = format!("{} on {}", shown(unreported.gate.as_str()), subject_of(self.view, job));
        Some(self.line(Tone::Notice, "missing", &format!("{gate}: {}", shown(&unreported.checks.to_string()))))
    }

    /// Once for each reason, however many gates wait for it.
    fn held_up(&self, id: JobId) -> Option<String> {
        let job = self.view.jobs.get(&id)?;
        let held_up = job.held_up.as_ref().filter(|held_up| held_up.is_news)?;
        let gate = format!("{} on {}", shown(held_up.gate.as_str()), subject_of(self.view, job));
        Some(self.line(Tone::Notice, "waits", &format!("{gate} has no node yet: {}", shown(&held_up.why))))
    }

    /// Whoever is rate limited is told of each time; of the others once is enough.
    fn limit_held(&self, limit: &LimitOn, why: HeldBy, for_ms: Option<u64>) -> Option<String> {
        let name = limit_name(limit);
        let text = match why {
            HeldBy::RateLimit => {
                format!("{name} was rate limited; it goes on in {}", duration(for_ms.unwrap_or_default()))
            }
            HeldBy::Use | HeldBy::Pacing if self.view.limits.times(limit, why) > 1 => return None,
            HeldBy::Use => format!("slots stand empty while what there is of {name} is in use"),
            HeldBy::Pacing => format!("the pace of {name} lets gates begin one by one"),
        };
        Some(self.line(Tone::Notice, "held back", &text))
    }

    /// Once for each gate, however many trees it runs on.
    fn newly_missing_artifacts(&self, run: &GateFinished) -> Option<String> {
        let job = self.view.jobs.get(&run.job)?;
        let missing = &self.view.job_attempts(job).next_back()?.newly_missing;
        let gate = format!("artifacts of {} on {}", shown(run.gate.as_str()), subject_of(self.view, job));
        (!missing.is_empty()).then(|| self.line(Tone::Notice, "missing", &format!("{gate}: {}", list(missing))))
    }

    /// Whole apexes and prefixes of them.
    fn probe_finished(&self, id: JobId) -> Vec<String> {
        let Some(job) = self.view.jobs.get(&id) else { return Vec::new() };
        if !is_probe(&job.purpose) {
            return Vec::new();
        }
        let text = subject_of(self.view, job);
        let required = || self.view.job_attempts(job).filter(|attempt| attempt.required);
        let last = self.view.job_attempts(job).next_back();
        let is_limited = last.is_some_and(|attempt| matches!(attempt.run.outcome, GateOutcome::RateLimited { .. }));
        // The rest of it is yet to run.
        if is_limited || (job.more && passed(required(), true) == Some(true)) {
            return Vec::new();
        }
        match passed(required(), true) {
            // Its items say so, each for itself.
            Some(true) if matches!(job.purpose, JobPurpose::Group { .. }) => Vec::new(),
            Some(true) => vec![self.line(Tone::Good, "proven", &text)],
            None => vec![self.line(Tone::Notice, "no verdict", &text)],
            Some(false) => match required().rfind(|attempt| attempt.run.outcome.is_failure()) {
                None => vec![self.line(Tone::Bad, "refuted", &text)],
                Some(AttemptView { run, .. }) => {
                    let how = how_it_ended(run);
                    let text = format!("{text}: {}: {how}", shown(run.gate.as_str()));
                    // Whom it decides has more to say.
                    if matches!(job.purpose, JobPurpose::Group { .. }) {
                        return vec![self.line(Tone::Quiet, "refuted", &text)];
                    }
                    vec![self.line(Tone::Bad, "refuted", &text), self.more(&format!("log: {}", shown(&run.log)))]
                }
            },
        }
    }

    fn decided(&self, decided: &ItemDecided) -> Vec<String> {
        let name = self.paint.paint(Tone::Strong, &shown(decided.item.as_str()));
        let (tone, word) = match decided.decision {
            Decision::Passed => (Tone::Good, "passed"),
            Decision::Failed => (Tone::Bad, "failed"),
            Decision::Conflicted => (Tone::Bad, "conflicted"),
            Decision::Blocked => (Tone::Notice, "blocked"),
            Decision::Unjudged => (Tone::Notice, "unjudged"),
        };
        let Some(reason) = &decided.reason else {
            let busy = self.view.item(&decided.item).map_or(0, |item| item.busy_ms);
            let time = if busy > 0 { format!(" ({})", duration(busy)) } else { String::new() };
            return vec![self.line(tone, word, &format!("{name}{time}"))];
        };
        let mut lines = vec![self.line(tone, word, &format!("{name}: {}", shown(&reason.to_string())))];
        if let Some(attempt) = self.view.evidence(&decided.item, reason) {
            let again = self.view.reproduce(&decided.item, &attempt.run.gate);
            lines.extend(evidence(&attempt.run, again.as_deref(), self.paint).iter().map(|line| self.more(line)));
        }
        lines
    }

    fn undone(&self, undone: &Undone) -> String {
        let word = match undone.direction {
            UndoDirection::Back => "undone",
            UndoDirection::Forward => "again",
        };
        // Back once more is for the remote that had stayed behind.
        let before = self.view.undos.done.iter().rev().nth(1);
        let is_again = before.is_some_and(|before| before.direction == undone.direction);
        let place = match undone.pushed_to.as_deref().map(shown) {
            Some(remote) if is_again => format!("on {remote}"),
            Some(remote) => format!("here and on {remote}"),
            None => "here".to_owned(),
        };
        let (from, to) = (undone.from.short(), undone.to.short());
        self.line(Tone::Notice, word, &format!("{} was moved from {from} to {to} {place}", self.view.target()))
    }

    fn target_moved(&self, from: CommitId, to: CommitId, landed: &[LandedByOthers]) -> Vec<String> {
        let (target, from, to) = (self.view.target(), from.short(), to.short());
        let text = format!("somebody else moved {target} from {from} to {to}; what passed stays passed");
        let mut lines = vec![self.line(Tone::Notice, "moved", &text)];
        if !landed.is_empty() {
            lines.push(self.others_landed(landed.iter().map(|landed| &landed.item)));
        }
        lines
    }

    fn others_landed<'a>(&self, names: impl ExactSizeIterator<Item = &'a ItemName>) -> String {
        let how = format!("others had landed {} on {}: ", items(names.len()), self.view.target());
        self.line(Tone::Quiet, "landed", &(how + &list(names.map(ItemName::as_str))))
    }

    fn landed(&self, landed: &Landed) -> String {
        if landed.from == landed.to {
            return self.others_landed(landed.items.iter());
        }
        let names = list(landed.items.iter().map(|name| name.as_str()));
        let remote = landed.pushed_to.as_deref().map(|remote| format!(" and {}", shown(remote))).unwrap_or_default();
        self.line(
            Tone::Good,
            "landed",
            &format!(
                "{} on {}{remote}, now at {}: {}",
                items(landed.items.len()),
                self.view.target(),
                landed.to.short(),
                names
            ),
        )
    }
}

/// Whether a job judges several items at once.
fn is_probe(purpose: &JobPurpose) -> bool {
    matches!(purpose, JobPurpose::Apex { .. } | JobPurpose::Group { .. })
}

/// The one item that a job judges.
fn whose(purpose: &JobPurpose) -> Option<&ItemName> {
    match purpose {
        JobPurpose::Cone { item } | JobPurpose::SecondOpinion { item } | JobPurpose::Train { item, .. } => Some(item),
        JobPurpose::Apex { .. } | JobPurpose::Group { .. } | JobPurpose::Blame { .. } => None,
    }
}

/// The tree that an item is compared with.
fn without(item: &ItemName) -> String {
    format!("what {} stands on, without it", shown(item.as_str()))
}

/// What a job gates, for people.
pub(super) fn subject_of(view: &RunView, job: &JobView) -> String {
    match &job.purpose {
        JobPurpose::SecondOpinion { item } if job.is_without_item => format!("{} (second opinion)", without(item)),
        purpose => subject(view, purpose),
    }
}

/// The same where no more than the purpose is known.
pub(super) fn subject(view: &RunView, purpose: &JobPurpose) -> String {
    match purpose {
        JobPurpose::Cone { item } => shown(item.as_str()).into_owned(),
        JobPurpose::Group { group, members } => {
            let all = view.groups.get(group).map_or(0, Vec::len);
            let which = if all == *members as usize { items(all) } else { format!("first {members} of {all}") };
            format!("group {} ({which})", group.0)
        }
        JobPurpose::SecondOpinion { item } => format!("{} (second opinion)", shown(item.as_str())),
        JobPurpose::Blame { item } => without(item),
        JobPurpose::Train { item, ahead } => format!("{} behind {}", shown(item.as_str()), items(*ahead as usize)),
        JobPurpose::Apex { apex, members } => {
            let made = view.apexes.get(apex);
            let number = made.and_then(|made| made.number).unwrap_or(apex.0);
            let height = made.map_or(0, |made| made.height());
            if height == *members as usize {
                format!("apex {number} ({})", items(height))
            } else {
                format!("apex {number} (first {members} of {height})")
            }
        }
    }
}
