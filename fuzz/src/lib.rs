//! What must hold for any bytes that lexpr is given to read, as functions that panic where it
//! does not. The fuzz targets call them, and so does `tests/it/fuzz_seeds.rs`, which has this
//! file as a module.

pub mod journal;
pub mod plan;
pub mod run;
