//! `lexpr schema`: prints the JSON schemas of what lexpr reads and writes.

use std::io::{self, Write};

use super::{SchemaOf, simulate};
use crate::doctor;
use crate::plan::file;
use crate::report::{self, forecast};

/// # Errors
/// If `out` cannot be written to.
pub fn run(what: SchemaOf, out: &mut dyn Write) -> io::Result<()> {
    let schema = match what {
        SchemaOf::Plan => file::schema_json(),
        SchemaOf::Report => report::report_schema(),
        SchemaOf::Event => report::event_schema(),
        SchemaOf::Simulation => simulate::schema_json(),
        SchemaOf::Forecast => forecast::forecast_schema(),
        SchemaOf::Doctor => doctor::schema_json(),
    };
    out.write_all(schema.as_bytes())
}
