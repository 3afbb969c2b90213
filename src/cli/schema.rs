//! `lexpr schema`: prints the JSON schemas of what lexpr reads and writes.

use std::io::{self, Write};

use crate::plan::file;

/// What there is a schema of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaOf {
    /// Plans, which lexpr reads.
    Plan,
}

/// # Errors
/// If `out` cannot be written to.
pub fn run(what: SchemaOf, out: &mut dyn Write) -> io::Result<()> {
    let schema = match what {
        SchemaOf::Plan => file::schema_json(),
    };
    out.write_all(schema.as_bytes())
}
