//! Checks what the policy and gates say of CI services.

use super::Checker;
use super::runtimes::minutes;
use crate::plan::ci_service::{CiAsked, CiServer, CiServicePolicy, Credentials};
use crate::plan::conform::missing_key;
use crate::plan::file::GateFile;
use crate::plan::pointer::Pointer;
use crate::plan::problem::Quoted;
use crate::plan::runtimes_file::{
    CiAskedFile, CiServiceFile, DEFAULT_MAX_IN_FLIGHT, DEFAULT_QUEUE_MINUTES, DEFAULT_REPORT_MINUTES, GITHUB,
    RuntimePolicyFile,
};

impl Checker<'_> {
    /// `None` where it lacks what it needs; that is told.
    pub(super) fn ci_service_policy(&mut self, place: &Pointer, file: RuntimePolicyFile) -> Option<CiServicePolicy> {
        self.keys_of_other_services(place, &file);
        let default = (file.service == Some(CiServiceFile::Github)).then(|| GITHUB.to_owned());
        let url = self.needed(place, "url", file.url.clone().or(default));
        let url = url.and_then(|url| self.service_url(&place.join("url"), &url));
        let credentials = self.credentials(place, &file, url.as_deref());
        let service = self.needed(place, "service", file.service)?;
        let server = match service {
            CiServiceFile::Buildbot => {
                let builder = self.path_part(&place.join("builder"), file.builder);
                let scheduler = self.needed(place, "scheduler", file.scheduler);
                let scheduler = self.path_part(&place.join("scheduler"), scheduler)?;
                CiServer::Buildbot { scheduler, builder }
            }
            CiServiceFile::Github => {
                let repository = self.needed(place, "repository", file.repository)?;
                let is_one = |part: &str| {
                    !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
                };
                if repository.split_once('/').is_none_or(|(owner, name)| !is_one(owner) || !is_one(name)) {
                    let message = format!("{} is no repository of GitHub's", Quoted(&repository));
                    self.error_with_hint(&place.join("repository"), message, "write it as `OWNER/NAME`");
                    return None;
                }
                let is_slug = |app: &str| app.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
                if let Some(app) = file.app.as_ref().filter(|app| !is_slug(app)) {
                    let message = format!("{} is no slug of an app", Quoted(app));
                    self.error_with_hint(&place.join("app"), message, "it is what its address at GitHub ends in");
                }
                CiServer::GitHub {
                    app: file.app,
                    repository,
                    checks: file.checks.unwrap_or_default(),
                    report_limit: minutes(file.report_minutes.unwrap_or(DEFAULT_REPORT_MINUTES)),
                }
            }
        };
        Some(CiServicePolicy {
            server,
            credentials: credentials?,
            url: url?,
            max_in_flight: file.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            queue_limit: minutes(file.queue_minutes.unwrap_or(DEFAULT_QUEUE_MINUTES)),
        })
    }

    /// `None` where they are none; that is told.
    fn credentials(&mut self, place: &Pointer, file: &RuntimePolicyFile, url: Option<&str>) -> Option<Credentials> {
        let named = [("tokenEnv", &file.token_env), ("userEnv", &file.user_env), ("passwordEnv", &file.password_env)];
        let named: Vec<_> = named.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?))).collect();
        for (key, name) in named.iter().filter(|(_, name)| name.contains(['=', '\0'])) {
            self.error(&place.join(*key), format!("{} cannot be the name of a variable", Quoted(name)));
        }
        if let (Some((key, _)), Some(rest)) = (named.first(), url.and_then(|url| url.strip_prefix("http://")))
            && !is_loopback(rest)
        {
            let message = "whoever is on the way to an `http://` address can read what that holds".to_owned();
            let problem = self.document.error_at_key(&place.join(*key), message);
            self.report(problem.warning().hint("use `https://`, if the service has it"));
        }
        match (&file.token_env, &file.user_env, &file.password_env) {
            (None, None, None) => Some(Credentials::None),
            (Some(env), None, None) => Some(Credentials::Token { env: env.clone() }),
            (None, Some(user), Some(password)) => {
                Some(Credentials::Login { user_env: user.clone(), password_env: password.clone() })
            }
            (None, user, _) => {
                self.report(missing_key(self.document, place, if user.is_some() { "passwordEnv" } else { "userEnv" }));
                None
            }
            (Some(_), ..) => {
                let message = "a service is asked with a token or with a login, not with both".to_owned();
                self.error(&place.join("tokenEnv"), message);
                None
            }
        }
    }

    pub(super) fn ci_asked(&mut self, place: &Pointer, file: CiAskedFile) -> CiAsked {
        let builder = self.path_part(&place.join("builder"), file.builder);
        CiAsked { builder, checks: file.checks.unwrap_or_default() }
    }

    /// Says which keys are of no use to this service.
    fn keys_of_other_services(&mut self, place: &Pointer, file: &RuntimePolicyFile) {
        let of_buildbot = [
            ("scheduler", file.scheduler.is_some()),
            ("builder", file.builder.is_some()),
            ("userEnv", file.user_env.is_some()),
            ("passwordEnv", file.password_env.is_some()),
        ];
        let of_github = [
            ("repository", file.repository.is_some()),
            ("checks", file.checks.is_some()),
            ("app", file.app.is_some()),
            ("reportMinutes", file.report_minutes.is_some()),
        ];
        let (strange, whose): (&[_], _) = match file.service {
            None => return,
            Some(CiServiceFile::Buildbot) => (&of_github, "GitHub"),
            Some(CiServiceFile::Github) => (&of_buildbot, "Buildbot"),
        };
        for (key, _) in strange.iter().filter(|(_, is_there)| *is_there) {
            self.report(self.document.error_at_key(&place.join(*key), format!("`{key}` is of {whose}")));
        }
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

/// Whether this machine itself is the host, of an address without its scheme.
fn is_loopback(rest: &str) -> bool {
    let host = rest.split('/').next().unwrap_or_default();
    let host =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit())).map_or(host, |it| it.0);
    let is_of_127 = host.starts_with("127.") && host.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    host == "localhost" || host == "[::1]" || is_of_127
}
