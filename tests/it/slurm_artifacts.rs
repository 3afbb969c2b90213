//! What gates leave on the nodes of a real Slurm cluster comes back, and nothing else does.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::cli_world::World;
use crate::slurm_world;

/// Attributes that would change what git takes in or gives out, and a file of each name.
const GATE: &str = r#"
    mkdir -p out/sub 'out/a folder' .cache/node_modules/x
    printf 'one\r\n$Id$\n' >out/one.txt
    printf 'two' >out/sub/junit.xml
    printf 'three' >junit.xml
    printf 'blank' >'out/a folder/line
break.xml'
    printf 'not asked for' >secret.xml
    ln -s /etc/hostname out/away.txt
    ln -s one.txt out/link.txt
    git init -q out/other && echo x >out/other/in.txt
    mkfifo out/pipe.txt
    mkdir "$LEXPR_ARTIFACTS/shots"
    printf 'png' >"$LEXPR_ARTIFACTS/shots/1.png"
    ln -s /etc/passwd "$LEXPR_ARTIFACTS/stolen"
"#;

fn run(world: &World, cluster: &slurm_world::World, gate: &str, artifacts: &str, runtime: &str, code: i32) -> Value {
    let base = world.git(&["rev-parse", "main"]);
    let work = world.path("nodes");
    let slurm = format!("type: slurm, memoryMB: 50, workDir: \"{}\"", work.display());
    std::fs::write(world.path("gate.sh"), gate).unwrap();
    let run = format!("sh {}", world.path("gate.sh").display());
    world.plan(&format!(
        "schemaVersion: v1\npolicy:\n  runtimes:\n    pool: {{ {slurm}, nodes: 2 }}\n    jobs: {{ {slurm}, mode: batch }}\n\
         \x20 failFast: true\n  secondOpinion: false\n  performance: {{ enableCaching: false }}\ngates:\n  - {{ name: unit, run: '{run}', artifacts: {artifacts} }}\n\
         items: [{{ name: it }}]\n"
    ));
    let (plan, report) = (world.path("plan.yaml"), world.path("report.json"));
    let mut command: Command = world.command([
        "merge".as_ref(),
        plan.as_os_str(),
        "--execute".as_ref(),
        "--runtime".as_ref(),
        runtime.as_ref(),
        "--report".as_ref(),
        report.as_os_str(),
    ]);
    let ended = command.env("SLURM_CONF", cluster.cluster.configuration()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(code), "{runtime}: {said}");
    world.git(&["reset", "-q", "--hard", base.trim()]);
    world.report(&report)
}

/// Of the first gate run in a report: each file's name and content, and what is missing.
fn kept(report: &Value) -> (BTreeMap<String, String>, Vec<String>) {
    let run = &report["items"][0]["gates"][0]["attempts"][0];
    let read = |artifact: &Value| std::fs::read_to_string(artifact["stored"].as_str().unwrap()).unwrap();
    let files = run["artifacts"].as_array().into_iter().flatten();
    let files = files.map(|artifact| (artifact["source"].as_str().unwrap().to_owned(), read(artifact))).collect();
    let missing = run["missingArtifacts"].as_array().into_iter().flatten();
    (files, missing.map(|glob| glob.as_str().unwrap().to_owned()).collect())
}

#[test]
fn files_that_gates_leave_on_nodes_are_kept_as_those_of_this_machine_are() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let attributes = "* text eol=lf ident\n*.xml text eol=crlf working-tree-encoding=UTF-16LE\n";
    let world = World::new(&[(".gitattributes", attributes)], &[("it", "main", &[("f", "x\n")])]);
    let artifacts = "[\"out/*.txt\", \"**/{junit,line\\nbreak}.xml\", \"none/**\", .cache]";
    for (runtime, end, code) in [("pool", "exit 0", 0), ("jobs", "exit 0", 0), ("pool", "exit 7", 3)] {
        let report = run(&world, &cluster, &format!("{GATE}\n{end}\n"), artifacts, runtime, code);
        let (files, missing) = kept(&report);
        let expected = [
            ("$LEXPR_ARTIFACTS/shots/1.png", "png"),
            ("junit.xml", "three"),
            ("out/a folder/line\nbreak.xml", "blank"),
            ("out/link.txt", "one\r\n$Id$\n"),
            ("out/one.txt", "one\r\n$Id$\n"),
            ("out/sub/junit.xml", "two"),
        ];
        let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
        assert_eq!(files, expected.into(), "{runtime}, {end}: {missing:?}");
        assert_eq!(missing, ["none/**", ".cache"], "{runtime}, {end}");
        assert_eq!(world.git(&["for-each-ref", "refs/lexpr/"]), "", "{runtime}: what carried them is gone");
    }
}

#[test]
fn what_a_gate_leaves_that_cannot_be_sent_changes_no_verdict_and_is_said_to_be_missing() {
    let Some(cluster) = slurm_world::World::start() else { return };
    let world = World::new(&[("a", "a\n")], &[("it", "main", &[("f", "x\n")])]);
    let hooks = world.repo().join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let refusal =
        "#!/bin/sh\nwhile read -r old new name; do case $name in *-files) echo no room >&2; exit 1;; esac; done\n";
    std::fs::write(hooks.join("pre-receive"), refusal).unwrap();
    let may_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(hooks.join("pre-receive"), may_run).unwrap();
    for runtime in ["pool", "jobs"] {
        let report = run(&world, &cluster, "echo x >out.txt\n", "[out.txt, none.txt]", runtime, 0);
        let (files, missing) = kept(&report);
        assert_eq!(files, BTreeMap::new(), "{runtime}");
        assert_eq!(missing.len(), 2, "{runtime}: {missing:?}");
        assert!(missing[0].starts_with("out.txt (not brought back: "), "{runtime}: {missing:?}");
    }
}
