//! One binary for all integration tests; a file per feature.

mod compose_cases;
mod compose_random;
mod compose_strategies;
mod git_world;
mod repo_open;
