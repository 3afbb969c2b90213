//! The metrics of a real run, scraped over HTTP while it goes on and read from a file afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::cli_world::{World, wait_for};
use crate::metrics_text::{Family, parse};

fn scrape(address: &str) -> BTreeMap<String, Family> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    parse(body).unwrap()
}

/// A run that says where its metrics are, the address, and what it says besides.
fn serving(command: &mut Command) -> (Child, String, JoinHandle<String>) {
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("metrics: ") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the run ended without saying where its metrics are");
    }
    let address = line.trim().trim_start_matches("metrics: http://").trim_end_matches("/metrics").to_owned();
    (run, address, std::thread::spawn(move || std::io::read_to_string(stderr).unwrap()))
}

/// What `/metrics` answers when a small run has ended.
pub fn of_a_real_run() -> BTreeMap<String, Family> {
    let world = World::new(&[("README.md", "# A project\n")], &[("a", "main", &[("a", "1")])]);
    let plan = world.plan("schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: a}]\n");
    let (mut run, address, drain) = serving(&mut world.command([
        "merge",
        plan.to_str().unwrap(),
        "--execute",
        "--metrics-addr",
        "127.0.0.1:0",
        "--metrics-linger",
        "3600",
    ]));
    let plan_seconds = "lex_pr_plan_execution_seconds";
    let found = wait_for("the end of the run", || {
        let families = scrape(&address);
        (sum(&families, plan_seconds, &format!("{plan_seconds}_count")) == 1.0).then_some(families)
    });
    run.kill().unwrap();
    run.wait().unwrap();
    drain.join().unwrap();
    found
}

#[test]
fn a_run_that_only_lingers_for_a_scraper_is_in_nobodys_way() {
    let world =
        World::new(&[("README.md", "# A project\n")], &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let plan = world.plan("schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: a}]\n");
    let lingering =
        ["merge", plan.to_str().unwrap(), "--execute", "--metrics-addr", "127.0.0.1:0", "--metrics-linger", "3600"];
    // The command at the end is the first to find out.
    let next =
        format!("{} merge - --execute --quiet < {}", env!("CARGO_BIN_EXE_lexpr"), world.path("next.yaml").display());
    std::fs::write(world.path("next.yaml"), "schemaVersion: v1\nitems: [{name: b, gates: []}]\n").unwrap();
    let (mut run, _, drain) = serving(world.command(lingering).args(["--on-finish", &next]));
    wait_for("what the command at the end lands", || world.files_on_main().contains(&"b".to_owned()).then_some(()));
    // The next run may still be at its last words; the one that lingers has said them.
    wait_for("both runs to be told as ended", || {
        (!world.lexpr(["runs"]).expect(0).stdout.contains("running")).then_some(())
    });
    world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(0);
    run.kill().unwrap();
    run.wait().unwrap();
    drain.join().unwrap();
}

/// The sum of a series' samples, over all labels.
fn sum(families: &BTreeMap<String, Family>, family: &str, sample: &str) -> f64 {
    let family = families.get(family).unwrap_or_else(|| panic!("{family} is missing"));
    family.samples.iter().filter(|((name, _), _)| name == sample).map(|(_, value)| value).sum()
}

#[test]
fn the_seven_metrics_are_served_during_a_run_and_add_up() {
    let world = World::new(
        &[("README.md", "# A project\n")],
        &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "bad")])],
    );
    let (started, go) = (world.path("started"), world.path("go"));
    let file = world.path("lexpr.prom");
    let plan = world.plan(&format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1, secondOpinion: false}}\n\
         gates: [{{name: g, run: '! grep -q bad c'}}]\n\
         items:\n  - name: a\n    priority: 1\n    gates: [{{name: slow, run: 'touch {}; until [ -e {} ]; do sleep 0.02; done'}}]\n  - {{name: b, priority: 2}}\n  - name: c\n",
        started.display(),
        go.display()
    ));
    let (mut run, address, drain) = serving(
        world
            .command(["merge", plan.to_str().unwrap(), "--execute", "--metrics-addr", "127.0.0.1:0", "--metrics-file"])
            .arg(&file),
    );
    wait_for("the slow gate", || started.exists().then_some(()));

    // The gate's start is an event, and it is running: so soon its worker is counted.
    let during = wait_for("the worker to be counted", || {
        let families = scrape(&address);
        (sum(&families, "lex_pr_active_workers", "lex_pr_active_workers") == 1.0).then_some(families)
    });
    assert!(sum(&during, "lex_pr_memory_usage_bytes", "lex_pr_memory_usage_bytes") > 1e6);
    assert_eq!(sum(&during, "lex_pr_merge_success_total", "lex_pr_merge_success_total"), 0.0);
    // The worker had b before it.
    let verdicts = &during["lex_pr_cache_misses_total"].samples;
    let of_verdicts = verdicts.iter().find(|((_, labels), _)| format!("{labels:?}").contains("verdict")).unwrap();
    assert_eq!(*of_verdicts.1, 1.0, "{verdicts:?}");
    assert_eq!(sum(&during, "lex_pr_dependency_resolution_seconds", "lex_pr_dependency_resolution_seconds_count"), 1.0);
    assert!(sum(&during, "lex_pr_merge_execution_seconds", "lex_pr_merge_execution_seconds_count") >= 1.0);

    std::fs::write(&go, "").unwrap();
    let status = run.wait().unwrap();
    let said = drain.join().unwrap();
    assert_eq!(status.code(), Some(3), "{said}");
    let after = parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    let total = |name: &str| sum(&after, name, name);
    assert_eq!(total("lex_pr_merge_success_total"), 2.0);
    assert_eq!(total("lex_pr_merge_failure_total"), 1.0);
    assert_eq!(total("lex_pr_active_workers"), 0.0);
    let runs = sum(&after, "lex_pr_gate_execution_seconds", "lex_pr_gate_execution_seconds_count");
    assert_eq!(runs, total("lex_pr_gate_success_total") + total("lex_pr_gate_failure_total"));
    assert!(total("lex_pr_gate_failure_total") >= 1.0);
    assert_eq!(sum(&after, "lex_pr_plan_execution_seconds", "lex_pr_plan_execution_seconds_count"), 1.0);
}
