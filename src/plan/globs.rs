//! The one meaning of globs in a plan, so that what is checked is what is later matched.

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

/// A glob on `/`-separated paths: `*` and `?` stop at a `/`, `**` does not.
///
/// # Errors
/// If the pattern is not a glob; the error names the pattern.
pub fn path_glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

/// All of `patterns`, each as [`path_glob`] has it.
///
/// # Errors
/// For the first that is not a glob.
pub fn path_globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(path_glob(pattern)?);
    }
    set.build()
}

/// A glob on names, in which a `/` is a character like any other.
///
/// # Errors
/// If the pattern is not a glob; the error names the pattern.
pub fn name_glob(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build().map(|glob| glob.compile_matcher())
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
}
