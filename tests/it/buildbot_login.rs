//! A real Buildbot that lets only those force and stop builds who have logged in, and what lexpr does with a login.

use std::path::PathBuf;
use std::time::Duration;

use lexpr::gate::elsewhere::ci::Ci;
use lexpr::plan::ci_service::{CiServer, CiServicePolicy, Credentials};
use lexpr::vocabulary::event::GateOutcome;
use serde_json::json;

use crate::buildbot_gates::{cancelled_while_it_runs, infrastructure};
use crate::buildbot_world::{Buildbot, World, run};
use crate::cli_buildbot::{JUDGED, plan_with, sent};
use crate::github_gates::holding;
use crate::github_world::{GitHub, Reply};

const USER: &str = "ann";
const PASSWORD: &str = "hush: hush, nobody knows";
/// Of both, as they go over the wire.
const ENCODED: &str = "YW5uOmh1c2g6IGh1c2gsIG5vYm9keSBrbm93cw==";

fn login() -> Credentials {
    Credentials::Login { user_env: "BB_USER".to_owned(), password_env: "BB_PASSWORD".to_owned() }
}

fn world(password: &str) -> World {
    let mut world = World::new();
    world.environment = vec![("BB_USER".into(), USER.into()), ("BB_PASSWORD".into(), password.into())];
    world
}

fn holds_none(said: &str) {
    assert!(![PASSWORD, ENCODED, "TWISTED_SESSION"].iter().any(|secret| said.contains(secret)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buildbot_that_wants_a_login_judges_for_who_has_one_and_says_no_to_others_without_a_word_of_it() {
    let Some(buildbot) = Buildbot::closed(USER, PASSWORD) else { return };
    let known = world(PASSWORD);
    let ci = |world: &World, credentials| world.ci_of(CiServicePolicy { credentials, ..world.policy(&buildbot) });
    let of_known = ci(&known, login());
    let (came, log) = run(&of_known, &known.errand("passes", "echo judged")).await;
    assert_eq!(came.outcome, GateOutcome::Passed, "{log}");
    holds_none(&format!("{log} {of_known:?}"));

    // To stop one takes a login, too.
    cancelled_while_it_runs(&known, &of_known).await;
    assert_eq!(buildbot.builds_of(&known.run), [Some(0), Some(6)]);
    of_known.clear().await.unwrap();

    let wrong = world("hush: hush, nobody guesses");
    for (world, credentials, expected) in [
        (&known, Credentials::None, "HTTP 403"),
        (&wrong, login(), "/auth/login answered with HTTP 401"),
        (&World::new(), login(), "the variable BB_USER, which `userEnv` names, holds none"),
    ] {
        let (came, log) = run(&ci(world, credentials), &world.errand("refused", "exit 0")).await;
        let message = infrastructure(&came);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("guesses") && !log.contains("guesses"), "{message} {log}");
        assert_eq!(buildbot.builds_of(&world.run).len(), if world.run == known.run { 2 } else { 0 });
    }
}

#[test]
fn a_run_with_a_login_lands_and_nothing_of_it_is_written_anywhere() {
    let Some(buildbot) = Buildbot::closed(USER, PASSWORD) else { return };
    let world = crate::cli_buildbot::world("env", 2);
    let path = plan_with(&world, &buildbot, ", userEnv: BB_USER, passwordEnv: BB_PASSWORD", JUDGED, 2);
    let report = world.path("report.html").display().to_string();
    let merge = ["merge", &path, "--execute", "--report", &report];
    let lexpr = |args: &[&str], password: &str| -> crate::cli_world::Said {
        world.command(args).env("BB_USER", USER).env("BB_PASSWORD", password).output().unwrap().into()
    };
    let doctor = ["doctor", "--runtime", "ci", "--plan", &path];
    let all =
        [lexpr(&doctor, "wrong").expect(1), lexpr(&doctor, PASSWORD).expect(0), lexpr(&merge, PASSWORD).expect(0)];
    assert!(all[0].stdout.contains("the login was refused"), "{}", all[0].stdout);
    assert!(all[1].stdout.contains("was gone after"), "{}", all[1].stdout);
    all.iter().for_each(|said| holds_none(&format!("{} {}", said.stdout, said.stderr)));
    for secret in [PASSWORD, ENCODED, "TWISTED_SESSION"] {
        assert_eq!(holding(&world.path(""), secret.as_bytes()), [""; 0].map(PathBuf::from));
    }
    assert_eq!(sent(&world), "");
}

fn recorded(world: &World, server: &GitHub, credentials: Credentials) -> Ci {
    world.ci_of(CiServicePolicy {
        server: CiServer::Buildbot { scheduler: "lexpr".to_owned(), builder: None },
        credentials,
        url: server.url(),
        max_in_flight: 4,
        queue_limit: Duration::from_secs(1000),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_is_begun_anew_once_and_who_is_refused_all_the_same_is_told() {
    for is_let_in in [true, false] {
        let world = world(PASSWORD);
        let server = GitHub::start(move |asked, before| match asked.path.as_str() {
            "/auth/login" => {
                assert_eq!(asked.header("authorization"), Some(format!("Basic {ENCODED}").as_str()));
                let cookie = ("Set-Cookie", format!("S=secret-{before}; Path=/; HttpOnly"));
                let elsewhere = ("Location", "http://127.0.0.1:1/".to_owned());
                Reply { status: 302, headers: vec![cookie, elsewhere], body: json!(null) }
            }
            _ if is_let_in && asked.header("cookie") == Some("S=secret-1") => Reply::ok(json!({ "buildsets": [] })),
            _ => Reply { status: 403, headers: Vec::new(), body: json!({ "error": "not secret-1 of secret-0" }) },
        });
        let cleared = recorded(&world, &server, login()).clear().await;
        assert_eq!(cleared.is_ok(), is_let_in, "{cleared:?}");
        if let Err(error) = cleared {
            assert!(error.message.contains("HTTP 403: not *** of"), "{error:?}");
        }
        let paths: Vec<_> = server.asked().iter().map(|asked| asked.path[..11].to_owned()).collect();
        assert_eq!(paths, ["/auth/login", "/api/v2/bui", "/auth/login", "/api/v2/bui"]);
        assert!(
            server
                .asked()
                .iter()
                .all(|asked| asked.header("cookie").is_none() || asked.header("authorization").is_none())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_before_a_buildbot_is_shown_a_token() {
    let mut world = World::new();
    world.environment.push(("BB_TOKEN".into(), "abc.def\n".into()));
    let server = GitHub::start(|_, _| Reply::ok(json!({ "buildsets": [] })));
    recorded(&world, &server, Credentials::Token { env: "BB_TOKEN".to_owned() }).clear().await.unwrap();
    assert_eq!(server.asked()[0].header("authorization"), Some("Bearer abc.def"));
}
