//! Where verdicts may live besides the repository, as a URL says it.

use std::fmt;

/// A place that several machines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    Redis {
        /// `redis://HOST:PORT`, or `rediss://` for TLS.
        endpoint: String,
        user: Option<String>,
        db: u16,
    },
    /// Absolute.
    Folder(String),
    Bucket {
        name: String,
        /// Empty, or with a slash before it and none behind it.
        prefix: String,
        endpoint: Option<String>,
        region: Option<String>,
    },
}

/// What is wrong with the URL of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCachePlace {
    #[error("is no place for verdicts")]
    Scheme,
    #[error("has a password in it, and the plan is kept with every run")]
    Password,
    #[error("names no host, folder or bucket")]
    Nowhere,
    #[error("names no database: a number is expected behind the host")]
    Database,
    #[error("asks for what is not known: `endpoint` and `region` are")]
    Query,
}

impl NoCachePlace {
    pub fn hint(self) -> &'static str {
        match self {
            Self::Password => "put it into the environment variable LEXPR_CACHE_PASSWORD",
            _ => "write redis://HOST:PORT/DB, file:///FOLDER or s3://BUCKET/PREFIX",
        }
    }
}

impl CachePlace {
    /// # Errors
    /// Where the URL is none of a place that there can be.
    pub fn parse(url: &str) -> Result<Self, NoCachePlace> {
        let (scheme, rest) = url.split_once("://").ok_or(NoCachePlace::Scheme)?;
        match scheme {
            "redis" | "rediss" => redis(scheme, rest),
            "file" if rest.starts_with('/') && !rest.trim_matches('/').is_empty() => {
                Ok(Self::Folder(rest.trim_end_matches('/').to_owned()))
            }
            "file" => Err(NoCachePlace::Nowhere),
            "s3" => bucket(rest),
            _ => Err(NoCachePlace::Scheme),
        }
    }
}

fn redis(scheme: &str, rest: &str) -> Result<CachePlace, NoCachePlace> {
    let (authority, db) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err(NoCachePlace::Password),
        Some((user, host)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), host),
        None => (None, authority),
    };
    if host.is_empty() || host.starts_with(':') {
        return Err(NoCachePlace::Nowhere);
    }
    let db = if db.is_empty() { 0 } else { db.parse().map_err(|_| NoCachePlace::Database)? };
    Ok(CachePlace::Redis { endpoint: format!("{scheme}://{host}"), user, db })
}

fn bucket(rest: &str) -> Result<CachePlace, NoCachePlace> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    if name.contains('@') {
        return Err(NoCachePlace::Password);
    }
    if name.is_empty() {
        return Err(NoCachePlace::Nowhere);
    }
    let (mut endpoint, mut region) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("endpoint", value)) => endpoint = Some(value.to_owned()),
            Some(("region", value)) => region = Some(value.to_owned()),
            _ => return Err(NoCachePlace::Query),
        }
    }
    let prefix = format!("/{}", prefix.trim_matches('/')).trim_end_matches('/').to_owned();
    Ok(CachePlace::Bucket { name: name.to_owned(), prefix, endpoint, region })
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis { endpoint, db, .. } => write!(f, "{endpoint}/{db}"),
            Self::Folder(path) => write!(f, "file://{path}"),
            Self::Bucket { name, prefix, .. } => write!(f, "s3://{name}{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_places_are_read_and_others_refused() {
        let shown = |url| CachePlace::parse(url).map(|place| place.to_string());
        assert_eq!(shown("redis://cache.example:6379/3").unwrap(), "redis://cache.example:6379/3");
        assert_eq!(shown("rediss://bot@[::1]:7000").unwrap(), "rediss://[::1]:7000/0");
        assert_eq!(shown("file:///mnt/team/").unwrap(), "file:///mnt/team");
        assert_eq!(shown("s3://bucket/a/b/?region=eu-1&endpoint=http://minio:9000").unwrap(), "s3://bucket/a/b");
        assert_eq!(shown("s3://bucket").unwrap(), "s3://bucket");
        for (url, error) in [
            ("memcached://x", NoCachePlace::Scheme),
            ("/mnt/team", NoCachePlace::Scheme),
            ("redis://:secret@host", NoCachePlace::Password),
            ("s3://key:secret@bucket", NoCachePlace::Password),
            ("redis://", NoCachePlace::Nowhere),
            ("file://relative", NoCachePlace::Nowhere),
            ("file:///", NoCachePlace::Nowhere),
            ("s3:///prefix", NoCachePlace::Nowhere),
            ("redis://host/one", NoCachePlace::Database),
            ("s3://bucket?acl=public", NoCachePlace::Query),
        ] {
            assert_eq!(CachePlace::parse(url), Err(error), "{url}");
        }
    }
}
