//! One calm line for every fact that matters, for logs and for people who read them later.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use super::facts::lines;
use crate::report::view::RunView;
use crate::vocabulary::event::Recorded;
use crate::wording::Paint;

/// Writes the lines of each event at once.
pub struct Plain {
    out: Box<dyn Write + Send>,
    paint: Paint,
    view: Arc<Mutex<RunView>>,
}

impl Plain {
    /// Over the `view` that the caller keeps up to date.
    pub fn new(view: Arc<Mutex<RunView>>, out: impl Write + Send + 'static, paint: Paint) -> Self {
        Self { out: Box::new(out), paint, view }
    }

    /// Shows an event that the view has taken in.
    pub fn show(&mut self, recorded: &Recorded) {
        let told = {
            let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
            lines(&view, recorded, self.paint)
        };
        let mut text = told.join("\n");
        if !text.is_empty() {
            text.push('\n');
            // Whoever watched has gone; the run goes on.
            let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("paint", &self.paint).finish_non_exhaustive()
    }
}
