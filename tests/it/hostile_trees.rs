//! Trees that no `git add` makes.

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
    /// With `good`, these branches, and an empty commit on each `odd` one.
    fn new(bare: bool, branches: &[(&str, Make)]) -> Self {
        let world = World::new(&[("README.md", "# A project\n")], &[("good", "main", &[("good", "1")])]);
        if bare {
            world.git(&["clone", "-q", "--bare", ".", "../repo.git"]);
            std::fs::remove_dir_all(world.repo()).unwrap();
            std::fs::rename(world.path("repo.git"), world.repo()).unwrap();
        }
        std::fs::write(world.path("canary"), "alive\n").unwrap();
        std::fs::create_dir_all(world.path("cache/lexpr")).unwrap();
        let made = Self { world };
        for (name, make) in branches {
            let tree = made.tree(&make(&made));
            made.branch(name, &tree, "main");
            made.branch("after", &tree, name);
        }
        made
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

    fn branch(&self, name: &str, tree: &str, parent: &str) {
        let commit = self.world.git(&["commit-tree", "-p", parent, "-m", "Hostile", tree]);
        self.world.git(&["branch", "-q", "-f", name, &commit]);
    }

    fn readme(&self) -> Line<'static> {
        (FILE, b"README.md", self.world.git(&["rev-parse", "main:README.md"]))
    }

    /// A folder with what git would start, were it a repository.
    fn dot_git(&self, name: &'static [u8]) -> Line<'static> {
        let hooks = self.tree(&[("100755", b"post-checkout", self.blob("#!/bin/sh\ntouch /tmp/pwned\n"))]);
        let config = self.blob("[core]\n\tfsmonitor = touch /tmp/pwned\n");
        (TREE, name, self.tree(&[(FILE, b"config", config), (TREE, b"hooks", hooks)]))
    }

    fn file(&self, name: &'static [u8]) -> Line<'static> {
        (FILE, name, self.blob("x"))
    }

    fn folder(&self, name: &'static [u8]) -> Line<'static> {
        (TREE, name, self.tree(&[self.file(b"x")]))
    }

    /// Folders in folders, so many.
    fn nested(&self, depth: usize) -> Vec<Line<'static>> {
        let path = "d/".repeat(depth);
        let stream = format!(
            "commit refs/heads/nested\ncommitter A <a@example.org> 0 +0000\ndata 0\nM 100644 inline {path}f\ndata 1\nf\n"
        );
        self.world.feed(&["fast-import", "--quiet"], stream.as_bytes());
        vec![self.readme(), (TREE, b"d", self.world.git(&["rev-parse", "nested:d"]))]
    }

    fn land(&self, args: &[&str]) -> (Said, serde_json::Value) {
        let report = self.world.path("report.json");
        let plan = "schemaVersion: v1\npolicy: {optionalGates: []}\ngates: [{name: g, run: 'test -e README.md'}]\n\
                    items: [{name: good}, {name: odd}, {name: after, deps: [odd]}]\n";
        let said = self.world.merge(plan, &[&["--execute", "--report", report.to_str().unwrap()], args].concat());
        let report = if report.exists() { self.world.report(&report) } else { serde_json::Value::Null };
        (said, report)
    }

    /// What lies beside the repository; a tree that led outside would add to it, or change it.
    fn surroundings(&self) -> Vec<String> {
        let mut found = vec![std::fs::read_to_string(self.world.path("canary")).unwrap()];
        for folder in [self.world.path(""), self.world.path("home"), self.world.path("cache/lexpr")] {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            found.extend(entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()));
        }
        found.retain(|name| {
            name != "report.json" && name != "plan.yaml" && name != "cache" && !name.starts_with("repo")
        });
        found.sort();
        found
    }
}

type Make = fn(&Made) -> Vec<Line<'static>>;

const LONG: &[u8] = &[b'y'; 256];

/// Whose item is set aside, and what it is said to bring.
const REFUSED: &[(&str, &str, Make)] = &[
    (".git/", "a name that git checks out nowhere", |made| vec![made.dot_git(b".git"), made.readme()]),
    (".GIT/", "a name that git checks out nowhere", |made| vec![made.dot_git(b".GIT"), made.readme()]),
    ("git~1/", "a name that git checks out nowhere", |made| vec![made.readme(), made.dot_git(b"git~1")]),
    (".g\u{200c}it/", "a name that git checks out nowhere", |made| {
        vec![made.dot_git(".g\u{200c}it".as_bytes()), made.readme()]
    }),
    ("file .git", "a name that git checks out nowhere", |made| {
        vec![(FILE, b".git", made.blob("gitdir: /tmp\n")), made.readme()]
    }),
    ("link .git", "a name that git checks out nowhere", |made| vec![(LINK, b".git", made.blob("/tmp")), made.readme()]),
    ("../", "a name that git checks out nowhere", |made| vec![made.folder(b".."), made.readme()]),
    ("./", "a name that git checks out nowhere", |made| vec![made.folder(b"."), made.readme()]),
    ("../../canary", "a name that git checks out nowhere", |made| vec![made.file(b"../../canary"), made.readme()]),
    ("/tmp/canary", "a name that git checks out nowhere", |made| vec![made.file(b"/tmp/canary"), made.readme()]),
    ("", "a name that git checks out nowhere", |made| vec![made.file(b""), made.readme()]),
    ("..\\.git", "a name that git checks out nowhere", |made| vec![made.file(b"..\\.git"), made.readme()]),
    ("link .gitmodules", "a link in the place of a file that git reads", |made| {
        vec![(LINK, b".gitmodules", made.blob("x")), made.readme()]
    }),
    ("a name twice", "a name that its folder has twice", |made| {
        vec![made.readme(), made.file(b"x"), (FILE, b"x", made.blob("y"))]
    }),
    ("a link, then through it", "a name that its folder has twice", |made| {
        vec![made.readme(), (LINK, b"x", made.blob("..")), made.folder(b"x")]
    }),
    ("unsorted", "not in git's order", |made| vec![made.file(b"x"), made.file(b"b"), made.readme()]),
    ("mode 0", "no file, link, folder or submodule", |made| vec![made.readme(), ("0", b"x", made.blob("x"))]),
    ("mode 777777", "no file, link, folder or submodule", |made| vec![made.readme(), ("777777", b"x", made.blob("x"))]),
    ("a folder said to be a file", "not the kind of object", |made| {
        vec![made.readme(), (FILE, b"x", made.tree(&[made.file(b"x")]))]
    }),
    ("a file said to be a folder", "not the kind of object", |made| vec![made.readme(), (TREE, b"x", made.blob("x"))]),
    ("missing file", "missing in the repository", |made| vec![made.readme(), (FILE, b"x", "1".repeat(40))]),
    ("missing folder", "missing in the repository", |made| vec![made.readme(), (TREE, b"x", "1".repeat(40))]),
    ("no object", "names no object", |made| vec![made.readme(), (FILE, b"x", "0".repeat(40))]),
    ("256 bytes", "longer than file systems have it", |made| vec![made.readme(), (FILE, LONG, made.blob("x"))]),
    ("a long path", "longer than a path can be", |made| {
        let name: &[u8] = &LONG[1..];
        let mut line = made.file(b"f");
        for _ in 0..16 {
            line = (TREE, name, made.tree(&[line]));
        }
        vec![made.readme(), (TREE, b"z", made.tree(&[line]))]
    }),
    ("a deep folder", "deeper than git goes", |made| made.nested(3000)),
];

#[test]
fn a_tree_that_no_git_add_makes_sets_its_item_aside_and_nothing_else() {
    for (at, (what, why, make)) in REFUSED.iter().enumerate() {
        let bare = at % 2 == 1;
        let made = Made::new(bare, &[("odd", *make)]);
        let before = made.surroundings();
        let dry = made.world.lexpr(["merge", made.world.plan(DRY).to_str().unwrap()]);
        assert!(dry.code == 3 && dry.stdout.contains(why), "{what}: {dry:?}");
        let (said, report) = made.land(&[]);
        assert_eq!(said.code, 3, "{what}: {said:?}");
        assert_eq!(statuses(&report), ["good landed", "odd conflicted", "after blocked"], "{what}");
        let reason = report["items"][1]["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{what}: {reason}");
        assert_eq!(made.world.files_on_main(), ["README.md", "good"], "{what}");
        assert_eq!(made.surroundings(), before, "{what}");
        if !bare {
            assert_eq!(made.world.git(&["status", "--porcelain"]), "", "{what}");
        }
    }
}

const DRY: &str = "schemaVersion: v1\nitems: [{name: good}, {name: odd}]\n";

/// Odd, and harmless: what git makes of it lands.
const LANDED: &[(&str, Make)] = &[
    ("mode 100664", |made| vec![made.readme(), ("100664", b"x", made.blob("x"))]),
    ("mode 040000", |made| vec![made.readme(), ("040000", b"x", made.tree(&[made.file(b"x")]))]),
    ("a submodule", |made| vec![made.readme(), (SUBMODULE, b"x", "1".repeat(40))]),
    ("a backslash", |made| vec![made.file(b"..\\x"), made.readme()]),
    ("a link outside", |made| vec![made.readme(), (LINK, b"x", made.blob("../canary"))]),
    ("names that collide on case", |made| vec![made.readme(), made.file(b"X"), made.file(b"x")]),
    ("any bytes", |made| vec![made.readme(), made.file(b"\xff\n\t\"\x1b[31m")]),
    ("as many folders as are allowed", |made| made.nested(1024)),
];

#[test]
fn what_is_odd_and_harmless_lands() {
    for (what, make) in LANDED {
        let made = Made::new(false, &[("odd", *make)]);
        let before = made.surroundings();
        let (said, report) = made.land(&[]);
        assert_eq!(said.code, 0, "{what}: {said:?}");
        assert_eq!(statuses(&report), ["good landed", "odd landed", "after landed"], "{what}");
        assert_eq!(made.surroundings(), before, "{what}");
        assert_eq!(made.world.git(&["status", "--porcelain"]), "", "{what}");
        assert!(!said.stdout.contains('\x1b') && !said.stderr.contains('\x1b'), "{said:?}");
    }
}

/// First a link to somewhere else, then an item that has a folder in its place and writes "through" it.
#[test]
fn nothing_is_written_through_a_link_that_another_item_brings() {
    let made = Made::new(false, &[("odd", |made| vec![made.readme(), (LINK, b"x", made.blob(".."))])]);
    let plan =
        |items: &str| format!("schemaVersion: v1\ngates: [{{name: g, run: 'test -e README.md'}}]\nitems: [{items}]\n");
    made.branch("through", &made.tree(&[made.readme(), (TREE, b"x", made.tree(&[made.file(b"canary")]))]), "main");
    let before = made.surroundings();
    // In one run, and one after the other.
    let said = made.world.merge(&plan("{name: odd}, {name: through}"), &["--execute"]).expect(3);
    assert!(said.stdout.contains("conflict"), "{}", said.stdout);
    made.world.merge(&plan("{name: through}"), &["--execute"]).expect(3);
    assert_eq!(made.surroundings(), before);
    // One that knows of the link and replaces it.
    made.branch("after", &made.tree(&[made.readme(), (TREE, b"x", made.tree(&[made.file(b"canary")]))]), "main");
    made.world.merge(&plan("{name: after}"), &["--execute"]).expect(0);
    assert_eq!(made.surroundings(), before);
    assert_eq!(made.world.git(&["status", "--porcelain"]), "");
}

/// In a history that is rebased every commit lands.
#[test]
fn a_commit_in_between_is_looked_at_where_it_would_land() {
    let made = Made::new(true, &[("odd", |made| vec![made.dot_git(b".git"), made.readme()])]);
    made.branch("cleaned", &made.tree(&[made.readme(), made.file(b"x")]), "odd");
    let plan = "schemaVersion: v1\nitems: [{name: cleaned, strategy: rebase}]\n";
    let said = made.world.merge(plan, &["--execute"]).expect(3);
    assert!(said.stdout.contains("a name that git checks out nowhere"), "{}", said.stdout);
    made.world.merge(&plan.replace("rebase", "squash"), &["--execute"]).expect(0);
    let landed = made.world.git(&["rev-list", "--objects", "main"]);
    assert!(landed.ends_with(" x") || landed.contains(" x\n"), "{landed}");
    assert!(!landed.contains(".git"), "{landed}");
}

#[test]
fn a_submodule_with_a_bad_address_is_merged_and_nothing_is_started_for_it() {
    for url in ["-u./payload", "ext::sh -c 'touch pwned'", "--upload-pack=touch pwned", "../../..", "file:///etc"] {
        let made = Made::new(false, &[]);
        let modules = format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n\tupdate = !touch pwned\n");
        let modules: Line<'_> = (FILE, b".gitmodules", made.blob(&modules));
        made.branch("odd", &made.tree(&[modules, made.readme(), (SUBMODULE, b"x", "1".repeat(40))]), "main");
        made.branch("after", &made.world.git(&["rev-parse", "odd^{tree}"]), "odd");
        made.world.git(&["config", "submodule.recurse", "true"]);
        let before = made.surroundings();
        made.land(&[]).0.expect(0);
        assert_eq!(made.surroundings(), before);
        assert_eq!(made.world.files_on_main(), [".gitmodules", "README.md", "good", "x"]);
        assert_eq!(std::fs::read_dir(made.world.repo().join("x")).unwrap().count(), 0);
        assert!(!made.world.repo().join("pwned").exists());
    }
}
