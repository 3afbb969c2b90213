//! Checks what the policy and gates say of CI services.

use super::Checker;
use super::runtimes::minutes;
use crate::plan::ci_service::{CiAsked, CiServer, CiServicePolicy};
use crate::plan::conform::missing_key;
use crate::plan::file::GateFile;
use crate::plan::pointer::Pointer;
use crate::plan::problem::Quoted;
use crate::plan::runtimes_file::{
    CiAskedFile, CiServiceFile, DEFAULT_MAX_IN_FLIGHT, DEFAULT_QUEUE_MINUTES, RuntimePolicyFile,
};

impl Checker<'_> {
    /// `None` where it lacks what it needs; that is told.
    pub(super) fn ci_service_policy(&mut self, place: &Pointer, file: RuntimePolicyFile) -> Option<CiServicePolicy> {
        let url = self.needed(place, "url", file.url).and_then(|url| self.service_url(&place.join("url"), &url));
        let service = self.needed(place, "service", file.service)?;
        let server = match service {
            CiServiceFile::Buildbot => {
                let builder = self.path_part(&place.join("builder"), file.builder);
                let scheduler = self.needed(place, "scheduler", file.scheduler);
                let scheduler = self.path_part(&place.join("scheduler"), scheduler)?;
                CiServer::Buildbot { scheduler, builder }
            }
            CiServiceFile::Github => {
                self.not_in_this_build(&place.join("service"), "`service: github`", "write `buildbot`");
                return None;
            }
        };
        Some(CiServicePolicy {
            server,
            url: url?,
            max_in_flight: file.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            queue_limit: minutes(file.queue_minutes.unwrap_or(DEFAULT_QUEUE_MINUTES)),
        })
    }

    pub(super) fn ci_asked(&mut self, place: &Pointer, file: CiAskedFile) -> CiAsked {
        CiAsked { builder: self.path_part(&place.join("builder"), file.builder) }
    }

    /// Says what a gate says in vain to a CI service, which runs what it is set up to run.
    pub(super) fn idle_with_a_ci_service(&mut self, place: &Pointer, file: &GateFile) {
        let idle = [
            ("cwd", file.cwd.is_some()),
            ("env", file.env.is_some()),
            ("clean", file.clean == Some(true)),
            ("context", file.context == Some(true)),
            ("rateLimitExitCode", file.rate_limit_exit_code.is_some()),
        ];
        for (key, _) in idle.into_iter().filter(|(_, is_there)| *is_there) {
            let message = format!("`{key}` has no effect: a CI service runs what it is set up to run");
            let problem = self.document.error_at_key(&place.join(key), message);
            self.report(problem.warning().hint("leave it out"));
        }
    }

    fn needed<T>(&mut self, place: &Pointer, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.conformity.is_faulty(&place.join(key)) {
            self.report(missing_key(self.document, place, key));
        }
        value
    }

    /// Without slashes at its end, and with nothing in it that is not to stand in a plan.
    fn service_url(&mut self, place: &Pointer, url: &str) -> Option<String> {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).and_then(|rest| {
            let host = rest.split('/').next()?;
            (!host.is_empty()).then_some(host)
        });
        let is_plain = url.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\'));
        let message = match host {
            Some(host) if host.contains('@') => "a user or a password has no place in a plan".to_owned(),
            Some(_) if is_plain => return Some(url.trim_end_matches('/').to_owned()),
            _ => format!("{} is no address of a CI service", Quoted(url)),
        };
        self.error_with_hint(place, message, "write it as `https://HOST/` or `https://HOST/PATH/`");
        None
    }

    /// A name that can stand in the path of an address.
    fn path_part(&mut self, place: &Pointer, name: Option<String>) -> Option<String> {
        let name = name?;
        if name.trim() != name || name.chars().any(|c| c.is_control() || matches!(c, '/' | '?' | '#' | '%')) {
            self.error(place, format!("{} cannot be a name there", Quoted(&name)));
            return None;
        }
        Some(name)
    }
}
