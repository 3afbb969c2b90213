//! Checks that a plan names and that nothing reports as where the target is: whoever misspelled one is told before gates wait
//! for it.

use std::time::Duration;

use super::prepare::Prepared;
use super::speak;
use crate::gate::elsewhere::GatesElsewhere;
use crate::git::repo::Target;
use crate::plan::ci_service::{CiJudge, CiService};
use crate::plan::runtime::Runtime;
use crate::vocabulary::event::MissingChecks;
use crate::wording::{list, shown};

/// A run does not wait longer for what it only would like to know.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the services of the run's gates. Nothing is said where one does not answer, which its gates will tell, nor where nothing
/// at all has reported on the target's commit: then nothing can be told of the names.
pub(super) async fn tell(prepared: &Prepared, gates: &GatesElsewhere) {
    let mut asked: Vec<&CiService> = Vec::new();
    let to_land = prepared.graph.indices().zip(&*prepared.lined_up).filter(|(_, item)| item.already_landed.is_none());
    for gate in to_land.flat_map(|(ix, _)| prepared.graph.gates(ix)) {
        if let Runtime::CiService(service) = &gate.runtime
            && matches!(service.judge, CiJudge::Checks { .. })
            && !asked.contains(&&**service)
        {
            asked.push(service);
        }
    }
    for service in asked {
        let ci = gates.service(&service.policy);
        let looked = tokio::time::timeout(PATIENCE, ci.inspect(&service.judge, prepared.target.commit)).await;
        let Ok(Ok(inspection)) = looked else { continue };
        if let Some(unreported) = inspection.unreported.filter(|unreported| !unreported.present.is_empty()) {
            let found = unreported_on(&unreported, &prepared.target);
            let runtime = shown(service.runtime.as_str());
            speak::note(&format!(
                "{runtime}: {found}; gates wait for them in vain unless something does on their branches\n"
            ));
        }
    }
}

/// `nothing reports as "biuld" on main at 0123456789; there are: build, lint`
pub(super) fn unreported_on(checks: &MissingChecks, target: &Target) -> String {
    let quoted = |name: &String| format!("`{}`", shown(name));
    let commit = target.commit.to_string();
    let more = if checks.more > 0 { format!(" and {} more", checks.more) } else { String::new() };
    let present =
        if checks.present.is_empty() { "none".to_owned() } else { shown(&list(&checks.present)).into_owned() };
    format!(
        "nothing reports as {} on {} at {}; there are: {present}{more}",
        list(checks.missing.iter().map(quoted)),
        shown(target.short_name()),
        &commit[..10],
    )
}
