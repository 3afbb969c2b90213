//! A CI service that runs gates: where it is, and what of it judges a gate. What it does then, it is set up to do; no
//! plan says.

use std::time::Duration;

use super::runtime::CI_SERVICE;
use crate::vocabulary::names::RuntimeName;

/// What all gates that one runtime hands to a CI service have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiServicePolicy {
    pub server: CiServer,
    pub credentials: Credentials,
    /// Without a slash at its end.
    pub url: String,
    pub max_in_flight: u32,
    pub queue_limit: Duration,
}

/// Which CI service it is, with what it needs to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CiServer {
    Buildbot {
        /// A force scheduler.
        scheduler: String,
        /// For gates that name none.
        builder: Option<String>,
    },
    GitHub {
        /// `OWNER/NAME`
        repository: String,
        /// For gates that name none.
        checks: Vec<String>,
        /// The only one whose check runs count, by its slug.
        app: Option<String>,
        /// How long nothing may report while a check is missing.
        report_limit: Duration,
    },
}

/// By what lexpr makes itself known to a CI service: names of variables of its own environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    None,
    Token { env: String },
    Login { user_env: String, password_env: String },
}

/// What a gate asks of a CI service beyond what the policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CiAsked {
    pub builder: Option<String>,
    /// None: those of the policy.
    pub checks: Vec<String>,
}

/// What of a CI service judges one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CiJudge {
    Builder {
        scheduler: String,
        builder: String,
    },
    /// All of them must pass.
    Checks {
        repository: String,
        checks: Vec<String>,
        app: Option<String>,
        report_limit: Duration,
    },
}

/// A CI service as one gate has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiService {
    pub runtime: RuntimeName,
    pub policy: CiServicePolicy,
    pub judge: CiJudge,
}

impl CiServer {
    /// `None` where neither the policy nor the gate says what judges it.
    pub fn judge(&self, asked: &CiAsked) -> Option<CiJudge> {
        match self {
            Self::Buildbot { scheduler, builder } => {
                let builder = asked.builder.as_ref().or(builder.as_ref())?.clone();
                Some(CiJudge::Builder { scheduler: scheduler.clone(), builder })
            }
            Self::GitHub { repository, checks, app, report_limit } => {
                let mut checks = if asked.checks.is_empty() { checks } else { &asked.checks }.clone();
                checks.sort_unstable();
                checks.dedup();
                let (repository, app, report_limit) = (repository.clone(), app.clone(), *report_limit);
                (!checks.is_empty()).then_some(CiJudge::Checks { repository, checks, app, report_limit })
            }
        }
    }

    /// What judges a gate, as the plan's key has it.
    pub fn judge_key(&self) -> &'static str {
        match self {
            Self::Buildbot { .. } => "builder",
            Self::GitHub { .. } => "checks",
        }
    }
}

impl CiService {
    /// All that a verdict may depend on and that lexpr knows of: the service and what of it judges.
    pub(super) fn parts(&self) -> Vec<String> {
        let mut parts = vec![CI_SERVICE.to_owned()];
        match &self.judge {
            CiJudge::Builder { scheduler, builder } => {
                parts.extend(["buildbot".to_owned(), self.policy.url.clone(), scheduler.clone(), builder.clone()]);
            }
            CiJudge::Checks { repository, checks, app, .. } => {
                parts.extend(["github".to_owned(), self.policy.url.clone(), repository.clone()]);
                parts.extend(checks.iter().cloned());
                // No check has a name of no characters.
                parts.extend(app.iter().flat_map(|app| [String::new(), app.clone()]));
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::runtime::Runtime;
    use crate::vocabulary::names::DefinitionDigest;

    #[test]
    fn a_gate_is_another_one_with_everything_of_its_ci_service_that_a_verdict_may_depend_on() {
        let server = CiServer::Buildbot { scheduler: "force".to_owned(), builder: Some("gates".to_owned()) };
        let judge = server.judge(&CiAsked::default()).unwrap();
        let (url, credentials) = ("http://a".to_owned(), Credentials::None);
        let policy = CiServicePolicy { server, credentials, url, max_in_flight: 1, queue_limit: Duration::ZERO };
        let plain = CiService { runtime: RuntimeName::new("ci"), policy, judge };
        let builder = |scheduler: &str, builder: &str| CiJudge::Builder {
            scheduler: scheduler.to_owned(),
            builder: builder.to_owned(),
        };
        let elsewhere = CiServicePolicy { url: "http://b".to_owned(), ..plain.policy.clone() };
        let all = [
            plain.clone(),
            CiService { judge: builder("force", "others"), ..plain.clone() },
            CiService { judge: builder("other", "gates"), ..plain.clone() },
            CiService { policy: elsewhere, ..plain.clone() },
        ];
        let local = DefinitionDigest::of([b"gate".as_slice()]);
        let define = |service: &CiService| Runtime::CiService(Box::new(service.clone())).define(local);
        let digests: std::collections::HashSet<_> = all.iter().map(define).collect();
        assert_eq!(digests.len(), all.len());
        assert!(!digests.contains(&Runtime::Local.define(local)));
        let wider = CiServicePolicy { max_in_flight: 9, ..plain.policy.clone() };
        let wider = CiService { policy: wider, ..plain };
        assert!(digests.contains(&define(&wider)), "nor does it matter how many it has at once");

        let server_of = |repository: &str, checks: &[&str], app: Option<&str>| CiServer::GitHub {
            repository: repository.to_owned(),
            checks: checks.iter().map(|check| (*check).to_owned()).collect(),
            app: app.map(str::to_owned),
            report_limit: Duration::ZERO,
        };
        let server = |repository: &str, checks: &[&str]| server_of(repository, checks, None);
        let of = |server: CiServer| {
            let judge = server.judge(&CiAsked::default()).unwrap();
            let policy = CiServicePolicy { server, ..wider.policy.clone() };
            define(&CiService { judge, policy, ..wider.clone() })
        };
        let plain = of(server("a/b", &["x", "y"]));
        assert_eq!(plain, of(server("a/b", &["y", "x", "y"])), "their order means nothing");
        let of_app = of(server_of("a/b", &["x", "y"], Some("z")));
        assert!(
            [of(server("a/c", &["x", "y"])), of(server("a/b", &["x"])), of_app].iter().all(|other| *other != plain)
        );
    }

    #[test]
    fn a_gate_s_own_builder_goes_before_that_of_the_runtime_and_one_there_must_be() {
        let server = |builder: Option<&str>| CiServer::Buildbot {
            scheduler: "force".to_owned(),
            builder: builder.map(str::to_owned),
        };
        let own = CiAsked { builder: Some("own".to_owned()), ..CiAsked::default() };
        let named = |judge: Option<CiJudge>| match judge {
            Some(CiJudge::Builder { builder, .. }) => Some(builder),
            Some(CiJudge::Checks { .. }) | None => None,
        };
        assert_eq!(named(server(Some("gates")).judge(&own)).as_deref(), Some("own"));
        assert_eq!(named(server(Some("gates")).judge(&CiAsked::default())).as_deref(), Some("gates"));
        assert_eq!(server(None).judge(&CiAsked::default()), None);
    }
}
