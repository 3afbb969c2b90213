//! The judgement of lexpr: what is known of a run ([`state`], and [`account`] in short), what a known tree is worth
//! ([`judge`]), what may happen next ([`strategy`]), on what it was judged ([`reproduction`]), how many workers there should be ([`pool`]), and what a run will likely cost before it begins ([`forecast`]).
//!
//! Pure: no I/O, no clock, no randomness, so that it can be replayed and simulated.

pub mod account;
pub mod claims;
pub mod critical_path;
pub mod forecast;
pub mod groups;
pub mod judge;
pub mod limits;
pub mod pool;
pub mod reproduction;
pub mod state;
pub mod strategy;
