//! Verdicts that machines share: through a real Redis (Debian's `redis-server`), a folder and a bucket; and what
//! becomes of a run when they are away.

#![expect(clippy::disallowed_methods, reason = "a server is started, as an administrator would")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cli_world::{Said, World, wait_for};

/// Ends with the test that started it.
struct Redis {
    server: Child,
    port: u16,
}

impl Redis {
    /// On a port of its own, with a folder of its own, keeping nothing.
    fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        loop {
            // Somebody may take the port before the server does: then it ends, and another is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let port_text = port.to_string();
            let mut server = Command::new("redis-server")
                .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
                .arg(folder)
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is there: apt-get install redis-server");
            let is_up = wait_for("the server", || {
                let has_ended = server.try_wait().unwrap().is_some();
                let answers = TcpStream::connect(("127.0.0.1", port)).is_ok();
                (has_ended || answers).then_some(!has_ended)
            });
            if is_up {
                return Self { server, port };
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn world() -> World {
    World::new(
        &[("README.md", "# A project\n")],
        &[("a", "main", &[("a", "1")]), ("b", "a", &[("b", "1")]), ("c", "main", &[("c", "1")])],
    )
}

/// Lands the plan from `base` on a machine that knows nothing itself: how many gates ran, and what was said.
#[track_caller]
fn on_another_machine(world: &World, cache: &str, base: &str) -> (usize, Said) {
    world.git(&["reset", "-q", "--hard", base]);
    world.lexpr(["cache", "clear"]).expect(0);
    let ran = world.path("ran");
    let _ = fs::remove_file(&ran);
    let plan = world.plan(&format!(
        "schemaVersion: v1\npolicy: {{cache: '{cache}'}}\ngates: [{{name: unit, run: 'echo fine; echo x >> {}'}}]\n\
         items: [{{name: a}}, {{name: b}}, {{name: c}}]\n",
        ran.display()
    ));
    let merge = world.command(["merge", plan.to_str().unwrap(), "--execute"]).envs(CREDENTIALS).output().unwrap();
    let said = Said::from(merge).expect(0);
    (fs::read_to_string(ran).unwrap_or_default().lines().count(), said)
}

/// For a bucket; nobody checks them.
const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];

#[test]
fn what_one_machine_found_another_need_not_find_again_through_a_real_redis() {
    let world = world();
    let base = world.main();
    let redis = Redis::start(&world.path("redis"));
    let cache = format!("redis://127.0.0.1:{}/2", redis.port);
    let (ran, said) = on_another_machine(&world, &cache, &base);
    assert!(ran >= 3 && !said.stderr.contains("not all verdicts"), "{ran} {}", said.stderr);
    let landed = world.main();
    let (ran, said) = on_another_machine(&world, &cache, &base);
    assert_eq!((ran, world.main()), (0, landed), "invariant 8: the same commits");
    assert!(said.stdout.contains("known from earlier runs"), "{}", said.stdout);
    // What came from there is here now.
    drop(redis);
    world.git(&["reset", "-q", "--hard", &base]);
    let said = world.lexpr(["merge", world.path("plan.yaml").to_str().unwrap(), "--execute"]).expect(0);
    assert!(said.stdout.contains("known from earlier runs"), "{}", said.stdout);
}

#[test]
fn when_the_server_is_away_the_run_goes_on_without_it_and_says_so_once() {
    let world = world();
    let base = world.main();
    let redis = Redis::start(&world.path("redis"));
    let cache = format!("redis://127.0.0.1:{}", redis.port);
    assert!(on_another_machine(&world, &cache, &base).0 >= 3);
    drop(redis);
    let (ran, said) = on_another_machine(&world, &cache, &base);
    assert!(ran >= 3, "{ran}");
    assert_eq!(said.stderr.matches(&cache).count(), 1, "{}", said.stderr);
}

#[test]
fn a_server_that_never_answers_is_waited_for_once() {
    let world = world();
    let base = world.main();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let cache = format!("redis://{}", silent.local_addr().unwrap());
    let (ran, said) = on_another_machine(&world, &cache, &base);
    assert!(ran >= 3, "{ran}");
    assert_eq!(said.stderr.matches("there is no answer").count(), 1, "{}", said.stderr);
}

#[test]
fn a_folder_that_machines_share_will_do_too_and_what_is_damaged_there_is_not_known() {
    let world = world();
    let base = world.main();
    let folder = world.path("team");
    let cache = format!("file://{}", folder.display());
    let gates = on_another_machine(&world, &cache, &base).0;
    assert_eq!(on_another_machine(&world, &cache, &base).0, 0);
    for entry in fs::read_dir(folder.join("lexpr/verdicts/1")).unwrap() {
        fs::write(entry.unwrap().path(), "passed, trust me").unwrap();
    }
    let (ran, said) = on_another_machine(&world, &cache, &base);
    assert_eq!(ran, gates);
    assert!(!said.stderr.contains("not all verdicts"), "{}", said.stderr);
    assert_eq!(on_another_machine(&world, &cache, &base).0, 0, "whole ones are there again");
}

/// The two requests of S3 that are made, answered from memory.
#[cfg(feature = "shared-cache-s3")]
#[test]
fn a_bucket_that_machines_share_will_do_too() {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use axum::body::Bytes;
    use axum::extract::State;
    use axum::http::{Method, StatusCode, Uri};

    type Objects = Arc<Mutex<HashMap<String, Bytes>>>;
    async fn answer(objects: State<Objects>, method: Method, uri: Uri, body: Bytes) -> (StatusCode, Bytes) {
        let path = uri.path().to_owned();
        let mut objects = objects.lock().unwrap();
        match (method, objects.get(&path)) {
            (Method::PUT, _) => {
                objects.insert(path, body);
                (StatusCode::OK, Bytes::new())
            }
            (_, Some(object)) => (StatusCode::OK, object.clone()),
            (_, None) => (StatusCode::NOT_FOUND, Bytes::from_static(b"<Error><Code>NoSuchKey</Code></Error>")),
        }
    }

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let objects = Objects::default();
    let server = axum::Router::new().fallback(answer).with_state(Arc::clone(&objects));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, server).await.unwrap() });

    let world = world();
    let base = world.main();
    let cache = format!("s3://bucket/team?region=here&endpoint=http://{address}");
    let (gates, said) = on_another_machine(&world, &cache, &base);
    assert!(!said.stderr.contains("not all verdicts"), "{}", said.stderr);
    let keys: Vec<String> = objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), gates);
    assert!(keys.iter().all(|key| key.starts_with("/bucket/team/lexpr/verdicts/1/")), "{keys:?}");
    assert_eq!(on_another_machine(&world, &cache, &base).0, 0);
}
