//! The files by which CI services run lexpr, for who has none yet. They hold no name of the repository's: the plan has
//! the target, and in a CI service's checkout the remote is `origin`.

/// A CI service for which there is a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Github,
    Gitlab,
}

impl Service {
    /// Where its file goes, from the top of the working tree. Its own, beside what others have.
    pub fn path(self) -> &'static str {
        match self {
            Self::Github => ".github/workflows/lexpr.yml",
            Self::Gitlab => ".gitlab/lexpr.yml",
        }
    }

    /// A dry run for each request to merge, and a landing that a person starts, of `plan.yaml`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Github => include_str!("ci/github.yml"),
            Self::Gitlab => include_str!("ci/gitlab.yml"),
        }
    }

    /// What is left to a person to do.
    pub fn left_to_do(self) -> &'static str {
        match self {
            Self::Github => "set the variable LEXPR_SOURCE, as it says at its beginning",
            Self::Gitlab => {
                "include it in .gitlab-ci.yml and set the variables LEXPR_IMAGE and LEXPR_TOKEN, as it says at its beginning"
            }
        }
    }

    /// Whose a repository looks like, by the files at its top and the addresses of its remotes.
    pub fn of(has: impl Fn(&str) -> bool, remotes: &[String]) -> Option<Self> {
        // Whoever has one of these uses it, wherever the repository lies.
        if has(".github") {
            return Some(Self::Github);
        }
        if has(".gitlab-ci.yml") {
            return Some(Self::Gitlab);
        }
        let host = |address: &String| {
            // `https://user@host/path`, `git@host:path`.
            let rest = address.split_once("://").map_or(&**address, |(_, rest)| rest);
            let authority = rest.split(['/', ':']).next().unwrap_or_default();
            authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
        };
        remotes.iter().find_map(|address| match &*host(address) {
            "github.com" | "ssh.github.com" => Some(Self::Github),
            "gitlab.com" => Some(Self::Gitlab),
            host if host.starts_with("gitlab.") => Some(Self::Gitlab),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_files_and_else_by_its_remotes() {
        let of = |files: &[&str], remote: &str| Service::of(|name| files.contains(&name), &[remote.to_owned()]);
        assert_eq!(of(&[".github"], "https://gitlab.com/a/b"), Some(Service::Github));
        assert_eq!(of(&[".gitlab-ci.yml"], ""), Some(Service::Gitlab));
        assert_eq!(of(&[], "git@github.com:a/b.git"), Some(Service::Github));
        assert_eq!(of(&[], "https://me@GitHub.com/a/b"), Some(Service::Github));
        assert_eq!(of(&[], "ssh://git@gitlab.example.org:22/a/b"), Some(Service::Gitlab));
        assert_eq!(of(&[], "https://example.org/github.com/a"), None);
        assert_eq!(of(&[], "/srv/github.com"), None);
    }
}
