//! Everything lexpr asks of git: objects in process, merges and refs by the `git` program.
//!
//! The only place, beside `gate`, where processes start. Nothing here knows strategies or state.

pub mod command;
pub mod index;
pub mod slot;
