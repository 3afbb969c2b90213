//! `lexpr init`: a plan and a file for CI, where there are none yet. Nothing is written over.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::{RepositoryArgs, plan, speak};
use crate::draft::ci::Service;
use crate::draft::plan_text;
use crate::git::repo::UserRepo;
use crate::wording::{count, shown};

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is written over: what is there stays as it is. The plan is written to plan.yaml at the top \
of the working tree. Exit codes: 0 all is there; 1 lexpr itself failed; 2 there is nothing to land, or nowhere to write to."
)]
pub struct InitArgs {
    /// Branches to land, as for `lexpr plan`. Without any, all local branches
    #[arg(value_name = "GLOB")]
    pub globs: Vec<String>,
    #[command(flatten)]
    pub onto: plan::args::OntoArgs,
    /// A gate that every item gets; may be given several times. Without any, they are guessed from the repository
    #[arg(long = "gate", value_name = "NAME=COMMAND")]
    pub gates: Vec<String>,
    /// Write the file of this CI service; the default is the one whose the repository looks like, if any
    #[arg(long, value_enum, value_name = "SERVICE")]
    pub ci: Option<CiService>,
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CiService {
    /// .github/workflows/lexpr.yml
    Github,
    /// .gitlab/lexpr.yml, to be included in .gitlab-ci.yml
    Gitlab,
    None,
}

/// Where the plan goes, from the top of the working tree.
const PLAN: &str = "plan.yaml";

/// Runs the command. All that could be found wrong is looked for before the first file is written.
///
/// # Errors
/// Where there is no working tree, nothing to land, or a file cannot be written.
pub fn run(args: &InitArgs) -> Result<u8, Failure> {
    let repo = UserRepo::open(&args.repository.repo)?;
    let Some(top) = repo.work_tree() else {
        return Err(Failure::usage(format!("{} has no working tree to write to", repo.git_dir().display())).with_hint(
            "`lexpr plan -o FILE` writes a plan anywhere, and `lexpr merge FILE --repo DIR` lands it here",
        ));
    };
    let mut files = Vec::new();
    if !is_there(&top.join(PLAN)) {
        let draft = plan::drafted(&repo, &args.globs, &args.onto, plan::named_gates(&args.gates)?)?;
        if draft.items.is_empty() {
            plan::tell_of(&draft);
            return Err(Failure::usage(
                "all branches that match have landed or are left out: there is nothing to land yet",
            )
            .with_hint("make a branch, then run `lexpr init` again"));
        }
        plan::tell_of(&draft);
        let what = format!("{} to land on {}", count(draft.items.len(), "item"), shown(&draft.target));
        files.push(File { path: PLAN, text: plan_text(&draft), what });
    }
    let service = wanted(args, &repo, top)?;
    if let Some(service) = service.filter(|service| !is_there(&top.join(service.path()))) {
        let what = service.left_to_do().to_owned();
        files.push(File { path: service.path(), text: service.text().to_owned(), what });
    }
    for file in &files {
        must_be_inside(top, file.path)?;
    }
    for file in &files {
        file.write(top)?;
    }
    tell(&files, service);
    Ok(0)
}

/// What is to be written, and what is said of it.
struct File {
    path: &'static str,
    text: String,
    what: String,
}

impl File {
    fn write(&self, top: &Path) -> Result<(), Failure> {
        let path = top.join(self.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Failure::io("making", folder, &error))?;
        }
        plan::create(&path, &self.text)?;
        speak::result(&format!("wrote {}: {}\n", self.path, self.what))
    }
}

/// A link that leads nowhere is there, too.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn wanted(args: &InitArgs, repo: &UserRepo, top: &Path) -> Result<Option<Service>, Failure> {
    Ok(match args.ci {
        Some(CiService::Github) => Some(Service::Github),
        Some(CiService::Gitlab) => Some(Service::Gitlab),
        Some(CiService::None) => None,
        None => Service::of(|name| is_there(&top.join(name)), &repo.remote_addresses()?),
    })
}

/// No folder on the way is a link to somewhere else: what a repository brings decides not where files are written.
fn must_be_inside(top: &Path, path: &str) -> Result<(), Failure> {
    let path = top.join(path);
    let nearest = path.ancestors().skip(1).find(|folder| is_there(folder)).unwrap_or(top);
    let real = |folder: &Path| -> Result<PathBuf, Failure> {
        std::fs::canonicalize(folder).map_err(|error| Failure::io("finding", folder, &error))
    };
    if real(nearest)?.starts_with(real(top)?) {
        return Ok(());
    }
    Err(Failure::usage(format!("{} leads out of the working tree", nearest.display()))
        .with_hint("see where that link leads, and write the file yourself: `lexpr init --ci none` leaves it out"))
}

fn tell(files: &[File], service: Option<Service>) {
    let is_new = |path: &str| files.iter().any(|file| file.path == path);
    if !is_new(PLAN) {
        speak::note(&format!(
            "{PLAN} is there already and stays as it is; `lexpr plan --update {PLAN}` brings it up to date\n"
        ));
    }
    match service {
        Some(service) if !is_new(service.path()) => {
            speak::note(&format!("{} is there already and stays as it is\n", service.path()));
        }
        Some(_) => {}
        None => speak::note("no file for CI: --ci github or --ci gitlab writes one\n"),
    }
    if files.is_empty() {
        speak::note("nothing was written\n");
    } else {
        // Nothing for .gitignore.
        speak::note("runs are kept in the git folder and gates run elsewhere: there is nothing to ignore\n");
    }
    speak::note(&format!("next: lexpr merge {PLAN} shows what would happen, --execute does it\n"));
}
