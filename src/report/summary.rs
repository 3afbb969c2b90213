//! What a person reads when a run has ended: the outcome in a line, what went wrong with the
//! evidence, what it cost, and the one thing to do next.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::json::{ItemReport, Occupation, OpenAttempt, RunReport, RuntimeReport};
use super::outcome::{how_it_ended, image_words};
use super::resizing::Resizing;
use super::undo;
use super::view::{LimitReport, Stage};
use crate::plan::natural::natural_cmp;
use crate::vocabulary::event::{FinalStatus, GateFinished, HaltReason, HeldBy, LimitOn, Reason};
use crate::vocabulary::names::{GateName, RuntimeName};
use crate::wording::{Paint, Tone, block, bytes, count, counted, duration, list, ref_name, shell_word, shown, tail};

/// How many lines of a failed gate's output a terminal shows; the log holds the rest.
pub const TAIL_LINES: usize = 20;

/// How much of each of them is shown: a message or a path of a build tool, not a minified file.
const TAIL_CELLS: usize = 160;

/// How many items that did not land are shown with their evidence; the report holds the rest.
const PROBLEMS_SHOWN: usize = 20;

/// The statuses in the order they are counted in a headline.
const COUNTED: [(FinalStatus, &str); 7] = [
    (FinalStatus::Failed, "failed"),
    (FinalStatus::Conflicted, "conflicted"),
    (FinalStatus::Blocked, "blocked"),
    (FinalStatus::Unjudged, "unjudged"),
    (FinalStatus::NotLanded, "passed but not landed"),
    (FinalStatus::Skipped, "skipped"),
    (FinalStatus::AlreadyLanded, "landed before"),
];

/// `3 of 8 items landed on main in 12.3s: 1 failed, 2 blocked, 2 landed before`; of a run that
/// has not ended `3 of 8 items landed on main so far, after 12.3s: 2 running, 3 waiting`.
pub fn headline(report: &RunReport) -> String {
    let (before, after) = around_elapsed(report);
    format!("{before}{}{after}", duration(report.summary.duration_ms))
}

/// What a headline says before and after the time that the run took, or takes so far.
pub fn around_elapsed(report: &RunReport) -> (String, String) {
    let when = if report.finished { "in" } else { "so far, after" };
    let before = format!(
        "{} of {} landed on {} {when} ",
        report.summary.successful,
        count(report.summary.total, "item"),
        ref_name(&report.target),
    );
    let ended = || report.items.iter().filter(|item| item.has_come_to_its_end());
    let in_status = |status| ended().filter(|item| item.status == status && !item.interrupted).count();
    let interrupted = ended().filter(|item| item.interrupted).count();
    let in_stage = |stage| report.items.iter().filter(|item| item.stage == Some(stage)).count();
    let stages = [
        (in_stage(Stage::Passed), "passed"),
        (in_stage(Stage::Running), "running"),
        (in_stage(Stage::Deferred), "deferred"),
        (in_stage(Stage::Waiting), "waiting"),
    ];
    let ends = COUNTED.into_iter().flat_map(|(status, word)| {
        let before = (status == FinalStatus::Skipped).then_some((interrupted, "interrupted"));
        before.into_iter().chain([(in_status(status), word)])
    });
    let overridden = std::iter::once((report.summary.overridden, "overridden"));
    let mut after = counted(overridden.chain(ends).chain(stages));
    if report.undone {
        after.push_str("; undone since");
    }
    (before, after)
}

/// The end of a run, for standard output. Ends with a newline.
pub fn text(report: &RunReport, paint: Paint) -> String {
    let mut out = String::new();
    let problems: Vec<&ItemReport> = report
        .items
        .iter()
        .map(Box::as_ref)
        .filter(|item| is_problem(item.status) && item.status != FinalStatus::Blocked)
        .collect();
    for item in problems.iter().take(PROBLEMS_SHOWN) {
        let _ = writeln!(out, "{}", problem(report, item, paint));
    }
    if problems.len() > PROBLEMS_SHOWN {
        let _ = writeln!(out, "and {} more\n", count(problems.len() - PROBLEMS_SHOWN, "item"));
    }
    for item in report.items.iter().filter(|item| item.overridden.is_some()) {
        let why = item.overridden.as_deref().map(ToString::to_string).unwrap_or_default();
        let name = shown(item.name.as_str());
        let _ = writeln!(out, "{} {name}: {}\n", paint.paint(Tone::Notice, "overridden"), shown(&why));
    }
    for (why, items) in blocked(report) {
        let _ = writeln!(out, "{} {}: {}\n", paint.paint(Tone::Notice, "blocked"), list(items), shown(&why));
    }
    let tone = if report.exit_code == Some(0) { Tone::Good } else { Tone::Bad };
    let _ = writeln!(out, "{}", paint.paint(tone, &headline(report)));
    out.push_str(&halted(report));
    for fact in facts(report) {
        let _ = writeln!(out, "  {fact}");
    }
    let _ = writeln!(out, "{} {}", paint.paint(Tone::Strong, "Next:"), report.next);
    out
}

/// Why the run could not go on, where it could not; ends with a newline then.
pub fn halted(report: &RunReport) -> String {
    report.halted.as_ref().map_or_else(String::new, |halt| {
        format!("  the run could not go on: {}\n", block(&halt.message).replace('\n', "\n    "))
    })
}

/// Why a run did not come to its end and what to do about it, as an error is told; nothing where it did.
pub fn kept_from_its_end(report: &RunReport) -> String {
    let why = match (&report.halted, &report.interrupted) {
        (Some(halt), _) => block(&halt.message).replace('\n', "\n  "),
        (None, Some(signal)) => format!("interrupted by {}", shown(signal)),
        (None, None) => return String::new(),
    };
    format!("error: the run could not go on: {why}\n  hint: {}\n", report.next)
}

/// The blocked items, those with one reason together, in the order of their first.
fn blocked(report: &RunReport) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for item in report.items.iter().filter(|item| item.status == FinalStatus::Blocked) {
        let why = item.reason.clone().unwrap_or_default();
        match groups.iter_mut().find(|(known, _)| *known == why) {
            Some((_, items)) => items.push(item.name.to_string()),
            None => groups.push((why, vec![item.name.to_string()])),
        }
    }
    groups
}

/// One item that did not land, with its evidence; ends with a newline.
fn problem(report: &RunReport, item: &ItemReport, paint: Paint) -> String {
    let mut out = format!(
        "{} {}: {}\n",
        paint.paint(tone_of(item.status), status_words(item)),
        paint.paint(Tone::Strong, &shown(item.name.as_str())),
        shown(item.reason.as_deref().unwrap_or_default())
    );
    for line in evidence_of(report, item, paint) {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// What shows why an item did not land: what a gate left on the target, where that fails it, and on the item's own
/// tree.
pub fn evidence_of(report: &RunReport, item: &ItemReport, paint: Paint) -> Vec<String> {
    let target = ref_name(&report.target);
    let on_target = item.target_failure.iter().flat_map(|failure| evidence_on_target(&failure.run, &target, paint));
    let own = item.failure.iter().flat_map(|failure| match &item.target_failure {
        None => evidence(&failure.run, item.reproduce.as_deref(), paint),
        // Most likely it says the same.
        Some(_) => shortly(&failure.run, " with this item", item.reproduce.as_deref()),
    });
    on_target.chain(own).collect()
}

/// What an item that has come to no end has, or waits for, on another machine: `waits for a node (pool), for 12.0s`.
pub fn under_way(report: &RunReport, item: &ItemReport) -> Option<String> {
    let is_at_it = matches!(item.stage, Some(Stage::Running | Stage::Passed));
    if report.finished || report.is_dead || !is_at_it {
        return None;
    }
    let is_its = |job: &&Occupation| job.ended_at_ms.is_none() && job.items.contains(&item.name);
    let job = report.timeline.iter().map(Box::as_ref).rfind(is_its)?;
    let runtime = job.elsewhere.as_ref()?;
    if let Some(checks) = &job.unreported {
        return Some(format!("waits: {}", shown(&checks.to_string())));
    }
    let since = |at_ms: u64| duration(report.ended_at_ms.saturating_sub(at_ms));
    Some(match job.gates.last() {
        Some(gate) if gate.ended_at_ms.is_none() => {
            let node = gate.node.iter().map(|node| format!(" on {}", shown(node))).collect::<String>();
            format!("has {} running{node} ({runtime}), for {}", shown(gate.gate.as_str()), since(gate.started_at_ms))
        }
        last => {
            let asked_at_ms = last.and_then(|gate| gate.ended_at_ms).unwrap_or(job.started_at_ms);
            let why = job.held_up.iter().map(|why| format!(": {}", shown(why))).collect::<String>();
            format!("waits for a node ({runtime}), for {}{why}", since(asked_at_ms))
        }
    })
}

/// What a failed attempt left: how it ended, the end of its output, where the rest lies and how to see it again.
pub fn evidence(run: &GateFinished, reproduce: Option<&str>, paint: Paint) -> Vec<String> {
    with_tail(shortly(run, "", reproduce), run, paint)
}

/// The same of one that failed on the target, without any item.
pub fn evidence_on_target(run: &GateFinished, target: &str, paint: Paint) -> Vec<String> {
    with_tail(shortly(run, &format!(" on {target}, without any item"), None), run, paint)
}

fn with_tail(mut lines: Vec<String>, run: &GateFinished, paint: Paint) -> Vec<String> {
    let tail = tail(&run.tail, TAIL_LINES, TAIL_CELLS, "| ");
    lines.splice(1..1, tail.iter().map(|line| paint.paint(Tone::Quiet, line)));
    lines
}

/// Without its output.
fn shortly(run: &GateFinished, on: &str, reproduce: Option<&str>) -> Vec<String> {
    let nth = if run.attempt > 1 { format!(", attempt {}", run.attempt) } else { String::new() };
    let how = how_it_ended(run);
    let mut lines = vec![format!("{}{on}: {how}{nth}", shown(run.gate.as_str()))];
    if !run.log.is_empty() {
        lines.push(format!("log: {}", shown(&run.log)));
    }
    lines.extend(reproduce.map(|command| format!("reproduce: {command}")));
    lines
}

/// What else is worth knowing: where the target is, what was flaky, what held work back, what it
/// took.
pub fn facts(report: &RunReport) -> Vec<String> {
    let mut facts = Vec::new();
    let target = ref_name(&report.target);
    if report.tip != report.base {
        let pushed = report.landings.iter().rev().find_map(|landing| landing.pushed_to.as_deref());
        let also = pushed.map(|remote| format!(", also on {}", shown(remote))).unwrap_or_default();
        facts.push(format!("{target} moved from {} to {}{also}", report.base.short(), report.tip.short()));
    } else if report.landing_begun.is_none() {
        facts.push(format!("{target} was not moved by this run, which began at {}", report.base.short()));
    }
    if let Some(landing) = &report.landing_begun {
        facts.push(format!(
            "a landing was begun that moves {target} from {} to {} with {}; its end is not recorded",
            landing.from.short(),
            landing.to.short(),
            list(landing.items.iter().map(|item| item.as_str()))
        ));
    }
    facts.extend(undo::facts(report));
    if let Some(signal) = &report.interrupted {
        let cut_short: Vec<&str> =
            report.items.iter().filter(|item| item.interrupted).map(|item| item.name.as_str()).collect();
        let running = match cut_short.as_slice() {
            [] => String::new(),
            names => format!(" while gates were running for {}", list(names)),
        };
        facts.push(format!("interrupted by {}{running}", shown(signal)));
    }
    let receipts: Vec<&str> = report.landings.iter().filter_map(|landing| landing.receipt.as_deref()).collect();
    match receipts.as_slice() {
        [] => {}
        [one] => facts.push(format!("receipt: {}", shown(one))),
        [.., last] => facts.push(format!("{}, the last: {}", count(receipts.len(), "receipt"), shown(last))),
    }
    for seen in &report.target_moves {
        facts.push(format!("somebody else moved {target} from {} to {}", seen.from.short(), seen.to.short()));
    }
    let flaky = flaky_gates(report);
    if !flaky.is_empty() {
        facts.push(format!("flaky (failed and passed on one tree): {}", list(flaky)));
    }
    let reused = &report.summary.verdicts_reused;
    if reused.gates > 0 {
        let took = if reused.duration_ms > 0 {
            format!(", which took {} there", duration(reused.duration_ms))
        } else {
            String::new()
        };
        let gates = count(usize::try_from(reused.gates).unwrap_or(usize::MAX), "gate");
        facts.push(format!("{gates} not run: their passes are known from earlier runs{took}"));
    }
    for (gate, missing) in &report.missing_artifacts {
        facts.push(format!("missing artifacts of {}: {}", shown(gate.as_str()), list(missing)));
    }
    let throttling = &report.throttling;
    if throttling.times > 0 {
        let threshold = throttling.threshold_bytes.map(|limit| format!(" of {}", bytes(limit))).unwrap_or_default();
        facts.push(format!(
            "the memory threshold{threshold} held work back {}, {} in all",
            count(usize::try_from(throttling.times).unwrap_or(usize::MAX), "time"),
            duration(throttling.waited_ms)
        ));
    }
    facts.extend(report.limits.iter().map(limit));
    let concurrency = &report.summary.concurrency;
    if concurrency.peak_workers > 0 {
        let memory = report.summary.peak_memory_bytes.map(|peak| format!("; peak memory {}", bytes(peak)));
        facts.push(format!(
            "{} at most at once (limit {}), {:.1} on average{}",
            count(concurrency.peak_workers as usize, "worker"),
            concurrency.max_workers,
            concurrency.mean_workers,
            memory.unwrap_or_default()
        ));
    }
    if concurrency.peak_elsewhere > 0 {
        facts.push(format!("{} elsewhere at most at once", count(concurrency.peak_elsewhere as usize, "gate")));
    }
    facts.extend(report.runtimes.iter().filter(|runtime| runtime.attempts > 0).map(runtime));
    facts.extend(concurrency.pool.as_ref().map(Resizing::fact));
    facts
}

/// `pool ran 24 gates: 12 on w1, 12 on w2; queued 0.4s on average, 1.2s at most`.
fn runtime(runtime: &RuntimeReport) -> String {
    let ran = usize::try_from(runtime.attempts).unwrap_or(usize::MAX);
    let mut fact = format!("{} ran {}", shown(runtime.name.as_str()), count(ran, "gate"));
    match runtime.images.as_slice() {
        [] => {}
        [image] => {
            let _ = write!(fact, " in {}", image_words(&image.name, image.id.as_deref()));
        }
        images => {
            let _ = write!(fact, " in {}", count(images.len(), "image"));
        }
    }
    if !runtime.nodes.is_empty() {
        let mut nodes: Vec<_> = runtime.nodes.iter().collect();
        nodes.sort_by(|(left, _), (right, _)| natural_cmp(left, right));
        let _ = write!(fact, ": {}", list(nodes.iter().map(|(node, attempts)| format!("{attempts} on {node}"))));
    }
    if let Some(queued) = runtime.queued {
        let average = duration(queued.total_ms / runtime.attempts.max(1));
        let _ = write!(fact, "; queued {average} on average, {} at most", duration(queued.most_ms));
    }
    if runtime.infrastructure_failures > 0 {
        let _ = write!(fact, "; {} could not be run", runtime.infrastructure_failures);
    }
    fact
}

/// What a named limit held back, and what that cost.
fn limit(held: &LimitReport) -> String {
    let (name, times) = (limit_name(&held.limit), count(usize::try_from(held.times).unwrap_or(usize::MAX), "time"));
    let took = duration(held.held_ms);
    match held.why {
        HeldBy::Use => format!("the limit on {name} held work back {times}, {took} in all"),
        HeldBy::Pacing => format!("the pace of {name} held work back {times}, {took} in all"),
        HeldBy::RateLimit => format!("{name} was rate limited: nothing of it could begin {times}, {took} in all"),
    }
}

/// What a limit is on, safe to show.
pub fn limit_name(limit: &LimitOn) -> String {
    shown(&limit.to_string()).into_owned()
}

/// `unit on auth`, for every gate that was seen to fail and pass on one tree; `unit` where that was no item's.
pub(super) fn flaky_gates(report: &RunReport) -> Vec<String> {
    let on_items = || {
        report
            .items
            .iter()
            .flat_map(|item| item.gates.iter().filter(|gate| gate.flaky).map(move |gate| (&gate.name, &item.name)))
    };
    let told: BTreeSet<&GateName> = on_items().map(|(gate, _)| gate).collect();
    let elsewhere = report.flaky_gates.iter().filter(|gate| !told.contains(gate)).map(ToString::to_string);
    on_items().map(|(gate, item)| format!("{gate} on {item}")).chain(elsewhere).collect()
}

/// The one thing to do next.
pub fn next_step(report: &RunReport) -> String {
    let target = ref_name(&report.target);
    let again = "then run the same command again: what has landed is recognised";
    let run = shown(report.run.as_str());
    if report.undo_begun.is_some() {
        return format!("finish the undo: `lexpr undo {run}`.");
    }
    if report.undone {
        return format!(
            "run the plan again to land its items anew; as long as {target} is where the undo left it, \
             `lexpr undo {run}` undoes the undo and brings them back."
        );
    }
    if let Some(halt) = &report.halted {
        let first = match (&halt.advice, halt.why) {
            (Some(advice), _) => shown(advice).into_owned(),
            (None, HaltReason::TargetNotMovable) => format!("see to what keeps {target} from being moved"),
            (None, HaltReason::TargetKeepsMoving) => format!("wait until {target} is moved less often"),
            (None, HaltReason::Infrastructure) => match only_troubled_runtime(report) {
                Some(runtime) => see_to(report, runtime),
                None => "see to what went wrong there".to_owned(),
            },
        };
        return format!("{first}, then `lexpr resume {}`.", report.run);
    }
    if report.is_dead {
        return format!("`lexpr resume {}` goes on with it.", report.run);
    }
    if !report.finished {
        return "wait for the run to end.".to_owned();
    }
    if report.interrupted.is_some() {
        return format!("`lexpr resume {}` goes on with it.", report.run);
    }
    if let Some(gate) = report.red_on_target.iter().find(|gate| !report.repaired_on_target.contains(gate)) {
        if report.exit_code == Some(0) {
            return format!("make {} pass on {target}, where it is red now.", shown(gate.as_str()));
        }
        let gate = shown(gate.as_str());
        let repair = if report.items.iter().any(|item| was_let_go(item)) {
            let try_one = format!("lexpr gate run ITEM {}", shell_word(&gate));
            format!(", or give the item that repairs it the highest `priority` (`{try_one}` tries one)")
        } else {
            String::new()
        };
        return format!("make {gate} pass on {target} itself{repair}, {again}.");
    }
    let first = |status| report.items.iter().find(|item| item.status == status);
    let all_but_one = |status| report.items.iter().filter(|item| item.status == status).skip(1).count();
    let was_red = |item: &&ItemReport| matches!(item.because, Some(Reason::RedOnTarget { .. }));
    if let unjudged @ 1.. = report.items.iter().map(Box::as_ref).filter(was_red).count() {
        let gates = list(report.repaired_on_target.iter().map(GateName::as_str));
        let whose = count(unjudged, "unjudged item");
        return format!("run the same command again for {whose}: what landed since made {gates} pass on {target}.");
    }
    if let Some(item) = first(FinalStatus::Failed) {
        let log = item.failure.as_ref().map(|failure| format!(" ({})", shown(&failure.run.log))).unwrap_or_default();
        let more = all_but_one(FinalStatus::Failed);
        let others = if more > 0 { format!(" and {} that failed", count(more, "other")) } else { String::new() };
        return format!("fix {}{log}{others}, {again}.", shown(item.name.as_str()));
    }
    if let Some(item) = first(FinalStatus::Conflicted) {
        let with = match &item.because {
            Some(Reason::Conflict { conflict, .. }) => conflict.with.as_ref(),
            _ => None,
        };
        let onto = with.map_or_else(|| target.into_owned(), |other| shown(other.as_str()).into_owned());
        let more = all_but_one(FinalStatus::Conflicted);
        let others =
            if more > 0 { format!(", and see to {} that met others", count(more, "item")) } else { String::new() };
        let name = shown(item.name.as_str());
        return format!("resolve the conflict of {name} with {onto} on its branch{others}, {again}.");
    }
    if let Some(runtime) = first(FinalStatus::Unjudged).and_then(|item| runtime_in_the_way(report, item)) {
        return format!("{}, {again}.", see_to(report, runtime));
    }
    if let Some(item) = first(FinalStatus::Unjudged).or_else(|| first(FinalStatus::Blocked)) {
        let why = shown(item.reason.as_deref().unwrap_or_default());
        return format!("look at {} ({why}), {again}.", shown(item.name.as_str()));
    }
    if first(FinalStatus::NotLanded).or_else(|| first(FinalStatus::Skipped)).is_some() {
        return "run the same command again: what has landed is recognised.".to_owned();
    }
    if report.summary.successful == 0 {
        return format!("nothing: everything in the plan is in {target} already.");
    }
    if report.push.is_none() {
        format!("nothing is left to land; push {target} when you like.")
    } else {
        "nothing is left to land.".to_owned()
    }
}

/// What could not run a gate of the item, for want of which it is not judged; `None`: this machine's shell, or nobody knows.
fn runtime_in_the_way<'a>(report: &'a RunReport, item: &'a ItemReport) -> Option<&'a RuntimeName> {
    let Some(Reason::Infrastructure { gate, .. }) = &item.because else { return None };
    let own = item.gates.iter().find(|own| own.name == *gate);
    match own {
        Some(own) => own.runtime.as_ref().map(|runtime| &runtime.name),
        None => only_troubled_runtime(report),
    }
}

fn only_troubled_runtime(report: &RunReport) -> Option<&RuntimeName> {
    let mut troubled = report.runtimes.iter().filter(|runtime| runtime.infrastructure_failures > 0);
    troubled.next().filter(|_| troubled.next().is_none()).map(|runtime| &runtime.name)
}

fn see_to(report: &RunReport, runtime: &RuntimeName) -> String {
    let name = shown(runtime.as_str());
    // A plan that came by standard input is none that could be named.
    let plan = if report.plan == "-" { String::new() } else { format!(" --plan {}", shell_word(&shown(&report.plan))) };
    format!(
        "see to the runtime {name}, which could not run gates (`lexpr doctor --runtime {}{plan}` tries it)",
        shell_word(&name)
    )
}

/// The target fails a gate of the item, and no tree with the item was gated: it may be the one that repairs that.
pub fn was_let_go(item: &ItemReport) -> bool {
    matches!(item.because, Some(Reason::RedOnTarget { .. })) && item.failure.is_none() && item.cone.is_none()
}

/// Something that a person has to look at.
pub fn is_problem(status: FinalStatus) -> bool {
    match status {
        FinalStatus::Failed | FinalStatus::Conflicted | FinalStatus::Blocked | FinalStatus::Unjudged => true,
        FinalStatus::Landed | FinalStatus::AlreadyLanded | FinalStatus::Skipped | FinalStatus::NotLanded => false,
    }
}

/// The item's status as two words at most: `not landed`.
pub fn status_words(item: &ItemReport) -> &'static str {
    match item.status {
        FinalStatus::Landed if item.overridden.is_some() => "overridden",
        FinalStatus::Skipped if item.interrupted => "interrupted",
        FinalStatus::AlreadyLanded => "landed before",
        FinalStatus::NotLanded => "not landed",
        other => other.word(),
    }
}

/// What the item is by now: how far it has come, or its status where that is its end.
pub fn state_words(item: &ItemReport) -> &'static str {
    match item.stage {
        None | Some(Stage::Done) => status_words(item),
        Some(Stage::Waiting) if item.gates.iter().any(|gate| gate.attempt == Some(OpenAttempt::CutOff)) => "cut off",
        Some(Stage::Waiting) => "waiting",
        Some(Stage::Running) => "running",
        Some(Stage::Passed) => "passed",
        Some(Stage::Deferred) => "deferred",
    }
}

pub fn tone_of(status: FinalStatus) -> Tone {
    match status {
        FinalStatus::Landed => Tone::Good,
        FinalStatus::AlreadyLanded => Tone::Quiet,
        FinalStatus::Failed | FinalStatus::Conflicted => Tone::Bad,
        FinalStatus::Blocked | FinalStatus::Skipped | FinalStatus::Unjudged | FinalStatus::NotLanded => Tone::Notice,
    }
}
