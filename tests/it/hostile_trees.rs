//! Trees that no `git add` makes.

use std::fs;

use crate::cli_world::{Said, World, statuses};

const FILE: &str = "100644";
const TREE: &str = "40000";
const LINK: &str = "120000";
const SUBMODULE: &str = "160000";

struct Made {
    world: World,
}

/// One line of a tree: mode, name, object.
type Line<'a> = (&'a str, &'a [u8], String);

impl Made {
    fn new() -> Self {
        Self { world: World::new(&[("README.md", "# A project\n")], &[("good", "main", &[("good", "1")])]) }
    }

    fn blob(&self, content: &str) -> String {
        self.world.feed(&["hash-object", "-w", "--stdin"], content.as_bytes())
    }

    /// Exactly these lines, in this order.
    fn tree(&self, lines: &[Line<'_>]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in lines {
            bytes.extend_from_slice(format!("{mode} ").as_bytes());
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend((0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()));
        }
        self.world.feed(&["hash-object", "-t", "tree", "--literally", "-w", "--stdin"], &bytes)
    }

    fn branch(&self, name: &str, tree: &str) {
        let commit = self.world.git(&["commit-tree", "-p", "main", "-m", "Hostile", tree]);
        self.world.git(&["branch", "-q", name, &commit]);
    }

    fn readme(&self) -> Line<'static> {
        (FILE, b"README.md", self.world.git(&["rev-parse", "main:README.md"]))
    }
}

#[test]
fn explore() {
    for gate in [false, true] {
        for (what, make) in hostile() {
            let made = Made::new();
            let lines = make(&made);
            let tree = made.tree(&lines);
            made.branch("bad", &tree);
            let gates = if gate { "gates: [{name: g, run: 'true'}]\n" } else { "" };
            let plan = format!("schemaVersion: v1\n{gates}items: [{{name: good}}, {{name: bad}}]\n");
            let report = made.world.path("report.json");
            let dry = made.world.merge(&plan, &[]);
            let said: Said = made.world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]);
            println!("== {what} gate {gate}: dry {} {:?}", dry.code, dry.stdout.lines().filter(|l| l.contains("bad")).collect::<Vec<_>>());
            println!("   exit {} {:?}", said.code, said.stderr.lines().filter(|l| l.contains("bad") || l.contains("error") || l.contains("fatal")).collect::<Vec<_>>());
            if report.exists() {
                let report = made.world.report(&report);
                println!("   {:?} {}", statuses(&report), report["items"][0]["reason"]);
            }
        }
    }
}

type Make = fn(&Made) -> Vec<Line<'static>>;

fn hostile() -> Vec<(&'static str, Make)> {
    vec![
        (".git folder", |made| vec![made.dot_git(b".git"), made.readme()]),
        (".GIT folder", |made| vec![made.dot_git(b".GIT"), made.readme()]),
        ("git~1", |made| vec![made.readme(), made.dot_git(b"git~1")]),
        (".g\\u200cit", |made| vec![made.dot_git(".g\u{200c}it".as_bytes()), made.readme()]),
        (".git file", |made| vec![(FILE, b".git", made.blob("gitdir: /tmp\n")), made.readme()]),
        (".git link", |made| vec![(LINK, b".git", made.blob("/tmp")), made.readme()]),
        ("..", |made| vec![(TREE, b"..", made.tree(&[(FILE, b"x", made.blob("x"))])), made.readme()]),
        (".", |made| vec![(TREE, b".", made.tree(&[(FILE, b"x", made.blob("x"))])), made.readme()]),
        ("slash", |made| vec![(FILE, b"../../x", made.blob("x")), made.readme()]),
        ("absolute", |made| vec![(FILE, b"/tmp/canary", made.blob("x")), made.readme()]),
        ("empty name", |made| vec![(FILE, b"", made.blob("x")), made.readme()]),
        (".gitmodules link", |made| vec![(LINK, b".gitmodules", made.blob("x")), made.readme()]),
        ("twice", |made| vec![made.readme(), (FILE, b"x", made.blob("x")), (FILE, b"x", made.blob("y"))]),
        ("twice, link and folder", |made| {
            let inner = made.tree(&[(FILE, b"x", made.blob("x"))]);
            vec![made.readme(), (LINK, b"x", made.blob("/tmp")), (TREE, b"x", inner)]
        }),
        ("unsorted", |made| vec![(FILE, b"x", made.blob("x")), (FILE, b"b", made.blob("b")), made.readme()]),
        ("mode 100664", |made| vec![made.readme(), ("100664", b"x", made.blob("x"))]),
        ("mode 0", |made| vec![made.readme(), ("0", b"x", made.blob("x"))]),
        ("mode 777777", |made| vec![made.readme(), ("777777", b"x", made.blob("x"))]),
        ("folder 040000", |made| vec![made.readme(), ("040000", b"x", made.tree(&[(FILE, b"x", made.blob("x"))]))]),
        ("a file's mode for a folder", |made| vec![made.readme(), (FILE, b"x", made.tree(&[]))]),
        ("a folder's mode for a file", |made| vec![made.readme(), (TREE, b"x", made.blob("x"))]),
        ("missing blob", |made| vec![made.readme(), (FILE, b"x", "1".repeat(40))]),
        ("missing tree", |made| vec![made.readme(), (TREE, b"x", "1".repeat(40))]),
        ("submodule", |made| vec![made.readme(), (SUBMODULE, b"x", "1".repeat(40))]),
        ("null id", |made| vec![made.readme(), (FILE, b"x", "0".repeat(40))]),
        ("backslash", |made| vec![made.readme(), (FILE, b"..\\x", made.blob("x"))]),
        ("300 bytes", |made| vec![made.readme(), (FILE, LONG, made.blob("x"))]),
        ("link outside", |made| vec![made.readme(), (LINK, b"x", made.blob("../../../etc/passwd"))]),
        ("case", |made| vec![made.readme(), (FILE, b"X", made.blob("X")), (FILE, b"x", made.blob("x"))]),
    ]
}

const LONG: &[u8] = &[b'y'; 300];

impl Made {
    fn dot_git(&self, name: &'static [u8]) -> Line<'static> {
        let hooks = self.tree(&[("100755", b"post-checkout", self.blob("#!/bin/sh\ntouch /tmp/pwned\n"))]);
        let config = self.blob("[core]\n\tfsmonitor = touch /tmp/pwned\n");
        (TREE, name, self.tree(&[(FILE, b"config", config), (TREE, b"hooks", hooks)]))
    }
}
