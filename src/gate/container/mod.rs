//! Containers of this machine, through the program that has them: podman or docker. It is asked what an image is, to run
//! one gate in a container of its own, what became of that, and to take it away.

mod run;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(super) use run::{Boxed, Inside};

use crate::plan::Plan;
use crate::plan::runtime::{Container, Runtime};
use crate::vocabulary::event::FixedImage;

/// Looked for in this order, where the plan names none: the first needs no daemon.
const ENGINES: [&str; 2] = ["podman", "docker"];

/// By which containers of a run are known.
const RUN_LABEL: &str = "lexpr.run";

/// Containers cannot be had as the plan wants them.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("the plan runs gates in containers, and neither podman nor docker is on the PATH")]
    NoEngine,
    #[error("`{program}` could not be started: {source}")]
    NotStarted { program: String, source: std::io::Error },
    #[error("`{command}` failed: {said}")]
    Failed { command: String, said: String },
    #[error("`{command}` gave an answer that lexpr cannot read: {answer:?}")]
    Unreadable { command: String, answer: String },
    #[error("{image} is not on this machine and could not be pulled: {said}")]
    NoImage { image: String, said: String },
    /// It may be there again in a while.
    #[error("`{program}` does not answer: {said}")]
    Away { program: String, said: String },
    #[error(
        "the image {image} ({id}) is not on this machine any more: pull or build it again; a run that is begun anew takes \
         what its name stands for by then"
    )]
    ImageGone { image: String, id: String },
    #[error("`{program}` knows no such container")]
    NoContainer { program: String },
}

impl ContainerError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoEngine => "install one of them, or name it in the runtime's `engine`",
            Self::NotStarted { .. } => "is that the program which the runtime's `engine` means?",
            Self::NoImage { .. } | Self::ImageGone { .. } => {
                "pull or build it yourself, or correct its name in the plan"
            }
            Self::Failed { .. } | Self::Unreadable { .. } | Self::Away { .. } | Self::NoContainer { .. } => {
                "see that the engine works, and that you may use it"
            }
        }
    }
}

/// A program that has containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    program: String,
}

/// What an engine says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Such as `exited`.
    pub status: String,
    pub exit_code: i32,
    pub out_of_memory: bool,
}

impl Engine {
    /// The one that a plan names, or the first there is.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find(named: Option<&str>) -> Result<Self, ContainerError> {
        let program = match named {
            Some(named) => named,
            None => ENGINES.into_iter().find(|name| is_on_the_path(name)).ok_or(ContainerError::NoEngine)?,
        };
        Ok(Self { program: program.to_owned() })
    }

    pub fn program(&self) -> &str {
        &self.program
    }

    fn is_podman(&self) -> bool {
        Path::new(&self.program).file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"podman"))
    }

    /// By what this engine knows the image that `name` stands for now; pulled if it is not here, of which `pulls` is told.
    /// Blocks.
    ///
    /// # Errors
    /// Where there is no such image to be had.
    pub fn image(&self, name: &str, pulls: impl FnOnce(&str)) -> Result<String, ContainerError> {
        if let Some(id) = self.local_image(name)? {
            return Ok(id);
        }
        pulls(name);
        let pulled = self.output(["pull", "--quiet", "--", name])?;
        let said = || match last_line(&pulled.stderr) {
            said if said.is_empty() => format!("`{} pull` gave no reason", self.program),
            said => said,
        };
        self.local_image(name)?.ok_or_else(|| ContainerError::NoImage { image: name.to_owned(), said: said() })
    }

    /// The same of what is here alone.
    fn local_image(&self, name: &str) -> Result<Option<String>, ContainerError> {
        let inspected = self.output(["image", "inspect", "--format", "{{.Id}}", "--", name])?;
        let answer = String::from_utf8_lossy(&inspected.stdout).trim().to_owned();
        if inspected.status.success() && !answer.is_empty() {
            return Ok(Some(answer));
        }
        // Whether there is none, or it does not work at all, their words do not tell in the same way everywhere.
        self.is_there().map(|()| None)
    }

    fn is_there(&self) -> Result<(), ContainerError> {
        let version = self.output(["version"])?;
        if version.status.success() {
            return Ok(());
        }
        let ContainerError::Failed { said, .. } = self.failed(&["version"], &version) else { return Ok(()) };
        Err(ContainerError::Away { program: self.program.clone(), said })
    }

    /// What became of a container.
    ///
    /// # Errors
    /// Where the engine knows none of that name ([`ContainerError::NoContainer`]), does not answer at all
    /// ([`ContainerError::Away`]), or does not work.
    pub fn state(&self, container: &str) -> Result<State, ContainerError> {
        let format = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}";
        let args = ["container", "inspect", "--format", format, "--", container];
        let inspected = self.output(args)?;
        if !inspected.status.success() {
            self.is_there()?;
            return Err(match is_unknown(&inspected) {
                true => ContainerError::NoContainer { program: self.program.clone() },
                false => self.failed(&args, &inspected),
            });
        }
        let answer = String::from_utf8_lossy(&inspected.stdout).trim().to_owned();
        let state = match answer.split(' ').collect::<Vec<_>>()[..] {
            [status, exit_code, out_of_memory] => exit_code
                .parse()
                .ok()
                .zip(out_of_memory.parse().ok())
                .map(|(exit_code, out_of_memory)| State { status: status.to_owned(), exit_code, out_of_memory }),
            _ => None,
        };
        state.ok_or_else(|| ContainerError::Unreadable { command: self.words(&args), answer })
    }

    /// Ends a container and all that runs in it, and forgets it. One that is not there is as good as removed.
    ///
    /// # Errors
    /// Where the engine does not work.
    pub fn remove(&self, container: &str) -> Result<(), ContainerError> {
        let args = self.removal(container);
        let removed = self.output(&args[1..])?;
        // Of one that never was, docker says so and fails.
        let is_gone = removed.status.success() || is_unknown(&removed);
        if is_gone { Ok(()) } else { Err(self.failed(&["rm", "--force", container], &removed)) }
    }

    /// The whole command line that does so.
    fn removal(&self, container: &str) -> Vec<OsString> {
        let mut words = vec![self.program.as_str(), "rm", "--force", "--volumes"];
        if self.is_podman() {
            // Who is being removed has had its time.
            words.extend(["--time", "0"]);
        }
        words.extend(["--", container]);
        words.into_iter().map(OsString::from).collect()
    }

    fn output<Word: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = Word>) -> Result<Output, ContainerError> {
        #[expect(clippy::disallowed_methods, reason = "this is the place where container engines are asked")]
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null());
        command.output().map_err(|source| ContainerError::NotStarted { program: self.program.clone(), source })
    }

    fn words(&self, args: &[&str]) -> String {
        format!("{} {}", self.program, args.join(" "))
    }

    fn failed(&self, args: &[&str], output: &Output) -> ContainerError {
        let said = last_line(&output.stderr);
        let said = if said.is_empty() { output.status.to_string() } else { said };
        ContainerError::Failed { command: self.words(args), said }
    }
}

/// What the image of a container stands for now; `pulls` is told of one that is not here. Blocks, for as long as pulling takes.
///
/// # Errors
/// Where it cannot be had.
pub fn fix(container: &Container, pulls: impl FnOnce(&str)) -> Result<FixedImage, ContainerError> {
    let engine = Engine::find(container.policy.engine.as_deref())?;
    let id = engine.image(&container.image, pulls)?;
    let (runtime, image) = (container.runtime.clone(), container.image.clone());
    Ok(FixedImage { runtime, image, engine: engine.program, id })
}

/// What the images of a plan's gates stand for now, each asked for once. Blocks, for as long as pulling takes.
///
/// # Errors
/// Where one cannot be had.
pub fn fix_images(plan: &Plan, mut pulls: impl FnMut(&str)) -> Result<Vec<FixedImage>, ContainerError> {
    let gates = plan.items.iter().flat_map(|item| &item.gates);
    let mut fixed: Vec<FixedImage> = Vec::new();
    for container in gates.filter_map(|gate| gate.runtime.container()) {
        if fixed.iter().any(|known| known.is_of(&container.runtime, &container.image)) {
            continue;
        }
        fixed.push(fix(container, &mut pulls)?);
    }
    Ok(fixed)
}

/// What those images of a plan's gates stand for that are on this machine, and the names of the others. Nothing is pulled,
/// and an engine that does not work has none.
pub fn images_here(plan: &Plan) -> (Vec<FixedImage>, Vec<String>) {
    let (mut here, mut missing): (Vec<FixedImage>, Vec<String>) = (Vec::new(), Vec::new());
    for container in plan.items.iter().flat_map(|item| &item.gates).filter_map(|gate| gate.runtime.container()) {
        let (runtime, image) = (&container.runtime, &container.image);
        if missing.contains(image) || here.iter().any(|known| known.is_of(runtime, image)) {
            continue;
        }
        let found = Engine::find(container.policy.engine.as_deref()).and_then(|engine| {
            let id = engine.local_image(image)?;
            Ok(id.map(|id| FixedImage { runtime: runtime.clone(), image: image.clone(), engine: engine.program, id }))
        });
        match found {
            Ok(Some(fixed)) => here.push(fixed),
            Ok(None) | Err(_) => missing.push(image.clone()),
        }
    }
    (here, missing)
}

/// Ends and removes what containers of these images are left of the run that is known by `mark`: how many. Blocks.
///
/// # Errors
/// Where the engine that has them does not work.
pub fn remove_of_run(images: &[FixedImage], mark: &str) -> Result<usize, ContainerError> {
    let engines: BTreeSet<&str> = images.iter().map(|image| image.engine.as_str()).collect();
    let mut removed = 0;
    for program in engines {
        let engine = Engine { program: program.to_owned() };
        let label = format!("label={RUN_LABEL}={mark}");
        let args = ["ps", "--all", "--quiet", "--filter", &label];
        let listed = engine.output(args)?;
        if !listed.status.success() {
            return Err(engine.failed(&args, &listed));
        }
        for id in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            engine.remove(id)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Of a gate that runs in a container: the same, in the very image that was found for it.
pub fn fixed(container: &Container, images: &[FixedImage]) -> Option<Runtime> {
    let found = images.iter().find(|known| known.is_of(&container.runtime, &container.image))?;
    Some(Runtime::Container(Box::new(Container { fixed: Some(found.clone()), ..container.clone() })))
}

fn is_on_the_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_one = |file: &Path| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file();
    std::env::split_paths(&path).any(|folder| is_one(&folder.join(program)))
}

/// In docker's words, and in podman's.
fn is_unknown(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).to_lowercase().contains("no such container")
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().lines().last().unwrap_or_default().to_owned()
}
