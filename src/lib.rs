//! lexpr lands many branches at once. The modules in layer order; imports go downwards only:
//!
//! 1. [`vocabulary`]: names, ids and the closed `Event` enum
//! 2. [`plan`]: what the user asked for, checked and ordered (pure)
//! 3. [`ports`]: what the loop needs done by the outside world, as traits
//! 4. [`core`]: the state of a run and the strategies (pure)
//! 5. `git`, `gate`, `cache`, `journal`, `memory`: the hands (I/O)
//! 6. `engine`: one loop that owns the state
//! 7. `progress`, `metrics`, `serve`, `report`: the faces, functions of events
//! 8. `cli`: the commands
#![forbid(unsafe_code)]

pub mod core;
pub mod gate;
pub mod git;
pub mod memory;
pub mod plan;
pub mod ports;
pub mod vocabulary;
