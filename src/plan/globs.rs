//! The one meaning of globs in a plan, so that what is checked is what is later matched.

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

/// As long as a path can be (`PATH_MAX` of Linux, limits.h).
pub const MAX_GLOB_BYTES: usize = 4096;

/// Braces of one glob. Each level of them is one of the stack of those who read and compile it.
pub const MAX_GLOB_BRACES: usize = 64;

/// Globs of one list, and bytes of all of them together: as one matcher they stay below what a
/// matcher may take (10 MiB).
pub const MAX_GLOBS: usize = 1000;
pub const MAX_GLOBS_BYTES: usize = 64 * 1024;

/// Why a text is no glob, or texts are no list of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error("{0}")]
    Syntax(globset::ErrorKind),
    #[error("it has {0} bytes: at most {MAX_GLOB_BYTES} are allowed")]
    TooLong(usize),
    #[error("it has {0} braces: at most {MAX_GLOB_BRACES} are allowed")]
    TooManyBraces(usize),
    #[error("{0} globs are too many: at most {MAX_GLOBS} are allowed")]
    TooMany(usize),
    #[error("these globs have {0} bytes: at most {MAX_GLOBS_BYTES} are allowed")]
    TooLongTogether(usize),
}

impl From<globset::Error> for GlobError {
    fn from(error: globset::Error) -> Self {
        Self::Syntax(error.kind().clone())
    }
}

/// A glob on `/`-separated paths: `*` and `?` stop at a `/`, `**` does not.
///
/// # Errors
/// If the pattern is not a glob.
pub fn path_glob(pattern: &str) -> Result<Glob, GlobError> {
    bounded(pattern)?;
    Ok(GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()?)
}

/// All of `patterns`, each as [`path_glob`] has it.
///
/// # Errors
/// For the first that is not a glob, and if they are too many.
pub fn path_globs(patterns: &[String]) -> Result<GlobSet, GlobError> {
    bounded_together(patterns)?;
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(path_glob(pattern)?);
    }
    Ok(set.build()?)
}

/// A glob on names, in which a `/` is a character like any other.
///
/// # Errors
/// If the pattern is not a glob.
pub fn name_glob(pattern: &str) -> Result<GlobMatcher, GlobError> {
    bounded(pattern)?;
    let glob = GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build()?;
    Ok(glob.compile_matcher())
}

/// Within this, compiling a glob neither fails nor takes the stack.
fn bounded(pattern: &str) -> Result<(), GlobError> {
    let braces = pattern.bytes().filter(|byte| *byte == b'{').count();
    match pattern.len() {
        bytes if bytes > MAX_GLOB_BYTES => Err(GlobError::TooLong(bytes)),
        _ if braces > MAX_GLOB_BRACES => Err(GlobError::TooManyBraces(braces)),
        _ => Ok(()),
    }
}

/// Whether a list of globs can be one matcher.
///
/// # Errors
/// If there are too many of them.
pub fn bounded_together(patterns: &[String]) -> Result<(), GlobError> {
    let bytes = patterns.iter().map(String::len).sum();
    match patterns.len() {
        globs if globs > MAX_GLOBS => Err(GlobError::TooMany(globs)),
        _ if bytes > MAX_GLOBS_BYTES => Err(GlobError::TooLongTogether(bytes)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stop_at_slashes_in_paths_only() {
        let path = path_glob("crates/*.rs").unwrap().compile_matcher();
        assert!(path.is_match("crates/a.rs"));
        assert!(!path.is_match("crates/a/b.rs"));
        assert!(path_glob("crates/**").unwrap().compile_matcher().is_match("crates/a/b.rs"));
        assert!(name_glob("e2e*").unwrap().is_match("e2e/slow"));
    }

    /// The patterns that take most of a matcher for each of their bytes.
    const COSTLY: [&str; 5] = ["?", "[!a-z]", "{?,[!b],ab}", "**/a", "\u{10ffff}"];

    #[test]
    fn every_glob_within_the_limits_can_be_compiled() {
        for piece in COSTLY {
            let most = (MAX_GLOB_BYTES / piece.len()).min(MAX_GLOB_BRACES);
            let long = piece.repeat(if piece.contains('{') { most } else { MAX_GLOB_BYTES / piece.len() });
            path_glob(&long).unwrap().compile_matcher();
            name_glob(&long).unwrap();
        }
        let nested = format!("{}a{}", "{?,".repeat(MAX_GLOB_BRACES), "}".repeat(MAX_GLOB_BRACES));
        name_glob(&nested).unwrap();
    }

    #[test]
    fn every_list_within_the_limits_can_be_compiled() {
        for piece in COSTLY {
            let few_long: Vec<String> = vec![piece.repeat(64 / piece.len()); MAX_GLOBS];
            path_globs(&few_long).unwrap();
        }
    }

    #[test]
    fn beyond_the_limits_is_no_glob() {
        assert_eq!(path_glob(&"a".repeat(MAX_GLOB_BYTES + 1)).unwrap_err(), GlobError::TooLong(MAX_GLOB_BYTES + 1));
        // Its braces would be a stack frame each.
        assert_eq!(name_glob(&"{".repeat(4000)).unwrap_err(), GlobError::TooManyBraces(4000));
        let many = vec![String::from("a"); MAX_GLOBS + 1];
        assert_eq!(path_globs(&many).unwrap_err(), GlobError::TooMany(MAX_GLOBS + 1));
        let long = vec!["a".repeat(MAX_GLOB_BYTES); 17];
        assert_eq!(path_globs(&long).unwrap_err(), GlobError::TooLongTogether(17 * MAX_GLOB_BYTES));
    }
}
