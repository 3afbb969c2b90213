//! Names: of branches that look like options or paths, of heads that are no commits, and of files
//! that hold anything a file's name can.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::cli_world::{Said, World, statuses};

fn world() -> World {
    let world = World::new(&[("README.md", "# A project\n")], &[("a", "main", &[("a", "1")])]);
    fs::write(world.path("canary"), "alive\n").unwrap();
    world
}

fn plan(branch: &str) -> String {
    let branch = serde_json::to_string(branch).unwrap();
    format!(
        "schemaVersion: v1\ngates: [{{name: g, run: 'test -e README.md'}}]\nitems: [{{name: it, branch: {branch}}}]\n"
    )
}

#[test]
fn a_branch_that_does_not_exist_is_refused_whatever_git_would_take_its_name_for() {
    let world = world();
    let main = world.main();
    for name in [
        "--upload-pack=touch pwned",
        "-x",
        "--exec=touch pwned",
        "--output=pwned",
        "@{-1}",
        "refs/heads/../../x",
        "../../canary",
        "a:README.md",
        "main..a",
        "^a",
        ":/Work",
        "a^{tree}",
        "a^{/$(touch pwned)}",
        "$(touch pwned)",
        "a\nb",
        "a\u{0}b",
        "",
        "HEAD:a",
        "stash@{0}",
        "@{u}",
    ] {
        for args in [&[][..], &["--execute"]] {
            let said = world.merge(&plan(name), args);
            // Some of them are revisions: that of the one commit that there is to land, or of its base.
            let is_revision = matches!(name, ":/Work" | "@{-1}");
            assert!(said.code == 2 || is_revision && said.code == 0, "{name:?}: {said:?}");
            assert!(said.code == 0 || said.stderr.contains("error"), "{name:?}: {said:?}");
        }
        if name == ":/Work" {
            world.git(&["reset", "-q", "--hard", &main]);
        }
        assert!(!world.repo().join("pwned").exists(), "{name:?}");
        assert_eq!(world.main(), main, "{name:?}");
    }
    assert_eq!(fs::read_to_string(world.path("canary")).unwrap(), "alive\n");
}

#[test]
fn a_branch_of_any_name_is_that_branch_unless_it_begins_as_options_do() {
    for name in ["@", "a'b\"c", "$(touch)", "HEAD", "x;y|z&"] {
        let world = world();
        let name_in_git = format!("refs/heads/{name}");
        world.git(&["update-ref", &name_in_git, "a"]);
        let said = world.merge(&plan(name), &["--execute"]).expect(0);
        assert_eq!(world.files_on_main(), ["README.md", "a"], "{name}: {said:?}");
        assert!(!world.repo().join("pwned").exists());
        // As a target, too.
        let main = world.git(&["rev-parse", "main^{tree}"]);
        world.git(&["update-ref", &name_in_git, "main~1"]);
        let plan =
            format!("schemaVersion: v1\ntarget: {}\nitems: [{{name: a}}]\n", serde_json::to_string(name).unwrap());
        let said = world.merge(&plan, &["--execute"]).expect(0);
        assert_eq!(world.git(&["rev-parse", &format!("{name_in_git}^{{tree}}")]), main, "{name}: {said:?}");
    }
    for name in ["--upload-pack=x", "-x", "--all"] {
        let world = world();
        world.git(&["update-ref", &format!("refs/heads/{name}"), "a"]);
        for text in [plan(name), format!("schemaVersion: v1\ntarget: {name}\nitems: [{{name: a}}]\n")] {
            let said = world.merge(&text, &["--execute"]).expect(2);
            assert!(said.stderr.contains("begins with a dash, as options do"), "{name}: {said:?}");
        }
        world.merge(&plan(&format!("refs/heads/{name}")), &["--execute"]).expect(0);
    }
}

#[test]
fn a_remote_that_is_named_like_an_option_is_none() {
    let world = world();
    for name in
        ["--upload-pack=touch pwned", "--receive-pack=touch pwned", "--exec=touch pwned", "-v", "ext::touch pwned"]
    {
        let said = world.merge(&plan("a"), &["--execute", &format!("--push={name}")]).expect(4);
        assert!(said.stderr.contains("cannot be pushed"), "{name}: {said:?}");
        assert!(!world.repo().join("pwned").exists(), "{name}");
    }
}

#[test]
fn a_head_that_is_a_tag_is_the_commit_it_names_and_any_other_object_is_none() {
    let world = world();
    world.git(&["tag", "-a", "-m", "A tag", "tag", "a"]);
    world.git(&["tag", "-a", "-m", "A tag of a tag", "tag-of-tag", "tag"]);
    world.git(&["tag", "tree", "a^{tree}"]);
    world.git(&["tag", "blob", "a:a"]);
    let (tree, blob) = (world.git(&["rev-parse", "tree"]), world.git(&["rev-parse", "blob"]));
    for name in ["tree", "blob", "refs/tags/tree", &tree, &blob] {
        let said = world.merge(&plan(name), &["--execute"]).expect(2);
        assert!(said.stderr.contains("there is no branch or revision"), "{name}: {said:?}");
    }
    world.merge(&plan("tag-of-tag"), &["--execute"]).expect(0);
    assert_eq!(world.git(&["rev-parse", "main^2"]), world.git(&["rev-parse", "a"]));
}

#[test]
fn a_repository_with_alternates_and_one_of_sha256_land_what_they_hold() {
    let world = world();
    world.git(&["clone", "-q", "--shared", "--no-local", ".", "../shared"]);
    let shared = world.path("shared");
    world.git(&["-C", shared.to_str().unwrap(), "branch", "-q", "a", "origin/a"]);
    let said = world.merge(&plan("a"), &["--execute", "--repo", shared.to_str().unwrap()]).expect(0);
    assert!(said.stdout.contains("1 of 1 item landed"), "{said:?}");
    assert_eq!(world.files_on_main(), ["README.md"]);

    let sha256 = world.path("sha256");
    world.git(&["init", "-q", "-b", "main", "--object-format=sha256", sha256.to_str().unwrap()]);
    let git = |args: &[&str]| world.git(&[&["-C", sha256.to_str().unwrap()], args].concat());
    git(&["commit", "-q", "--allow-empty", "-m", "Begin"]);
    git(&["checkout", "-q", "-b", "a"]);
    fs::write(sha256.join("README.md"), "a\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "Work"]);
    git(&["checkout", "-q", "main"]);
    world.merge(&plan("a"), &["--execute", "--repo", sha256.to_str().unwrap()]).expect(0);
    assert_eq!(git(&["ls-tree", "--name-only", "main"]), "README.md");
    assert_eq!(git(&["status", "--porcelain"]), "");
}

/// What a terminal would obey, a line that looks like lexpr's own, quotes, and no UTF-8.
const NAMES: [&[u8]; 5] = [
    b"\x1b[2J\x1b]0;title\x07",
    b"x\n    0.0s landed     everything on main",
    b"tab\there",
    b"\"quoted\\ and `ticked` <b>|bold|</b>",
    b"\xff\xfe no utf-8 \xc3",
];

/// `long`: as long as paths can be in a checkout that lies as deep as ours.
fn long() -> Vec<u8> {
    [[b'l'; 200].as_slice(), b"/"].concat().repeat(18)
}

fn told_safely(said: &Said) {
    for text in [&said.stdout, &said.stderr] {
        assert!(!text.contains('\x1b') && !text.contains('\x07') && !text.contains('\t'), "{text:?}");
        assert!(!text.lines().any(|line| line == "    0.0s landed     everything on main"), "{text:?}");
    }
}

#[test]
fn conflicts_in_files_of_any_name_are_told_and_do_nothing_to_who_reads_of_them() {
    let long = [long(), b"end".to_vec()].concat();
    for name in NAMES.into_iter().chain([long.as_slice()]) {
        let world = world();
        for (branch, content) in [("one", "1\n"), ("two", "2\n")] {
            let stream = stream(branch, name, content);
            world.feed(&["fast-import", "--quiet"], &stream);
        }
        let (json, markdown) = (world.path("report.json"), world.path("report.md"));
        let reports = ["--report", json.to_str().unwrap(), "--report", markdown.to_str().unwrap()];
        let plan = "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: one}, {name: two}]\n";
        told_safely(&world.merge(plan, &[]).expect(3));
        let said = world.merge(plan, &[&["--execute"][..], &reports].concat()).expect(3);
        told_safely(&said);
        assert_eq!(statuses(&world.report(&json)), ["one landed", "two conflicted"]);
        let text = fs::read_to_string(&markdown).unwrap();
        assert!(!text.contains('\x1b') && !text.contains("<b>"), "{text:?}");
        told_safely(&world.lexpr(["status"]).expect(0));
        assert_eq!(world.git(&["status", "--porcelain"]), "");
    }
}

#[test]
fn files_of_any_name_that_stand_in_the_way_are_told_before_anything_runs() {
    for name in NAMES {
        let world = world();
        world.feed(&["fast-import", "--quiet"], &stream("one", name, "theirs\n"));
        let mine = world.repo().join(OsStr::from_bytes(name));
        if let Some(folder) = mine.parent() {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(&mine, "mine\n").unwrap();
        let said = world.merge("schemaVersion: v1\nitems: [{name: one}]\n", &["--execute"]).expect(4);
        assert!(said.stderr.contains("stand in the way"), "{said:?}");
        told_safely(&said);
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine\n");
        fs::remove_file(&mine).unwrap();
        world.merge("schemaVersion: v1\nitems: [{name: one}]\n", &["--execute"]).expect(0);
        assert_eq!(fs::read_to_string(&mine).unwrap(), "theirs\n");
    }
}

/// A branch with one file, as git-fast-import(1) reads it.
fn stream(branch: &str, name: &[u8], content: &str) -> Vec<u8> {
    let mut quoted = Vec::new();
    for &byte in name {
        match byte {
            b' '..=b'~' if !matches!(byte, b'"' | b'\\') => quoted.push(byte),
            _ => quoted.extend(format!("\\{byte:03o}").bytes()),
        }
    }
    let head = format!(
        "commit refs/heads/{branch}\ncommitter A <a@example.org> 0 +0000\ndata 4\nWork\nfrom refs/heads/main\nM 100644 inline \""
    );
    [head.as_bytes(), &quoted, format!("\"\ndata {}\n{content}\n", content.len()).as_bytes()].concat()
}
