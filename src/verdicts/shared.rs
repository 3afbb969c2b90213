//! The same verdicts in a place that several machines share: a Redis, a bucket of S3 or a folder, through
//! OpenDAL. What is found there is kept here, too. A place that does not answer is asked no more in this
//! run, which goes on without it.
//!
//! Whoever can write there can say that anything has passed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use opendal::{ErrorKind, Operator, services};
#[cfg(feature = "shared-cache-s3")]
use opendal::{HttpTransporter, OperationContext};
#[cfg(feature = "shared-cache-s3")]
use opendal_http_transport_reqwest::ReqwestTransport;
use tokio::runtime::Handle;

use super::entry::{FORMAT, MOST_BYTES};
use super::{Elsewhere, locked};
use crate::plan::CachePlace;
use crate::vocabulary::names::VerdictKey;

/// An answer takes milliseconds; a run waits for one that long once.
const PATIENCE: Duration = Duration::from_secs(5);

const NO_ANSWER: &str = "there is no answer";

/// The place cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("{place} cannot be used: {source}")]
pub struct SharedError {
    place: String,
    source: opendal::Error,
}

/// A place that answers, or did.
#[derive(Debug)]
pub struct SharedPlace {
    operator: Operator,
    place: String,
    runtime: Handle,
    is_away: AtomicBool,
    why: Mutex<Option<String>>,
}

impl SharedPlace {
    /// Within a runtime, which everything is done in. Nobody is asked yet. `ttl`: how long the place keeps
    /// an entry, where it can forget by itself.
    ///
    /// # Errors
    /// Where there can be no such place.
    pub fn open(place: &CachePlace, password: Option<&str>, ttl: Duration) -> Result<Self, SharedError> {
        let root = format!("lexpr/verdicts/{FORMAT}");
        let operator = match place {
            CachePlace::Redis { endpoint, user, db } => Operator::new(
                services::Redis::default()
                    .endpoint(endpoint)
                    .username(user.as_deref().unwrap_or_default())
                    .password(password.unwrap_or_default())
                    .db(i64::from(*db))
                    // Redis refuses to keep anything for no time.
                    .default_ttl(ttl.max(Duration::from_secs(1)))
                    .root(&root),
            ),
            CachePlace::Folder(path) => Operator::new(services::Fs::default().root(&format!("{path}/{root}"))),
            #[cfg(feature = "shared-cache-s3")]
            CachePlace::Bucket { name, prefix, endpoint, region } => {
                // Somebody else may have been first, with the same.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let mut bucket = services::S3::default().bucket(name).root(&format!("{prefix}/{root}"));
                if let Some(endpoint) = endpoint {
                    bucket = bucket.endpoint(endpoint);
                }
                if let Some(region) = region {
                    bucket = bucket.region(region);
                }
                Operator::new(bucket).and_then(|operator| {
                    let client = reqwest::Client::builder().build().map_err(|error| {
                        opendal::Error::new(ErrorKind::ConfigInvalid, "no HTTP client could be made").set_source(error)
                    })?;
                    let http = HttpTransporter::new(ReqwestTransport::new(client));
                    Ok(operator.with_context(OperationContext::new().with_http_transport(http)))
                })
            }
            #[cfg(not(feature = "shared-cache-s3"))]
            CachePlace::Bucket { .. } => Err(opendal::Error::new(ErrorKind::Unsupported, "this build knows no S3")),
        };
        let operator = operator.map_err(|source| SharedError { place: place.to_string(), source })?;
        Ok(Self {
            operator,
            place: place.to_string(),
            runtime: Handle::current(),
            is_away: AtomicBool::new(false),
            why: Mutex::default(),
        })
    }

    async fn read(&self, key: VerdictKey) -> Option<Vec<u8>> {
        if self.is_away.load(Ordering::Relaxed) {
            return None;
        }
        match tokio::time::timeout(PATIENCE, self.operator.read(&key.to_string())).await {
            Ok(Ok(bytes)) => Some(bytes.to_vec()).filter(|bytes| bytes.len() as u64 <= MOST_BYTES),
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => None,
            Ok(Err(error)) => self.is_gone("reading", &error.to_string()),
            Err(_) => self.is_gone("reading", NO_ANSWER),
        }
    }

    fn is_gone<T>(&self, doing: &str, why: &str) -> Option<T> {
        self.is_away.store(true, Ordering::Relaxed);
        locked(&self.why).get_or_insert_with(|| format!("{doing} in {}: {why}", self.place));
        None
    }
}

impl Elsewhere for SharedPlace {
    fn get(&self, key: VerdictKey) -> BoxFuture<'_, Option<Vec<u8>>> {
        self.read(key).boxed()
    }

    fn put(&self, key: VerdictKey, bytes: Vec<u8>) {
        if self.is_away.load(Ordering::Relaxed) {
            return;
        }
        let write = async { tokio::time::timeout(PATIENCE, self.operator.write(&key.to_string(), bytes)).await };
        let why = match self.runtime.block_on(write) {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => NO_ANSWER.to_owned(),
        };
        self.is_gone::<()>("writing", &why);
    }

    fn trouble(&self) -> Option<String> {
        locked(&self.why).clone()
    }
}
