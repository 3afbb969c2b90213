//! The metrics as text, as Prometheus reads it: by a small strict parser of the exposition format
//! 0.0.4 and, where it is installed, by promtool; and over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lexpr::metrics::{CONTENT_TYPE, Cache, CacheCounts, MergeCounts, Metrics};
use lexpr::serve::{Hub, ServeError, Server};
use lexpr::vocabulary::event::{Event, Recorded};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::report_stories::{adaptive, eventful, grouped, halted, hostile, smooth};

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Labels as written, by the sample's full name.
    pub samples: BTreeMap<(String, String), f64>,
}

/// Reads text of the exposition format and refuses whatever the format does not allow.
pub fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    if !text.ends_with('\n') {
        return Err("the last line must end with a newline".into());
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or(format!("no help text: {line}"))?;
            let family = families.entry(name.to_owned()).or_default();
            if !family.help.is_empty() {
                return Err(format!("two HELP lines for {name}"));
            }
            family.help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or(format!("no type: {line}"))?;
            let family = families.entry(name.to_owned()).or_default();
            if !family.kind.is_empty() || !family.samples.is_empty() {
                return Err(format!("a second or late TYPE line for {name}"));
            }
            if !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(format!("unknown type {kind}"));
            }
            family.kind = kind.to_owned();
        } else if line.starts_with('#') || line.is_empty() {
            return Err(format!("neither sample nor HELP nor TYPE: {line:?}"));
        } else {
            let (series, value) = line.rsplit_once(' ').ok_or(format!("no value: {line}"))?;
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').ok_or(format!("open labels: {line}"))?),
                None => (series, ""),
            };
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("bad name {name:?}"));
            }
            check_labels(labels)?;
            let value: f64 = value.parse().map_err(|_| format!("bad value: {line}"))?;
            let family = [name, family_of(name)].into_iter().find(|name| families.contains_key(*name));
            let family = families.get_mut(family.ok_or(format!("no TYPE before {line}"))?).unwrap();
            if family.samples.insert((name.to_owned(), labels.to_owned()), value).is_some() {
                return Err(format!("a second sample of {series}"));
            }
        }
    }
    for (name, family) in &families {
        if family.kind == "histogram" {
            check_histogram(name, family)?;
        }
    }
    Ok(families)
}

fn check_labels(labels: &str) -> Result<(), String> {
    let mut rest = labels;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or(format!("bad labels {labels:?}"))?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("bad label name {name:?}"));
        }
        let end = after.find('"').ok_or(format!("open label {labels:?}"))?;
        rest = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
    }
    Ok(())
}

fn family_of(sample: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.strip_suffix(suffix)).unwrap_or(sample)
}

fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for ((sample, labels), value) in &family.samples {
        if sample.ends_with("_bucket") {
            let bound = labels.strip_prefix("le=\"").and_then(|rest| rest.strip_suffix('"')).ok_or("no le")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| "bad le")? };
            buckets.push((bound, *value));
        }
    }
    buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
    if !buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1) {
        return Err(format!("{name}: buckets are not cumulative"));
    }
    let count = family.samples.get(&(format!("{name}_count"), String::new())).ok_or("no _count")?;
    family.samples.get(&(format!("{name}_sum"), String::new())).ok_or("no _sum")?;
    match buckets.last() {
        Some((bound, last)) if bound.is_infinite() && last == count => Ok(()),
        _ => Err(format!("{name}: +Inf and _count differ")),
    }
}

fn all_stories() -> Metrics {
    let metrics = Metrics::new();
    for event in [adaptive(), eventful(), smooth(), halted(), hostile()].concat() {
        metrics.apply(&event);
    }
    metrics.set_memory_usage(123 << 20);
    metrics.observe_dependency_resolution(0.0004);
    metrics.set_cache(Cache::Composite, CacheCounts { hits: 5, misses: 7, evictions: 1 });
    metrics
}

#[test]
fn the_fixed_names_have_their_types_and_are_there_from_the_start() {
    let families = parse(&Metrics::new().render()).unwrap();
    for (name, kind) in [
        ("lex_pr_gate_execution_seconds", "histogram"),
        ("lex_pr_merge_execution_seconds", "histogram"),
        ("lex_pr_dependency_resolution_seconds", "histogram"),
        ("lex_pr_plan_execution_seconds", "histogram"),
        ("lex_pr_memory_usage_bytes", "gauge"),
        ("lex_pr_active_workers", "gauge"),
        ("lex_pr_merge_success_total", "counter"),
        ("lex_pr_merge_failure_total", "counter"),
        ("lex_pr_gate_success_total", "counter"),
        ("lex_pr_gate_failure_total", "counter"),
    ] {
        let family = families.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(family.kind, kind, "{name}");
        assert!(!family.samples.is_empty(), "{name} has no series");
    }
    let sum: f64 = families
        .iter()
        .filter(|(name, _)| *name != "lex_pr_build_info")
        .flat_map(|(_, family)| family.samples.values())
        .sum();
    assert_eq!(sum, 0.0, "all series begin at zero");
}

#[test]
fn what_is_rendered_is_what_the_format_allows_and_adds_no_series() {
    let series = |text: &str| -> BTreeSet<(String, String)> {
        parse(text).unwrap().into_values().flat_map(|family| family.samples.into_keys()).collect()
    };
    let text = all_stories().render();
    assert_eq!(series(&text), series(&Metrics::new().render()), "no label holds a name from a run");
    let families = parse(&text).unwrap();
    assert!(families.values().all(|family| !family.help.is_empty() && !family.kind.is_empty()));
    let value = |name: &str, labels: &str| {
        let family = if families.contains_key(name) { name } else { family_of(name) };
        families[family].samples[&(name.to_owned(), labels.to_owned())]
    };
    assert_eq!(value("lex_pr_merge_success_total", ""), 5.0);
    assert_eq!(value("lex_pr_merge_failure_total", "reason=\"gate_failed\""), 3.0);
    assert_eq!(value("lex_pr_merge_failure_total", "reason=\"conflict\""), 1.0);
    assert_eq!(value("lex_pr_gate_flakes_total", ""), 1.0);
    assert_eq!(value("lex_pr_throttle_seconds_total", ""), 4.2);
    assert_eq!(value("lex_pr_plan_execution_seconds_count", ""), 4.0);
    assert_eq!(value("lex_pr_pool_changes_total", "reason=\"work_waits\""), 3.0);
    assert_eq!(value("lex_pr_pool_changes_total", "reason=\"memory_tight\""), 1.0);
    assert_eq!(value("lex_pr_jobs_total", "purpose=\"bisection\""), 2.0);
    assert_eq!(value("lex_pr_cache_misses_total", "cache=\"composite\""), 7.0);
    assert_eq!(value("lex_pr_dependency_resolution_seconds_count", ""), 1.0);
    assert_eq!(value("lex_pr_active_workers", ""), 0.0);
}

#[test]
fn every_purpose_of_a_job_has_a_series_before_the_first() {
    let values = Metrics::new().values();
    for purpose in ["cone", "group", "apex", "bisection", "second_opinion", "blame", "train"] {
        assert_eq!(values.get(&format!("lex_pr_jobs_total{{purpose=\"{purpose}\"}}")), Some(&0.0), "{purpose}");
    }
}

#[test]
fn items_are_running_while_their_group_is_gated() {
    let metrics = Metrics::new();
    let mut events = grouped();
    events.iter().for_each(|event| metrics.apply(event));
    let running = |metrics: &Metrics| metrics.values()["lex_pr_queue_items{state=\"running\"}"];
    assert_eq!(running(&metrics), 2.0, "d could not be merged, and e is in no group");
    let last = events.pop().unwrap();
    let job = events.iter().rev().find_map(|event| match &event.event {
        Event::JobStarted(job) => Some(job.job),
        _ => None,
    });
    metrics.apply(&Recorded { event: Event::JobFinished { job: job.unwrap() }, ..last });
    assert_eq!(running(&metrics), 0.0);
}

#[test]
fn how_many_workers_there_may_be_follows_the_pool() {
    let metrics = Metrics::new();
    let mut seen = Vec::new();
    for event in adaptive() {
        metrics.apply(&event);
        let limit = metrics.values()["lex_pr_workers_limit"];
        if seen.last() != Some(&limit) {
            seen.push(limit);
        }
    }
    assert_eq!(seen, [2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 2.0, 1.0]);
}

#[test]
fn memory_is_told_as_it_is_when_somebody_looks_though_no_event_comes() {
    let metrics = Metrics::new();
    let held = AtomicU64::new(0);
    metrics.ask_for_memory(move || Some(held.fetch_add(1 << 20, Ordering::Relaxed)));
    let told = || parse(&metrics.render()).unwrap()["lex_pr_memory_usage_bytes"].samples.values().sum::<f64>();
    assert_eq!([told(), told(), told()], [0.0, f64::from(1 << 20), f64::from(2 << 20)]);
}

#[test]
fn held_back_work_is_told_while_it_is_held_back() {
    let metrics = Metrics::new();
    let mut seen = Vec::new();
    for event in eventful() {
        metrics.apply(&event);
        let now = metrics.values()["lex_pr_throttled"];
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, [0.0, 1.0, 0.0]);
}

#[test]
fn cache_counts_are_set_as_totals_and_never_fall() {
    let metrics = Metrics::new();
    let hits = |metrics: &Metrics| metrics.values()["lex_pr_cache_hits_total{cache=\"verdict\"}"];
    metrics.set_cache(Cache::Verdict, CacheCounts { hits: 3, ..CacheCounts::default() });
    metrics.set_cache(Cache::Verdict, CacheCounts { hits: 5, ..CacheCounts::default() });
    metrics.set_cache(Cache::Verdict, CacheCounts::default());
    assert_eq!(hits(&metrics), 5.0);
}

#[test]
fn merges_are_counted_by_whom_they_were_made() {
    let metrics = Metrics::new();
    for (by_lexpr, by_git) in [(3, 1), (5, 1), (0, 0)] {
        metrics.set_merges(MergeCounts { by_lexpr, by_git });
    }
    let values = metrics.values();
    assert_eq!(values["lex_pr_tree_merges_total{by=\"lexpr\"}"], 5.0);
    assert_eq!(values["lex_pr_tree_merges_total{by=\"git\"}"], 1.0);
}

/// Not eprintln!, which the test runner keeps to itself when a test passes.
pub fn say_that_promtool_is_missing() {
    let note = "NOT CHECKED: promtool is not installed (Debian's package prometheus has it)\n";
    std::io::stderr().write_all(note.as_bytes()).unwrap();
}

#[test]
fn promtool_finds_nothing_to_say() {
    #[expect(clippy::disallowed_methods, reason = "a test asks Prometheus' own tool")]
    let promtool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    match promtool {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            say_that_promtool_is_missing();
        }
        Err(error) => panic!("promtool: {error}"),
        Ok(mut promtool) => {
            promtool.stdin.take().unwrap().write_all(all_stories().render().as_bytes()).unwrap();
            let said = promtool.wait_with_output().unwrap();
            let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            assert!(said.status.success() && words.is_empty(), "{words}");
        }
    }
}

#[test]
fn the_metrics_file_is_whole_and_as_readable_as_any() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lexpr.prom");
    let metrics = all_stories();
    metrics.write(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), metrics.render());
    let usual = folder.path().join("usual");
    std::fs::File::create(&usual).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), mode(&usual));
}

/// A request on a connection of its own; the whole answer.
async fn ask(server: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn hub(metrics: &Arc<Metrics>) -> Arc<Hub> {
    Arc::new(Hub::new(Arc::default(), Arc::clone(metrics), PathBuf::new()))
}

/// A process that another test is just starting holds a copy of every socket until it execs.
async fn until_nobody_listens(address: std::net::SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn metrics_and_health_are_served_while_a_run_goes_on() {
    let metrics = Arc::new(Metrics::new());
    let server = Server::start("127.0.0.1:0", hub(&metrics)).await.unwrap();
    let address = server.address();
    assert_ne!(address.port(), 0);
    let landed = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains(CONTENT_TYPE), "{head}");
        parse(body).unwrap()["lex_pr_merge_success_total"].samples.values().copied().sum::<f64>()
    };
    assert_eq!(landed(&ask(address, "/metrics").await), 0.0);
    eventful().iter().for_each(|event| metrics.apply(event));
    assert_eq!(landed(&ask(address, "/metrics").await), 3.0);
    assert!(ask(address, "/healthz").await.ends_with("ok\n"));
    assert!(ask(address, "/nowhere").await.starts_with("HTTP/1.1 404"));
    server.stop().await;
    until_nobody_listens(address).await;
}

#[tokio::test]
async fn lingering_ends_when_it_is_cut_short_even_with_an_idle_client() {
    let server = Server::start("127.0.0.1:0", hub(&Arc::default())).await.unwrap();
    let address = server.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    server.linger(Duration::from_secs(3600), future::ready(())).await;
    until_nobody_listens(address).await;
}

#[tokio::test]
async fn an_address_in_use_and_one_that_is_none_are_told_apart() {
    let metrics = Arc::new(Metrics::new());
    let server = Server::start("127.0.0.1:0", hub(&metrics)).await.unwrap();
    let taken = server.address().to_string();
    let error = Server::start(&taken, hub(&metrics)).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse { .. }), "{error}");
    let error = Server::start("nowhere", hub(&metrics)).await.unwrap_err();
    assert!(error.to_string().contains("HOST:PORT is expected"), "{error}");
    server.stop().await;
}
