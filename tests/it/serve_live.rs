//! The live page's server: what it answers, whom, and for how long.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lexpr::metrics::Metrics;
use lexpr::report::view::RunView;
use lexpr::serve::{Hub, Server};
use lexpr::vocabulary::event::{Event, Recorded};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::report_stories::{eventful, hostile, hung};

/// A run as it is served.
pub struct Served {
    hub: Arc<Hub>,
    view: Arc<Mutex<RunView>>,
    server: Server,
}

impl Served {
    pub async fn new(logs: &Path) -> Self {
        let view: Arc<Mutex<RunView>> = Arc::default();
        let hub = Arc::new(Hub::new(Arc::clone(&view), Arc::new(Metrics::new()), logs.to_owned()));
        let server = Server::start("0", Arc::clone(&hub)).await.unwrap();
        Self { hub, view, server }
    }

    pub fn show(&self, events: &[Recorded]) {
        for event in events {
            self.view.lock().unwrap().apply(event);
            self.hub.show(event);
        }
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }

    async fn open(&self, path: &str, headers: &[(&str, &str)]) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request.push_str(&format!("Host: {}\r\n", self.server.address()));
        }
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        BufReader::new(stream)
    }

    /// All of an answer that ends.
    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let mut answer = String::new();
        self.open(path, headers).await.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// The numbers of the next events of a stream, and what each is called where it has a name.
async fn next_events(stream: &mut BufReader<TcpStream>, number: usize) -> Vec<(u64, Option<String>)> {
    let (mut found, mut id, mut name) = (Vec::new(), None, None);
    while found.len() < number {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "the stream ended after {found:?}");
        if let Some(seq) = line.strip_prefix("id: ") {
            id = Some(seq.trim().parse().unwrap());
        } else if let Some(event) = line.strip_prefix("event: ") {
            name = Some(event.trim().to_owned());
        } else if line == "\n" {
            found.extend(id.take().map(|id| (id, name.take())));
        }
    }
    found
}

fn nowhere() -> PathBuf {
    PathBuf::from("/nowhere")
}

#[tokio::test]
async fn a_page_says_what_there_is_without_its_script_and_loads_nothing_from_elsewhere() {
    let served = Served::new(&nowhere()).await;
    assert!(served.ask("/", &[]).await.starts_with("HTTP/1.1 503"), "before the first event");
    served.show(&eventful());
    let page = served.ask("/", &[]).await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("3 of 8 items landed on main"), "{page}");
    let lower = page.to_ascii_lowercase();
    for header in
        ["content-security-policy: default-src 'none'", "x-frame-options: deny", "x-content-type-options: nosniff"]
    {
        assert!(lower.contains(header), "{header}");
    }
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "{page}");
    assert!(served.ask("/live.js", &[]).await.contains("text/javascript"));
    assert!(served.ask("/why?item=0", &[]).await.contains("auth landed on main"));
    assert!(served.ask("/why?item=99", &[]).await.starts_with("HTTP/1.1 404"));
    for unclear in ["/why?item=%3Cscript%3E", "/why?item=-1", "/why", "/log?job=x"] {
        let said = served.ask(unclear, &[]).await;
        assert!(said.starts_with("HTTP/1.1 400") && said.contains("this is not understood: "), "{said}");
        assert!(!said.contains("script>") && !said.contains("eserialize"), "{said}");
    }
    served.server.stop().await;
}

#[tokio::test]
async fn a_gate_that_hung_for_an_hour_looks_so_on_a_page_that_is_opened_then() {
    let served = Served::new(&nowhere()).await;
    served.show(&hung());
    for path in ["/", "/parts"] {
        let page = served.ask(path, &[]).await.replace("\\\"", "\"");
        let cell = page.split_once(" data-since=\"").unwrap().1;
        assert!(page.contains("so far, after <span data-since=\"") && cell.contains(">1h 00m</span>"), "{page}");
        let now = page.split_once("<h2>Now</h2>").unwrap().1.split_once("</table>").unwrap().0;
        assert!(now.contains(">1h 00m</td>"), "{now}");
        let elapsed = page.split_once("<dt>elapsed</dt>").unwrap().1.split_once("</div>").unwrap().0;
        assert!(elapsed.contains(">1h 00m<"), "{elapsed}");
    }
    served.server.stop().await;
}

#[tokio::test]
async fn hostile_names_are_text_in_the_page_and_in_its_parts() {
    let served = Served::new(&nowhere()).await;
    served.show(&hostile());
    let page = served.ask("/", &[]).await;
    assert_eq!(page.matches("<script").count(), 1, "its own alone:\n{page}");
    let parts = served.ask("/parts", &[]).await;
    assert!(parts.contains("&lt;script&gt;") && !parts.contains("<script"), "{parts}");
    served.server.stop().await;
}

#[tokio::test]
async fn who_was_cut_off_goes_on_where_it_was() {
    let served = Served::new(&nowhere()).await;
    let events = eventful();
    served.show(&events[..10]);
    let mut first = served.open("/events", &[]).await;
    let seen = next_events(&mut first, 10).await;
    assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    drop(first);
    served.show(&events[10..15]);
    let mut again = served.open("/events", &[("Last-Event-ID", "10")]).await;
    let seen: Vec<u64> = next_events(&mut again, 5).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(seen, [11, 12, 13, 14, 15]);
    // And what comes after that, as it comes.
    served.show(&events[15..16]);
    assert_eq!(next_events(&mut again, 1).await[0].0, 16);
    served.server.stop().await;
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_what_it_missed_and_costs_no_memory() {
    let served = Served::new(&nowhere()).await;
    let large = "x".repeat(1024 * 1024);
    let event = |seq| Recorded { seq, at_ms: seq, event: Event::Interrupted { signal: large.clone() } };
    (1..=20).for_each(|seq| served.hub.show(&event(seq)));
    let mut late = served.open("/events", &[]).await;
    let (seq, name) = next_events(&mut late, 1).await.remove(0);
    assert_eq!(name.as_deref(), Some("gone"));
    assert!((15..20).contains(&seq), "{seq}");
    assert_eq!(next_events(&mut late, 1).await, [(seq + 1, None)]);
    served.server.stop().await;
}

#[tokio::test]
async fn pages_from_elsewhere_are_not_answered() {
    let served = Served::new(&nowhere()).await;
    served.show(&eventful());
    for path in ["/", "/parts", "/events", "/metrics", "/log?job=1&attempt=1&gate=unit"] {
        assert!(served.ask(path, &[("Host", "evil.example")]).await.starts_with("HTTP/1.1 421"), "{path}");
        assert!(served.ask(path, &[("Origin", "https://evil.example")]).await.starts_with("HTTP/1.1 403"), "{path}");
    }
    let own = format!("http://{}", served.server.address());
    assert!(served.ask("/parts", &[("Origin", &own)]).await.starts_with("HTTP/1.1 200"));
    served.server.stop().await;
}

#[tokio::test]
async fn a_log_is_streamed_to_its_end_and_only_logs_of_the_run_are() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("unit-abc-1-1.log");
    std::fs::write(&log, "first\n\x1b[31msecond\x1b[0m <b>\n").unwrap();
    let served = Served::new(folder.path()).await;
    let events = eventful();
    let is_first = |event: &&Recorded| matches!(&event.event, Event::GateFinished(finished) if finished.job.0 == 1);
    let finished = events.iter().find(is_first).unwrap().clone();
    let before = events.iter().take_while(|event| event.seq < finished.seq);
    served.show(&before.cloned().collect::<Vec<_>>());
    let mut stream = served.open("/log?job=1&attempt=1&gate=unit", &[]).await;
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).await.unwrap(), 0);
    }
    let text: String = serde_json::from_str(line.trim_start_matches("data: ")).unwrap();
    assert_eq!(text, "first\nsecond <b>\n", "colours are gone");
    served.show(&[finished]);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("event: end"), "{rest}");
    for other in ["job=1&attempt=9&gate=unit", "job=1&attempt=1&gate=../../etc/passwd", "job=77&attempt=1&gate=x"] {
        let answer = served.ask(&format!("/log?{other}"), &[]).await;
        let is_none = answer.starts_with("HTTP/1.1 404");
        // Of a job whose gate is not known the log is told by its number, and lies in the run's folder.
        assert!(is_none || answer.contains("event: end"), "{other}: {answer}");
    }
    served.server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_what_would_go_on() {
    let served = Served::new(&nowhere()).await;
    served.show(&eventful()[..3]);
    let mut stream = served.open("/events", &[]).await;
    next_events(&mut stream, 3).await;
    served.server.stop().await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
}
