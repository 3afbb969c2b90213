//! How many composites may be gated at once, as a plan or the command line says it: a number, or
//! `auto`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// More slots than any machine has use for.
const MOST: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxWorkers {
    /// At least 1; where a person says it, at most 1024.
    Fixed(u32),
    /// As many as the machine has room for and get more done.
    Auto,
}

/// The text is no such number, and not `auto`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a whole number from 1 to {MOST}, or auto, is expected", MOST = MOST)]
pub struct NoNumberOfWorkers;

impl TryFrom<u32> for MaxWorkers {
    type Error = NoNumberOfWorkers;

    fn try_from(number: u32) -> Result<Self, NoNumberOfWorkers> {
        if (1..=MOST).contains(&number) { Ok(Self::Fixed(number)) } else { Err(NoNumberOfWorkers) }
    }
}

impl FromStr for MaxWorkers {
    type Err = NoNumberOfWorkers;

    fn from_str(text: &str) -> Result<Self, NoNumberOfWorkers> {
        match text {
            "auto" => Ok(Self::Auto),
            number => number.parse::<u32>().map_err(|_| NoNumberOfWorkers)?.try_into(),
        }
    }
}

impl<'de> Deserialize<'de> for MaxWorkers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = MaxWorkers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{NoNumberOfWorkers}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<MaxWorkers, E> {
                u32::try_from(number).map_err(E::custom)?.try_into().map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<MaxWorkers, E> {
                u32::try_from(number).map_err(E::custom)?.try_into().map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<MaxWorkers, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for MaxWorkers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaxWorkers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "maximum": MOST, "pattern": "^auto$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_workers_is_from_one_to_the_most_or_auto() {
        assert_eq!("auto".parse(), Ok(MaxWorkers::Auto));
        assert_eq!("7".parse(), Ok(MaxWorkers::Fixed(7)));
        assert_eq!("1024".parse(), Ok(MaxWorkers::Fixed(MOST)));
        for wrong in ["0", "-1", "1025", "5000000000", "many", "", "1.5", "Auto"] {
            assert_eq!(wrong.parse::<MaxWorkers>(), Err(NoNumberOfWorkers), "{wrong}");
        }
        assert_eq!(serde_json::from_str::<MaxWorkers>("3").unwrap(), MaxWorkers::Fixed(3));
        assert_eq!(serde_json::from_str::<MaxWorkers>("\"auto\"").unwrap(), MaxWorkers::Auto);
        assert!(serde_json::from_str::<MaxWorkers>("-3").is_err());
    }
}
