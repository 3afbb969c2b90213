//! Gates that GitHub's checks judge, by answers of the form that its documentation has.

use std::fs;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lexpr::gate::elsewhere::ci::Ci;
use lexpr::gate::elsewhere::{Returned, Word};
use lexpr::plan::ci_service::{CiJudge, CiServer, CiServicePolicy, Credentials};
use lexpr::vocabulary::event::{GateOutcome, MissingChecks};
use serde_json::json;
use tokio::sync::watch;

use crate::buildbot_world::{World, run_by, run_with};
use crate::cli_world;
use crate::github_world::{GitHub, REPOSITORY, Reply, TOKEN, commit_of, is_about_statuses, reported};
use crate::slurm_world::until;

const DONE: (&str, &str, Option<&str>) = ("build", "completed", Some("success"));

pub fn checks(names: &[&str], report_limit: Duration) -> CiJudge {
    let checks = names.iter().map(|name| (*name).to_owned()).collect();
    CiJudge::Checks { repository: REPOSITORY.to_owned(), checks, app: None, report_limit }
}

pub const PATIENT: Duration = Duration::from_secs(600);

pub fn world() -> World {
    let mut world = World::new();
    world.environment.push(("FORGE_TOKEN".into(), TOKEN.into()));
    world
}

pub fn ci(world: &World, github: &GitHub) -> Ci {
    world.ci_of(policy(github))
}

fn policy(github: &GitHub) -> CiServicePolicy {
    CiServicePolicy {
        server: CiServer::GitHub {
            repository: REPOSITORY.to_owned(),
            checks: Vec::new(),
            app: None,
            report_limit: PATIENT,
        },
        credentials: Credentials::Token { env: "FORGE_TOKEN".to_owned() },
        url: github.url(),
        max_in_flight: 4,
        queue_limit: Duration::from_secs(1000),
    }
}

pub fn infrastructure(returned: &Returned) -> &str {
    match &returned.outcome {
        GateOutcome::Infrastructure { message } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_a_commit_are_waited_for_with_questions_that_cost_nothing_where_nothing_has_changed() {
    let world = world();
    let github = GitHub::start(|asked, before| {
        // Twice as it was, then done.
        let etag = if before < 2 { "\"one\"" } else { "\"two\"" };
        if asked.header("if-none-match") == Some(etag) {
            return Reply { status: 304, headers: vec![("ETag", etag.to_owned())], body: json!(null) };
        }
        let run = if before < 2 { ("build", "in_progress", None) } else { DONE };
        Reply { headers: vec![("ETag", etag.to_owned())], ..reported(asked, &[run], &[("ci/lint", "success")]) }
    });
    let ci = ci(&world, &github);
    let errand = world.errand("passes", "");
    let (came, log) = run_by(&ci, &checks(&["build", "ci/lint"], PATIENT), &errand).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    assert_eq!(log, "build: running\nci/lint: passed\nbuild: passed\n");
    let asked = github.asked();
    let about_runs: Vec<_> = asked.iter().filter(|asked| !is_about_statuses(asked)).collect();
    let etags: Vec<_> = about_runs.iter().map(|asked| asked.header("if-none-match")).collect();
    assert_eq!(etags, [None, Some("\"one\""), Some("\"one\"")]);
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some(&format!("Bearer {TOKEN}"))));
    assert!(asked.iter().all(|asked| asked.path.contains(&errand.commit.to_string())));
    assert!(!format!("{ci:?}").contains("two"), "nothing is kept of a commit that is judged: {ci:?}");
    assert_eq!(world.sent(), [format!("refs/heads/lexpr/{}/passes", world.run)]);
    ci.clear().await.unwrap();
    assert_eq!(world.sent(), [""; 0]);

    let failing = GitHub::start(|asked, _| reported(asked, &[("build", "completed", Some("failure"))], &[]));
    let (came, _) = run_by(&self::ci(&world, &failing), &checks(&["build"], PATIENT), &world.errand("fails", "")).await;
    assert_eq!(came.outcome, GateOutcome::Failed { exit_code: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_never_appears_is_told_of_meanwhile_and_is_no_failure_in_the_end() {
    let world = world();
    let github =
        GitHub::start(|asked, _| reported(asked, &[("biuld", "completed", Some("success"))], &[("ci/x", "success")]));
    let judge = checks(&["build"], Duration::from_secs(3));
    let (ci, errand, words) = (ci(&world, &github), world.errand("misnamed", ""), Mutex::new(Vec::new()));
    let hear = |word| words.lock().unwrap().push(word);
    let came = ci.run(&judge, &errand, watch::channel(false).1, hear).await.unwrap();
    let log = fs::read_to_string(&errand.log).unwrap();
    let message = infrastructure(&came);
    let expected = "these checks are expected: build; these exist: biuld, ci/x";
    assert!(message.starts_with("nothing has reported as build on this commit for 0 min"), "{message}");
    assert!(message.ends_with(expected), "{message}");
    assert!(log.matches(expected).count() > 1, "it is told before it is given up: {log}");
    let words: Vec<Word> = words.into_inner().unwrap();
    let [Word::ChecksMissing(first), ..] = &words[..] else { panic!("{words:?}") };
    assert!(words.len() > 1 && words.len() < 6, "ever less often: {words:?}");
    let expected = MissingChecks {
        missing: vec!["build".to_owned()],
        expected: vec!["build".to_owned()],
        present: vec!["biuld".to_owned(), "ci/x".to_owned()],
        more: 0,
        quiet_ms: first.quiet_ms,
    };
    assert_eq!(*first, Box::new(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_never_appears_while_others_are_at_work_for_ever_is_waited_for_as_long_as_a_queue_may_take() {
    let world = world();
    let github = GitHub::start(|asked, _| reported(asked, &[("deploy", "in_progress", None)], &[]));
    let (judge, impatient) = (checks(&["build"], PATIENT), Duration::from_secs(1));
    let ci = world.ci_of(CiServicePolicy { queue_limit: impatient, ..policy(&github) });
    let (came, _) = run_by(&ci, &judge, &world.errand("never", "")).await;
    assert!(infrastructure(&came).ends_with("checks are expected: build; these exist: deploy"), "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_limits_its_callers_is_not_asked_again_before_it_said() {
    let world = world();
    let github = GitHub::start(|asked, before| {
        if before == 0 && !is_about_statuses(asked) {
            let headers = vec![("Retry-After", "2".to_owned()), ("X-RateLimit-Remaining", "0".to_owned())];
            return Reply { status: 403, headers, body: json!({"message": "API rate limit exceeded"}) };
        }
        reported(asked, &[DONE], &[])
    });
    let (came, _) = run_by(&ci(&world, &github), &checks(&["build"], PATIENT), &world.errand("limited", "")).await;
    assert_eq!(came.outcome, GateOutcome::Passed);
    let asked = github.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(2), "{:?}", asked[1].at - asked[0].at);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_service_are_no_verdict_and_no_word_of_it_holds_the_token() {
    let world = world();
    for (status, expected) in [(401, "HTTP 401: Bad credentials: ***"), (404, "HTTP 404"), (302, "HTTP 302")] {
        let github = GitHub::start(move |_, _| {
            // Of more than that the end is cut off: there is half of the token.
            let body = json!({ "message": format!("Bad credentials: {TOKEN}{}{TOKEN}", ".".repeat(270)) });
            Reply { status, headers: vec![("Location", "http://127.0.0.1:1/".to_owned())], body }
        });
        let errand = world.errand(&format!("refused-{status}"), "");
        let ci = ci(&world, &github);
        let (came, log) = run_by(&ci, &checks(&["build"], PATIENT), &errand).await;
        let message = infrastructure(&came);
        assert!(message.contains(expected), "{message}");
        assert!(![message, &log, &format!("{ci:?}")].iter().any(|said| said.contains(&TOKEN[..4])), "{message} {log}");
    }
    let github = GitHub::start(|_, _| Reply::ok(json!({ "check_runs": [{ "name": "build" }], "total_count": 1 })));
    let (came, _) = run_by(&ci(&world, &github), &checks(&["build"], PATIENT), &world.errand("garbled", "")).await;
    assert!(infrastructure(&came).contains("not what it should be"), "{came:?}");
    // And without one nobody is asked as nobody.
    let world = World::new();
    let (came, _) = run_by(&ci(&world, &github), &checks(&["build"], PATIENT), &world.errand("nobody", "")).await;
    assert!(infrastructure(&came).contains("FORGE_TOKEN"), "{came:?}");
    assert_eq!(github.asked().len(), 1);
}

/// What has reported beside `build` until an answer is full.
fn others() -> Vec<(String, &'static str, Option<&'static str>)> {
    (1..100).map(|nth| (format!("other {nth}"), "completed", Some("success"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_of_an_app_that_the_plan_names_the_check_runs_alone_count_and_statuses_are_not_asked_for() {
    let world = world();
    // It reports late; somebody else by that name is there from the start, with a status, too.
    let github = GitHub::start(|asked, before| {
        let mut reply = reported(asked, &[DONE, ("build", "completed", Some("failure"))], &[("build", "success")]);
        let runs = reply.body["check_runs"].as_array_mut().unwrap();
        runs[0]["app"]["slug"] = json!("friendly");
        runs.truncate(if before < 2 { 1 } else { 2 });
        reply.body["total_count"] = json!(if before < 2 { 1 } else { 2 });
        reply
    });
    let CiJudge::Checks { repository, checks, report_limit, .. } = checks(&["build"], PATIENT) else { panic!() };
    let judge = CiJudge::Checks { repository, checks, report_limit, app: Some("github-actions".to_owned()) };
    let (came, log) = run_by(&ci(&world, &github), &judge, &world.errand("of-an-app", "")).await;
    assert_eq!(came.outcome, GateOutcome::Failed { exit_code: 1 }, "{log}");
    assert_eq!(github.asked().len(), 3);
    assert!(!github.asked().iter().any(is_about_statuses));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_1_reports_that_were_not_seen_are_not_taken_for_passes() {
    let world = world();
    // The first answer is full; what else there is, the second has, or nobody.
    let cases: [(Option<u64>, bool, &str); 3] = [
        (Some(101), true, "what reports as `build` disagrees"),
        (Some(101), false, "says that there are 101 `check_runs`, and gives 100"),
        (None, true, "does not say how many `check_runs` there are"),
    ];
    for (total, has_second, expected) in cases {
        let github = GitHub::start(move |asked, _| {
            let others = others();
            let first: Vec<_> =
                others.iter().map(|(name, status, end)| (name.as_str(), *status, *end)).chain([DONE]).collect();
            let second = if has_second { &[("build", "completed", Some("failure"))][..] } else { &[] };
            let page = if asked.path.ends_with("page=1") { &first[..] } else { second };
            let mut reply = reported(asked, page, &[]);
            if !is_about_statuses(asked) {
                reply.body["total_count"] = json!(total);
            }
            reply
        });
        let errand = world.errand(&format!("unseen-{expected}").replace(|c: char| !c.is_ascii_alphanumeric(), "-"), "");
        let (came, _) = run_by(&ci(&world, &github), &checks(&["build"], PATIENT), &errand).await;
        assert!(infrastructure(&came).contains(expected), "{came:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_service_says_is_one_short_line_of_text() {
    let world = world();
    let long = format!("\u{1b}]0;{}{TOKEN}\u{7}\n\0{}", "t".repeat(40), "n".repeat(3_000_000));
    for (at, body) in [
        json!({ "total_count": 1, "check_runs": [long] }),
        json!({ "total_count": 1, "check_runs": [{ "name": "build", "status": "completed", "conclusion": long }] }),
        json!({ "total_count": 1, "check_runs": [{ "name": "build", "status": long, "conclusion": null }] }),
    ]
    .into_iter()
    .enumerate()
    {
        let github = GitHub::start(move |asked, _| {
            if is_about_statuses(asked) {
                return reported(asked, &[], &[]);
            }
            let mut body = body.clone();
            if let Some(run) = body["check_runs"][0].as_object_mut() {
                run.insert("head_sha".to_owned(), json!(commit_of(asked)));
            }
            Reply::ok(body)
        });
        let (came, log) =
            run_by(&ci(&world, &github), &checks(&["build"], PATIENT), &world.errand(&format!("hostile-{at}"), ""))
                .await;
        let message = infrastructure(&came);
        assert!(message.len() < 5_000 && !message.contains(char::is_control), "{at}: {} bytes", message.len());
        assert!(log.len() < 10_000 && !log.contains(['\u{1b}', '\0']), "{at}: {} bytes of log", log.len());
        // Nor the half of it that is left where something is cut.
        assert!(![message, &log].iter().any(|said| said.contains(&TOKEN[..4])), "{at}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_pushed_and_is_not_known_yet_has_nothing_reported_and_a_repository_that_is_not_there_is_told()
{
    let world = world();
    let start = |is_there: bool| {
        GitHub::start(move |asked, before| {
            let (status, message) = match asked.path.as_str() {
                "/repos/octo/shop" if is_there => return Reply::ok(json!({ "full_name": REPOSITORY })),
                "/repos/octo/shop" => (404, "Not Found"),
                _ if before < 2 => (422, "No commit found for SHA"),
                _ => return reported(asked, &[DONE], &[]),
            };
            Reply { status, headers: Vec::new(), body: json!({ "message": message }) }
        })
    };
    let late = start(true);
    let (came, _) = run_by(&ci(&world, &late), &checks(&["build"], PATIENT), &world.errand("late", "")).await;
    assert_eq!(came.outcome, GateOutcome::Passed);
    let nowhere = start(false);
    let (came, _) = run_by(&ci(&world, &nowhere), &checks(&["build"], PATIENT), &world.errand("nowhere", "")).await;
    assert!(infrastructure(&came).contains("HTTP 422: No commit found"), "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_ends_when_it_is_cancelled_and_when_its_time_is_up_whatever_the_checks_do() {
    let world = world();
    let github = GitHub::start(|asked, _| reported(asked, &[("build", "in_progress", None)], &[]));
    let ci = ci(&world, &github);
    let judge = checks(&["build"], PATIENT);
    let mut errand = world.errand("late", "");
    errand.timeout = Duration::from_secs(1);
    let (came, _) = run_by(&ci, &judge, &errand).await;
    assert_eq!(came.outcome, GateOutcome::TimedOut { after_ms: 1000, signal: None });

    let (cancel, cancelled) = watch::channel(false);
    let errand = world.errand("cancelled", "");
    let running = run_with(&ci, &judge, &errand, cancelled);
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it has ended"),
        () = until("it is looked at", || fs::read(&errand.log).is_ok_and(|log| !log.is_empty()).then_some(())) => {}
    }
    cancel.send_replace(true);
    assert_eq!(running.await.0.outcome, GateOutcome::Cancelled);
}

/// Every file below a folder that holds these bytes.
pub fn holding(folder: &std::path::Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(holding(&path, bytes));
        } else if fs::read(&path).is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes)) {
            found.push(path);
        }
    }
    found
}

/// A repository with an item for each of these, and a plan whose gate is judged by checks of `github`.
pub fn planned(items: &[&str], github: &GitHub, keys: &str) -> (cli_world::World, String) {
    let files: Vec<[(&str, &str); 1]> = items.iter().map(|item| [(*item, "x\n")]).collect();
    let branches: Vec<_> = items.iter().zip(&files).map(|(item, files)| (*item, "main", &files[..])).collect();
    let world = cli_world::World::new(&[("a", "a\n")], &branches);
    world.git(&["init", "--quiet", "--bare", "../exchange.git"]);
    let items: String = items.iter().map(|item| format!("  - name: {item}\n")).collect();
    let plan = format!(
        "schemaVersion: v1\npolicy:\n  exchange: \"{}\"\n  runtimes:\n    hub: {{ type: ci-service, service: github, url: \"{}\", \
         repository: {REPOSITORY}, tokenEnv: FORGE_TOKEN, {keys} }}\ngates: [{{ name: ci, runtime: hub }}]\nitems:\n{items}",
        world.path("exchange.git").display(),
        github.url()
    );
    (world, plan)
}

pub fn lexpr(world: &cli_world::World, args: &[&str]) -> cli_world::Said {
    world.command(args).env("FORGE_TOKEN", TOKEN).output().unwrap().into()
}

#[test]
fn a_run_lands_what_github_s_checks_pass_and_its_token_is_nowhere() {
    let github = GitHub::start(|asked, _| match asked.path.as_str() {
        "/repos/octo/shop" => Reply::ok(json!({ "full_name": REPOSITORY })),
        _ => reported(asked, &[DONE], &[]),
    });
    let (world, plan) = planned(&["i0"], &github, "checks: [build]");
    let path = world.plan(&plan).display().to_string();
    let report = world.path("report.html").display().to_string();
    let landed = lexpr(&world, &["merge", &path, "--execute", "--report", &report]).expect(0);
    assert_eq!(world.files_on_main(), ["a", "i0"]);
    let sound = lexpr(&world, &["doctor", "--runtime", "hub", "--plan", &path]).expect(0);
    assert!(sound.stdout.contains("was judged: passed"), "{}", sound.stdout);
    for said in [landed, sound] {
        assert!(!said.stdout.contains(TOKEN) && !said.stderr.contains(TOKEN));
    }
    assert_eq!(holding(&world.path(""), TOKEN.as_bytes()), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(world.git(&["--git-dir=../exchange.git", "for-each-ref"]), "");
}

#[test]
fn checks_that_nothing_reports_as_are_told_of_before_the_run_and_while_it_waits_for_them() {
    // On main there is `lint` alone, and `build` on what lexpr sends, when it has waited for it for a while.
    let (main, first) = (Arc::<Mutex<String>>::default(), OnceLock::<Instant>::new());
    let of_main = Arc::clone(&main);
    let github = GitHub::start(move |asked, _| {
        let lint = ("lint", "completed", Some("success"));
        if asked.path == "/repos/octo/shop" || commit_of(asked) == *of_main.lock().unwrap() {
            return reported(asked, &[lint], &[]);
        }
        let has_waited = first.get_or_init(Instant::now).elapsed() > Duration::from_secs(8);
        reported(asked, &[lint, DONE][..if has_waited { 2 } else { 1 }], &[])
    });
    let (world, plan) = planned(&["i0", "i1"], &github, "checks: [build], reportMinutes: 1");
    *main.lock().unwrap() = world.main();
    let short = world.main()[..10].to_owned();
    let path = world.plan(&plan).display().to_string();
    let said = lexpr(&world, &["merge", &path, "--execute", "--progress", "plain"]).expect(0);
    let before =
        format!("hub: nothing reports as `build` on main at {short}; there are: lint; gates wait for them in vain");
    assert!(said.stderr.starts_with(&before), "{}", said.stderr);
    let meanwhile = "these checks are expected: build; these exist: lint\n";
    assert_eq!(said.stderr.matches(meanwhile).count(), 1, "two items wait, and once is enough: {}", said.stderr);
    let line = said.stderr.lines().find(|line| line.contains(meanwhile.trim())).unwrap();
    assert!(line.contains(" missing    ci on i") && line.contains("for 0 min 6 s"), "{line}");
    let run = fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap().next().unwrap().unwrap().path();
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    assert_eq!(journal.matches("\"event\":\"checksMissing\"").count(), 2, "{journal}");
}

#[test]
fn doctor_tries_what_nothing_reports_as_on_the_target_as_something_may_on_a_branch_of_lexpr_s() {
    let github = GitHub::start(|asked, before| reported(asked, if before == 0 { &[] } else { &[DONE] }, &[]));
    let (world, plan) = planned(&["i0"], &github, "checks: [build]");
    let path = world.plan(&plan).display().to_string();
    let said = lexpr(&world, &["doctor", "--runtime", "hub", "--plan", &path]).expect(0);
    assert!(said.stdout.contains("warn  runtime: hub: nothing reports as `build` on main at"), "{}", said.stdout);
    assert!(said.stdout.contains("there are: none"), "{}", said.stdout);
    assert!(said.stdout.contains("was judged: passed"), "{}", said.stdout);
}

#[test]
fn a_token_that_is_not_set_is_missed_before_anything_runs() {
    let github = GitHub::start(|asked, _| reported(asked, &[DONE], &[]));
    let (world, plan) = planned(&["i0"], &github, "checks: [build]");
    let path = world.plan(&plan).display().to_string();
    let missing = "runtime hub: the variable FORGE_TOKEN, which `tokenEnv` names, holds none";
    let refused = world.lexpr(["merge", &path, "--execute"]).expect(2);
    assert!(
        refused.stderr.contains(&format!("error: {missing}\n  hint: set it in the environment")),
        "{}",
        refused.stderr
    );
    assert!(fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap().next().is_none(), "there was no run");
    world.lexpr(["gate", "run", "i0", "ci", "--plan", &path]).expect(2);
    let dry = world.lexpr(["merge", &path]).expect(0);
    assert!(dry.stderr.contains(&format!("warning: {missing}")), "{}", dry.stderr);
    let doctor = world.lexpr(["doctor", "--runtime", "hub", "--plan", &path]).expect(1).stdout;
    assert!(doctor.contains("to do: set it in the environment that lexpr runs in, or correct its name"), "{doctor}");
    assert!(github.asked().is_empty());
}
