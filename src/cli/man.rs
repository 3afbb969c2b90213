//! `lexpr man`: manual pages of the very definitions that `--help` is made of.

use std::path::Path;

use clap::CommandFactory as _;

use super::failure::Failure;
use super::{Cli, speak};

/// Runs the command.
///
/// # Errors
/// Where a page cannot be written.
pub(super) fn run(folder: Option<&Path>) -> Result<u8, Failure> {
    let Some(folder) = folder else {
        return speak::with_stdout(|out| clap_mangen::Man::new(Cli::command()).render(out).map(|()| 0));
    };
    std::fs::create_dir_all(folder).map_err(|error| Failure::io("making", folder, &error))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Failure::io("writing manual pages to", folder, &error))?;
    speak::note(&format!("next: man -l {}\n", folder.join("lexpr.1").display()));
    Ok(0)
}
