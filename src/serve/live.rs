//! The live page of a run, and what it asks for: its parts, its events, why an item is what it is, the log of a gate.

use std::convert::Infallible;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use futures::Stream;
use futures::stream;
use serde::Deserialize;
use tokio::sync::watch;

use super::Served;
use super::hub::{Following, Hub, Snapshot};
use crate::report::html::{STYLE, page};
use crate::report::summary::headline;
use crate::vocabulary::names::JobId;
use crate::why;
use crate::wording::{Paint, block};

/// Of a log that is long already, a reader gets the end: so many bytes.
const LOG_TAIL_BYTES: u64 = 256 * 1024;

/// How much of a log is sent at once.
const LOG_CHUNK_BYTES: u64 = 64 * 1024;

/// How often is looked whether a log has grown.
const LOG_LOOK: Duration = Duration::from_millis(250);

/// Behind idle connections something may close them.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// So much of the page is handed out, to all who look together: a run of 300 items is some 400 KB.
const MOST_BYTES_A_SECOND: f64 = 32e6;

const SCRIPT: &str = include_str!("live.js");

/// Only its own script, its own style, and questions to its own server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'";

const HEAD: &str = "<script src=\"/live.js\" defer></script>\n";

/// The page, filled in as of now: it says something without its script, too.
pub(super) async fn live_page(State(served): State<Served>) -> Response {
    let Some(snapshot) = snapshot(served).await else { return not_yet() };
    let mut body = String::from("<p id=\"live\" role=\"status\"></p>\n");
    for part in &snapshot.parts {
        body.push_str(&format!("<section id=\"{}\">\n{}</section>\n", part.id, part.html));
    }
    body.push_str(PANEL);
    let title = headline(&snapshot.report);
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, Html(page(&title, POLICY, STYLE, HEAD, &body))).into_response()
}

/// Where an item's reasons and logs are shown.
const PANEL: &str = "<aside id=\"panel\" hidden aria-label=\"Details\">\n\
    <button type=\"button\" id=\"panel-close\">Close</button>\n<h2 id=\"panel-title\" tabindex=\"-1\"></h2>\n<pre id=\"panel-text\" tabindex=\"0\"></pre>\n</aside>\n\
    <p><a href=\"/metrics\">/metrics</a> has everything in numbers.</p>\n";

fn not_yet() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "the run has not begun\n").into_response()
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], SCRIPT)
}

pub(super) async fn parts(State(served): State<Served>) -> Response {
    let Some(snapshot) = snapshot(served).await else { return not_yet() };
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")];
    (headers, snapshot.json.clone()).into_response()
}

/// Made where it keeps nobody waiting but those who ask for it: the run goes on meanwhile. They take turns, at a pace:
/// copying large pages out again and again takes as much of a machine as there is.
async fn snapshot(served: Served) -> Option<Arc<Snapshot>> {
    let hub = Arc::clone(&served.hub);
    let snapshot = tokio::task::spawn_blocking(move || hub.snapshot()).await.ok()??;
    let _turn = served.turn.lock().await;
    tokio::time::sleep(Duration::from_secs_f64(snapshot.json.len() as f64 / MOST_BYTES_A_SECOND)).await;
    Some(snapshot)
}

#[derive(Deserialize)]
pub(super) struct Since {
    /// The number of the last event seen.
    since: Option<u64>,
}

/// The events from the beginning, or from behind the one that was seen last, and then as they come.
pub(super) async fn events(
    State(served): State<Served>,
    Query(since): Query<Since>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A browser that was cut off says where it was (HTML Standard, 9.2.6, `Last-Event-ID`).
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let follower = Follower {
        newest: served.hub.follow(),
        ending: served.ending.clone(),
        hub: served.hub,
        seen: seen.or(since.since).unwrap_or(0),
        at_hand: Vec::new(),
    };
    let stream = stream::unfold(follower, |mut follower| async move { Some((Ok(follower.next().await?), follower)) });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Follower {
    hub: Arc<Hub>,
    newest: watch::Receiver<u64>,
    ending: watch::Receiver<bool>,
    seen: u64,
    /// The last of them is next.
    at_hand: Vec<(u64, Arc<str>)>,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((seq, json)) = self.at_hand.pop() {
                self.seen = seq;
                return Some(Event::default().id(seq.to_string()).data(&*json));
            }
            // Before looking: what comes in between is seen at the next turn.
            self.newest.mark_unchanged();
            match self.hub.after(self.seen) {
                Following::Gone(seq) => {
                    self.seen = seq;
                    return Some(Event::default().id(seq.to_string()).event("gone").data(seq.to_string()));
                }
                Following::Events(events) if !events.is_empty() => {
                    self.at_hand = events;
                    self.at_hand.reverse();
                }
                Following::Events(_) => tokio::select! {
                    changed = self.newest.changed() => changed.ok()?,
                    _ = self.ending.wait_for(|ends| *ends) => return None,
                },
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Item {
    /// Its position in canonical order.
    item: usize,
}

pub(super) async fn why_item(State(served): State<Served>, asked: Result<Query<Item>, QueryRejection>) -> Response {
    let Ok(Query(asked)) = asked else { return not_understood("item is the position of an item, counted from 0") };
    let Some(snapshot) = snapshot(served).await else { return not_yet() };
    let report = &snapshot.report;
    let said = report.items.get(asked.item).map(|item| why::text(report, item, Paint::PLAIN));
    match said {
        Some(text) => plain(text),
        None => (StatusCode::NOT_FOUND, "there is no such item\n").into_response(),
    }
}

/// What was asked stays out of the answer.
fn not_understood(expected: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("this is not understood: {expected}\n")).into_response()
}

fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

#[derive(Deserialize)]
pub(super) struct Attempt {
    job: u64,
    attempt: u32,
    gate: String,
}

/// The log of an attempt of a gate, from its end on as it is written, until the attempt has ended.
pub(super) async fn log(State(served): State<Served>, asked: Result<Query<Attempt>, QueryRejection>) -> Response {
    let Ok(Query(asked)) = asked else { return not_understood("a log has a job, an attempt and a gate") };
    let Some(path) = find_log(&served.hub, &asked) else {
        return (StatusCode::NOT_FOUND, "there is no such log\n").into_response();
    };
    let reader = LogReader { path, at: None, ending: served.ending.clone(), hub: served.hub, asked, is_last: false };
    let stream = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// Of an attempt that has ended the run tells where its log is; of one that runs, its name ends in what is known of it.
fn find_log(hub: &Hub, asked: &Attempt) -> Option<PathBuf> {
    if let Some(path) = hub.with_view(|view| {
        let is_it = |attempt: &&crate::report::view::AttemptView| {
            let run = &attempt.run;
            run.job == JobId(asked.job) && run.attempt == asked.attempt && run.gate.as_str() == asked.gate
        };
        view.attempts.iter().rfind(is_it).map(|attempt| PathBuf::from(&*attempt.run.log))
    }) {
        return Some(path);
    }
    let ending = JobId(asked.job).log_ending(asked.attempt);
    let mut found: Vec<PathBuf> = std::fs::read_dir(hub.logs())
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(&ending)))
        .collect();
    // Gates of one job follow each other: the newest is the one that runs.
    found.sort_by_key(|path| path.metadata().and_then(|of| of.modified()).ok());
    found.pop()
}

struct LogReader {
    path: PathBuf,
    /// How far it was read.
    at: Option<u64>,
    ending: watch::Receiver<bool>,
    hub: Arc<Hub>,
    asked: Attempt,
    is_last: bool,
}

impl LogReader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.is_last {
                return None;
            }
            // Before reading: what is written until the attempt has ended is read after that.
            let has_ended = !self.hub.is_running(JobId(self.asked.job), &self.asked.gate, self.asked.attempt);
            let (path, at) = (self.path.clone(), self.at);
            let (bytes, to) = tokio::task::spawn_blocking(move || read_on(&path, at)).await.ok()?.ok()?;
            self.at = Some(to);
            if !bytes.is_empty() {
                // As JSON: lines and what a log may hold beside them go through as they are.
                let mut text = block(&String::from_utf8_lossy(&bytes));
                if bytes.ends_with(b"\n") {
                    text.push('\n');
                }
                return Some(Event::default().data(serde_json::Value::from(text).to_string()));
            }
            if has_ended {
                self.is_last = true;
                return Some(Event::default().event("end").data("end"));
            }
            tokio::select! {
                () = tokio::time::sleep(LOG_LOOK) => {}
                _ = self.ending.wait_for(|ends| *ends) => return None,
            }
        }
    }
}

/// What a log has behind `at`, up to the end of a line where there is one, and how far that is.
fn read_on(path: &Path, at: Option<u64>) -> std::io::Result<(Vec<u8>, u64)> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let at = at.unwrap_or(length.saturating_sub(LOG_TAIL_BYTES)).min(length);
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(LOG_CHUNK_BYTES).read_to_end(&mut bytes)?;
    if let Some(newline) = bytes.iter().rposition(|byte| *byte == b'\n') {
        bytes.truncate(newline + 1);
    }
    let to = at + bytes.len() as u64;
    Ok((bytes, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_on_by_whole_lines_and_a_long_one_from_near_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(read_on(&path, None).unwrap(), (b"one\ntwo\n".to_vec(), 8));
        assert_eq!(read_on(&path, Some(8)).unwrap(), (b"thr".to_vec(), 11), "the last line may have no end");
        assert_eq!(read_on(&path, Some(11)).unwrap(), (Vec::new(), 11));
        let long = "0123456789\n".repeat(100_000);
        std::fs::write(&path, &long).unwrap();
        let (bytes, to) = read_on(&path, None).unwrap();
        assert!(bytes.len() as u64 <= LOG_CHUNK_BYTES && to > long.len() as u64 - LOG_TAIL_BYTES, "{to}");
    }
}
