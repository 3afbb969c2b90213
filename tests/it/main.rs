//! All integration tests, as one binary: a file per feature.

#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

mod architecture;
mod gate_guard;
mod gate_run;
mod gate_world;
mod land_checkout;
mod land_push;
mod land_target;
mod land_world;
mod plan_bad_input;
mod plan_documents;
mod plan_examples;
mod plan_graph;
mod plan_hostile;
mod slot_switch;
