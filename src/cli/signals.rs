//! Signals during a run: the first that asks to stop is passed on, the second ends the process, unless it is but the first once more.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::faces::SharedProgress;
use super::speak;
use crate::engine::exit;
use crate::gate::{GateSettings, processes};

/// How long the live view may take to leave the terminal before the process ends at once.
const CLEARING: Duration = Duration::from_millis(200);

/// Of the same kind within this, two signals are one: timeout(1) and some supervisors signal the process, and then its group.
/// Nobody presses Ctrl-C again so soon because the first was not enough.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// What stops a run by the clock is called.
const DEADLINE: &str = "the deadline";

/// Hears signals until it is dropped.
pub(super) struct Signals {
    tasks: [JoinHandle<()>; 3],
    after_the_run: Arc<Notify>,
    /// Heard by nobody: a write beyond `ulimit -f` is then an error that can be told, and not the end
    /// of the process.
    _file_too_large: Option<Signal>,
}

impl Signals {
    /// The names of signals that ask the run to stop come out of the channel.
    /// After `deadline`, counted from now, comes one as well.
    pub(super) fn listen(
        progress: SharedProgress,
        deadline: Option<Duration>,
    ) -> (Self, mpsc::UnboundedReceiver<String>) {
        let (engine, interrupts) = mpsc::unbounded_channel();
        let after_the_run = Arc::new(Notify::new());
        let continued = Arc::clone(&progress.continued);
        let tasks = [
            tokio::spawn(wait_for_the_deadline(engine.clone(), progress.clone(), deadline)),
            tokio::spawn(listen_for_stops(engine, progress, Arc::clone(&after_the_run))),
            tokio::spawn(listen_for_continuation(continued)),
        ];
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        (Self { tasks, after_the_run, _file_too_large: signal(too_large).ok() }, interrupts)
    }

    /// Waits for the first signal that comes when the run has ended.
    pub(super) async fn next_after_the_run(&self) {
        self.after_the_run.notified().await;
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The signals that ask lexpr to stop, as they come.
pub(super) struct Stops(Vec<(Signal, &'static str)>);

impl Stops {
    pub(super) fn listen() -> Self {
        let kinds = [
            (SignalKind::interrupt(), "SIGINT"),
            (SignalKind::terminate(), "SIGTERM"),
            (SignalKind::hangup(), "SIGHUP"),
        ];
        let mut streams = Vec::new();
        for (kind, name) in kinds {
            // Whoever started lexpr under nohup, or in the background of a script, meant it.
            if is_ignored(kind) {
                continue;
            }
            match signal(kind) {
                Ok(stream) => streams.push((stream, name)),
                Err(error) => speak::must_know(&format!("{name} cannot be listened to: {error}\n")),
            }
        }
        Self(streams)
    }

    /// The name of the next one; never, where none is listened to.
    pub(super) async fn next(&mut self) -> &'static str {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let next = futures::future::select_all(self.0.iter_mut().map(|(stream, name)| {
            Box::pin(async move {
                stream.recv().await;
                *name
            })
        }));
        next.await.0
    }
}

/// Comes back when a signal, or the deadline counted from now, asks a command to stop that has begun nothing:
/// with which it was. Signals are listened to from the call on.
pub(super) fn asked_to_stop(deadline: Option<Duration>) -> impl Future<Output = &'static str> {
    let mut stops = Stops::listen();
    async move { first_of(&mut stops, deadline).await }
}

async fn first_of(stops: &mut Stops, deadline: Option<Duration>) -> &'static str {
    let over = async {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        name = stops.next() => name,
        () = over => DEADLINE,
    }
}

/// What `work` came to; the first signal that asks to stop turns `cancel` true, and at the second it is not waited for.
pub(super) async fn until_stopped<T>(work: impl Future<Output = T>, cancel: &watch::Sender<bool>) -> Option<T> {
    let (mut work, mut stops) = (pin!(work), Stops::listen());
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            name = stops.next() => {
                if cancel.send_replace(true) {
                    return None;
                }
                speak::note(&format!("{}\n", stopping(name)));
            }
        }
    }
}

/// Tells the engine of the first signal that asks to stop; the second ends the process at once.
async fn listen_for_stops(engine: mpsc::UnboundedSender<String>, progress: SharedProgress, after_the_run: Arc<Notify>) {
    let mut stops = Stops::listen();
    let mut first = None;
    loop {
        let heard = (stops.next().await, Instant::now());
        match first {
            // Once the run is over, what comes is meant for what follows it.
            Some(first) if !progress.is_over() && is_the_same(first, heard) => continue,
            Some(_) => end_at_once(progress.clone()).await,
            None => first = Some(heard),
        }
        let (name, _) = heard;
        if progress.is_over() {
            after_the_run.notify_one();
            continue;
        }
        // The engine may have ended already.
        let _ = engine.send(name.to_owned());
        let progress = progress.clone();
        // Not awaited, so that a terminal that takes nothing does not keep the second signal out.
        tokio::task::spawn_blocking(move || progress.note(&stopping(name)));
    }
}

/// Whether a signal is but the first one once more.
fn is_the_same((first, first_at): (&str, Instant), (name, at): (&str, Instant)) -> bool {
    name == first && at.saturating_duration_since(first_at) < SAME_SIGNAL
}

async fn wait_for_the_deadline(
    engine: mpsc::UnboundedSender<String>,
    progress: SharedProgress,
    deadline: Option<Duration>,
) {
    let Some(deadline) = deadline else { return };
    tokio::time::sleep(deadline).await;
    if progress.is_over() {
        return;
    }
    // The engine may have ended already.
    let _ = engine.send(DEADLINE.to_owned());
}

fn is_ignored(kind: SignalKind) -> bool {
    u32::try_from(kind.as_raw_value()).is_ok_and(processes::is_ignored)
}

/// What the first signal is answered with, on one line of a narrow terminal.
pub(super) fn stopping(signal: &str) -> String {
    let again = if signal == "SIGINT" { "Ctrl-C again exits" } else { "a second signal ends lexpr" };
    let grace = GateSettings::DEFAULT_GRACE.as_secs();
    format!("{signal}: ending the gates that run, within {grace} s; {again} at once")
}

/// Guards end every gate once this process is gone.
async fn end_at_once(progress: SharedProgress) {
    let clearing = tokio::task::spawn_blocking(move || progress.finish());
    // A terminal that takes nothing must not keep the process.
    let _ = tokio::time::timeout(CLEARING, clearing).await;
    std::process::exit(i32::from(exit::INTERRUPTED));
}

/// Sets `continued` whenever the process was stopped and goes on.
async fn listen_for_continuation(continued: Arc<AtomicBool>) {
    // Without it a stop costs some stale lines on a terminal, and nothing else.
    let Ok(mut stream) = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())) else { return };
    while stream.recv().await.is_some() {
        continued.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_to_the_process_and_its_group_is_one_and_a_later_or_another_one_is_the_second() {
        let first_at = Instant::now();
        let second =
            |name, after_ms| is_the_same(("SIGINT", first_at), (name, first_at + Duration::from_millis(after_ms)));
        assert!(second("SIGINT", 0) && second("SIGINT", 999));
        assert!(!second("SIGINT", 1000) && !second("SIGTERM", 0));
    }
}
