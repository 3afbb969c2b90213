//! Everything lexpr asks of git: objects in process, merges and refs by the `git` program.
//!
//! The only place, beside `gate`, where processes start. Nothing here knows strategies or state.

pub mod branches;
pub mod command;
pub mod scratch;
