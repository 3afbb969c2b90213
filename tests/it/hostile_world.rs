//! A repository in which everything that git could be made to start says that it was started.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli_world::World;

/// All that githooks(5) knows, and what two of its samples are called.
const HOOKS: [&str; 25] = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "pre-push",
    "pre-receive",
    "update",
    "proc-receive",
    "post-receive",
    "post-update",
    "reference-transaction",
    "push-to-checkout",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "fsmonitor-watchman",
    "post-index-change",
    "p4-changelist",
];

/// Settings whose value git starts, or may start, as a command: git-config(1). `{}` is a script that
/// leaves a mark of this name.
const COMMANDS: [&str; 42] = [
    "core.fsmonitor",
    "core.sshCommand",
    "core.askPass",
    "core.editor",
    "core.pager",
    "core.gitProxy",
    "core.alternateRefsCommand",
    "sequence.editor",
    "pager.status",
    "pager.config",
    "gpg.program",
    "gpg.ssh.program",
    "gpg.ssh.defaultKeyCommand",
    "gpg.x509.program",
    "credential.helper",
    "diff.external",
    "diff.evil.command",
    "diff.evil.textconv",
    "merge.evil.driver",
    "merge.tool",
    "mergetool.evil.cmd",
    "difftool.evil.cmd",
    "interactive.diffFilter",
    "gc.recentObjectsHook",
    "uploadpack.packObjectsHook",
    "trailer.evil.cmd",
    "trailer.evil.command",
    "alias.status",
    "alias.merge-tree",
    "alias.update-ref",
    "alias.read-tree",
    "alias.rev-parse",
    "alias.push",
    "submodule.evil.update",
    "web.browser",
    "browser.evil.cmd",
    "man.evil.cmd",
    "tar.evil.command",
    "sendemail.toCmd",
    "remote.evil.uploadpack",
    "imap.tunnel",
    "instaweb.httpd",
];

/// Traps are laid in the user's repository by those who made it.
pub struct Trapped {
    pub world: World,
}

impl Trapped {
    /// Traps in the configuration and the hooks of `world`'s repository, and in attributes beside it.
    pub fn new(world: World) -> Self {
        fs::create_dir(world.path("marks")).unwrap();
        let trapped = Self { world };
        let git_dir = trapped.git_dir();
        let hooks = git_dir.join("hooks");
        let elsewhere = git_dir.join("more-hooks");
        for folder in [&hooks, &elsewhere] {
            fs::create_dir_all(folder).unwrap();
            for hook in HOOKS {
                let place = if *folder == hooks { "hook" } else { "core.hooksPath" };
                trapped.script(&folder.join(hook), &format!("{place}:{hook}"));
            }
        }
        trapped.set("core.hooksPath", elsewhere.to_str().unwrap());
        for key in COMMANDS {
            let value = trapped.command(key);
            trapped.set(
                key,
                &if key.starts_with("alias") || key.ends_with("update") { format!("!{value}") } else { value },
            );
        }
        trapped.set("core.attributesFile", trapped.attributes("attributes").to_str().unwrap());
        fs::create_dir_all(git_dir.join("info")).unwrap();
        fs::copy(trapped.attributes("attributes"), git_dir.join("info/attributes")).unwrap();
        trapped.set("protocol.ext.allow", "always");
        trapped.set("push.gpgSign", "if-asked");
        trapped.set("tag.gpgSign", "true");
        trapped.set("log.showSignature", "true");
        trapped.set("submodule.recurse", "true");
        trapped.set("push.recurseSubmodules", "on-demand");
        // In a file of its own, as includes are.
        let included = git_dir.join("included");
        fs::write(&included, format!("[core]\n\tfsmonitor = {}\n", trapped.command("include.path"))).unwrap();
        trapped.set("include.path", included.to_str().unwrap());
        trapped
    }

    fn attributes(&self, name: &str) -> PathBuf {
        let path = self.world.path(name);
        fs::write(&path, "* diff=evil merge=evil text\n").unwrap();
        path
    }

    pub fn git_dir(&self) -> PathBuf {
        self.world.git(&["rev-parse", "--absolute-git-dir"]).into()
    }

    /// In the repository's own configuration, behind git's back.
    pub fn set(&self, key: &str, value: &str) {
        let config = self.world.path("config-being-made");
        let _ = fs::remove_file(&config);
        self.world.git(&["config", "--file", config.to_str().unwrap(), key, value]);
        let mut text = fs::read_to_string(self.git_dir_unasked().join("config")).unwrap();
        text.push_str(&fs::read_to_string(&config).unwrap());
        fs::write(self.git_dir_unasked().join("config"), text).unwrap();
    }

    /// Without starting a git that could step into a trap.
    fn git_dir_unasked(&self) -> PathBuf {
        let nested = self.world.repo().join(".git");
        if nested.exists() { nested } else { self.world.repo() }
    }

    /// A command that leaves a mark.
    pub fn command(&self, mark: &str) -> String {
        let path = self.world.path(&format!("{}.sh", mark.replace(['/', ' '], "_")));
        self.script(&path, mark);
        path.to_str().unwrap().to_owned()
    }

    fn script(&self, path: &Path, mark: &str) {
        let marked = self.world.path("marks").join(mark);
        // What comes in goes out again, as filters do it; but a remote that is asked waits for no answer.
        let text = format!("#!/bin/sh\ntouch '{}'\n[ $# -gt 1 ] || cat 2>/dev/null\nexit 0\n", marked.display());
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What was started, and forgets it.
    pub fn marks(&self) -> BTreeSet<String> {
        let folder = self.world.path("marks");
        let marks = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        marks
            .map(|mark| {
                fs::remove_file(mark.path()).unwrap();
                mark.file_name().into_string().unwrap()
            })
            .collect()
    }

    #[track_caller]
    pub fn nothing_was_started(&self, by: &str) {
        assert_eq!(self.marks(), BTreeSet::new(), "{by}");
    }
}
