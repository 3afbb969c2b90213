//! What is written to a folder of logs, on standard output as it is written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::output::Watched;

/// Between looks: soon enough for who watches.
const LOOK_AGAIN: Duration = Duration::from_millis(30);
const CHUNK_BYTES: usize = 64 * 1024;

/// Copies, on a thread of its own: a terminal that takes nothing holds up nobody else.
pub(super) struct Follower {
    is_over: Arc<AtomicBool>,
    /// Dropped by the thread once all is shown; `None` where it could not be started.
    all_shown: Option<oneshot::Receiver<()>>,
    thread: Option<std::thread::Thread>,
}

impl Follower {
    pub(super) fn start(folder: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (tell, all_shown) = oneshot::channel();
        let asked = Arc::clone(&is_over);
        let follow = move || {
            let mut logs = Logs { folder, seen: Vec::new() };
            let mut out = Watched::new(std::io::stdout());
            loop {
                let last = asked.load(Ordering::Acquire);
                logs.show(&mut out);
                if last {
                    break;
                }
                std::thread::park_timeout(LOOK_AGAIN);
            }
            // Nobody may wait for it any more.
            let _ = tell.send(());
        };
        let started = std::thread::Builder::new().name("follower".to_owned()).spawn(follow).ok();
        Self { is_over, all_shown: started.as_ref().map(|_| all_shown), thread: started.map(|it| it.thread().clone()) }
    }

    /// Nothing more is written: waits until the rest is shown.
    pub(super) async fn finish(self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
        if let Some(all_shown) = self.all_shown {
            // A thread that panicked has said so.
            let _ = all_shown.await;
        }
    }
}

/// Files in the order in which they came, and how much of each is shown.
struct Logs {
    folder: PathBuf,
    seen: Vec<(PathBuf, u64)>,
}

impl Logs {
    fn show(&mut self, out: &mut impl Write) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // Beside them is what other sides say of a gate to lexpr.
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            if is_log && !self.seen.iter().any(|(seen, _)| *seen == path) {
                self.seen.push((path, 0));
            }
        }
        for (path, shown) in &mut self.seen {
            // What cannot be read now may be later.
            let _ = copy_from(path, shown, out);
        }
    }
}

fn copy_from(path: &Path, shown: &mut u64, out: &mut impl Write) -> std::io::Result<()> {
    let mut log = File::open(path)?;
    log.seek(SeekFrom::Start(*shown))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = log.read(&mut chunk)?;
        if read == 0 {
            return out.flush();
        }
        *shown += read as u64;
        // Whoever watched has gone; the gate goes on.
        let _ = out.write_all(&chunk[..read]);
    }
}
