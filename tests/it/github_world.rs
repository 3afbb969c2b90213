//! A server of GitHub's answers on loopback: what it is asked it writes down, and answers as it was told to. The answers have
//! the form of GitHub's documentation (REST API 2022-11-28), cut to what is read of them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

pub const REPOSITORY: &str = "octo/shop";
pub const TOKEN: &str = "ghp_hushHushNobodyKnows";

#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered: a status, headers and a body.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }
}

type Answer = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

pub struct GitHub {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl GitHub {
    /// `answer` is given a question, and how often the like of it was asked before.
    pub fn start(answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answer, all): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&asked));
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                std::thread::spawn(move || serve(stream, &*answer, &all));
            }
        });
        Self { port, asked }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, answer: &Answer, all: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let mut to = stream;
    loop {
        let first = lines.next()?.ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        let mut headers = HashMap::new();
        for line in lines.by_ref() {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let asked = Asked { at: Instant::now(), path, headers };
        let before = {
            let mut all = all.lock().unwrap();
            let before = all.iter().filter(|known| known.path == asked.path).count();
            all.push(asked.clone());
            before
        };
        let reply = answer(&asked, before);
        let body = if reply.status == 304 { String::new() } else { reply.body.to_string() };
        let headers: String = reply.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("HTTP/1.1 {} .\r\nContent-Length: {}\r\n{headers}\r\n", reply.status, body.len());
        to.write_all(format!("{head}{body}").as_bytes()).ok()?;
    }
}

/// The commit that a question is about.
pub fn commit_of(asked: &Asked) -> String {
    asked.path.split('/').nth(5).unwrap_or_default().split('?').next().unwrap().to_owned()
}

pub fn is_about_statuses(asked: &Asked) -> bool {
    asked.path.contains("/status?")
}

pub fn check_runs(commit: &str, runs: &[(&str, &str, Option<&str>)]) -> Value {
    let runs: Vec<Value> = runs
        .iter()
        .enumerate()
        .map(|(at, (name, status, conclusion))| {
            json!({
                "id": at, "head_sha": commit, "name": name, "status": status, "conclusion": conclusion,
                "started_at": "2026-11-21T15:00:00Z", "app": { "slug": "github-actions" },
            })
        })
        .collect();
    json!({ "total_count": runs.len(), "check_runs": runs })
}

pub fn statuses(commit: &str, statuses: &[(&str, &str)]) -> Value {
    let statuses: Vec<Value> = statuses
        .iter()
        .map(|(context, state)| json!({ "context": context, "state": state, "description": "", "target_url": null }))
        .collect();
    json!({ "state": "pending", "sha": commit, "total_count": statuses.len(), "statuses": statuses })
}

/// For a commit on which this has reported.
pub fn reported(asked: &Asked, runs: &[(&str, &str, Option<&str>)], contexts: &[(&str, &str)]) -> Reply {
    let commit = commit_of(asked);
    Reply::ok(if is_about_statuses(asked) { statuses(&commit, contexts) } else { check_runs(&commit, runs) })
}
