//! lexpr lands many branches at once. The modules in layer order; imports go downwards only:
//!
//! 1. [`vocabulary`]: names, ids and the closed `Event` enum
//! 2. [`plan`]: what the user asked for, checked and ordered (pure)
//! 3. [`ports`]: what the loop needs done by the outside world, as traits
//! 4. [`core`]: the state of a run and the strategies (pure)
//! 5. [`git`], [`gate`], [`cache`], [`clock`], [`disk`], [`durations`], [`journal`], [`load`], [`memory`], [`runs`],
//!    [`verdicts`]: the hands (I/O), with `crash`, the places at which tests kill them
//! 6. [`engine`]: one loop that owns the state, and [`simulation`], which drives it without a repository
//! 7. [`progress`], [`metrics`], [`serve`], [`report`], [`status`], [`overview`], [`why`],
//!    [`diagnostics`], [`doctor`], [`draft`]: the faces, functions of events, problems and facts, with [`wording`] and [`output`],
//!    which they share
//! 8. [`cli`]: the commands
#![forbid(unsafe_code)]

pub mod cache;
pub mod cli;
pub mod clock;
pub mod core;
mod crash;
pub mod diagnostics;
pub mod disk;
pub mod doctor;
pub mod draft;
pub mod durations;
pub mod engine;
pub mod gate;
pub mod git;
pub mod journal;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod output;
pub mod overview;
pub mod plan;
pub mod ports;
pub mod progress;
pub mod report;
pub mod runs;
pub mod serve;
pub mod simulation;
pub mod status;
pub mod verdicts;
pub mod vocabulary;
pub mod why;
pub mod wording;
