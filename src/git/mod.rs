//! Everything lexpr asks of git: objects in process, merges and refs by the `git` program.
//!
//! The only place, beside `gate`, where processes start. Nothing here knows strategies or state.

pub mod attributes;
pub mod branches;
pub mod brought;
pub mod checkout;
mod claims;
pub mod command;
pub mod compose;
pub mod filters;
pub mod history;
pub mod index;
pub mod inputs;
pub mod keeps;
pub mod land;
mod landed_since;
pub mod lock;
pub mod markers;
pub mod merge_tree;
pub mod message;
pub mod migrate;
pub mod named_merges;
mod new_objects;
pub mod objects;
pub mod own_commits;
mod pack;
pub mod pairs;
pub mod pins;
pub mod push;
pub mod quarantine;
pub mod reflog;
pub mod refusal;
pub mod repo;
pub mod resolve;
pub mod scratch;
pub mod shadow;
pub mod slot;
pub mod slot_sweep;
pub mod splice;
pub mod survey;
pub mod text_merge;
mod texts;
mod uncompressed;
pub mod unreachable;
pub mod version;
