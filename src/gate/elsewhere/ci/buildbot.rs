//! Buildbot, by its REST API (Buildbot 4, "REST API"): a build is forced by a force scheduler, looked at until it has ended,
//! and stopped where lexpr wants no more of it. What it prints comes as it prints it.

mod board;
mod seen;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};

use self::board::{Board, builds, requests};
use self::seen::{LogSeen, RequestSeen, StepSeen, list, printed, read};
use super::http::{Http, HttpError, encoded};
use super::identity::Identity;
use super::transcript::Transcript;
use super::{CiSettings, Inspection, LONGEST_MESSAGE, Trouble, millis, plain, push};
use crate::gate::client::cancelled;
use crate::gate::elsewhere::account::nonce;
use crate::gate::elsewhere::{Errand, Exchange, Returned, Word};
use crate::vocabulary::event::GateOutcome;
use crate::vocabulary::names::RunId;

/// Properties by which a build is known to be of one errand. The force scheduler declares them: it takes no others.
pub(super) const TICKET: &str = "lexpr_ticket";
pub(super) const NONCE: &str = "lexpr_nonce";

/// Between looks at one build: often at a short one, and never much later than it has taken so far.
const FIRST_LOOK: Duration = Duration::from_millis(300);
const LATER_LOOKS: Duration = Duration::from_secs(2);
const LATE_BY: u32 = 5;
/// What was told to end has this long: a worker interrupts a command, and kills it after a while.
const LONGEST_END: Duration = Duration::from_secs(120);
/// A build that is being forced while its gate is cancelled may begin all the same: so long its master may take to say so.
const LAST_WORD: Duration = Duration::from_secs(5);
/// How often it is tried to force one build while the master comes and goes.
const TRIES: u32 = 3;
/// Lines of a log that are asked for at once.
const LINES_AT_ONCE: u64 = 5000;

type LookedFor = HashMap<(String, String), Arc<OnceCell<SetUp>>>;

#[derive(Debug)]
pub(super) struct Buildbot {
    master: Arc<Master>,
    /// Requests by ticket. Each build is forced once, however many ask and whoever stops waiting.
    forced: Mutex<HashMap<String, Arc<OnceCell<u64>>>>,
    /// Who judges, by scheduler and builder: asked for once.
    looked_for: Mutex<LookedFor>,
}

/// The master as one run has it.
#[derive(Debug)]
struct Master {
    http: Http,
    board: Board,
    run: RunId,
    exchange: Exchange,
    queue_limit: Duration,
}

/// What of a master judges gates.
#[derive(Debug)]
struct SetUp {
    /// The builder's number.
    builder: Option<u64>,
    /// What keeps it from that, each with what to do about it.
    lacks: Vec<(String, String)>,
}

/// Why lexpr stops waiting for a build.
enum Cut {
    Cancelled,
    TimeIsUp,
    QueueIsTooLong,
}

impl Buildbot {
    pub(super) fn new(settings: CiSettings, identity: Identity) -> Self {
        let CiSettings { run, policy, exchange, .. } = settings;
        let http = Http::new(policy.url, identity);
        let board = Board::new(http.clone());
        let master = Master { http, board, run, exchange, queue_limit: policy.queue_limit };
        Self { master: Arc::new(master), forced: Mutex::default(), looked_for: Mutex::default() }
    }

    pub(super) fn struck(&self, said: &str) -> String {
        self.master.http.struck(said)
    }

    pub(super) async fn run(
        &self,
        (scheduler, builder): (&str, &str),
        errand: &Errand,
        mut cancel: watch::Receiver<bool>,
        tell: impl Fn(Word) + Send + Sync,
    ) -> Result<Returned, Trouble> {
        let asked = Instant::now();
        let is_there = tokio::select! {
            is_there = self.look_for(scheduler, builder) => is_there,
            () = cancelled(&mut cancel) => return Ok(Returned::early(GateOutcome::Cancelled, asked)),
        };
        let mut transcript = Transcript::of(errand)?;
        if let Err(trouble) = is_there {
            transcript.note(&plain(&trouble.to_string(), LONGEST_MESSAGE))?;
            transcript.finish()?;
            return Err(trouble);
        }
        let forcing = self.request(scheduler, builder, errand);
        tokio::pin!(forcing);
        let request = tokio::select! {
            request = &mut forcing => request?,
            () = cancelled(&mut cancel) => match tokio::time::timeout(LAST_WORD, forcing).await {
                Ok(Ok(request)) => return self.master.cut(request, errand, Cut::Cancelled, (asked, None)).await,
                // Should it be forced by now, it is ended when the run is cleared up.
                Ok(Err(_)) | Err(_) => return Ok(Returned::early(GateOutcome::Cancelled, asked)),
            },
        };
        let returned = self.master.follow(request, errand, asked, &mut cancel, tell, &mut transcript).await;
        let told = match &returned {
            Ok(Returned { outcome: GateOutcome::Infrastructure { message }, .. }) => Some(message.clone()),
            Ok(_) => None,
            Err(trouble) => Some(trouble.to_string()),
        };
        if let Some(message) = told {
            transcript.note(&plain(&message, LONGEST_MESSAGE))?;
        }
        transcript.finish()?;
        let has_ended = |returned: &Returned| {
            !matches!(returned.outcome, GateOutcome::Cancelled | GateOutcome::Infrastructure { .. })
        };
        if !returned.as_ref().is_ok_and(has_ended) {
            // Who asks again wants another try.
            self.forced().remove(&errand.ticket);
        }
        returned
    }

    /// # Errors
    /// Where nothing there can judge a gate, which no trying changes, or the master cannot be asked.
    async fn look_for(&self, scheduler: &str, builder: &str) -> Result<(), Trouble> {
        let names = (scheduler.to_owned(), builder.to_owned());
        let cell = Arc::clone(self.looked_for.lock().unwrap_or_else(PoisonError::into_inner).entry(names).or_default());
        let found = cell.get_or_try_init(|| self.set_up(scheduler, builder)).await?;
        found
            .lacks
            .first()
            .map_or(Ok(()), |(lack, remedy)| Err(Trouble::Permanent(format!("Buildbot: {lack}; {remedy}"))))
    }

    /// How the master is set up for gates of this scheduler and builder.
    async fn set_up(&self, scheduler: &str, builder: &str) -> Result<SetUp, Trouble> {
        let http = &self.master.http;
        let schedulers = match http.get(&format!("/api/v2/forceschedulers/{}", encoded(scheduler))).await {
            Err(error) if error.is_not_found() => Value::Null,
            answer => answer?,
        };
        let builders = list::<Value>(&http.get("/api/v2/builders").await?, "builders");
        let is_it = |found: &&Value| found["name"] == builder;
        let id = builders.iter().find(is_it).and_then(|found| found["builderid"].as_u64());
        let lacks = match id {
            None => vec![seen::no_builder(&builders, builder)],
            Some(_) => seen::scheduler_lacks(&schedulers, scheduler, builder),
        };
        Ok(SetUp { builder: id, lacks })
    }

    /// The request for the errand's build, made unless it was.
    async fn request(&self, scheduler: &str, builder: &str, errand: &Errand) -> Result<u64, Trouble> {
        let cell = Arc::clone(self.forced().entry(errand.ticket.clone()).or_default());
        let (master, errand) = (Arc::clone(&self.master), errand.clone());
        let (scheduler, builder) = (scheduler.to_owned(), builder.to_owned());
        // It goes on if nobody waits for it any more: else there might be a build that nobody knows of.
        let forcing = tokio::spawn(async move {
            cell.get_or_try_init(|| master.find_or_force(&scheduler, &builder, &errand)).await.copied()
        });
        forcing.await.map_err(|error| Trouble::Said(format!("forcing a build ended early: {error}")))?
    }

    fn forced(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<u64>>>> {
        // Nothing in here can be half done.
        self.forced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all that was asked for by the run.
    pub(super) async fn clear(&self) -> Result<(), Trouble> {
        let begun = Instant::now();
        let mut open = self.master.asked_for(&self.master.reason(""), "complete=false&").await?;
        open.retain(|request| !request.complete);
        for request in &open {
            self.master.stop(request.id, "the run is over").await?;
        }
        for request in open {
            self.master.wait_for_end(request.id, begun).await?;
        }
        Ok(())
    }

    pub(super) async fn inspect(&self, scheduler: &str, builder: &str) -> Result<Inspection, Trouble> {
        let begun = Instant::now();
        let http = &self.master.http;
        // Who looks beforehand does not wait for one that is away.
        match http.once(&format!("/api/v2/forceschedulers/{}", encoded(scheduler))).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        let answered_in = begun.elapsed();
        let SetUp { builder: id, mut lacks } = self.set_up(scheduler, builder).await?;
        let Some(id) = id else {
            return Ok(Inspection { answered_in, lacks, workers: Vec::new(), unreported: None });
        };
        let workers = seen::workers_at_work(&http.get(&format!("/api/v2/builders/{id}/workers")).await?);
        if workers.is_empty() {
            let remedy = "start a worker: until then gates wait for `queueMinutes`";
            lacks.push((format!("no worker of the builder `{builder}` is connected"), remedy.to_owned()));
        }
        Ok(Inspection { answered_in, lacks, workers, unreported: None })
    }
}

impl Master {
    /// By which builds of the run are found: the reason that they are forced for.
    fn reason(&self, ticket: &str) -> String {
        format!("lexpr {}/{ticket}", self.run)
    }

    /// What the build bears, with the nonce.
    fn ticket(&self, errand: &Errand) -> (String, String) {
        let ticket = format!("{}/{}", self.run, errand.ticket);
        let nonce = nonce(&ticket, errand.commit);
        (ticket, nonce)
    }

    async fn find_or_force(&self, scheduler: &str, builder: &str, errand: &Errand) -> Result<u64, Trouble> {
        let reason = self.reason(&errand.ticket);
        for attempt in 1.. {
            // A lexpr that is gone may have asked, or the master may have heard what it had no time to answer.
            let found = self.asked_for(&reason, "").await?;
            if let Some(found) = found.iter().find(|request| request.is_of(&reason) && request.is_worth_it()) {
                return Ok(found.id);
            }
            let branch = push(&self.exchange, errand).await?;
            match self.force(scheduler, builder, errand, (&reason, &branch)).await {
                Err(HttpError::Absent { .. }) if attempt < TRIES => {}
                Err(error @ HttpError::Refused { .. }) => {
                    let hint = "`lexpr doctor --runtime` says what is missing";
                    return Err(Trouble::Said(format!("the build could not be forced: {error}; {hint}")));
                }
                forced => {
                    let forced = forced?;
                    let id = forced.pointer("/result/1").and_then(Value::as_object);
                    let id = id.and_then(|requests| requests.values().next()?.as_u64());
                    return id.ok_or_else(|| {
                        Trouble::Said(self.http.struck(&format!("the master forced no build: {forced}")))
                    });
                }
            }
        }
        Err(Trouble::Said("the build could not be forced".to_owned()))
    }

    async fn force(
        &self,
        scheduler: &str,
        builder: &str,
        errand: &Errand,
        (reason, branch): (&str, &str),
    ) -> Result<Value, HttpError> {
        let (ticket, nonce) = self.ticket(errand);
        let call = json!({
            "jsonrpc": "2.0",
            "method": "force",
            "id": 1,
            "params": {
                "builderNames": [builder],
                "reason": reason,
                "branch": branch,
                "revision": errand.commit.to_string(),
                "repository": self.exchange.address(),
                TICKET: ticket,
                NONCE: nonce,
            },
        });
        self.http.post(&format!("/api/v2/forceschedulers/{}", encoded(scheduler)), &call).await
    }

    /// What was asked for with such words in its reason, the first first.
    async fn asked_for(&self, reason: &str, filter: &str) -> Result<Vec<RequestSeen>, Trouble> {
        let path = format!("/api/v2/buildsets?{filter}reason__contains={}", encoded(reason));
        let mut found = Vec::new();
        for set in list::<Value>(&self.http.get(&path).await?, "buildsets") {
            let (Some(id), Some(reason)) = (set["bsid"].as_u64(), set["reason"].as_str()) else { continue };
            let answer = self.http.get(&format!("/api/v2/buildrequests?buildsetid={id}")).await?;
            let requests = list::<RequestSeen>(&answer, "buildrequests");
            found.extend(requests.into_iter().map(|request| RequestSeen { reason: reason.to_owned(), ..request }));
        }
        found.sort_by_key(|request| request.id);
        Ok(found)
    }

    async fn is_open(&self, request: u64) -> Result<bool, HttpError> {
        Ok(requests(&self.http, &[request]).await?.iter().any(|seen| !seen.complete))
    }

    /// Waits for the build of a request to end, or ends it.
    async fn follow(
        &self,
        request: u64,
        errand: &Errand,
        asked: Instant,
        cancel: &mut watch::Receiver<bool>,
        tell: impl Fn(Word) + Send + Sync,
        transcript: &mut Transcript,
    ) -> Result<Returned, Trouble> {
        /// Builds are asked for before requests: one that began and ended in between is there at the next look.
        const LOOKS_FOR_A_BUILD: u32 = 3;
        let mut begun = None;
        let mut looked_in_vain = 0;
        let mut logs = Logs::default();
        let watched = self.board.watch(request);
        loop {
            let look = async {
                let (build, alone) = watched.look().await?;
                if let Some(build) = &build {
                    logs.read_on(&self.http, build.id, transcript).await?;
                }
                Ok::<_, Trouble>((build, alone))
            };
            let (build, alone) = tokio::select! {
                seen = look => seen?,
                () = cancelled(cancel) => {
                    return self.cut(request, errand, Cut::Cancelled, (asked, begun)).await;
                }
            };
            if let Some(build) = &build {
                if begun.is_none() {
                    tell(Word::Begun(build.worker().unwrap_or_default()));
                }
                let (queued_ms, since) = *begun.get_or_insert_with(|| (millis(asked.elapsed()), Instant::now()));
                if build.complete {
                    let (ticket, nonce) = self.ticket(errand);
                    let outcome = build.outcome(errand.commit, &ticket, &nonce);
                    if matches!(outcome, GateOutcome::Infrastructure { .. }) {
                        // Buildbot would try again by itself.
                        self.stop(request, "lexpr tries again by itself").await?;
                    }
                    if build.results == Some(seen::WARNINGS) {
                        transcript.note("the build ended with warnings, which is no pass")?;
                    }
                    let ran_ms = build.took_ms().unwrap_or_default().max(millis(since.elapsed()));
                    let node = build.worker();
                    return Ok(Returned { node, ran_ms, queued_ms, ..Returned::early(outcome, asked) });
                }
                if since.elapsed() >= errand.timeout {
                    return self.cut(request, errand, Cut::TimeIsUp, (asked, begun)).await;
                }
            } else {
                match alone {
                    Some(seen) if !seen.complete => {}
                    Some(seen) if seen.is_worth_it() && looked_in_vain < LOOKS_FOR_A_BUILD => looked_in_vain += 1,
                    seen => {
                        let why = seen.map_or("it is not there any more".to_owned(), |seen| seen.without_a_build());
                        let message = format!("the request {request} for a build: {why}");
                        return Ok(Returned::early(GateOutcome::Infrastructure { message }, asked));
                    }
                }
                if asked.elapsed() > self.queue_limit {
                    return self.cut(request, errand, Cut::QueueIsTooLong, (asked, begun)).await;
                }
            }
            let so_far = begun.map_or(asked, |(_, since)| since).elapsed();
            let mut pause = (so_far / LATE_BY).clamp(FIRST_LOOK, LATER_LOOKS);
            if let Some((_, since)) = begun {
                pause = pause.min(errand.timeout.saturating_sub(since.elapsed()));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancelled(cancel) => {}
            }
        }
    }

    /// Ends a build that lexpr waits for no longer, and waits until it has ended.
    async fn cut(
        &self,
        request: u64,
        errand: &Errand,
        cut: Cut,
        (asked, begun): (Instant, Option<(u64, Instant)>),
    ) -> Result<Returned, Trouble> {
        let reason = match cut {
            Cut::Cancelled => "lexpr has no use for it any more",
            Cut::TimeIsUp => "the gate's time is up",
            Cut::QueueIsTooLong => "no worker had it in time",
        };
        self.stop(request, reason).await?;
        self.wait_for_end(request, Instant::now()).await?;
        let outcome = match cut {
            Cut::Cancelled => GateOutcome::Cancelled,
            Cut::TimeIsUp => GateOutcome::TimedOut { after_ms: millis(errand.timeout), signal: None },
            Cut::QueueIsTooLong => {
                let minutes = asked.elapsed().as_secs() / 60;
                let message = format!("no worker has had the build for {minutes} min; see whether one is connected");
                GateOutcome::Infrastructure { message }
            }
        };
        let (queued_ms, ran_ms) =
            begun.map_or((millis(asked.elapsed()), 0), |(queued_ms, since)| (queued_ms, millis(since.elapsed())));
        Ok(Returned { queued_ms, ran_ms, ..Returned::early(outcome, asked) })
    }

    /// Has the master cancel a request and stop its builds.
    async fn stop(&self, request: u64, reason: &str) -> Result<(), Trouble> {
        let call = |method: &str| json!({"jsonrpc": "2.0", "method": method, "id": 1, "params": {"reason": reason}});
        if self.is_open(request).await? {
            self.http.post(&format!("/api/v2/buildrequests/{request}"), &call("cancel")).await?;
        }
        for build in builds(&self.http, &[request]).await?.iter().filter(|build| !build.complete) {
            self.http.post(&format!("/api/v2/builds/{}", build.id), &call("stop")).await?;
        }
        Ok(())
    }

    async fn wait_for_end(&self, request: u64, since: Instant) -> Result<(), Trouble> {
        loop {
            if !self.is_open(request).await? && builds(&self.http, &[request]).await?.iter().all(|build| build.complete)
            {
                return Ok(());
            }
            if since.elapsed() > LONGEST_END {
                return Err(Trouble::Said(format!("the request {request} for a build does not end")));
            }
            tokio::time::sleep(FIRST_LOOK).await;
            // One that was begun just then has not heard of it.
            self.stop(request, "lexpr has no use for it any more").await?;
        }
    }
}

/// What of a build's logs is in the gate's.
#[derive(Debug, Default)]
struct Logs {
    /// Lines, by log.
    read: HashMap<u64, u64>,
    /// Steps of which all is.
    done: Vec<u64>,
    /// Whose lines are the last.
    step: Option<u64>,
}

impl Logs {
    async fn read_on(&mut self, http: &Http, build: u64, transcript: &mut Transcript) -> Result<(), Trouble> {
        let steps = list::<StepSeen>(&http.get(&format!("/api/v2/builds/{build}/steps")).await?, "steps");
        for step in steps.iter().filter(|step| step.started_at.is_some()) {
            if self.done.contains(&step.id) {
                continue;
            }
            let logs = list::<LogSeen>(&http.get(&format!("/api/v2/steps/{}/logs", step.id)).await?, "logs");
            for log in logs.iter().filter(|log| log.is_text()) {
                self.read_log(http, step, log, transcript).await?;
            }
            if step.complete && logs.iter().all(|log| log.complete) {
                self.done.push(step.id);
            }
        }
        Ok(())
    }

    async fn read_log(
        &mut self,
        http: &Http,
        step: &StepSeen,
        log: &LogSeen,
        transcript: &mut Transcript,
    ) -> Result<(), Trouble> {
        let mut from = self.read.get(&log.id).copied().unwrap_or_default();
        while from < log.num_lines {
            let count = LINES_AT_ONCE.min(log.num_lines - from);
            let path = format!("/api/v2/logs/{}/contents?offset={from}&limit={count}", log.id);
            let text = printed(&http.get(&path).await?, log);
            if !text.is_empty() && self.step != Some(step.id) {
                self.step = Some(step.id);
                transcript.note(&format!("step {}", read(&step.name)))?;
            }
            transcript.write(&text)?;
            from += count;
            self.read.insert(log.id, from);
        }
        Ok(())
    }
}
