//! Virtual time and the executor that drives it: one thread, one task; when nothing can go on,
//! time jumps to the next timer. Whoever sleeps at the same instant wakes in an order that a
//! seed decides, so that other completion orders can be tried.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use lexpr::ports::Clock;

/// A run that sleeps more often than this will never end.
const MOST_WAKES: u64 = 300_000;

/// When, then who first (by seed), then a number that tells timers apart.
type TimerKey = (u64, u64, u64);

/// A run in which nothing happens for so long will never go on: the longest gate is over long before.
const LONGEST_SILENCE_MS: u64 = 3_600_000;

#[derive(Default)]
struct Timers {
    now_ms: u64,
    /// When something was last told.
    told_ms: u64,
    made: u64,
    waiting: BTreeMap<TimerKey, Waker>,
}

#[derive(Clone)]
pub struct VirtualTime {
    timers: Arc<Mutex<Timers>>,
    seed: u64,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl VirtualTime {
    pub fn new(seed: u64) -> Self {
        Self { timers: Arc::default(), seed }
    }

    /// Drives `future` to its end.
    ///
    /// # Panics
    /// Where nothing can wake it any more, or it never seems to end.
    pub fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut context = Context::from_waker(&waker);
        for _ in 0..MOST_WAKES {
            while flag.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return output;
                }
            }
            let mut timers = self.timers.lock().unwrap();
            let Some(((at, _, _), waker)) = timers.waiting.pop_first() else {
                drop(timers);
                panic!("invariant 7: a hang: nothing is left that could go on");
            };
            timers.now_ms = at;
            let silence_ms = at - timers.told_ms;
            drop(timers);
            assert!(silence_ms < LONGEST_SILENCE_MS, "invariant 7: a hang: timers, and nothing happens");
            waker.wake();
        }
        panic!("the run does not end");
    }

    pub fn now(&self) -> u64 {
        self.timers.lock().unwrap().now_ms
    }

    pub fn something_happened(&self) {
        let mut timers = self.timers.lock().unwrap();
        timers.told_ms = timers.now_ms;
    }

    pub fn sleep(&self, ms: u64) -> Sleep {
        let mut timers = self.timers.lock().unwrap();
        timers.made += 1;
        let order = super::mix(self.seed, timers.made);
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
pub struct Sleep {
    time: VirtualTime,
    key: TimerKey,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.time.timers.lock().unwrap();
        if timers.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        timers.waiting.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // Also where the run has broken an invariant, which is told and hides nothing.
        self.time.timers.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.key);
    }
}
