//! The proof that nothing is lost: the real binary is killed at every place that `src/crash.rs`
//! knows, and resumed. Needs the feature `failpoints`; see docs/reliability.md.
#![expect(clippy::unwrap_used, reason = "what is not as a test expects fails the test, helpers included")]

mod case;
mod choice;
mod ends;
mod proof;
#[path = "../common/random.rs"]
mod random;
mod regressions;
mod scenario;
mod undo;
mod world;
