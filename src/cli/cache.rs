//! `lexpr cache`: what is remembered of gates, and why one had to run although others had.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::failure::Failure;
use super::prepare::{self, Prepared};
use super::{CacheArgs, CacheCommand, CheckFormat, ExplainArgs, conduct, resume, speak, status};
use crate::clock::SystemClock;
use crate::core::judge;
use crate::git::repo::UserRepo;
use crate::plan::graph::ItemIx;
use crate::plan::{Gate, Landing};
use crate::ports::Clock as _;
use crate::runs;
use crate::verdicts::entry::Entry;
use crate::verdicts::folder::Folder;
use crate::verdicts::{self, Totals};
use crate::vocabulary::event::{CompositePurpose, Event, Recorded, RunStarted};
use crate::vocabulary::names::{CommitId, GroupId, RunId, TreeId, VerdictKey};
use crate::vocabulary::verdict::{Difference, KeyParts};
use crate::wording::{Paint, Tone, ago, bytes, count, shown};

/// Runs the command.
///
/// # Errors
/// Where there is no repository, no such run, gate or item, or the disk fails.
pub fn run(args: &CacheArgs) -> Result<u8, Failure> {
    match &args.command {
        CacheCommand::Stats(args) => {
            let stats = stats(&Folder::of(UserRepo::open(&args.repository.repo)?.common_dir()))?;
            tell(args.format, &stats, stats_text)
        }
        CacheCommand::Clear(args) => {
            let folder = Folder::of(UserRepo::open(&args.repository.repo)?.common_dir());
            let (entries, freed_bytes) = folder.clear().map_err(|error| unreadable(&folder, &error))?;
            tell(args.format, &Cleared { entries, freed_bytes }, cleared_text)
        }
        CacheCommand::Explain(args) => tell(args.format, &explain(args)?, explanation_text),
    }
}

fn tell<T: Serialize>(format: CheckFormat, what: &T, text: impl Fn(&T, Paint) -> String) -> Result<u8, Failure> {
    match format {
        CheckFormat::Text => speak::result(&text(what, Paint::for_stream(&std::io::stdout())))?,
        CheckFormat::Json => {
            let json = serde_json::to_string_pretty(what).expect("it is made of strings and numbers");
            speak::result(&format!("{json}\n"))?;
        }
    }
    Ok(0)
}

fn unreadable(folder: &Folder, error: &std::io::Error) -> Failure {
    Failure::io("reading", folder.path(), error)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheStats {
    folder: String,
    entries: u64,
    size_bytes: u64,
    /// When the newest was used last, and the one that goes first, in milliseconds since the Unix epoch.
    newest_use_ms: Option<u64>,
    oldest_use_ms: Option<u64>,
    /// Of all runs that have ended.
    #[serde(flatten)]
    totals: Totals,
    /// 0 to 1; `null` where nothing was asked.
    hit_rate: Option<f64>,
}

fn stats(folder: &Folder) -> Result<CacheStats, Failure> {
    let stored = folder.list().map_err(|error| unreadable(folder, &error))?;
    let used = stored.iter().map(|one| {
        let since_epoch = one.last_used.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    });
    let totals = verdicts::totals(folder);
    Ok(CacheStats {
        folder: folder.path().display().to_string(),
        entries: stored.len() as u64,
        size_bytes: stored.iter().map(|one| one.bytes).sum(),
        newest_use_ms: used.clone().max(),
        oldest_use_ms: used.min(),
        hit_rate: totals.hit_rate(),
        totals,
    })
}

fn stats_text(stats: &CacheStats, paint: Paint) -> String {
    let now_ms = SystemClock::new().now_ms();
    let mut out = format!(
        "{} in {}\n",
        paint.paint(Tone::Strong, &count(as_usize(stats.entries), "verdict")),
        shown(&stats.folder)
    );
    let limit = match stats.totals.limit_bytes {
        0 => String::new(),
        limit => format!(" of at most {}", bytes(limit)),
    };
    let _ = writeln!(out, "  size     {}{limit}", bytes(stats.size_bytes));
    if let (Some(newest), Some(oldest)) = (stats.newest_use_ms, stats.oldest_use_ms) {
        let _ = writeln!(out, "  used     {}; the one that goes first {}", ago(now_ms, newest), ago(now_ms, oldest));
    }
    let Totals { hits, misses, sets, deletes, evictions, .. } = stats.totals;
    let rate = stats.hit_rate.map_or_else(String::new, |rate| format!(" ({:.0} %)", 100.0 * rate));
    let _ = writeln!(out, "  asked    {} by all runs: {hits} known{rate}, {misses} not", hits + misses);
    let _ = writeln!(out, "  changed  {sets} added, {evictions} gone for lack of room, {deletes} damaged and removed");
    out
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cleared {
    entries: u64,
    freed_bytes: u64,
}

fn cleared_text(cleared: &Cleared, _: Paint) -> String {
    match cleared.entries {
        0 => "nothing is remembered\n".to_owned(),
        entries => {
            format!("{} forgotten, {} came free\n", count(as_usize(entries), "verdict"), bytes(cleared.freed_bytes))
        }
    }
}

/// How a gate of a run came to its verdict, and what was known when it did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    gate: String,
    item: String,
    run: RunId,
    key: VerdictKey,
    tree: TreeId,
    outcome: Outcome,
    /// The verdict that is nearest to the run's, of all that are remembered and not its own; `null`
    /// where there is none of this gate.
    nearest: Option<Nearest>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "how", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Outcome {
    /// It was known from an earlier run.
    Reused {
        from: RunId,
    },
    Ran,
    NotJudged,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Nearest {
    key: VerdictKey,
    run: RunId,
    at_ms: u64,
    /// It is older than the plan lets a verdict be.
    is_out_of_date: bool,
    /// In what it is another one; none where it is the very same.
    differs: Vec<Difference>,
}

fn explain(args: &ExplainArgs) -> Result<Explanation, Failure> {
    let repo = UserRepo::open(&args.repository.repo)?;
    let folder = runs::find(repo.common_dir(), args.run.as_deref()).map_err(status::not_found)?;
    let (past, started) = resume::read(&folder)?;
    let text = std::fs::read(folder.plan()).map_err(|error| Failure::io("reading", &folder.plan(), &error))?;
    let verdicts = Folder::of(repo.common_dir());
    let (prepared, _) = prepare::again(&text, repo, &started, None)?;
    let (item, gate) = find(&prepared, args)?;
    let (parts, subject_of) = parts(&prepared, &started, &past.events, item, gate).ok_or_else(|| {
        Failure::usage(format!(
            "run {} came to no tree on which gate {} of {} could be judged",
            started.run, args.gate, args.item
        ))
    })?;
    let key = parts.key();
    let ran = |event: &Event| matches!(event, Event::GateFinished(finished) if finished.key == key && finished.verdict.is_some());
    let reused = past.events.iter().find_map(|recorded| match &recorded.event {
        Event::VerdictReused { key: reused, from, .. } if *reused == key => Some(from.clone()),
        _ => None,
    });
    let outcome = match reused {
        _ if past.events.iter().any(|recorded| ran(&recorded.event)) => Outcome::Ran,
        Some(from) => Outcome::Reused { from },
        None => Outcome::NotJudged,
    };
    let ended_ms = past.events.last().map_or(0, |last| last.at_ms);
    let nearest = nearest(&verdicts, &parts, &started.run, ended_ms)?.map(|(key, run, at_ms, differs)| Nearest {
        key,
        run,
        at_ms,
        is_out_of_date: !verdicts::is_in_time(at_ms, ended_ms, prepared.policy.performance.cache_ttl),
        differs,
    });
    Ok(Explanation {
        gate: args.gate.clone(),
        item: args.item.clone(),
        run: started.run,
        key,
        tree: subject_of,
        outcome,
        nearest,
    })
}

fn find<'a>(prepared: &'a Prepared, args: &ExplainArgs) -> Result<(ItemIx, &'a Gate), Failure> {
    let graph = &prepared.graph;
    let item = graph
        .find(&args.item.as_str().into())
        .ok_or_else(|| Failure::usage(format!("the run's plan has no item {:?}", args.item)))?;
    let gates = graph.gates(item);
    let gate = gates.iter().find(|gate| gate.name.as_str() == args.gate).ok_or_else(|| {
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Failure::usage(format!("{} has no gate {:?}", args.item, args.gate))
            .with_hint(format!("it has {}", crate::wording::list(names)))
    })?;
    Ok((item, gate))
}

/// What the key of a gate of an item is made of, by the run's journal, and the tree; `None` where the
/// run made none for it.
fn parts(
    prepared: &Prepared,
    started: &RunStarted,
    events: &[Recorded],
    item: ItemIx,
    gate: &Gate,
) -> Option<(KeyParts, TreeId)> {
    let (base, tree) = events.iter().rev().find_map(|recorded| match &recorded.event {
        Event::Composed(composed) => {
            let is_its_group = |of: GroupId| {
                let name = prepared.graph.name(item);
                let formed = |event: &Event| matches!(event, Event::GroupFormed { group, items, .. } if *group == of && items.contains(name));
                gate.at.cone && events.iter().any(|recorded| formed(&recorded.event))
            };
            let is_it = match composed.purpose {
                CompositePurpose::Group { group } => is_its_group(group),
                _ => is_of(prepared, item, gate, &composed.purpose, composed.steps.iter().map(|step| step.item.as_str())),
            };
            is_it.then_some((composed.base, composed.tree))
        }
        _ => None,
    })?;
    let subject = match gate.inputs {
        None => judge::whole_tree(tree),
        Some(_) => events.iter().find_map(|recorded| match &recorded.event {
            Event::InputsDigested { tree: of, definition, subject }
                if *of == tree && *definition == gate.definition =>
            {
                Some(*subject)
            }
            _ => None,
        })?,
    };
    let context: Option<(_, CommitId)> = gate.context.then(|| (prepared.graph.name(item).clone(), base));
    let surroundings = conduct::surroundings(&prepared.policy, started.fingerprint.clone());
    Some((KeyParts { gate: gate.parts(), subject, tree, context, surroundings }, tree))
}

/// Whether a composite is where the item's gate is judged: its cone or, for one that runs on apexes
/// alone and where there are no cones, an apex that has the item, or where it would stand in the train.
fn is_of<'a>(
    prepared: &Prepared,
    item: ItemIx,
    gate: &Gate,
    purpose: &CompositePurpose,
    mut members: impl Iterator<Item = &'a str>,
) -> bool {
    let name = prepared.graph.name(item);
    match purpose {
        CompositePurpose::Cone { item } => gate.at.cone && item == name,
        CompositePurpose::Apex { .. } => {
            let has_cones = prepared.policy.landing == Landing::Pyramid;
            !(gate.at.cone && has_cones) && members.any(|member| member == name.as_str())
        }
        CompositePurpose::Train { item } => gate.at.apex && item == name,
        CompositePurpose::Without { .. } | CompositePurpose::Group { .. } => false,
    }
}

type Known = (VerdictKey, RunId, u64, Vec<Difference>);

/// Of the verdicts that other runs had left by then, the one that differs in the fewest parts, the newest
/// of several.
fn nearest(verdicts: &Folder, parts: &KeyParts, run: &RunId, ended_ms: u64) -> Result<Option<Known>, Failure> {
    let key = parts.key();
    if let Some(Entry { run: own, replaced: Some((before, at_ms)), .. }) = verdicts::peek(verdicts, key)
        && own == *run
    {
        return Ok(Some((key, before, at_ms, Vec::new())));
    }
    let stored = verdicts.list().map_err(|error| unreadable(verdicts, &error))?;
    let entries = stored.iter().filter_map(|one| verdicts::peek(verdicts, one.key));
    // One of a gate that shares neither name nor command says nothing.
    let is_akin = |entry: &Entry| {
        let (then, now) = (&entry.parts.gate, &parts.gate);
        then.name == now.name || then.run == now.run
    };
    let of_others = entries.filter(|entry| entry.run != *run && entry.at_ms <= ended_ms && is_akin(entry));
    let known =
        of_others.map(|entry| (entry.parts.key(), entry.run.clone(), entry.at_ms, parts.differences(&entry.parts)));
    Ok(known.min_by_key(|(_, _, at_ms, differs)| (differs.len(), std::cmp::Reverse(*at_ms))))
}

fn explanation_text(explanation: &Explanation, paint: Paint) -> String {
    let now_ms = SystemClock::new().now_ms();
    let Explanation { gate, item, run, key, tree, outcome, nearest } = explanation;
    let what = paint.paint(Tone::Strong, &format!("{} on {}", shown(gate), shown(item)));
    let how = match outcome {
        Outcome::Reused { from } => format!("was known from run {}", shown(from.as_str())),
        Outcome::Ran => "ran".to_owned(),
        Outcome::NotJudged => "was not judged".to_owned(),
    };
    let mut out = format!("{what} {how} in run {}\n  key      {key} (tree {})\n", shown(run.as_str()), tree.short());
    let Some(nearest) = nearest else {
        out.push_str("  nothing is remembered of this gate from any other run\n");
        return out;
    };
    let _ = writeln!(
        out,
        "  nearest  {} of run {}, {}",
        nearest.key,
        shown(nearest.run.as_str()),
        ago(now_ms, nearest.at_ms)
    );
    if nearest.is_out_of_date {
        let _ = writeln!(out, "           by then older than `cacheTTLSeconds` lets a verdict be");
    }
    if nearest.differs.is_empty() {
        let _ = writeln!(out, "           it is the same in every part");
    }
    for Difference { part, then, now } in &nearest.differs {
        let _ = writeln!(out, "  differs  {}: {} then, {} here", shown(part), shown(then), shown(now));
    }
    out
}
