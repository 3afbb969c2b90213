//! The HTTP side of a run: `/metrics` for Prometheus, `/healthz`, `/events` (server-sent events), and a live page
//! at `/`.
//!
//! It reads what [`Hub`] holds and changes nothing; a run does not depend on whether somebody looks.

mod hub;
mod live;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;

pub use hub::Hub;

use crate::metrics::CONTENT_TYPE;

/// How long requests that are under way may take to end once the server stops: an answer takes
/// milliseconds, so whoever needs longer does not read.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("--metrics-addr {address}: {source}; HOST:PORT is expected, such as 127.0.0.1:9464")]
    Address { address: String, source: std::io::Error },
    #[error("--metrics-addr {address}: another program listens there; choose another port, or 0 for any that is free")]
    InUse { address: String },
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Set before it stops: streams that would go on end then.
    ending: watch::Sender<bool>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Listens on `address`, `HOST:PORT`, or `PORT` of the loopback interface; port 0 takes one that is free, see
    /// [`Server::address`]. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be understood or resolved, is not this machine's, or is in use.
    pub async fn start(address: &str, hub: Arc<Hub>) -> Result<Self, ServeError> {
        let refuse = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::InUse { address: address.to_owned() },
            _ => ServeError::Address { address: address.to_owned(), source },
        };
        let on_loopback = address.strip_prefix(':').unwrap_or(address).parse::<u16>();
        let listener = match on_loopback {
            Ok(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await,
            Err(_) => TcpListener::bind(address).await,
        };
        let listener = listener.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (ending, is_ending) = watch::channel(false);
        let served =
            Served { hub, ending: is_ending, turn: Arc::default(), for_this_machine: address.ip().is_loopback() };
        let serving = axum::serve(listener, router(served)).with_graceful_shutdown(async {
            // A sender that is dropped stops the server, too.
            let _ = stopped.await;
        });
        Ok(Self { address, stop, ending, task: tokio::spawn(serving.into_future()) })
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes on serving for `linger`, so that a scraper sees the end of the run, or until `cut`
    /// is ready; then stops.
    pub async fn linger(self, linger: Duration, cut: impl Future) {
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            _ = cut => {}
        }
        self.stop().await;
    }

    /// Takes no more connections, answers the requests under way and stops.
    pub async fn stop(self) {
        let Self { stop, mut task, ending, .. } = self;
        ending.send_replace(true);
        drop(stop);
        if tokio::time::timeout(STOP_GRACE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// What requests are answered from.
#[derive(Clone, Debug)]
struct Served {
    hub: Arc<Hub>,
    ending: watch::Receiver<bool>,
    /// Who has it is handed the page out next.
    turn: Arc<Mutex<()>>,
    /// It listens on the loopback interface: nobody reaches it under another machine's name but by a trick.
    for_this_machine: bool,
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/", get(live::live_page))
        .route("/live.js", get(live::script))
        .route("/parts", get(live::parts))
        .route("/events", get(live::events))
        .route("/why", get(live::why_item))
        .route("/log", get(live::log))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::from_fn_with_state(served.clone(), guarded))
        .with_state(served)
}

async fn metrics_text(State(served): State<Served>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], served.hub.metrics().render())
}

/// Answers nobody whom a page from elsewhere sent: a name that was made to lead here (DNS rebinding) is not this machine's,
/// and a script of another origin says which.
async fn guarded(State(served): State<Served>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if served.for_this_machine && !host(headers).is_some_and(is_this_machine) {
        return (StatusCode::MISDIRECTED_REQUEST, "ask for it as localhost\n").into_response();
    }
    if !is_same_origin(headers) {
        return (StatusCode::FORBIDDEN, "pages of other origins are not answered\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// `localhost:9464`, `127.0.0.1`, `[::1]:9464`.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// No script asks, or one of this very server's pages (<https://fetch.spec.whatwg.org/#origin-header>).
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    of_origin.is_some() && of_origin == host(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names_and_no_other() {
        for host in ["localhost", "LocalHost:1", "127.0.0.1:9464", "127.1.2.3", "[::1]:9464", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9464", "localhost.evil.example", "10.0.0.1:1", "[::2]:1", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn a_script_of_another_origin_is_told_by_what_it_says() {
        let headers = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            headers
        };
        assert!(is_same_origin(&headers("localhost:1", None)));
        assert!(is_same_origin(&headers("localhost:1", Some("http://localhost:1"))));
        for other in ["http://localhost:2", "https://evil.example", "null", ""] {
            assert!(!is_same_origin(&headers("localhost:1", Some(other))), "{other}");
        }
    }
}
