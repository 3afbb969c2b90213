//! One calm line for every fact that matters, for logs and for people who read them later.

use std::fmt;
use std::io::Write;

use super::facts::lines;
use crate::report::view::RunView;
use crate::vocabulary::event::Recorded;
use crate::wording::Paint;

/// Writes the lines of each event at once.
pub struct Plain {
    out: Box<dyn Write + Send>,
    paint: Paint,
    view: RunView,
}

impl Plain {
    pub fn new(out: impl Write + Send + 'static, paint: Paint) -> Self {
        Self { out: Box::new(out), paint, view: RunView::default() }
    }

    /// Takes an event in that was shown by the process that recorded it.
    pub fn recall(&mut self, recorded: &Recorded) {
        self.view.apply(recorded);
    }

    pub fn show(&mut self, recorded: &Recorded) {
        self.view.apply(recorded);
        let mut text = lines(&self.view, recorded, self.paint).join("\n");
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
