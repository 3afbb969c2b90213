//! `lexpr demo`: a real small repository with a dozen branches, landed through the same code as
//! `lexpr merge --execute`, so that a newcomer sees every outcome once.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::overriding::OverrideArgs;
use super::{DemoArgs, FaceArgs, MergeArgs, RepositoryArgs, merge, speak};
use crate::git::scratch::{self, ScratchBranch, ScratchCommit};
use crate::vocabulary::event::{FinalItem, FinalStatus};
use crate::wording::shown;

/// What each branch of the demonstration is there to show, and how it must end.
const EXPECTED: &[(&str, FinalStatus, &str)] = &[
    ("docs", FinalStatus::Landed, "independent"),
    ("typo", FinalStatus::Landed, "independent"),
    ("auth", FinalStatus::Landed, "bottom of a stack of three"),
    ("sessions", FinalStatus::Landed, "middle of the stack"),
    ("logout", FinalStatus::Landed, "top of the stack"),
    ("db", FinalStatus::Landed, "bottom of a diamond"),
    ("users", FinalStatus::Landed, "left side of the diamond"),
    ("orders", FinalStatus::Landed, "right side of the diamond"),
    ("reports", FinalStatus::Landed, "top of the diamond"),
    ("logging", FinalStatus::Landed, "two commits, squashed into one"),
    ("theme-dark", FinalStatus::Landed, "changes the same line as theme-light"),
    ("theme-light", FinalStatus::Conflicted, "changes the same line as theme-dark"),
    ("upload", FinalStatus::Landed, "has a gate that passes at the second try"),
    ("payments", FinalStatus::Failed, "brings a failing test"),
    ("refunds", FinalStatus::Blocked, "depends on payments"),
];

const FIRST: ScratchCommit<'static> = ScratchCommit {
    message: "Begin the shop",
    files: &[
        ("README.md", "# The shop\n\nA small shop for the demonstration of lexpr.\n"),
        ("check.sh", CHECK),
        ("tests/shop.sh", "grep -q shop README.md\n"),
        ("src/shop.txt", "name = shop\ncolour = grey\nopen = yes\n"),
    ],
};

/// The repository's own test runner: every script under tests/ must succeed.
const CHECK: &str = "\
# Runs every test of the shop.
sleep 0.3
for test in tests/*.sh; do
    if sh \"$test\"; then
        echo \"ok    $test\"
    else
        echo \"FAIL  $test\"
        exit 1
    fi
done
";

macro_rules! feature {
    ($name:literal, $from:literal, $message:literal) => {
        ScratchBranch {
            name: $name,
            from: $from,
            commits: &[ScratchCommit {
                message: $message,
                files: &[
                    (concat!("src/", $name, ".txt"), concat!($name, " = yes\n")),
                    (concat!("tests/", $name, ".sh"), concat!("grep -q yes src/", $name, ".txt\n")),
                ],
            }],
        }
    };
}

const BRANCHES: &[ScratchBranch<'static>] = &[
    ScratchBranch {
        name: "docs",
        from: "main",
        commits: &[ScratchCommit {
            message: "Say how to order",
            files: &[("docs/ordering.md", "# Ordering\n\nChoose, pay, wait.\n")],
        }],
    },
    ScratchBranch {
        name: "typo",
        from: "main",
        commits: &[ScratchCommit {
            message: "Mend a sentence in the README",
            files: &[("README.md", "# The shop\n\nA small shop that demonstrates lexpr.\n")],
        }],
    },
    feature!("auth", "main", "Ask who is there"),
    feature!("sessions", "auth", "Remember who is there"),
    feature!("logout", "sessions", "Forget who was there"),
    feature!("db", "main", "Keep things in a database"),
    feature!("users", "db", "Keep users"),
    feature!("orders", "db", "Keep orders"),
    feature!("reports", "db", "Count orders by user"),
    ScratchBranch {
        name: "logging",
        from: "main",
        commits: &[
            ScratchCommit { message: "Log every request", files: &[("src/logging.txt", "logging = all\n")] },
            ScratchCommit { message: "Log less", files: &[("src/logging.txt", "logging = errors\n")] },
        ],
    },
    ScratchBranch {
        name: "theme-dark",
        from: "main",
        commits: &[ScratchCommit {
            message: "Make it dark",
            files: &[("src/shop.txt", "name = shop\ncolour = black\nopen = yes\n")],
        }],
    },
    ScratchBranch {
        name: "theme-light",
        from: "main",
        commits: &[ScratchCommit {
            message: "Make it light",
            files: &[("src/shop.txt", "name = shop\ncolour = white\nopen = yes\n")],
        }],
    },
    feature!("upload", "main", "Take pictures"),
    ScratchBranch {
        name: "payments",
        from: "main",
        commits: &[ScratchCommit {
            message: "Take money",
            files: &[
                ("src/payments.txt", "payments = not yet\n"),
                ("tests/payments.sh", "echo 'expected: payments = yes'\ngrep -q yes src/payments.txt\n"),
            ],
        }],
    },
    feature!("refunds", "payments", "Give money back"),
];

/// Makes the repository, lands its plan and compares what happened with what was set up.
///
/// # Errors
/// Where the folder is in use or cannot be written, or the run itself fails.
pub fn run(args: DemoArgs) -> Result<u8, Failure> {
    let folder = demo_folder(args.dir)?;
    let repository = folder.join("shop");
    let plan = folder.join("plan.yaml");
    scratch::create(&repository, FIRST, BRANCHES)?;
    std::fs::write(&plan, plan_text(&folder)).map_err(|error| Failure::io("writing", &plan, &error))?;

    speak::note(&format!(
        "lexpr demo: a repository with {} branches in {}\n",
        BRANCHES.len(),
        shown(&repository.to_string_lossy())
    ));
    let report = folder.join("report.md");
    let outcome = merge::run(MergeArgs {
        plan: plan.clone(),
        execute: true,
        runtime: None,
        repository: RepositoryArgs { repo: repository.clone() },
        target: None,
        max_workers: None,
        gate_timeout: None,
        artifact_dir: None,
        faces: FaceArgs {
            report: vec![report.clone()],
            metrics_addr: None,
            metrics_file: None,
            metrics_linger: 0,
            progress: args.progress,
            quiet: false,
            on_finish: None,
        },
        push: None,
        no_sign: false,
        urgent: false,
        overrides: OverrideArgs::default(),
        deadline: None,
        wait: false,
        afresh: false,
    })?;
    let differences = differences(&outcome.items);
    speak::result(&epilogue(&repository, &plan, &report, &differences))?;
    Ok(if differences.is_empty() { 0 } else { 1 })
}

fn demo_folder(asked_for: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let Some(folder) = asked_for else {
        let fresh = tempfile::Builder::new()
            .prefix("lexpr-demo-")
            .tempdir()
            .map_err(|error| Failure::io("making a folder in", &std::env::temp_dir(), &error))?;
        return Ok(fresh.keep());
    };
    std::fs::create_dir_all(&folder).map_err(|error| Failure::io("making", &folder, &error))?;
    let mut entries = std::fs::read_dir(&folder).map_err(|error| Failure::io("reading", &folder, &error))?;
    if entries.next().is_some() {
        return Err(Failure::usage(format!("{} is not empty", folder.display()))
            .with_hint("name a folder that does not exist yet"));
    }
    std::path::absolute(&folder).map_err(|error| Failure::io("finding", &folder, &error))
}

/// The plan, as a person would write it, with a comment where something is to be seen.
fn plan_text(folder: &Path) -> String {
    let tried = serde_json::Value::from(folder.join("upload-was-tried").to_string_lossy().into_owned());
    format!(
        "\
# What `lexpr demo` lands. Try it again: `lexpr merge plan.yaml --repo shop`
schemaVersion: v1
target: main
policy:
  retries:
    e2e: {{ maxAttempts: 2, backoffSeconds: 0.2 }}
gates: # for every item that names none of its own
  - {{ name: unit, run: sh check.sh }}
items:
  - name: docs
  - name: typo

  # a stack: each needs the one before
  - name: auth
  - {{ name: sessions, deps: [auth] }}
  - {{ name: logout, deps: [sessions] }}

  # a diamond
  - name: db
  - {{ name: users, deps: [db] }}
  - {{ name: orders, deps: [db] }}
  - {{ name: reports, deps: [users, orders] }}

  # two commits that land as one
  - {{ name: logging, strategy: squash }}

  # these two change the same line: only one can land
  - name: theme-dark
  - name: theme-light

  # a gate that fails at the first try
  - name: upload
    gates:
      - {{ name: unit, run: sh check.sh }}
      - name: e2e
        run: 'test -e \"$TRIED\" || {{ touch \"$TRIED\"; echo \"the network hiccupped\"; exit 1; }}'
        env: {{ TRIED: {tried} }}

  # a gate that fails, and what depends on it
  - name: payments
  - {{ name: refunds, deps: [payments] }}
"
    )
}

/// One line for each branch that did not end as it was set up to.
fn differences(items: &[FinalItem]) -> Vec<String> {
    EXPECTED
        .iter()
        .filter_map(|(name, expected, _)| {
            let status = items.iter().find(|item| item.name.as_str() == *name).map(|item| item.status);
            (status != Some(*expected)).then(|| match status {
                Some(status) => format!("{name} ended {status}, and {expected} was set up"),
                None => format!("{name} is not in the result, and {expected} was set up"),
            })
        })
        .collect()
}

fn epilogue(repository: &Path, plan: &Path, report: &Path, differences: &[String]) -> String {
    let mut text = String::from("\nWhat was set up:\n");
    let width = EXPECTED.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, status, what) in EXPECTED {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:width$}  {status:10}  {what}");
    }
    if differences.is_empty() {
        text.push_str("\nAll of it happened.\n");
    } else {
        text.push_str("\nThis did not happen as it was set up:\n");
        for difference in differences {
            let _ = writeln!(text, "  {difference}");
        }
    }
    let repository = repository.to_string_lossy();
    let repository = shown(&repository);
    let _ = write!(
        text,
        "\nrepository  {repository}\nplan        {}\nreport      {}\n\nSee what landed: git -C {repository} log --graph --oneline main\n",
        shown(&plan.to_string_lossy()),
        shown(&report.to_string_lossy()),
    );
    text
}
