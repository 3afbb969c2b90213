//! All integration tests, as one binary: a file per feature.

mod architecture;
mod cli_demo;
mod cli_merge;
mod cli_world;
mod engine_properties;
mod gate_guard;
mod gate_run;
mod gate_world;
mod land_checkout;
mod land_push;
mod land_target;
mod land_world;
mod metrics_text;
mod plan_bad_input;
mod plan_documents;
mod plan_examples;
mod plan_graph;
mod plan_hostile;
mod progress_faces;
mod report_faces;
mod report_stories;
mod report_sums;
mod sim;
mod slot_switch;
