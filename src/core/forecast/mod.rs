//! What can be said of a run before any gate runs: which items to leave out where some clash ([`order`]), and
//! what the strategies will likely cost ([`price`]).
//!
//! Expectations and advice, never decisions: what lands is for [`super::strategy`] and the verdicts.

pub mod order;
pub mod price;
