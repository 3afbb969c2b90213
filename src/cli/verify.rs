//! `lexpr verify`: whether what landed is what its receipt claims.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::failure::Failure;
use super::prepare::Workshop;
use super::scratch::ScratchFolder;
use super::{CheckFormat, VerifyArgs, conduct, speak, status};
use crate::core::account::Account;
use crate::engine::verifying::{self, Check, Finding};
use crate::engine::{self, Receipt, ReceiptGate};
use crate::gate;
use crate::git::compose::ComposeSettings;
use crate::git::repo::UserRepo;
use crate::journal;
use crate::runs::{self, RunFolder};
use crate::vocabulary::event::Recorded;
use crate::vocabulary::names::{CommitId, RunId};
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
    /// Nothing differs, and every composite could be made again.
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
    let receipts = if file.is_file() || looks_like_a_file {
        let receipt = read(file)?;
        vec![conduct::runtime()?.block_on(verify(&repo, file, &receipt))?]
    } else {
        of_run(&repo, &runs::find(repo.common_dir(), Some(&args.subject)).map_err(status::not_found)?)?
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

/// All receipts of a run, in the order of its landings; what the journal knows to have landed
/// without one is told.
fn of_run(repo: &UserRepo, folder: &RunFolder) -> Result<Vec<Verified>, Failure> {
    let dir = folder.path.join("receipts");
    let mut files: Vec<(u64, PathBuf)> = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::io("reading", &dir, &error)),
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(|error| Failure::io("reading", &dir, &error)))
            .filter_map(|path| match path {
                Ok(path) if path.extension().is_none_or(|extension| extension != "json") => None,
                Ok(path) => {
                    let apex = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                    Some(Ok((apex.unwrap_or(u64::MAX), path)))
                }
                Err(error) => Some(Err(error)),
            })
            .collect::<Result<_, Failure>>()?,
    };
    files.sort();
    let runtime = conduct::runtime()?;
    let mut verified = Vec::new();
    let mut seen = Vec::new();
    for (_, file) in &files {
        let receipt = read(file)?;
        seen.push(receipt.composite);
        verified.push(runtime.block_on(verify(repo, file, &receipt))?);
    }
    let account = match journal::read(&folder.journal()) {
        Ok(journal) => Account::of(&journal.events),
        // Every receipt says so, where there is one.
        Err(_) if !verified.is_empty() => None,
        Err(error) => return Err(Failure::internal(error.to_string())),
    };
    let Some(account) = account else { return Ok(verified) };
    for landing in account.landings.iter().filter(|landing| !seen.contains(&landing.to)) {
        let file = landing
            .receipt
            .clone()
            .unwrap_or_else(|| dir.join(format!("{}.json", landing.apex.0)).display().to_string());
        verified.push(Verified {
            receipt: file,
            run: folder.id.clone(),
            target: account.started.target.clone(),
            commit: landing.to,
            items: landing.items.len(),
            checks: vec![Check::new("receipt", Finding::Unchecked, "the file is not there")],
        });
    }
    Ok(verified)
}

fn read(file: &Path) -> Result<Receipt, Failure> {
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

async fn verify(repo: &UserRepo, file: &Path, receipt: &Receipt) -> Result<Verified, Failure> {
    let mut checks = composite(repo, receipt).await?;
    checks.push(target(repo, receipt)?);
    let all = runs::list(repo.common_dir()).map_err(status::not_found)?;
    let folder_of = |run: &RunId| all.iter().find(|folder| folder.id == *run);
    let folder = folder_of(&receipt.run);
    match folder.map(|folder| journal::read(&folder.journal())) {
        None => checks.push(Check::new("journal", Finding::Unchecked, "the run's journal is not there")),
        Some(Err(error)) => checks.push(Check::new("journal", Finding::Unchecked, error.to_string())),
        Some(Ok(journal)) => {
            let earlier = |run: &RunId| -> Option<Vec<Recorded>> {
                folder_of(run).and_then(|folder| Some(journal::read(&folder.journal()).ok()?.events))
            };
            checks.extend(verifying::journal(receipt, &journal.events, &earlier));
        }
    }
    checks.extend(receipt.gates.iter().filter_map(|gate| log(gate, folder)));
    Ok(Verified {
        receipt: file.display().to_string(),
        run: receipt.run.clone(),
        target: receipt.target.clone(),
        commit: receipt.composite,
        items: receipt.items.len(),
        checks,
    })
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
        Ok(found) if found == claimed => Some(Check::new(&what, Finding::Ok, log)),
        Ok(found) => {
            let message = format!("{log}: the receipt says digest {claimed}, it is {found}");
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
            let _ = writeln!(out, "  {word} {}: {}", shown(&check.what), shown(&check.message));
        }
    }
    let checks = || verification.receipts.iter().flat_map(|verified| &verified.checks);
    let bad = checks().filter(|check| check.finding.is_bad()).count();
    let unchecked = checks().filter(|check| check.finding == Finding::Unchecked).count();
    let all = count(verification.receipts.len(), "receipt");
    let _ = match (bad, unchecked) {
        (0, 0) => writeln!(out, "{all} verified: everything is as claimed"),
        (0, some) => writeln!(out, "{all} verified, as far as can be: {some} of what is claimed cannot be checked"),
        (bad, _) => writeln!(out, "NOT VERIFIED: {bad} of what is claimed does not hold"),
    };
    out
}
