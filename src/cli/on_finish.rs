//! `--on-finish`: what a person wants to be run when the run has ended, whatever it came to.

use super::failure::Failure;
use super::prepare::Prepared;
use super::speak;
use crate::gate::{on_finish, own_executable};
use crate::report::{Format, Report};
use crate::runs::RunFolder;
use tokio::sync::watch;

/// The command, if there is one, and the run that it is told of.
pub(super) struct OnFinish<'a> {
    pub command: Option<&'a str>,
    pub prepared: &'a Prepared,
    pub folder: &'a RunFolder,
}

impl OnFinish<'_> {
    /// Runs the command, until it is `cut` at most. That it failed is said, and is nothing of the run's.
    pub(super) async fn tell(&self, report: Option<&Report>, exit_code: u8, cut: impl Future) {
        let (Some(command), Some(report)) = (self.command, report) else { return };
        if let Err(failure) = self.run(command, report, exit_code, cut).await {
            speak::must_know(&failure.text());
        }
    }

    async fn run(&self, command: &str, report: &Report, exit_code: u8, cut: impl Future) -> Result<(), Failure> {
        let Self { prepared, folder, .. } = self;
        let file = folder.path.join("on-finish.json");
        std::fs::write(&file, report.render(Format::Json)).map_err(|error| Failure::io("writing", &file, &error))?;
        let cwd = std::env::current_dir().unwrap_or_else(|_| folder.path.clone());
        let guard_exe =
            own_executable().map_err(|error| Failure::internal(format!("finding lexpr itself: {error}")))?;
        let order = on_finish::OnFinish {
            command,
            told: vec![
                ("LEXPR_RUN", folder.id.to_string()),
                ("LEXPR_EXIT_CODE", exit_code.to_string()),
                ("LEXPR_TARGET", prepared.target.short_name().to_owned()),
                ("LEXPR_REPOSITORY", prepared.repo.common_dir().to_string_lossy().into_owned()),
            ],
            report: &file,
            cwd: &cwd,
            guard_exe: &guard_exe,
            redact: &prepared.policy.redact,
        };
        let (cancel, cancelled) = watch::channel(false);
        let mut work = std::pin::pin!(order.run(cancelled, speak::stderr()));
        let how = tokio::select! {
            done = &mut work => done,
            _ = cut => {
                cancel.send_replace(true);
                work.await
            }
        };
        how.map_err(|how| Failure::internal(format!("the command of --on-finish {how}; the run's end stands as it is")))
    }
}
