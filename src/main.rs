//! Calls the command line and returns its exit code.

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;

/// One heap, whichever thread takes and frees: what one thread no longer needs is another's, and what nobody needs goes back.
#[global_allocator]
static HEAP: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    lexpr::cli::main()
}
