//! Variables of lexpr's environment that CI services are shown something from: one that holds nothing is told before a run, and
//! not by every gate of it.

use super::failure::Failure;
use super::prepare::Prepared;
use super::speak;
use crate::gate::elsewhere::ci;
use crate::plan::Gate;
use crate::wording::{count, shown};

/// # Errors
/// Where a gate that may have to run lacks one.
pub(super) fn refuse_without(prepared: &Prepared) -> Result<(), Failure> {
    match missing(prepared).as_slice() {
        [] => Ok(()),
        [first, more @ ..] => {
            let others =
                if more.is_empty() { String::new() } else { format!(", and {} like it", count(more.len(), "other")) };
            Err(Failure::usage(format!("{first}{others}"))
                .with_hint("set it in the environment that lexpr runs in, or correct its name in the plan"))
        }
    }
}

/// The same of one gate.
///
/// # Errors
/// Where it lacks one.
pub(super) fn refuse_gate_without(gate: &Gate) -> Result<(), Failure> {
    of_gate(gate).map_or(Ok(()), |missing| {
        Err(Failure::usage(missing).with_hint("set it in the environment that lexpr runs in"))
    })
}

/// For whom nothing runs.
pub(super) fn warn_without(prepared: &Prepared) {
    for missing in missing(prepared) {
        speak::note(&format!("warning: {missing}; here that does no harm, and a run would be refused\n"));
    }
}

fn missing(prepared: &Prepared) -> Vec<String> {
    let to_land = prepared.graph.indices().zip(&*prepared.lined_up).filter(|(_, item)| item.already_landed.is_none());
    let mut missing: Vec<String> =
        to_land.flat_map(|(ix, _)| prepared.graph.gates(ix)).filter_map(|gate| of_gate(gate)).collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn of_gate(gate: &Gate) -> Option<String> {
    let service = gate.runtime.ci_service()?;
    let environment: Vec<_> = std::env::vars_os().collect();
    let why = ci::lacks_credentials(&service.policy.credentials, &environment)?;
    Some(format!("runtime {}: {why}", shown(service.runtime.as_str())))
}
