//! All integration tests, as one binary: a file per feature.

mod land_checkout;
mod land_push;
mod land_target;
mod land_world;
mod slot_switch;
