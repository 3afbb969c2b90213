//! `lexpr verify`: whether what landed is what its receipt claims.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::conduct;
use super::failure::Failure;
use super::given::Options;
use super::prepare::{self, Workshop};
use super::scratch::ScratchFolder;
use super::{CheckFormat, VerifyArgs, resume, speak, status};
use crate::core::account::Account;
use crate::engine::verifying::{self, Check, Claimed, Earlier, Finding, Records};
use crate::engine::{self, Receipt, ReceiptGate};
use crate::gate;
use crate::git::compose::ComposeSettings;
use crate::git::repo::UserRepo;
use crate::journal::{self, JournalError, ReadJournal};
use crate::runs::{self, RunFolder};
use crate::verdicts;
use crate::vocabulary::event::{Recorded, in_one_line};
use crate::vocabulary::names::{CommitId, RunId, VerdictKey};
use crate::wording::{Paint, Tone, count, ref_name, shown};

/// What was found of one receipt.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    /// The file.
    receipt: String,
    run: RunId,
    target: String,
    commit: CommitId,
    items: usize,
    checks: Vec<Check>,
}

/// What was found in all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    /// Nothing differs, and nothing is gone that it takes to tell: every composite could be made again,
    /// and there is evidence of every verdict.
    ok: bool,
    receipts: Vec<Verified>,
}

/// Runs the command.
///
/// # Errors
/// Where there is no such receipt or run, or it is none that lexpr could have written.
pub fn run(args: &VerifyArgs) -> Result<u8, Failure> {
    let repo = UserRepo::open(&args.repository.repo)?;
    let file = Path::new(&args.subject);
    let looks_like_a_file = args.subject.contains('/') || file.extension().is_some();
    let runs = runs::list(repo.common_dir()).map_err(status::not_found)?;
    let receipts = if file.is_file() || looks_like_a_file {
        let claimed = read(file)?;
        let folder = runs.iter().find(|folder| folder.id == claimed.receipt.run);
        let records = match folder {
            None => Err("the run's journal is not there".to_owned()),
            Some(folder) => records(&repo, folder, journal::read(&folder.journal())),
        };
        let run = Run { repo: &repo, runs: &runs, folder, records };
        vec![conduct::runtime(1)?.block_on(run.verify(file, &claimed))?]
    } else {
        of_run(&repo, &runs, &runs::find(repo.common_dir(), Some(&args.subject)).map_err(status::not_found)?)?
    };
    let ok = !receipts.iter().flat_map(|receipt| &receipt.checks).any(|check| check.finding.is_bad());
    let verification = Verification { ok, receipts };
    match args.format {
        CheckFormat::Text => speak::result(&text(&verification, Paint::for_stream(&std::io::stdout())))?,
        CheckFormat::Json => {
            let json = serde_json::to_string_pretty(&verification).expect("it is made of strings and lists");
            speak::result(&format!("{json}\n"))?;
        }
    }
    Ok(if ok { engine::exit::ALL_LANDED } else { engine::exit::ITEMS_LEFT })
}

/// All receipts of a run, in the order of its landings; of what the journal knows to have landed
/// without one it is told, too.
fn of_run(repo: &UserRepo, runs: &[RunFolder], folder: &RunFolder) -> Result<Vec<Verified>, Failure> {
    let files = files_of(&folder.receipts())?;
    let journal = journal::read(&folder.journal());
    let account = match &journal {
        Ok(journal) => Account::of(&journal.events),
        // Every receipt says so, where there is one.
        Err(_) if !files.is_empty() => None,
        Err(error) => return Err(Failure::internal(error.to_string())),
    };
    let runtime = conduct::runtime(1)?;
    let run = Run { repo, runs, folder: Some(folder), records: records(repo, folder, journal) };
    let mut verified = Vec::new();
    let mut seen = Vec::new();
    for file in &files {
        let claimed = read(file)?;
        seen.push(claimed.receipt.composite);
        verified.push(runtime.block_on(run.verify(file, &claimed))?);
    }
    let Some(account) = account else { return Ok(verified) };
    for landing in account.landings.iter().filter(|landing| !seen.contains(&landing.to)) {
        let file = folder.receipts().join(format!("{}.json", landing.apex.0));
        verified.push(Verified {
            receipt: file.display().to_string(),
            run: folder.id.clone(),
            target: account.started.target.clone(),
            commit: landing.to,
            items: landing.items.len(),
            checks: vec![Check::new("receipt", Finding::Gone, "the file is not there")],
        });
    }
    Ok(verified)
}

/// The files of a folder of receipts, in the order of the landings; none where there is no folder.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let reading = |error: std::io::Error| Failure::io("reading", dir, &error);
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(reading)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(reading)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let apex: Option<u64> = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            files.push((apex.unwrap_or(u64::MAX), path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn read(file: &Path) -> Result<Claimed, Failure> {
    let refuse = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    // Anybody may have put anything there: a folder, a pipe that never ends.
    let meta = std::fs::metadata(file).map_err(|error| refuse(error.to_string()))?;
    if !meta.is_file() {
        return Err(refuse("it is no file".to_owned()));
    }
    let mut text = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| refuse(error.to_string()))?;
    opened.take(verifying::MAX_RECEIPT_BYTES + 1).read_to_end(&mut text).map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > verifying::MAX_RECEIPT_BYTES {
        return Err(refuse(format!("it is larger than any receipt ({} bytes)", verifying::MAX_RECEIPT_BYTES)));
    }
    verifying::read(&text)
        .map_err(|bad| refuse(bad.to_string()).with_hint("receipts lie in .git/lexpr/runs/<run>/receipts/"))
}

/// The run that receipts are said to be of.
struct Run<'a> {
    repo: &'a UserRepo,
    /// All that are here.
    runs: &'a [RunFolder],
    /// `None` where it is not among them.
    folder: Option<&'a RunFolder>,
    /// What it recorded, or why that cannot be told.
    records: Result<Records, String>,
}

impl Run<'_> {
    async fn verify(&self, file: &Path, claimed: &Claimed) -> Result<Verified, Failure> {
        let receipt = &claimed.receipt;
        let mut checks = composite(self.repo, receipt).await?;
        checks.push(target(self.repo, receipt)?);
        match &self.records {
            Ok(records) => {
                checks.extend(records.check(claimed, self));
            }
            Err(why) => checks.push(Check::new("journal", Finding::Gone, format!("no verdict can be checked: {why}"))),
        }
        checks.extend(receipt.gates.iter().filter_map(|gate| log(gate, self.folder)));
        Ok(Verified {
            receipt: file.display().to_string(),
            run: receipt.run.clone(),
            target: receipt.target.clone(),
            commit: receipt.composite,
            items: receipt.items.len(),
            checks,
        })
    }
}

impl Earlier for Run<'_> {
    fn events(&self, run: &RunId) -> Option<Vec<Recorded>> {
        let folder = self.runs.iter().find(|folder| folder.id == *run)?;
        Some(journal::read(&folder.journal()).ok()?.events)
    }

    fn remembers(&self, key: VerdictKey, run: &RunId) -> bool {
        verdicts::is_remembered(self.repo.common_dir(), key, run)
    }
}

/// What a run recorded, by its journal and the plan that is kept with it.
fn records(repo: &UserRepo, folder: &RunFolder, journal: Result<ReadJournal, JournalError>) -> Result<Records, String> {
    let journal = journal.map_err(|error| error.to_string())?;
    let (past, started) = resume::begun(folder, journal).map_err(|failure| failure.message)?;
    let text = std::fs::read(folder.plan()).map_err(|error| format!("the plan kept with the run: {error}"))?;
    let (prepared, _) = prepare::again(&text, repo.clone(), &started, None).map_err(|failure| failure.message)?;
    let setup = conduct::run_setup(&prepared, started.run.clone(), &Options::of(&started), started.fingerprint.clone());
    Records::of(&setup, &past.events).map_err(|error| format!("the run's journal is not of its plan: {error}"))
}

/// Makes the composite again, in a folder that is deleted afterwards.
async fn composite(repo: &UserRepo, receipt: &Receipt) -> Result<Vec<Check>, Failure> {
    let needed = verifying::ingredients(receipt);
    let commits: Vec<CommitId> = needed.iter().map(|(_, commit)| *commit).collect();
    let missing = repo.missing(&commits)?;
    if !missing.is_empty() {
        let gone = needed.iter().filter(|(_, commit)| missing.contains(commit));
        return Ok(gone
            .map(|(what, commit)| {
                Check::new(what, Finding::Gone, format!("{commit} is not in this repository any more"))
            })
            .collect());
    }
    let folder = ScratchFolder::create()?;
    let settings = ComposeSettings { merge: receipt.merge, committer: receipt.committer.clone(), remember_for: None };
    let workshop = Workshop::new(folder.path(), repo, settings)?;
    match verifying::composite(receipt, &*workshop.composer).await {
        Ok(checks) => Ok(checks),
        Err(error) => {
            Ok(vec![Check::new("commit", Finding::Gone, format!("it cannot be made again: {}", error.message))])
        }
    }
}

fn target(repo: &UserRepo, receipt: &Receipt) -> Result<Check, Failure> {
    let target = ref_name(&receipt.target);
    Ok(match repo.holds(&receipt.target, receipt.composite)? {
        Some(true) => Check::new("target", Finding::Ok, format!("{target} holds the commit")),
        Some(false) => Check::new("target", Finding::Note, format!("{target} does not hold the commit now")),
        None => Check::new("target", Finding::Note, format!("{target} is not there now")),
    })
}

/// Whether a gate's log is the one it left; `None` where it left none on record.
fn log(gate: &ReceiptGate, folder: Option<&RunFolder>) -> Option<Check> {
    let (log, claimed) = (gate.log.as_deref()?, gate.log_digest?);
    let what = format!("log of {}", verifying::title(gate));
    let unchecked = |why: &str| Some(Check::new(&what, Finding::Unchecked, format!("{log}: {why}")));
    let Some(path) = folder.and_then(|folder| inside(folder, log)) else {
        return unchecked("it is no file of a run that is here");
    };
    match gate::digest(&path) {
        Ok(found) if found == claimed => Some(Check::new(&what, Finding::Ok, path.display().to_string())),
        Ok(found) => {
            let message = format!("{}: the receipt says digest {claimed}, it is {found}", path.display());
            Some(Check::new(&what, Finding::Differs, message))
        }
        Err(error) => unchecked(&error.to_string()),
    }
}

/// The file of a run's folder that `log` names, wherever the repository was then; `None` where it
/// names none, or something else that no receipt may make anybody read.
fn inside(folder: &RunFolder, log: &str) -> Option<PathBuf> {
    let marker = format!("/lexpr/runs/{}/", folder.id);
    let (_, rest) = log.rsplit_once(&marker)?;
    if !Path::new(rest).components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let path = folder.path.join(rest).canonicalize().ok()?;
    let is_in_it = path.starts_with(folder.path.canonicalize().ok()?);
    (is_in_it && path.is_file()).then_some(path)
}

fn text(verification: &Verification, paint: Paint) -> String {
    let mut out = String::new();
    if verification.receipts.is_empty() {
        return "the run landed nothing, so there is nothing to verify\n".to_owned();
    }
    for verified in &verification.receipts {
        let _ = writeln!(
            out,
            "{}: {} on {} as {}",
            paint.paint(Tone::Strong, &shown(&verified.receipt)),
            count(verified.items, "item"),
            ref_name(&verified.target),
            verified.commit.short()
        );
        for check in &verified.checks {
            let tone = match check.finding {
                Finding::Ok => Tone::Good,
                Finding::Differs | Finding::Gone => Tone::Bad,
                Finding::Unchecked | Finding::Note => Tone::Notice,
            };
            let word = paint.paint(tone, &format!("{:<9}", check.finding.word()));
            let _ = writeln!(out, "  {word} {}: {}", shown(&check.what), shown(&in_one_line(&check.message)));
        }
    }
    let checks = || verification.receipts.iter().flat_map(|verified| &verified.checks);
    let of = |finding: Finding| checks().filter(|check| check.finding == finding).count();
    let all = count(verification.receipts.len(), "receipt");
    let _ = match (of(Finding::Differs), of(Finding::Gone), of(Finding::Unchecked)) {
        (0, 0, 0) => writeln!(out, "{all} verified: everything is as claimed"),
        (0, 0, some) => writeln!(out, "{all} verified; {} cannot be checked any more", count(some, "log")),
        (0, gone, _) => writeln!(out, "NOT VERIFIED: for {gone} of what is claimed there is no evidence here"),
        (bad, ..) => writeln!(out, "NOT VERIFIED: {bad} of what is claimed does not hold"),
    };
    out
}
