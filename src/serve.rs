//! The HTTP side of a run: `/metrics` for Prometheus, `/healthz`, and a small page at `/`.
//!
//! It reads what [`Metrics`] holds and changes nothing; a run does not depend on whether
//! somebody looks.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::metrics::{CONTENT_TYPE, Metrics};

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
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Listens on `address`, `HOST:PORT`; port 0 takes one that is free, see [`Server::address`].
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be understood or resolved, is not this machine's, or is in use.
    pub async fn start(address: &str, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let refuse = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::InUse { address: address.to_owned() },
            _ => ServeError::Address { address: address.to_owned(), source },
        };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router(metrics)).with_graceful_shutdown(async {
            // A sender that is dropped stops the server, too.
            let _ = stopped.await;
        });
        Ok(Self { address, stop, task: tokio::spawn(serving.into_future()) })
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
        let Self { stop, mut task, .. } = self;
        drop(stop);
        if tokio::time::timeout(STOP_GRACE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(metrics)
}

async fn metrics_text(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render())
}

/// The queue in numbers and where to find more. It holds no text of others.
async fn page(State(metrics): State<Arc<Metrics>>) -> Html<String> {
    let values = metrics.values();
    let value = |name: &str| values.get(name).copied().unwrap_or_default();
    let rows: String = [
        ("landed", value("lex_pr_merge_success_total")),
        ("passed, not landed yet", value("lex_pr_queue_items{state=\"passed\"}")),
        ("running", value("lex_pr_queue_items{state=\"running\"}")),
        ("eligible", value("lex_pr_queue_items{state=\"eligible\"}")),
        ("waiting for dependencies", value("lex_pr_queue_items{state=\"waiting\"}")),
        ("workers at it", value("lex_pr_active_workers")),
    ]
    .iter()
    .map(|(what, number)| format!("<tr><td>{what}</td><td>{number}</td></tr>\n"))
    .collect();
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>lexpr</title>\n\
         <h1>lexpr</h1>\n<p>A run, as of when this page was loaded.</p>\n\
         <table>\n{rows}</table>\n\
         <p><a href=\"/metrics\">/metrics</a> has everything in Prometheus' format, \
         <a href=\"/healthz\">/healthz</a> says that lexpr is alive.</p>\n</html>\n"
    ))
}
