//! The words every other module speaks: names, ids and the one closed [`event::Event`].
//!
//! Nothing here reads, writes, waits or decides; the types only say what can be said.

pub mod clash;
pub mod event;
pub mod names;
pub mod outcomes;
pub mod trail;
pub mod verdict;
