//! The requests and builds of a run as all that wait for one see them: one question for all of them, as a master answers
//! one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::seen::{BuildSeen, RequestSeen, list};
use super::{NONCE, TICKET};
use crate::gate::elsewhere::ci::http::{Http, HttpError};

/// Between two questions, whoever asks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
/// So many are asked for at once: an address has an end.
const AT_ONCE: usize = 100;

#[derive(Debug)]
pub(super) struct Board {
    http: Http,
    /// Requests that somebody waits for.
    watched: Mutex<BTreeSet<u64>>,
    seen: tokio::sync::Mutex<Option<(Instant, Arc<Seen>)>>,
}

/// How things stood.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The first build of each request: Buildbot begins another one where a worker was lost.
    builds: BTreeMap<u64, BuildSeen>,
    /// Those without a build.
    requests: BTreeMap<u64, RequestSeen>,
}

/// While it is there, its request is asked about.
pub(super) struct Watched<'a> {
    board: &'a Board,
    request: u64,
    since: Instant,
}

impl Board {
    pub(super) fn new(http: Http) -> Self {
        Self { http, watched: Mutex::default(), seen: tokio::sync::Mutex::default() }
    }

    pub(super) fn watch(&self, request: u64) -> Watched<'_> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(request);
        Watched { board: self, request, since: Instant::now() }
    }

    /// As it is, or was a moment ago; but never as it was before `since`.
    async fn look(&self, since: Instant) -> Result<Arc<Seen>, HttpError> {
        let mut last = self.seen.lock().await;
        if let Some((at, seen)) = &*last
            && *at >= since
            && at.elapsed() < BETWEEN_LOOKS
        {
            return Ok(Arc::clone(seen));
        }
        let at = Instant::now();
        let watched: Vec<u64> = self.watched.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let mut seen = Seen::default();
        for some in watched.chunks(AT_ONCE) {
            for build in builds(&self.http, some).await? {
                seen.builds.entry(build.request).or_insert(build);
            }
            let without: Vec<u64> = some.iter().copied().filter(|id| !seen.builds.contains_key(id)).collect();
            let of_those = requests(&self.http, &without).await?;
            seen.requests.extend(of_those.into_iter().map(|request| (request.id, request)));
        }
        let seen = Arc::new(seen);
        *last = Some((at, Arc::clone(&seen)));
        Ok(seen)
    }
}

impl Watched<'_> {
    /// Its build, or the request as long as there is none; neither, where the master knows nothing of it.
    pub(super) async fn look(&self) -> Result<(Option<BuildSeen>, Option<RequestSeen>), HttpError> {
        let seen = self.board.look(self.since).await?;
        Ok((seen.builds.get(&self.request).cloned(), seen.requests.get(&self.request).cloned()))
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.board.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.request);
    }
}

/// Not `buildrequestid=1&buildrequestid=2`: builds are filtered by one at most that way, and by none where there are more.
fn these(ids: &[u64]) -> String {
    ids.iter().map(|id| format!("buildrequestid__in={id}")).collect::<Vec<_>>().join("&")
}

/// These requests, as far as there are any.
pub(super) async fn requests(http: &Http, ids: &[u64]) -> Result<Vec<RequestSeen>, HttpError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let answer = http.get(&format!("/api/v2/buildrequests?{}", these(ids))).await?;
    let mut found = list::<RequestSeen>(&answer, "buildrequests");
    found.retain(|request| ids.contains(&request.id));
    Ok(found)
}

/// The builds of these requests, the first first.
pub(super) async fn builds(http: &Http, requests: &[u64]) -> Result<Vec<BuildSeen>, HttpError> {
    let properties = ["got_revision", "workername", TICKET, NONCE].map(|name| format!("property={name}")).join("&");
    let answer = http.get(&format!("/api/v2/builds?{}&{properties}", these(requests))).await?;
    let mut builds = list::<BuildSeen>(&answer, "builds");
    builds.retain(|build| requests.contains(&build.request));
    builds.sort_by_key(|build| build.id);
    Ok(builds)
}
