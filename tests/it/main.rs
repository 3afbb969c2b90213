//! All integration tests, as one binary: a file per feature.
#![expect(clippy::unwrap_used, reason = "what is not as a test expects fails the test, helpers included")]

mod architecture;
mod cli_commands;
mod cli_demo;
mod cli_merge;
mod cli_metrics;
mod cli_obstacles;
mod cli_world;
mod compose_cases;
mod compose_random;
mod compose_real;
mod compose_strategies;
mod engine_properties;
mod engine_scenarios;
mod fake_terminal;
mod gate_guard;
mod gate_run;
mod gate_world;
mod git_world;
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
mod repo_open;
mod report_faces;
mod report_stories;
mod report_sums;
mod sim;
mod slot_switch;
