//! Everything lexpr asks of git: objects in process, merges and refs by the `git` program.
//!
//! The only place, beside `gate`, where processes start. Nothing here knows strategies or state.

pub mod command;
pub mod compose;
pub mod history;
pub mod inputs;
pub mod merge_tree;
pub mod message;
pub mod objects;
pub mod quarantine;
pub mod repo;
pub mod resolve;
pub mod shadow;
pub mod splice;
pub mod version;
