//! Where in a document something stands: the keys and indices that lead there from the root.
//!
//! A [`Pointer`] names a place in the data; which line that is, a
//! [`Document`](super::spanned::Document) knows.

use std::borrow::Cow;
use std::fmt;

/// One step from a container to what it holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    Index(usize),
    Key(Cow<'static, str>),
}

impl From<&'static str> for Step {
    fn from(key: &'static str) -> Self {
        Self::Key(Cow::Borrowed(key))
    }
}

impl From<String> for Step {
    fn from(key: String) -> Self {
        Self::Key(Cow::Owned(key))
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A path from the root of a document; empty for the root. Shown as `items[3].gates[0].run`.
///
/// Pointers sort so that everything below a place follows it directly.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Pointer(Vec<Step>);

impl Pointer {
    pub fn root() -> Self {
        Self::default()
    }

    /// The place one step further down.
    #[must_use]
    pub fn join(&self, step: impl Into<Step>) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step.into());
        Self(steps)
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The container and the step that leads from it to here; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &Step)> {
        let (last, parents) = self.0.split_last()?;
        Some((Self(parents.to_vec()), last))
    }

    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

/// A path on the way down a document, made into a [`Pointer`] only where it is needed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trail<'a> {
    Root,
    Key(&'a Trail<'a>, &'a str),
    Index(&'a Trail<'a>, usize),
}

impl Trail<'_> {
    pub fn pointer(&self) -> Pointer {
        let mut steps = Vec::new();
        let mut at = *self;
        loop {
            at = match at {
                Self::Root => break,
                Self::Key(above, key) => {
                    steps.push(Step::from(key.to_owned()));
                    *above
                }
                Self::Index(above, index) => {
                    steps.push(Step::from(index));
                    *above
                }
            };
        }
        steps.reverse();
        Pointer(steps)
    }
}

impl FromIterator<Step> for Pointer {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_plain(key) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

/// Whether a key can stand in a path without quotes.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        let gate = Pointer::root().join("items").join(3).join("gates").join(0).join("run");
        assert_eq!(gate.to_string(), "items[3].gates[0].run");
        let odd = Pointer::root().join("policy").join("retries").join(String::from("end to.end"));
        assert_eq!(odd.to_string(), r#"policy.retries["end to.end"]"#);
        assert_eq!(Pointer::root().to_string(), "");
    }
}
