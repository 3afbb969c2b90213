//! Landing on a remote as well: one ref, by compare-and-swap ("lease"), under the user's own
//! configuration and credentials. Where an answer got lost the remote itself is asked.

use super::command::{Git, GitError};
use super::refusal::LandRefusal;
use crate::crash;
use crate::vocabulary::names::CommitId;

/// Where the target is to land, too.
#[derive(Clone, Debug)]
pub struct Remote {
    /// A remote's name or a URL.
    pub name: String,
    /// The full name of the ref, there as here.
    pub target: String,
}

impl Remote {
    /// Asks the place pushes go to, with the credentials they need, without sending anything.
    ///
    /// # Errors
    /// A refusal where it cannot be pushed to, or has the target elsewhere than at `base`.
    pub fn must_be_at(&self, repository: &Git, base: CommitId) -> Result<(), LandRefusal> {
        match self.push(repository, &["--dry-run"], base, base)? {
            Ok(()) => Ok(()),
            Err(why) => Err(self.refusal(repository, base, why)?),
        }
    }

    /// Moves the remote's target from one commit to the other, or finds that it has been moved
    /// so already.
    ///
    /// # Errors
    /// A refusal where it was elsewhere or the remote would not; nothing has changed then.
    pub fn land(&self, repository: &Git, from: CommitId, to: CommitId) -> Result<(), LandRefusal> {
        crash::point!("remote.push.before");
        let pushed = self.push(repository, &[], from, to)?;
        crash::point!("remote.push.after");
        let Err(why) = pushed else {
            return Ok(());
        };
        // The connection may have been lost after the remote did what it was asked to.
        if self.now(repository)? == Some(to) {
            return Ok(());
        }
        Err(self.refusal(repository, from, why)?)
    }

    /// `Err` holds what git or the remote says.
    fn push(
        &self,
        repository: &Git,
        options: &[&str],
        from: CommitId,
        to: CommitId,
    ) -> Result<Result<(), String>, GitError> {
        let lease = format!("--force-with-lease={}:{from}", self.target);
        let refspec = format!("{to}:{}", self.target);
        // The target and nothing with it, whatever push.followTags and push.recurseSubmodules say.
        // No hook and no signature: nothing is started but what reaches the remote.
        let mut args = vec!["push", "--porcelain", "--atomic", "--no-verify", "--no-signed", &lease];
        args.extend(["--no-follow-tags", "--recurse-submodules=no"]);
        args.extend(options);
        args.extend(["--", &self.name, &refspec]);
        let pushed = repository.at_the_terminal().output(&args, None)?;
        // A flag, `from:to` and a summary, with tabs between them.
        let answer = String::from_utf8_lossy(&pushed.stdout);
        let of_target = answer.lines().find_map(|line| {
            let (_flag, rest) = line.split_once('\t')?;
            let (refs, summary) = rest.split_once('\t')?;
            refs.strip_suffix(&self.target)?.ends_with(':').then_some(summary)
        });
        if pushed.status.success() && of_target.is_some() {
            return Ok(Ok(()));
        }
        // Where the remote lacks the target, git takes one that ends in its name for it.
        let stderr = String::from_utf8_lossy(&pushed.stderr);
        // git pads what it passes on, and says once more that it failed where it said why.
        let said = stderr.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let told = said.filter(|line| of_target.is_none() || !line.starts_with("error: failed to push some refs"));
        Ok(Err(of_target.into_iter().chain(told).collect::<Vec<_>>().join("\n").trim().to_owned()))
    }

    fn refusal(&self, repository: &Git, expected: CommitId, why: String) -> Result<LandRefusal, GitError> {
        let (remote, target) = (self.name.clone(), self.target.clone());
        Ok(match self.now(repository) {
            Ok(now) if now != Some(expected) => LandRefusal::RemoteElsewhere { remote, target, now, expected },
            _ => LandRefusal::RemoteRefuses { remote, target, why },
        })
    }

    /// Where the remote has the target now.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub fn now(&self, repository: &Git) -> Result<Option<CommitId>, GitError> {
        // Pushes may go elsewhere than fetches. A remote given as a URL has no name to look up.
        let looked_up = repository.output(&["remote", "get-url", "--push", "--", &self.name], None)?;
        let url = String::from_utf8_lossy(&looked_up.stdout);
        let url = if looked_up.status.success() { url.lines().next().unwrap_or(&self.name) } else { &self.name };
        let args = ["ls-remote", "--refs", "--", url, &self.target];
        let listed = repository.at_the_terminal().line(args)?;
        // A pattern matches at any slash, so that others may be listed, too.
        let found = listed.lines().filter_map(|line| line.split_once('\t')).find(|(_, name)| *name == self.target);
        found
            .map(|(id, _)| id.parse())
            .transpose()
            .map_err(|error| GitError::Unreadable { command: args.join(" "), why: format!("{error}") })
    }
}
