//! Places at which a test can have lexpr killed, so that it can be proven that nothing is lost
//! there. Built with the feature `failpoints` alone: otherwise [`point!`] is nothing at all, and
//! no binary holds so much as the name of a place. No place changes what lexpr does.
//!
//! - `LEXPR_CRASH_AT=place:n` ends the process at the n-th passage of a place, as `kill -9` does.
//! - `LEXPR_CRASH_HOW=stop` stops it there instead, for a test that ends others with it.
//! - `LEXPR_CRASH_LIST=file` adds a line with the place's name to the file at each passage.

/// A place, named by an expression that gives a `&str`.
macro_rules! point {
    ($name:expr) => {
        #[cfg(feature = "failpoints")]
        $crate::crash::at($name)
    };
}

/// A place in the middle of a write: where the process ends there, half of the content is written.
macro_rules! torn {
    ($name:expr, $file:expr, $content:expr) => {
        #[cfg(feature = "failpoints")]
        if $crate::crash::is_next($name) {
            let _ = $file.write_all(&$content[..$content.len() / 2]);
        }
        $crate::crash::point!($name);
    };
}

pub(crate) use {point, torn};

#[cfg(feature = "failpoints")]
pub(crate) use on::{at, is_next};

#[cfg(feature = "failpoints")]
mod on {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    /// What the environment asks for.
    struct Asked {
        place: Option<(String, u64)>,
        signal: Signal,
        passed: AtomicU64,
        list: Option<File>,
    }

    fn asked() -> &'static Asked {
        static ASKED: OnceLock<Asked> = OnceLock::new();
        ASKED.get_or_init(|| {
            let place = std::env::var("LEXPR_CRASH_AT").ok().and_then(|at| {
                let (name, count) = at.rsplit_once(':')?;
                Some((name.to_owned(), count.parse().ok()?))
            });
            let stops = std::env::var_os("LEXPR_CRASH_HOW").is_some_and(|how| how == "stop");
            let list = std::env::var_os("LEXPR_CRASH_LIST")
                .and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok());
            let signal = if stops { Signal::STOP } else { Signal::KILL };
            Asked { place, signal, passed: AtomicU64::new(0), list }
        })
    }

    /// Lists the passage, and ends the process where that was asked for.
    pub(crate) fn at(name: &str) {
        let asked = asked();
        if let Some(mut list) = asked.list.as_ref() {
            // One write, so that lines of several threads stay whole. A list that cannot be
            // written is noticed by whoever reads it.
            let _ = list.write_all(format!("{name}\n").as_bytes());
        }
        if let Some((place, count)) = &asked.place
            && place == name
            && asked.passed.fetch_add(1, Ordering::SeqCst) + 1 == *count
        {
            loop {
                // Nothing behind this place happens, whatever thread the signal reaches first.
                let _ = kill_process(getpid(), asked.signal);
                std::thread::park();
            }
        }
    }

    /// Whether the next passage of the place is the one at which the process ends: for places that
    /// leave something half done.
    pub(crate) fn is_next(name: &str) -> bool {
        let asked = asked();
        let is_asked_for =
            |(place, count): &(String, u64)| place == name && asked.passed.load(Ordering::SeqCst) + 1 == *count;
        asked.place.as_ref().is_some_and(is_asked_for)
    }
}
