//! Running gates: commands that judge one tree, in a slot, under a guard that ends everything
//! they started. This is the only place beside `git` where processes start. Nothing here knows
//! items' fates, strategies or state: a job comes in, news of its attempts go out.

mod artifacts;
mod client;
pub mod container;
pub mod elsewhere;
mod environment;
mod fingerprint;
pub mod guard;
pub mod holders;
mod job;
mod log;
pub mod on_finish;
pub mod orphans;
pub mod processes;
mod protocol;
mod pump;
mod retry;
mod run;
mod secrets;
mod setup;
mod shell;
mod visible;

pub use client::SHELL;
pub use fingerprint::FingerprintError;
pub use log::digest;
pub use pump::LogRules;
pub use run::{GateSettings, LocalGates, own_executable};
pub use shell::ShellEnd;
