//! Newtypes for the names and ids that travel between layers, so that a tree can never be
//! passed where a commit is meant. They hold text or bytes and know no git.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_name! {
    /// The name of one item of a plan: 1 to 200 bytes of UTF-8, unique in its plan.
    ItemName
}
text_name! {
    /// The name of a gate as the plan's author wrote it. Several gates may share a name; what
    /// tells two gates apart is their [`DefinitionDigest`].
    GateName
}
text_name! {
    /// The name of one way to run gates: an entry of the policy's `runtimes`, or a kind of its own.
    RuntimeName
}
text_name! {
    /// The id of one run, `YYYYMMDD-HHMMSS-xxxx`: sorts by the time the run began (UTC).
    RunId
}

/// A git object id of either hash (20 bytes of SHA-1 or 32 of SHA-256), shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Oid {
    len: u8,
    bytes: [u8; 32],
}

/// The text is not 40 or 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an object id: 40 or 64 hexadecimal digits are expected")]
pub struct NotAnObjectId(pub String);

impl Oid {
    fn from_bytes(raw: &[u8]) -> Option<Self> {
        if raw.len() != 20 && raw.len() != 32 {
            return None;
        }
        let mut bytes = [0; 32];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { len: u8::try_from(raw.len()).ok()?, bytes })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl FromStr for Oid {
    type Err = NotAnObjectId;

    fn from_str(text: &str) -> Result<Self, NotAnObjectId> {
        let refuse = || NotAnObjectId(text.to_owned());
        if text.len() != 40 && text.len() != 64 {
            return Err(refuse());
        }
        let mut raw = Vec::with_capacity(32);
        for pair in text.as_bytes().chunks(2) {
            let digit = |b: u8| (b as char).to_digit(16);
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => raw.push(u8::try_from(high * 16 + low).map_err(|_| refuse())?),
                _ => return Err(refuse()),
            }
        }
        Self::from_bytes(&raw).ok_or_else(refuse)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// In documents an id is the text that it is shown as.
macro_rules! as_hex {
    ($name:ident, $schema:literal, $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident, $schema:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Oid);

        impl $name {
            /// From the raw 20 or 32 bytes of a hash; `None` for any other length.
            pub fn from_bytes(raw: &[u8]) -> Option<Self> {
                Oid::from_bytes(raw).map(Self)
            }

            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// The first ten hex digits, for people; never for looking an object up.
            pub fn short(&self) -> String {
                let mut hex = self.to_string();
                hex.truncate(10);
                hex
            }
        }

        impl FromStr for $name {
            type Err = NotAnObjectId;

            fn from_str(text: &str) -> Result<Self, NotAnObjectId> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.short())
            }
        }

        as_hex!($name, $schema, "^([0-9a-f]{40}|[0-9a-f]{64})$");
    };
}

object_id! {
    /// The id of a commit.
    CommitId, "CommitId"
}
object_id! {
    /// The id of a tree: what a gate judges.
    TreeId, "TreeId"
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $schema:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The BLAKE3 digest, cut to 128 bits, of `parts`, each preceded by its length so
            /// that no two lists of parts run together.
            pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
                let mut hasher = blake3::Hasher::new();
                hasher.update($schema.as_bytes());
                for part in parts {
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
                let mut short = [0; 16];
                short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
                Self(short)
            }

            /// A digest made elsewhere, such as while a file too large for memory was read.
            pub fn from_bytes(short: [u8; 16]) -> Self {
                Self(short)
            }

            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnObjectId;

            fn from_str(text: &str) -> Result<Self, NotAnObjectId> {
                let refuse = || NotAnObjectId(text.to_owned());
                // A sign would do for `from_str_radix`.
                if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(refuse());
                }
                let mut bytes = [0; 16];
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| refuse())?;
                }
                Ok(Self(bytes))
            }
        }

        as_hex!($name, $schema, "^[0-9a-f]{32}$");
    };
}

digest! {
    /// What a plan's bytes were: the digest of the document as it was read.
    PlanDigest, "PlanDigest"
}
digest! {
    /// What a gate is, whatever it is called: the digest of its command, cwd, env, inputs,
    /// runtime, `clean` and `context`.
    DefinitionDigest, "DefinitionDigest"
}
digest! {
    /// What a gate looks at: the digest of a whole tree's id or, for a gate that declares
    /// `inputs`, of the entries of the tree that match them.
    SubjectDigest, "SubjectDigest"
}
digest! {
    /// What a verdict belongs to: one gate definition on one subject, under one setup and
    /// platform. Two runs with equal keys must be able to stand for each other.
    VerdictKey, "VerdictKey"
}
digest! {
    /// The digest of a file lexpr wrote, such as a gate's log: the first 128 bits of the BLAKE3
    /// of its bytes, as `b3sum --length 16` prints them.
    FileDigest, "FileDigest"
}

/// One occupation of one slot: unique within a run, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl VerdictKey {
    /// What stands of it in the names of files, such as right before what a log's name ends in.
    pub fn in_file_names(self) -> String {
        let mut hex = self.to_string();
        hex.truncate(8);
        hex
    }
}

impl JobId {
    /// What the names of the logs of its gates' attempts of this number end in.
    pub fn log_ending(self, attempt: u32) -> String {
        format!("-{}-{attempt}.log", self.0)
    }
}

/// Which apex of a run: counted from 1 in the order they are formed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ApexId(pub u32);

/// Which group of a run: counted from 1 in the order they are formed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GroupId(pub u32);

/// Which worker of the pool: counted from 0, below `maxWorkers`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WorkerId(pub u32);

/// How an item becomes part of the target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MergeStrategy {
    /// A merge commit with the head as second parent.
    #[default]
    #[serde(alias = "merge-weave")]
    Merge,
    /// One commit that holds all of the item's changes.
    #[serde(alias = "squash-weave")]
    Squash,
    /// The item's own first-parent commits, replayed.
    #[serde(alias = "rebase-weave")]
    Rebase,
}

impl fmt::Display for MergeStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merge => "merge",
            Self::Squash => "squash",
            Self::Rebase => "rebase",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_ids_of_both_hashes_survive_text_and_refuse_other_lengths() {
        for hex in ["3f2a".repeat(10), "3f2a".repeat(16)] {
            let id: CommitId = hex.parse().unwrap();
            assert_eq!(id.to_string(), hex);
            assert_eq!(CommitId::from_bytes(id.as_bytes()), Some(id));
        }
        assert!("3f2a".parse::<CommitId>().is_err());
        assert!("zz".repeat(20).parse::<TreeId>().is_err());
    }

    #[test]
    fn digests_tell_apart_lists_that_concatenate_alike() {
        let joined = VerdictKey::of([b"ab".as_slice(), b"c"]);
        assert_ne!(joined, VerdictKey::of([b"a".as_slice(), b"bc"]));
        assert_eq!(joined.to_string().parse(), Ok(joined));
        assert!("+f".repeat(16).parse::<VerdictKey>().is_err());
    }
}
