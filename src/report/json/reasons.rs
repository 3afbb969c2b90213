//! Why an item is what it is, in a sentence: of a run that goes on what an item waits for, and nothing of an end that
//! neither has come to.

use crate::report::view::{ItemView, RunView, Stage};
use crate::vocabulary::event::{FinalStatus, Reason};
use crate::vocabulary::names::ItemName;
use crate::wording::list;

const LANDING_IS_OPEN: &str = "its landing was begun, and what became of that is not recorded";

pub(super) fn of(view: &RunView, item: &ItemView, status: FinalStatus, because: Option<&Reason>) -> Option<String> {
    let stage = view.stage(item);
    if stage != Stage::Done {
        return of_open(view, item, stage);
    }
    let given = || because.map(ToString::to_string);
    match status {
        FinalStatus::Landed => view.overridden(item).map(ToString::to_string),
        FinalStatus::AlreadyLanded => {
            let before = item.lined_up.already_landed.clone();
            before.or_else(|| Some("others had landed it when its turn came".to_owned()))
        }
        FinalStatus::NotLanded if is_landing(view, item) => Some(LANDING_IS_OPEN.to_owned()),
        FinalStatus::NotLanded => Some("it passed, but the run ended before it could land".to_owned()),
        FinalStatus::Skipped if item.interrupted => {
            Some("its gates were running when the run was interrupted".to_owned())
        }
        FinalStatus::Skipped if item.started_at_ms.is_some() => {
            Some("its gates had run, but the run ended before it was judged".to_owned())
        }
        FinalStatus::Skipped => Some("the run ended before its turn came".to_owned()),
        FinalStatus::Unjudged => given().or_else(|| item.deferred.as_ref().map(ToString::to_string)),
        FinalStatus::Failed | FinalStatus::Conflicted | FinalStatus::Blocked => given(),
    }
}

/// Of one that has not come to its end.
fn of_open(view: &RunView, item: &ItemView, stage: Stage) -> Option<String> {
    if stage == Stage::Deferred {
        return item.deferred.as_ref().map(ToString::to_string);
    }
    let cut_off = match (view.is_dead, &view.halted) {
        (true, _) => Some("was cut off"),
        (false, Some(_)) => Some("was stopped"),
        (false, None) => None,
    };
    match (stage, cut_off) {
        (Stage::Passed, Some(_)) if is_landing(view, item) => Some(LANDING_IS_OPEN.to_owned()),
        (Stage::Passed, Some(how)) => Some(format!("the run {how} before it could land")),
        (_, Some(how)) if item.started_at_ms.is_some() => Some(format!("the run {how} while it was being judged")),
        (_, Some(how)) => Some(format!("the run {how} before its gates began")),
        (Stage::Waiting, None) => Some(waits_for(view, item)),
        // Its state says it all.
        (_, None) => None,
    }
}

fn is_landing(view: &RunView, item: &ItemView) -> bool {
    view.landing_begun().is_some_and(|landing| landing.items.contains(&item.lined_up.name))
}

fn waits_for(view: &RunView, item: &ItemView) -> String {
    let is_open = |dep: &&ItemName| {
        let stage = view.item(dep).map(|dep| view.stage(dep));
        matches!(stage, Some(Stage::Waiting | Stage::Running | Stage::Deferred))
    };
    let open: Vec<&str> = item.lined_up.deps.iter().filter(is_open).map(ItemName::as_str).collect();
    if open.is_empty() { "waits for its turn".to_owned() } else { format!("waits for {}", list(open)) }
}
