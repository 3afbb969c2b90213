//! Events as JSON lines, each as the journal holds it (`schemas/event.schema.json`).

use std::fmt;
use std::io::{self, Write};

use crate::vocabulary::event::Recorded;

/// Writes one line for each event, at once.
pub struct JsonLines {
    out: Box<dyn Write + Send>,
}

impl JsonLines {
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out) }
    }

    /// # Errors
    /// Those of the writer.
    pub fn show(&mut self, recorded: &Recorded) -> io::Result<()> {
        let mut line = serde_json::to_vec(recorded).expect("an event has string keys and no floats");
        line.push(b'\n');
        self.out.write_all(&line).and_then(|()| self.out.flush())
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines")
    }
}
