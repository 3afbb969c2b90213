//! Any bytes as the events of a run.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lexpr_fuzz::run::try_all(bytes));
