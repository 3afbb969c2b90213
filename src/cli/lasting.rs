//! What a run takes from earlier ones and leaves to later ones: verdicts, under keys that hold what the
//! machine said of itself.

use std::path::PathBuf;
use std::sync::Arc;

use super::failure::Failure;
use super::prepare::Prepared;
use super::speak;
use crate::clock::SystemClock;
use crate::engine::Past;
use crate::gate::{FingerprintError, LocalGates};
use crate::plan::Policy;
use crate::runs::RunFolder;
use crate::verdicts::folder::Folder;
#[cfg(feature = "shared-cache")]
use crate::verdicts::shared::SharedPlace;
use crate::verdicts::{Elsewhere, Settings, Stats, Verdicts};
use crate::vocabulary::event::Event;
use crate::vocabulary::verdict::Fingerprint;

pub(super) struct Lasting {
    /// What the run's keys have: what the machine said when the run began.
    pub fingerprint: Option<Fingerprint>,
    /// `None` where verdicts are not to outlast the run.
    pub verdicts: Option<Arc<Verdicts>>,
}

/// Asks the machine for its fingerprint, where the plan does.
///
/// # Errors
/// Where it gives none.
pub(super) async fn open(
    prepared: &Prepared,
    folder: &RunFolder,
    gates: &LocalGates,
    past: Option<&Past>,
) -> Result<Lasting, Failure> {
    let begun_with = past.map(recorded);
    if !prepared.policy.performance.caching {
        return Ok(Lasting { fingerprint: begun_with.flatten(), verdicts: None });
    }
    let now = take(prepared, gates).await?;
    let fingerprint = begun_with.unwrap_or_else(|| now.clone());
    // What gates find on this machine is not what the run's keys would say of it.
    if fingerprint != now {
        let shown = |print: &Option<Fingerprint>| print.as_ref().map_or("nothing", |print| &print.shown).to_owned();
        speak::note(&format!(
            "policy.fingerprint said {:?} when the run began, and says {:?} now: no verdict is taken from other runs or \
             left to them\n",
            shown(&fingerprint),
            shown(&now)
        ));
        return Ok(Lasting { fingerprint, verdicts: None });
    }
    let verdicts = verdicts(prepared, Some(folder.logs()), folder.journal(), elsewhere(prepared)?);
    Ok(Lasting { fingerprint, verdicts: Some(Arc::new(verdicts)) })
}

async fn take(prepared: &Prepared, gates: &LocalGates) -> Result<Option<Fingerprint>, Failure> {
    let Some(command) = &prepared.policy.fingerprint else { return Ok(None) };
    let taken = gates.fingerprint(command, prepared.target.commit, prepared.target.tree).await;
    taken.map(Some).map_err(|error| match error {
        FingerprintError::Failed { .. } => Failure::internal(error.to_string())
            .with_hint("see that it works where gates run, or leave `policy.fingerprint` out"),
        FingerprintError::Port(source) => Failure { hint: source.hint.clone(), ..Failure::internal(source.message) },
    })
}

fn recorded(past: &Past) -> Option<Fingerprint> {
    match &past.events.first()?.event {
        Event::RunStarted(started) => started.fingerprint.clone(),
        _ => None,
    }
}

/// What earlier runs know, only to be looked at.
pub(super) fn look(prepared: &Prepared) -> Option<Arc<Verdicts>> {
    // No other machine is waited for.
    can_be_looked_at(&prepared.policy).then(|| Arc::new(verdicts(prepared, None, PathBuf::new(), None)))
}

/// Not where verdicts depend on what a command says of the machine: none is started for that.
pub(super) fn can_be_looked_at(policy: &Policy) -> bool {
    policy.performance.caching && policy.fingerprint.is_none()
}

/// The place that the plan shares with other machines.
#[cfg(feature = "shared-cache")]
fn elsewhere(prepared: &Prepared) -> Result<Option<Arc<dyn Elsewhere>>, Failure> {
    let Some(place) = &prepared.policy.cache else { return Ok(None) };
    let password = std::env::var("LEXPR_CACHE_PASSWORD").ok();
    let opened = SharedPlace::open(place, password.as_deref(), prepared.policy.performance.cache_ttl);
    opened.map(|place| Some(Arc::new(place) as _)).map_err(|error| Failure::usage(error.to_string()))
}

/// `check` refuses a plan that has one.
#[cfg(not(feature = "shared-cache"))]
#[expect(clippy::unnecessary_wraps, reason = "as where there may be one")]
fn elsewhere(_: &Prepared) -> Result<Option<Arc<dyn Elsewhere>>, Failure> {
    Ok(None)
}

fn verdicts(
    prepared: &Prepared,
    logs: Option<PathBuf>,
    journal: PathBuf,
    elsewhere: Option<Arc<dyn Elsewhere>>,
) -> Verdicts {
    let performance = &prepared.policy.performance;
    let settings = Settings {
        folder: Folder::of(prepared.repo.common_dir()),
        ttl: performance.cache_ttl,
        limit_bytes: performance.cache_max_bytes,
        logs,
        journal,
    };
    Verdicts::new(settings, Arc::new(SystemClock::new()), elsewhere)
}

/// Waits until all is remembered that is to be, and says what could not be.
pub(super) fn close(verdicts: &Verdicts) -> Stats {
    if let Some(trouble) = verdicts.close() {
        speak::note(&format!("not all verdicts are remembered for later runs: {trouble}\n"));
    }
    verdicts.stats()
}
