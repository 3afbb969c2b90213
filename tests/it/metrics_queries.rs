//! What the documentation, the dashboard and the alerts ask Prometheus for is what `/metrics` of a real run has: every
//! name, label and value, with what may be done to it; and the reference has every metric as it is served.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use crate::cli_metrics::of_a_real_run;
use crate::docs::{blocks, pages, root};
use crate::metrics_text::{Family, say_that_promtool_is_missing};
use crate::promql::{self, Is, Kind, Known, Labels, Series};

/// What Prometheus adds to each series that it scrapes.
const BY_PROMETHEUS: [&str; 2] = ["instance", "job"];

fn served() -> &'static BTreeMap<String, Family> {
    static SERVED: OnceLock<BTreeMap<String, Family>> = OnceLock::new();
    SERVED.get_or_init(of_a_real_run)
}

/// `reason="conflict"` and the like, without commas within values: no value has one.
fn labels_of(written: &str) -> impl Iterator<Item = (String, String)> {
    written.split(',').filter(|label| !label.is_empty()).map(|label| {
        let (name, value) = label.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    })
}

fn known() -> Known {
    let mut known = Known::new();
    for family in served().values() {
        for (sample, labels) in family.samples.keys() {
            let kind = match &*family.kind {
                "gauge" => Kind::Gauge,
                _ if sample.ends_with("_bucket") => Kind::Bucket,
                _ => Kind::Counter,
            };
            let by_prometheus = BY_PROMETHEUS.map(|label| (label.to_owned(), BTreeSet::new()));
            let series =
                known.entry(sample.clone()).or_insert_with(|| Series { kind, labels: BTreeMap::from(by_prometheus) });
            for (name, value) in labels_of(labels) {
                series.labels.entry(name).or_default().insert(value);
            }
        }
    }
    known
}

/// The reference as the page has it: a line for each metric.
fn reference() -> String {
    let mut table = String::from("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for (name, family) in served() {
        let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut of_all: Vec<_> = family.samples.keys().flat_map(|(_, labels)| labels_of(labels)).collect();
        let number = |value: &str| value.replace("+Inf", "inf").parse::<f64>().unwrap_or_default();
        of_all.sort_by(|(_, one), (_, other)| number(one).total_cmp(&number(other)));
        for (label, value) in of_all {
            labels.entry(label).or_default().push(format!("`{value}`"));
        }
        let labels = labels.iter().map(|(label, values)| match &**label {
            // It is another one soon.
            "version" => format!("`{label}`"),
            _ => format!("`{label}`: {}", values.join(", ")),
        });
        let unit = if name.contains("_seconds") {
            "seconds"
        } else if name.contains("_bytes") {
            "bytes"
        } else {
            "number"
        };
        let labels = labels.collect::<Vec<_>>().join("; ");
        writeln!(table, "| `{name}` | {} | {unit} | {labels} | {} |", family.kind, family.help).unwrap();
    }
    table
}

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&file("docs/grafana/lexpr.json")).unwrap()
}

fn alerts() -> Value {
    serde_yaml::from_str(&file("docs/prometheus/alerts.yaml")).unwrap()
}

/// As Grafana fills it in; what stands in a text there is any text.
fn filled_in(expression: &str) -> String {
    expression.replace("$__rate_interval", "5m").replace("$__range", "6h")
}

/// A question, where it stands, and the labels that the words about its answer name.
struct Asked {
    place: String,
    expression: String,
    labels: Labels,
}

/// What stands in `{{ }}`.
fn named_in(words: &str, prefix: &str) -> Labels {
    let between = words.split("{{").skip(1).filter_map(|part| part.split("}}").next());
    between.filter_map(|part| part.trim().strip_prefix(prefix)).map(str::to_owned).collect()
}

fn panels(of: &Value) -> Vec<&Value> {
    let all = of["panels"].as_array().into_iter().flatten();
    all.flat_map(|panel| std::iter::once(panel).chain(panels(panel))).collect()
}

fn asked() -> Vec<Asked> {
    let mut asked = Vec::new();
    for (language, text) in blocks(&file("docs/metrics.md")) {
        for expression in text.split("\n\n").filter(|_| language == "promql") {
            let place = "docs/metrics.md".to_owned();
            asked.push(Asked { place, expression: expression.trim().to_owned(), labels: Labels::new() });
        }
    }
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.push(Asked {
                place: format!("the panel {}", panel["title"]),
                expression: filled_in(target["expr"].as_str().unwrap()),
                labels: named_in(target["legendFormat"].as_str().unwrap_or_default(), ""),
            });
        }
    }
    let alerts = alerts();
    for rule in alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        asked.push(Asked {
            place: format!("the alert {}", rule["alert"]),
            expression: rule["expr"].as_str().unwrap().to_owned(),
            labels: named_in(&rule["annotations"].to_string(), "$labels."),
        });
    }
    asked
}

#[test]
fn every_metric_is_in_the_reference_as_a_run_serves_it() {
    let table = reference();
    let page = file("docs/metrics.md");
    assert!(page.contains(&table), "docs/metrics.md has drifted: what a run serves is\n\n{table}");
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `lex_pr_")).count();
    assert_eq!(rows(&page), rows(&table), "docs/metrics.md has metrics that no run serves");
}

#[test]
fn every_query_that_is_shown_asks_for_what_a_run_serves() {
    let known = known();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let asked = asked();
    for Asked { place, expression, labels } in &asked {
        match promql::read(expression, &known) {
            Ok((Is::Instant(has, _), names)) if labels.is_subset(&has) => used.extend(names),
            Ok((is, _)) => wrong.push(format!("{place}: {expression}\n  is {is:?}, and {labels:?} are named")),
            Err(error) => wrong.push(format!("{place}: {expression}\n  {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unasked: Vec<&String> = served()
        .iter()
        .filter(|(_, family)| !family.samples.keys().any(|(sample, _)| used.contains(sample)))
        .map(|(name, _)| name)
        .collect();
    assert!(unasked.is_empty(), "no query is shown for {unasked:?}");
    assert!(asked.len() > 60, "only {} queries were found", asked.len());
}

#[test]
fn every_metric_that_is_named_anywhere_in_the_documentation_is_served() {
    let known = known();
    for (page, text) in pages() {
        for at in text.match_indices("lex_pr_").map(|(at, _)| at) {
            let name = text[at..].split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap();
            // By itself it is what all names begin with.
            let is_there = name == "lex_pr_" || known.contains_key(name) || served().contains_key(name);
            assert!(is_there, "{page}: no run serves {name}");
        }
    }
}

#[test]
fn what_the_dashboard_lets_choose_from_is_there() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    let known = known();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap();
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (selector, label) = inner.rsplit_once(", ").unwrap();
        match promql::read(selector, &known).unwrap().0 {
            Is::Instant(labels, _) => assert!(labels.contains(label), "{query}"),
            other => panic!("{query} is {other:?}"),
        }
    }
}

/// Grafana takes a document with two panels of one id, or two in one place, and shows it wrong.
#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id of {title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            assert!(x < 24, "{title} is out of the grid");
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title} covers another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "{title} is not explained");
        let references: BTreeSet<&str> = panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
                let expression = target["expr"].as_str().unwrap();
                let selectors = expression.matches("lex_pr_").count();
                assert_eq!(expression.matches("job=~\"$job\", instance=~\"$instance\"").count(), selectors, "{title}");
                target["refId"].as_str().unwrap()
            })
            .collect();
        assert_eq!(references.len(), panel["targets"].as_array().unwrap().len(), "{title}");
    }
    assert!(dashboard["id"].is_null() && dashboard["uid"] == "lexpr", "an import makes it anew, and always the same");
}

/// Prometheus' own word on every query, as a rule that records it, and on the alerts.
#[test]
fn promtool_takes_every_query_and_every_alert() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = String::from("groups:\n- name: queries\n  rules:\n");
    for (number, asked) in asked().iter().enumerate() {
        let expression = Value::from(asked.expression.as_str());
        writeln!(rules, "  - record: query_{number}\n    expr: {expression}").unwrap();
    }
    let queries = folder.path().join("queries.yaml");
    std::fs::write(&queries, rules).unwrap();
    for file in [&*queries, &*root().join("docs/prometheus/alerts.yaml")] {
        check_rules(file);
    }
}

fn check_rules(file: &Path) {
    #[expect(clippy::disallowed_methods, reason = "a test asks Prometheus' own tool")]
    let promtool = std::process::Command::new("promtool").args(["check", "rules"]).arg(file).output();
    match promtool {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            say_that_promtool_is_missing();
        }
        Err(error) => panic!("promtool: {error}"),
        Ok(said) => assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr)),
    }
}
