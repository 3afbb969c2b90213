//! The system's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ports::Clock;

/// Time since the epoch when lexpr began, carried on by a clock that never goes backwards: a run
/// whose machine's clock is set back still tells its events in order.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    began: Instant,
    began_at_ms: u64,
}

impl SystemClock {
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), began_at_ms: millis(since_epoch) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        self.began_at_ms + millis(self.began.elapsed())
    }

    fn sleep_ms(&self, ms: u64) -> BoxFuture<'static, ()> {
        tokio::time::sleep(Duration::from_millis(ms)).boxed()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
