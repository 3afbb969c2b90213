//! All integration tests, as one binary: a file per feature.

mod land_world;
mod slot_switch;
