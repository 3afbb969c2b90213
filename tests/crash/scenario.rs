//! What is landed, and where: three plans and the ways in which a landing reaches people.

use lexpr::git::scratch::{ScratchBranch, ScratchCommit};

/// What a plan is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// What `lexpr demo` lands: stacks, a diamond, a squash, a conflict, a flaky gate, a failure.
    Pyramid,
    /// A stack whose middle fails, two items that clash, a setup, gates with inputs.
    Stack,
    /// One landing for each item.
    Batches,
}

/// Where the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    Bare,
    /// The target is checked out where lexpr is started.
    Checkout,
    /// The target is checked out in a linked worktree; lexpr is started in one with work in progress.
    Worktree,
    /// Checked out, and pushed to a bare remote.
    Push,
    /// As [`Mode::Checkout`], by an urgent run.
    Urgent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scenario {
    pub shape: Shape,
    pub mode: Mode,
}

impl Scenario {
    pub fn all() -> Vec<Self> {
        let shapes = [Shape::Pyramid, Shape::Stack, Shape::Batches];
        let modes = [Mode::Bare, Mode::Checkout, Mode::Worktree, Mode::Push, Mode::Urgent];
        shapes.into_iter().flat_map(|shape| modes.map(|mode| Self { shape, mode })).collect()
    }
}

/// Every test of the tree must succeed. With HOLD set the gate never ends, nor does a daemon of its.
const CHECK: &str = "\
echo \"$LEXPR_GATE $LEXPR_TREE\" >> \"$TRACE\"
if [ -n \"$HOLD\" ]; then setsid sleep 1000 & sleep 1000; fi
for test in tests/*.sh; do sh \"$test\" || exit 1; done
";

pub const FIRST: ScratchCommit<'static> = ScratchCommit {
    message: "Begin",
    files: &[
        ("README.md", "# The shop\n\nA small shop.\n"),
        (".gitignore", "out/\n"),
        ("check.sh", CHECK),
        ("tests/shop.sh", "grep -q shop README.md\n"),
        ("src/shop.txt", "name = shop\ncolour = grey\nopen = yes\n"),
    ],
};

macro_rules! branch {
    ($name:literal, $from:literal, $($path:expr => $content:expr),+) => {
        ScratchBranch {
            name: $name,
            from: $from,
            commits: &[ScratchCommit { message: concat!("Work on ", $name), files: &[$(($path, $content)),+] }],
        }
    };
}

macro_rules! feature {
    ($name:literal, $from:literal) => {
        branch!($name, $from,
            concat!("src/", $name, ".txt") => concat!($name, " = yes\n"),
            concat!("tests/", $name, ".sh") => concat!("grep -q yes src/", $name, ".txt\n"))
    };
}

const PYRAMID: &[ScratchBranch<'static>] = &[
    branch!("docs", "main", "docs/ordering.md" => "# Ordering\n"),
    branch!("typo", "main", "README.md" => "# The shop\n\nA shop that is small.\n"),
    feature!("auth", "main"),
    feature!("sessions", "auth"),
    feature!("logout", "sessions"),
    feature!("db", "main"),
    feature!("users", "db"),
    feature!("orders", "db"),
    feature!("reports", "db"),
    ScratchBranch {
        name: "logging",
        from: "main",
        commits: &[
            ScratchCommit { message: "Log every request", files: &[("src/logging.txt", "logging = all\n")] },
            ScratchCommit { message: "Log less", files: &[("src/logging.txt", "logging = errors\n")] },
        ],
    },
    branch!("theme-dark", "main", "src/shop.txt" => "name = shop\ncolour = black\nopen = yes\n"),
    branch!("theme-light", "main", "src/shop.txt" => "name = shop\ncolour = white\nopen = yes\n"),
    feature!("upload", "main"),
    branch!("payments", "main", "src/payments.txt" => "payments = no\n", "tests/payments.sh" => "grep -q yes src/payments.txt\n"),
    feature!("refunds", "payments"),
];

const PYRAMID_PLAN: &str = r#"
schemaVersion: v1
policy:
  maxWorkers: 2
  retries: { e2e: { maxAttempts: 2, backoffSeconds: 0.05 } }
gates: [{ name: unit, run: sh check.sh }]
items:
  - name: docs
  - name: typo
  - name: auth
  - { name: sessions, deps: [auth] }
  - { name: logout, deps: [sessions] }
  - name: db
  - { name: users, deps: [db] }
  - { name: orders, deps: [db] }
  - { name: reports, deps: [users, orders] }
  - { name: logging, strategy: squash }
  - name: theme-dark
  - name: theme-light
  - name: upload
    gates:
      - { name: unit, run: sh check.sh }
      - name: e2e
        run: 'echo "$LEXPR_GATE $LEXPR_TREE" >> "$TRACE"; test -e "$TRACE.tried" || { touch "$TRACE.tried"; exit 1; }'
  - name: payments
  - { name: refunds, deps: [payments] }
"#;

const STACK: &[ScratchBranch<'static>] = &[
    feature!("bottom", "main"),
    branch!("middle", "bottom", "src/middle.txt" => "middle = no\n", "tests/middle.sh" => "grep -q yes src/middle.txt\n"),
    feature!("top", "middle"),
    branch!("one", "main", "src/one.txt" => "one = yes\n"),
    branch!("two", "main", "README.md" => "# The shop\n\nTwo shops.\n"),
    // Passes alone, and not together with one.
    branch!("three", "main", "tests/three.sh" => "test ! -e src/one.txt\n"),
    branch!("four", "two", "src/four/deep.txt" => "four = yes\n"),
];

const STACK_PLAN: &str = r#"
schemaVersion: v1
policy:
  maxWorkers: 2
  optionalGates: [style]
  setup: { run: mkdir -p out && echo done > out/setup, inputs: [check.sh] }
gates:
  - { name: unit, run: test -e out/setup && sh check.sh }
  - { name: docs, run: 'echo "$LEXPR_GATE $LEXPR_TREE" >> "$TRACE"; grep -q shop README.md', inputs: [README.md] }
  - { name: style, run: 'echo "$LEXPR_GATE $LEXPR_TREE" >> "$TRACE"; exit 1' }
items:
  - name: bottom
  - { name: middle, deps: [bottom] }
  - { name: top, deps: [middle] }
  - { name: one, strategy: squash }
  - { name: two, strategy: rebase }
  - name: three
  - { name: four, deps: [two] }
"#;

const BATCHES: &[ScratchBranch<'static>] = &[
    branch!("first", "main", "README.md" => "# The shop\n\nOne shop.\n", "src/first.txt" => "1\n"),
    feature!("second", "first"),
    branch!("third", "main", "src/third/deep/file.txt" => "3\n"),
    branch!("fourth", "main", "src/shop.txt" => "name = shop\ncolour = red\nopen = no\n"),
    branch!("fifth", "main", "tests/fifth.sh" => "exit 1\n"),
];

const BATCHES_PLAN: &str = r#"
schemaVersion: v1
policy: { maxWorkers: 2, performance: { batchSize: 1 } }
gates: [{ name: unit, run: sh check.sh }]
items:
  - name: first
  - { name: second, deps: [first], strategy: squash }
  - { name: third, strategy: rebase }
  - name: fourth
  - name: fifth
"#;

impl Shape {
    pub fn branches(self) -> &'static [ScratchBranch<'static>] {
        match self {
            Self::Pyramid => PYRAMID,
            Self::Stack => STACK,
            Self::Batches => BATCHES,
        }
    }

    pub fn plan(self) -> &'static str {
        match self {
            Self::Pyramid => PYRAMID_PLAN,
            Self::Stack => STACK_PLAN,
            Self::Batches => BATCHES_PLAN,
        }
    }
}
