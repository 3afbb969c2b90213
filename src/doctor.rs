//! What `lexpr doctor` found, as text and as JSON: one finding for each thing that a run depends on. Where
//! findings come from is the command's business.

use schemars::JsonSchema;
use serde::Serialize;

use crate::wording::{Paint, Tone, block, count, counted, shown};

/// All that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkup {
    /// lexpr's own.
    pub version: String,
    /// Nothing failed: a run can begin.
    pub healthy: bool,
    /// In the order in which they were looked at.
    pub findings: Vec<Finding>,
}

/// How one thing is, what that means, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub check: Check,
    pub mark: Mark,
    /// What was found.
    pub found: String,
    /// What that means for a run, where the finding does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// What to do, where there is something to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    Ok,
    /// A run can begin, and something of it will be missing or may fail.
    Warn,
    /// No run can land as things stand.
    Fail,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// The release of git.
    GitVersion,
    /// Whether the repository is one that lexpr can work with, and how it is made.
    Repository,
    /// The branch that would move.
    Target,
    /// A working tree that has the target checked out.
    Checkout,
    /// In whose name commits are made.
    Identity,
    /// Whether commits are to be signed.
    Signing,
    /// Git LFS, other filters, submodules.
    Content,
    /// The folder with runs, verdicts and locks.
    GitFolder,
    /// The folder in which gates run.
    Slots,
    /// `$TMPDIR`.
    TemporaryFolder,
    /// Runs that have not come to their end.
    Runs,
    /// What `lexpr clean` would remove.
    Leftovers,
    /// What the operating system keeps of lexpr's promises.
    System,
    /// Processors, and how many gates run at once.
    Processors,
    Memory,
    /// What `maxWorkers: auto` goes by.
    Pressure,
    /// The limit on open files.
    OpenFiles,
    /// What reads gates' commands.
    Shell,
    /// Whether metrics can be served.
    Loopback,
    /// How a run would be shown.
    Terminal,
    /// What runs gates, as far as it was asked to.
    Runtime,
}

impl Check {
    fn words(self) -> &'static str {
        match self {
            Self::GitVersion => "git",
            Self::Repository => "repository",
            Self::Target => "target",
            Self::Checkout => "checkout",
            Self::Identity => "identity",
            Self::Signing => "signing",
            Self::Content => "content",
            Self::GitFolder => "git folder",
            Self::Slots => "slots",
            Self::TemporaryFolder => "temporary files",
            Self::Runs => "runs",
            Self::Leftovers => "leftovers",
            Self::System => "system",
            Self::Processors => "processors",
            Self::Memory => "memory",
            Self::Pressure => "pressure",
            Self::OpenFiles => "open files",
            Self::Shell => "shell",
            Self::Loopback => "loopback",
            Self::Terminal => "terminal",
            Self::Runtime => "runtime",
        }
    }
}

impl Mark {
    fn words(self) -> (&'static str, Tone) {
        match self {
            Self::Ok => ("ok", Tone::Good),
            Self::Warn => ("warn", Tone::Notice),
            Self::Fail => ("fail", Tone::Bad),
        }
    }
}

impl Finding {
    pub fn ok(check: Check, found: impl Into<String>) -> Self {
        Self { check, mark: Mark::Ok, found: found.into(), meaning: None, remedy: None }
    }

    pub fn warn(check: Check, found: impl Into<String>) -> Self {
        Self { mark: Mark::Warn, ..Self::ok(check, found) }
    }

    pub fn fail(check: Check, found: impl Into<String>) -> Self {
        Self { mark: Mark::Fail, ..Self::ok(check, found) }
    }

    pub fn meaning(mut self, meaning: impl Into<String>) -> Self {
        self.meaning = Some(meaning.into());
        self
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl Checkup {
    pub fn new(findings: Vec<Finding>) -> Self {
        let healthy = findings.iter().all(|finding| finding.mark != Mark::Fail);
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), healthy, findings }
    }

    fn number(&self, mark: Mark) -> usize {
        self.findings.iter().filter(|finding| finding.mark == mark).count()
    }
}

/// A line for each finding, below it what it means and what to do; how many of them there are.
pub fn text(checkup: &Checkup, paint: Paint) -> String {
    const MARGIN: &str = "      ";
    let indented = |text: &str| block(text).replace('\n', &format!("\n{MARGIN}  "));
    let mut text = String::new();
    for finding in &checkup.findings {
        let (mark, tone) = finding.mark.words();
        let mark = paint.paint(tone, &format!("{mark:<4}"));
        let found = indented(&finding.found);
        text.push_str(&format!("{mark}  {}: {found}\n", paint.paint(Tone::Strong, finding.check.words())));
        if let Some(meaning) = &finding.meaning {
            text.push_str(&format!("{MARGIN}{}\n", paint.paint(Tone::Quiet, &shown(meaning))));
        }
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("{MARGIN}to do: {}\n", indented(remedy)));
        }
    }
    let numbers = [(checkup.number(Mark::Fail), "failed"), (checkup.number(Mark::Warn), "to look at")];
    text.push_str(&format!("{} looked at{}\n", count(checkup.findings.len(), "thing"), counted(numbers)));
    text
}

/// The schema of [`Checkup`], with a final newline.
pub fn schema_json() -> String {
    let mut text =
        serde_json::to_string_pretty(&schemars::schema_for!(Checkup)).expect("a schema is made of strings and lists");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_says_what_was_found_what_it_means_and_what_to_do() {
        let findings = vec![
            Finding::ok(Check::GitVersion, "2.47"),
            Finding::warn(Check::Memory, "no measure").meaning("no limit holds").remedy("mount /proc"),
            Finding::fail(Check::Repository, "a\nb\u{1b}[2J"),
        ];
        let checkup = Checkup::new(findings);
        assert!(!checkup.healthy);
        let expected = "\
ok    git: 2.47
warn  memory: no measure
      no limit holds
      to do: mount /proc
fail  repository: a
        b
3 things looked at: 1 failed, 1 to look at
";
        assert_eq!(text(&checkup, Paint::PLAIN), expected);
        let well = Checkup::new(vec![Finding::warn(Check::Memory, "x")]);
        assert!(well.healthy, "a warning keeps no run from beginning");
    }
}
