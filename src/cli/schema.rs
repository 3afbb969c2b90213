//! `lexpr schema`: prints the JSON schemas of what lexpr reads and writes.

use super::failure::Failure;
use super::{SchemaArgs, SchemaOf, simulate, speak};
use crate::doctor;
use crate::plan::{file, reference};
use crate::report::{self, forecast};

/// Runs the command.
///
/// # Errors
/// Where there is no such page, or standard output cannot be written.
pub fn run(args: &SchemaArgs) -> Result<u8, Failure> {
    if args.markdown {
        return match args.of {
            SchemaOf::Plan => speak::result(&reference::markdown()).map(|()| 0),
            _ => {
                Err(Failure::usage("--markdown is for the schema of a plan").with_hint("lexpr schema plan --markdown"))
            }
        };
    }
    speak::result(&text(args.of)).map(|()| 0)
}

/// A schema as it stands in its file, with a final newline.
pub fn text(of: SchemaOf) -> String {
    match of {
        SchemaOf::Plan => file::schema_json(),
        SchemaOf::Report => report::report_schema(),
        SchemaOf::Event => report::event_schema(),
        SchemaOf::Simulation => simulate::schema_json(),
        SchemaOf::Forecast => forecast::forecast_schema(),
        SchemaOf::Doctor => doctor::schema_json(),
    }
}
