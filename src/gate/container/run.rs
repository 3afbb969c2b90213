//! One gate in a container of its own: how it is started, and what it came to.
//!
//! The tree is the worker's slot, mounted; so are the objects that the slot borrows, for reading. What is believed is what
//! the gate's side says, and what the engine says of the container; the exit status of the engine's client is neither:
//! `docker run --rm` has been seen to end with 0 whatever the command did, and `podman run` ends with 125 to 127 for
//! reasons of its own, as a gate may, too.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{ContainerError, Engine, RUN_LABEL, State};
use crate::gate::client::SHELL;
use crate::gate::environment::Environment;
use crate::plan::runtime::{Container, Mount};
use crate::vocabulary::event::{FixedImage, GateOutcome};
use crate::vocabulary::names::{CommitId, FileDigest};

/// What the container's first process does.
const WRAPPER: &str = include_str!("wrapper.sh");

/// Where the tree, the artifact folder and the answer are in a container.
const TREE: &str = "/lexpr/tree";
const ARTIFACTS: &str = "/lexpr/artifacts";
const PROOF: &str = "/lexpr/proof";

/// A container that is about to run one attempt of a gate.
#[derive(Debug)]
pub(in crate::gate) struct Boxed {
    engine: Engine,
    /// Of the container: nobody else has one of that name.
    name: String,
    commit: CommitId,
    image: Option<FixedImage>,
    memory_limit: Option<u64>,
    /// A folder of its own, which the container writes its answer to.
    proof: PathBuf,
    /// Of the attempt: what the engine's client says is there.
    log: PathBuf,
    argv: Vec<OsString>,
}

/// What one attempt is to find.
#[derive(Debug)]
pub(in crate::gate) struct Inside<'a> {
    /// By which processes of the run are known.
    pub(in crate::gate) mark: &'a str,
    pub(in crate::gate) commit: CommitId,
    pub(in crate::gate) run: &'a str,
    /// The slot's folder on this machine.
    pub(in crate::gate) slot: &'a Path,
    /// Folders of objects that it borrows.
    pub(in crate::gate) objects: &'a [PathBuf],
    /// Within the tree; empty for its root.
    pub(in crate::gate) cwd: &'a str,
    /// The gate's own variables and what lexpr tells it.
    pub(in crate::gate) environment: &'a Environment,
    pub(in crate::gate) artifacts: Option<&'a Path>,
    /// One for each attempt, next to which its answer is kept.
    pub(in crate::gate) log: &'a Path,
}

impl Boxed {
    /// # Errors
    /// Where the folder for its answer cannot be made, or no engine is there.
    pub(in crate::gate) fn new(container: &Container, inside: &Inside<'_>) -> Result<Self, String> {
        let fixed = container.fixed.as_ref();
        let engine = fixed.map(|fixed| fixed.engine.as_str()).or(container.policy.engine.as_deref());
        let engine = Engine::find(engine).map_err(|error| error.to_string())?;
        let mut proof = inside.log.as_os_str().to_owned();
        proof.push(".answer");
        let proof = PathBuf::from(proof);
        make_open_folder(&proof).map_err(|error| format!("making {}: {error}", proof.display()))?;
        let told = [inside.mark.as_bytes(), inside.log.as_os_str().as_encoded_bytes(), inside.commit.as_bytes()];
        let name = format!("lexpr-{}", FileDigest::of(told));
        let mut boxed = Self {
            engine,
            name,
            commit: inside.commit,
            image: container.fixed.clone(),
            memory_limit: container.policy.memory_bytes,
            proof,
            log: inside.log.to_owned(),
            argv: Vec::new(),
        };
        boxed.argv = boxed.command_line(container, inside);
        Ok(boxed)
    }

    /// What starts the container and waits until it has ended.
    pub(in crate::gate) fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// Where the engine's client runs. Not in the tree: podman's monitor leaves a file where it was started when something
    /// was killed for want of memory.
    pub(in crate::gate) fn folder(&self) -> &Path {
        &self.proof
    }

    /// What takes it away, should nobody be left to wait for it.
    pub(in crate::gate) fn removal(&self) -> Vec<OsString> {
        self.engine.removal(&self.name)
    }

    fn command_line(&self, container: &Container, inside: &Inside<'_>) -> Vec<OsString> {
        let policy = &container.policy;
        let mut words: Vec<OsString> = [self.engine.program(), "run", "--name", &self.name].map(OsString::from).into();
        // Who is removed with its container leaves nothing that could be asked.
        let mut say = |option: &str, value: &str| words.extend([option.into(), value.into()]);
        say("--label", &format!("{RUN_LABEL}={}", inside.mark));
        say("--network", policy.network.as_deref().unwrap_or("none"));
        // It goes to lexpr's own log.
        say("--log-driver", "none");
        // Where the kernel labels files, no container could read the slot otherwise.
        say("--security-opt", "label=disable");
        say("--pull", "never");
        match &policy.user {
            Some(user) => say("--user", user),
            None => {
                let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
                // Else what it writes would belong to root, or without root to a number that nobody has.
                say("--user", &format!("{}:{}", user.as_raw(), group.as_raw()));
                if self.engine.is_podman() && !user.is_root() {
                    say("--userns", "keep-id");
                }
            }
        }
        if let Some(bytes) = policy.memory_bytes {
            // As much swap as memory, which is none beyond it.
            say("--memory", &format!("{bytes}b"));
            say("--memory-swap", &format!("{bytes}b"));
        }
        if let Some(milli_cpus) = policy.milli_cpus {
            say("--cpus", &format!("{}.{:03}", milli_cpus / 1000, milli_cpus % 1000));
        }
        let bind = |source: &Path, target: &str, read_only| {
            let mut option = OsString::from("type=bind,source=");
            option.push(source);
            option.push(format!(",target={target}{}", if read_only { ",readonly" } else { "" }));
            option
        };
        let mut mounts = vec![bind(inside.slot, TREE, false), bind(&self.proof, PROOF, false)];
        mounts.extend(inside.artifacts.map(|folder| bind(folder, ARTIFACTS, false)));
        // By the paths that the slot knows them by.
        mounts.extend(inside.objects.iter().filter_map(|folder| Some(bind(folder, folder.to_str()?, true))));
        mounts.extend(container.mounts.iter().map(|mount: &Mount| OsString::from(mount.to_string())));
        words.extend(mounts.into_iter().flat_map(|mount| ["--mount".into(), mount]));
        for (name, value) in inside.environment {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            words.extend(["--env".into(), variable]);
        }
        // By name alone: their values are secrets as often as not, and a command line is for everybody to read.
        words.extend(policy.pass_env.iter().flat_map(|name| ["--env".into(), name.into()]));
        let mut say = |option: &str, value: &str| words.extend([option.into(), value.into()]);
        say("--env", &format!("LEXPR_TREE_FOLDER={TREE}"));
        if inside.artifacts.is_some() {
            say("--env", &format!("LEXPR_ARTIFACTS={ARTIFACTS}"));
        }
        say("--workdir", &format!("{TREE}/{}", inside.cwd));
        say("--entrypoint", SHELL);
        let image = container.fixed.as_ref().map_or(&container.image, |fixed| &fixed.id);
        words.extend([image.as_str(), "-c", WRAPPER, "lexpr", &self.name].map(OsString::from));
        let shell = [SHELL.to_owned()];
        words.extend(container.entrypoint.as_deref().unwrap_or(&shell).iter().map(OsString::from));
        words.extend(["-c".into(), inside.run.into()]);
        words
    }

    /// What the gate came to, once the engine's client has ended by itself. Blocks.
    ///
    /// # Errors
    /// While the engine does not answer at all, and where the image is there no more.
    pub(in crate::gate) fn outcome(&self) -> Result<GateOutcome, ContainerError> {
        let state = match self.engine.state(&self.name) {
            Err(error @ ContainerError::Away { .. }) => return Err(error),
            state => state,
        };
        let answer = match self.answer() {
            Answer::None if !self.proof.join("begun").exists() => Answer::NotBegun(self.last_words()),
            answer => answer,
        };
        if let (Answer::NotBegun(_), Some(FixedImage { image, id, .. })) = (&answer, &self.image)
            && let Ok(None) = self.engine.local_image(id)
        {
            return Err(ContainerError::ImageGone { image: image.clone(), id: id.clone() });
        }
        Ok(judge(answer, state, self.memory_limit))
    }

    /// What the client said at last of a container that has not begun.
    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // docker refers to its help after all else.
        let mut said =
            log.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("See 'docker run"));
        said.next_back().unwrap_or_default().to_owned()
    }

    /// The status that the container said its command ended with, if it said so of this attempt and this commit.
    fn answer(&self) -> Answer {
        let Ok(text) = fs::read_to_string(self.proof.join("answer")) else { return Answer::None };
        let [name, head, code, killed, told] = text.trim_end().split(' ').collect::<Vec<_>>()[..] else {
            return Answer::None;
        };
        match (code.parse(), killed.parse::<u64>()) {
            _ if name != self.name => Answer::None,
            (Ok(_), Ok(_)) if head != self.commit.to_string() => Answer::OfAnotherTree(head.to_owned()),
            (Ok(_), Ok(_)) if told != "0" => Answer::ToldToEnd,
            (Ok(code), Ok(killed)) => Answer::Code { code, out_of_memory: killed > 0 },
            _ => Answer::None,
        }
    }

    /// Takes the container away with all that runs in it. Blocks.
    ///
    /// # Errors
    /// Where the engine does not work.
    pub(in crate::gate) fn remove(&self) -> Result<(), ContainerError> {
        let removed = self.engine.remove(&self.name);
        // What stays of it says nothing to anybody.
        let _ = fs::remove_dir_all(&self.proof);
        removed
    }
}

/// What a container said itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Code {
        code: i32,
        /// Something of the gate's was killed for want of memory.
        out_of_memory: bool,
    },
    /// It was told to end before its command had: that may have left out what was to come, and a failure may be no more
    /// than how it took that.
    ToldToEnd,
    /// It found another commit where the tree should be, or none.
    OfAnotherTree(String),
    None,
    /// Not even that its first process had begun. What the engine's client said.
    NotBegun(String),
}

/// A pass takes both: that it was said so inside, and that the engine knows nothing else.
fn judge(answer: Answer, state: Result<State, ContainerError>, memory_limit: Option<u64>) -> GateOutcome {
    let cannot_tell = |message: String| GateOutcome::Infrastructure { message };
    let state = match state {
        Ok(state) => state,
        Err(error) => {
            return cannot_tell(match (error, answer) {
                // Why it was not made says more than that it is not there.
                (ContainerError::NoContainer { .. }, Answer::NotBegun(said)) if !said.is_empty() => {
                    format!("the container could not be started: {said}")
                }
                (error, _) => format!("what became of the container is not known: {error}"),
            });
        }
    };
    let State { status, exit_code, out_of_memory: all_of_it } = state;
    match answer {
        // `stopped` is one that podman has not tidied up yet.
        Answer::Code { code: 0, .. } if exit_code == 0 && matches!(&*status, "exited" | "stopped") => {
            GateOutcome::Passed
        }
        Answer::Code { code, out_of_memory } if code != 0 && (out_of_memory || all_of_it) => {
            GateOutcome::OutOfMemory { exit_code: code, limit_bytes: memory_limit }
        }
        Answer::None | Answer::NotBegun(_) if all_of_it => {
            GateOutcome::OutOfMemory { exit_code, limit_bytes: memory_limit }
        }
        Answer::Code { code, .. } if code != 0 => GateOutcome::Failed { exit_code: code },
        Answer::Code { code, .. } => cannot_tell(format!(
            "the gate said that it ended with {code}, and the engine that its container is {status} with {exit_code}"
        )),
        Answer::ToldToEnd => {
            cannot_tell("something else than lexpr told the container to end while the gate ran".to_owned())
        }
        Answer::OfAnotherTree(head) => {
            cannot_tell(format!("the container did not find the tree: its HEAD is {head}; was the slot mounted?"))
        }
        Answer::NotBegun(said) if (125..=127).contains(&exit_code) => {
            let said = if said.is_empty() { format!("status {exit_code}") } else { said };
            cannot_tell(format!(
                "the container could not be started: {said}; an image needs {SHELL}, and the gate's cwd must be there"
            ))
        }
        Answer::None | Answer::NotBegun(_) => {
            cannot_tell(format!("the container ended without an answer: the engine says {status} with {exit_code}"))
        }
    }
}

/// For whoever the container's user is on this machine.
fn make_open_folder(path: &Path) -> std::io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            // Of a process that was killed before it had read it.
            fs::remove_dir_all(path)?;
            fs::create_dir(path)?;
        }
        made => made?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &str, exit_code: i32, out_of_memory: bool) -> Result<State, ContainerError> {
        Ok(State { status: status.to_owned(), exit_code, out_of_memory })
    }

    fn said(code: i32) -> Answer {
        Answer::Code { code, out_of_memory: false }
    }

    #[test]
    fn a_pass_takes_the_gates_own_word_and_an_engine_that_agrees() {
        let passes = |answer, state| judge(answer, state, None) == GateOutcome::Passed;
        assert!(passes(said(0), state("exited", 0, false)));
        let unsaid = [
            (Answer::None, state("exited", 0, false)),
            (said(7), state("exited", 0, false)),
            (said(0), state("exited", 7, false)),
            (said(0), state("running", 0, false)),
            (Answer::OfAnotherTree("none".to_owned()), state("exited", 0, false)),
            (Answer::ToldToEnd, state("exited", 0, false)),
            (said(0), Err(ContainerError::NoEngine)),
        ];
        for (answer, state) in unsaid {
            let told = format!("{answer:?}, {state:?}");
            assert!(!passes(answer, state), "{told}");
        }
    }

    #[test]
    fn what_nobody_answered_for_is_nobodys_fault_but_for_want_of_memory() {
        let infrastructure = |answer, state| matches!(judge(answer, state, None), GateOutcome::Infrastructure { .. });
        assert!(infrastructure(Answer::None, state("exited", 125, false)));
        assert!(infrastructure(Answer::NotBegun("no network".to_owned()), state("created", 125, false)));
        assert!(infrastructure(Answer::None, state("exited", 137, false)));
        assert!(infrastructure(said(0), state("exited", 137, false)));
        let limit = Some(1 << 20);
        let full = GateOutcome::OutOfMemory { exit_code: 137, limit_bytes: limit };
        assert_eq!(judge(Answer::None, state("exited", 137, true), limit), full);
        assert_eq!(judge(said(137), state("exited", 137, true), limit), full);
        let partly = Answer::Code { code: 137, out_of_memory: true };
        assert_eq!(
            judge(partly, state("exited", 137, false), limit),
            full,
            "podman sees no more than the first process"
        );
        assert_eq!(judge(said(0), state("exited", 0, true), limit), GateOutcome::Passed, "it got over it");
        assert_eq!(judge(said(7), state("exited", 7, false), limit), GateOutcome::Failed { exit_code: 7 });
    }
}
