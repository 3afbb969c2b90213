//! Virtual time and the executor that drives it: one thread, one task; when nothing can go on,
//! time jumps to the next timer. Whoever sleeps at the same instant wakes in an order that a
//! seed decides, so that other completion orders can be tried.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::random::Random;
use crate::ports::Clock;

/// When, then who first (by seed), then a number that tells timers apart.
type TimerKey = (u64, u64, u64);

/// After which a run is taken for one that will never end.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often time may go on.
    pub wakes: u64,
    /// For how long nothing may happen while it does.
    pub silence_ms: u64,
}

/// Why a run did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hang {
    #[error("nothing is left that could go on")]
    Stuck,
    #[error("time goes on, and nothing happens")]
    Silent,
    #[error("it does not end")]
    Endless,
}

#[derive(Debug, Default)]
struct Timers {
    now_ms: u64,
    /// When something was last told.
    told_ms: u64,
    made: u64,
    waiting: BTreeMap<TimerKey, Waker>,
}

#[derive(Clone, Debug)]
pub struct VirtualTime {
    timers: Arc<Mutex<Timers>>,
    seed: u64,
    patience: Patience,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl VirtualTime {
    pub fn new(seed: u64, patience: Patience) -> Self {
        Self { timers: Arc::default(), seed, patience }
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        // Whoever panicked with them held them between two steps.
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives `future` to its end.
    ///
    /// # Errors
    /// Where nothing can wake it any more, or it never seems to end.
    pub fn drive<F: Future>(&self, future: F) -> Result<F::Output, Hang> {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut context = Context::from_waker(&waker);
        for _ in 0..self.patience.wakes {
            while flag.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return Ok(output);
                }
            }
            let mut timers = self.timers();
            let Some(((at, _, _), waker)) = timers.waiting.pop_first() else { return Err(Hang::Stuck) };
            timers.now_ms = at;
            let silence_ms = at - timers.told_ms;
            drop(timers);
            if silence_ms > self.patience.silence_ms {
                return Err(Hang::Silent);
            }
            waker.wake();
        }
        Err(Hang::Endless)
    }

    /// Milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.timers().now_ms
    }

    /// The run is not silent.
    pub fn something_happened(&self) {
        let mut timers = self.timers();
        timers.told_ms = timers.now_ms;
    }

    pub fn sleep(&self, ms: u64) -> Sleep {
        let mut timers = self.timers();
        timers.made += 1;
        let order = Random::of(&[self.seed, timers.made]).word();
        let key = (timers.now_ms + ms, order, timers.made);
        Sleep { time: self.clone(), key }
    }
}

impl Clock for VirtualTime {
    fn now_ms(&self) -> u64 {
        self.now()
    }

    fn sleep_ms(&self, ms: u64) -> BoxFuture<'static, ()> {
        self.sleep(ms).boxed()
    }
}

/// Ends when its time has come; a dropped one no longer holds the clock's attention.
#[derive(Debug)]
pub struct Sleep {
    time: VirtualTime,
    key: TimerKey,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.time.timers();
        if timers.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        timers.waiting.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.time.timers().waiting.remove(&self.key);
    }
}
