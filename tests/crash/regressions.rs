//! One test for each bug that the proof has found.
