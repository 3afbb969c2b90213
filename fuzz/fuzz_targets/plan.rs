//! Any bytes as a plan.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lexpr_fuzz::plan::try_all(bytes));
