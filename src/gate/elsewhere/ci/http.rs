//! Asking a CI service over HTTP, for JSON. What its answers mean is the caller's; that a service may be away for a while is
//! known here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error};

use super::identity::{Identity, STRUCK, Secret};

/// A service that has said nothing for so long does not answer.
const LONGEST_CALL: Duration = Duration::from_secs(30);
const LONGEST_CONNECT: Duration = Duration::from_secs(10);
/// A service that is started anew is back within a minute or two.
const PATIENCE: Duration = Duration::from_secs(180);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// No answer that lexpr asks for is longer; what is cut off is no JSON.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;
/// A service that says for how long it is not to be asked is believed so far.
const LONGEST_RESPITE: Duration = Duration::from_secs(3600);
/// What is asked of who limits without saying for how long (GitHub, "Rate limits for the REST API").
const USUAL_RESPITE: Duration = Duration::from_secs(60);
/// Where Buildbot gives sessions.
const LOGIN: &str = "/auth/login";
/// Of what a service says beside its status, so much goes into a message.
const TOLD_BYTES: usize = 300;

/// A service could not be asked, or would not.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{address} does not answer: {why}")]
    Absent { address: String, why: String },
    #[error("{address} answered with HTTP {status}{said}")]
    Refused { address: String, status: u16, said: String },
    #[error("{address} answered with what is not the JSON that it should be: {why}")]
    Garbled { address: String, why: String },
}

impl HttpError {
    /// It may be otherwise in a while.
    fn may_pass(&self) -> bool {
        match self {
            Self::Absent { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Garbled { .. } => false,
        }
    }

    /// What was asked about is none that it knows: GitHub says 422 of a commit.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Refused { status: 404 | 422, .. })
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// One service.
#[derive(Clone, Debug)]
pub(super) struct Http {
    agent: Agent,
    /// Without a slash at its end.
    base: String,
    identity: Arc<Identity>,
    known: Arc<Mutex<Known>>,
    /// Who has it gets a session.
    logging_in: Arc<tokio::sync::Mutex<()>>,
}

/// What the service has said that holds for what is asked next.
#[derive(Debug, Default)]
struct Known {
    /// By path: its answer, and by what it knows whether that is still so.
    answers: HashMap<String, (String, Value)>,
    /// It is not to be asked before.
    not_before: Option<Instant>,
    /// Of somebody with a login, as a cookie.
    session: Option<Secret>,
}

/// Whether an answer is, for the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// An answer as it came.
struct Answer {
    status: u16,
    etag: Option<String>,
    respite: Option<Duration>,
    /// Cookies that it sets, each a name and a value.
    cookies: Vec<String>,
    text: Vec<u8>,
}

impl Http {
    pub(super) fn new(base: impl Into<String>, identity: Identity) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(LONGEST_CALL))
            .timeout_connect(Some(LONGEST_CONNECT))
            .http_status_as_error(false)
            // Who answers for a service is who the plan names.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("lexpr/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .build();
        Self {
            agent: config.new_agent(),
            base: base.into(),
            identity: Arc::new(identity),
            known: Arc::default(),
            logging_in: Arc::default(),
        }
    }

    /// Asks something that may be asked again: while there is nobody to answer, it is.
    pub(super) async fn get(&self, path: &str) -> Result<Value, HttpError> {
        self.get_patiently(path, Kept::No).await
    }

    /// The same of what is asked about time and again: an answer is kept until it is forgotten, and only asked whether it is
    /// still so.
    pub(super) async fn get_unless_known(&self, path: &str) -> Result<Value, HttpError> {
        self.get_patiently(path, Kept::Yes).await
    }

    /// Answers on paths that begin so are kept no longer.
    pub(super) fn forget(&self, prefix: &str) {
        self.known().answers.retain(|path, _| !path.starts_with(prefix));
    }

    async fn get_patiently(&self, path: &str, kept: Kept) -> Result<Value, HttpError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            self.wait_until_welcome().await;
            match self.send(path, None, kept).await {
                Err(_) if self.respite().is_some() && begun.elapsed() < LONGEST_RESPITE => {}
                Err(error) if error.may_pass() && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// Asks once, for somebody who waits for the answer.
    pub(super) async fn once(&self, path: &str) -> Result<Value, HttpError> {
        self.send(path, None, Kept::No).await
    }

    /// Asks once. One that is not waited for may have been heard all the same.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, HttpError> {
        self.send(path, Some(body.to_string()), Kept::No).await
    }

    async fn send(&self, path: &str, body: Option<String>, kept: Kept) -> Result<Value, HttpError> {
        if self.identity.login().is_none() {
            return self.send_as(path, body, kept, None).await;
        }
        let session = self.session(None).await?;
        match self.send_as(path, body.clone(), kept, Some(session.clone())).await {
            // A session has an end, too; what it was refused for was not done.
            Err(HttpError::Refused { status: 401 | 403, .. }) => {
                let session = self.session(Some(session)).await?;
                self.send_as(path, body, kept, Some(session)).await
            }
            answer => answer,
        }
    }

    /// A session other than this one: Buildbot gives it for a login ("Authentication plugins": `/auth/login`).
    async fn session(&self, other_than: Option<Secret>) -> Result<Secret, HttpError> {
        let _turn = self.logging_in.lock().await;
        let there = self.known().session.clone();
        if let Some(session) = there.filter(|there| Some(there) != other_than.as_ref()) {
            return Ok(session);
        }
        let login = ("authorization", self.identity.login().unwrap_or_default());
        let Answer { status, cookies, text, .. } = self.ask(LOGIN, None, vec![login]).await?;
        if !(200..400).contains(&status) || cookies.is_empty() {
            let text = self.struck(&String::from_utf8_lossy(&text));
            let said = format!("{} (the login was refused)", said(&text));
            return Err(HttpError::Refused { address: format!("{}{LOGIN}", self.base), status, said });
        }
        let session = Secret::new(cookies.join("; "));
        self.known().session = Some(session.clone());
        Ok(session)
    }

    async fn send_as(
        &self,
        path: &str,
        body: Option<String>,
        kept: Kept,
        session: Option<Secret>,
    ) -> Result<Value, HttpError> {
        let address = format!("{}{path}", self.base);
        let before = if kept == Kept::Yes { self.known().answers.get(path).cloned() } else { None };
        let etag = before.as_ref().map(|(etag, _)| etag.clone());
        let cookie = session.map(|session| session.shown_to_its_service().to_owned());
        let headers = [("authorization", self.identity.bearer()), ("cookie", cookie), ("if-none-match", etag)];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let Answer { status, etag, respite, text, .. } = self.ask(path, body, headers).await?;
        // Before anything is cut off or taken apart: of half of a secret nobody knows that it is one.
        let text = self.struck(&String::from_utf8_lossy(&text));
        if let Some(respite) = respite {
            self.known().not_before = Some(Instant::now() + respite);
        }
        if let (304, Some((_, before))) = (status, before) {
            return Ok(before);
        }
        if !(200..300).contains(&status) {
            return Err(HttpError::Refused { said: said(&text), address, status });
        }
        let garbled = |error: serde_json::Error| HttpError::Garbled { address, why: error.to_string() };
        let answer: Value = serde_json::from_str(&text).map_err(garbled)?;
        if let Some(etag) = etag.filter(|_| kept == Kept::Yes) {
            self.known().answers.insert(path.to_owned(), (etag, answer.clone()));
        }
        Ok(answer)
    }

    async fn ask(
        &self,
        path: &str,
        body: Option<String>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<Answer, HttpError> {
        let (agent, address) = (self.agent.clone(), format!("{}{path}", self.base));
        let asked = address.clone();
        let asking = move || -> Result<Answer, Error> {
            let mut answer = match body {
                None => {
                    headers.into_iter().fold(agent.get(&asked), |get, (name, value)| get.header(name, value)).call()?
                }
                Some(body) => {
                    let post = agent.post(&asked).content_type("application/json");
                    headers.into_iter().fold(post, |post, (name, value)| post.header(name, value)).send(body)?
                }
            };
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            let (etag, status) = (header("etag"), answer.status().as_u16());
            let respite = respite(status, header);
            let cookies = answer.headers().get_all("set-cookie").iter().filter_map(|set| cookie(set.to_str().ok()?));
            let cookies = cookies.collect();
            let text = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec()?;
            Ok(Answer { status, etag, respite, cookies, text })
        };
        let absent = |why: String| HttpError::Absent { address: address.clone(), why };
        let asked = tokio::task::spawn_blocking(asking).await.map_err(|error| absent(error.to_string()))?;
        asked.map_err(|error| absent(why(&error)))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing in here can be half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it is not to be asked.
    fn respite(&self) -> Option<Duration> {
        let respite = self.known().not_before?.saturating_duration_since(Instant::now());
        (!respite.is_zero()).then_some(respite)
    }

    async fn wait_until_welcome(&self) {
        while let Some(respite) = self.respite() {
            tokio::time::sleep(respite).await;
        }
    }

    /// A service that repeats what it was given tells nobody else.
    pub(super) fn struck(&self, said: &str) -> String {
        let said = self.identity.struck(said);
        let session = self.known().session.clone();
        let values = session
            .iter()
            .flat_map(|session| session.shown_to_its_service().split("; "))
            .filter_map(|pair| pair.split_once('='));
        values.fold(said, |said, (_, value)| if value.is_empty() { said } else { said.replace(value, STRUCK) })
    }
}

/// What a cookie is sent back as (RFC 6265, section 5.2): without what says where and how long, which one service and one run are.
fn cookie(set: &str) -> Option<String> {
    let pair = set.split(';').next()?.trim();
    let is_whole = pair.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    (is_whole && pair.bytes().all(|byte| byte.is_ascii_graphic())).then(|| pair.to_owned())
}

/// How long a service that limits its callers wants to be left alone, by the headers of its answer.
fn respite(status: u16, header: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let number = |name: &str| header(name)?.trim().parse::<u64>().ok();
    let is_used_up = number("x-ratelimit-remaining") == Some(0);
    let asked_to = number("retry-after").filter(|_| matches!(status, 403 | 429 | 503)).map(Duration::from_secs);
    let until_reset = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The clock of the service may be a little behind.
        let reset = Duration::from_secs(number("x-ratelimit-reset")? + 1);
        Some(reset.saturating_sub(now))
    };
    let respite = match asked_to {
        Some(respite) => Some(respite),
        None if is_used_up => until_reset().or(Some(USUAL_RESPITE)),
        None if status == 429 => Some(USUAL_RESPITE),
        None => None,
    };
    respite.map(|respite| respite.min(LONGEST_RESPITE))
}

fn why(error: &Error) -> String {
    match error {
        Error::Timeout(_) => format!("nothing came within {} s", LONGEST_CALL.as_secs()),
        other => other.to_string(),
    }
}

/// What a service says of why it refused: the message of its JSON where there is one, else its first line.
fn said(text: &str) -> String {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let message = json
        .as_ref()
        .and_then(|json| json.get("message").or_else(|| json.pointer("/error/message")).or_else(|| json.get("error")));
    let said = match message {
        Some(Value::String(message)) => message.clone(),
        Some(other) => other.to_string(),
        None => text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned(),
    };
    let plain: String = said.chars().filter(|c| !c.is_control()).collect();
    let end = (0..=TOLD_BYTES.min(plain.len())).rev().find(|&at| plain.is_char_boundary(at)).unwrap_or_default();
    if end == 0 { String::new() } else { format!(": {}", &plain[..end]) }
}

/// `text` as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_of_a_refusal_is_short_and_cannot_reach_the_terminal() {
        assert_eq!(said(r#"{"message": "Bad credentials", "status": "401"}"#), ": Bad credentials");
        assert_eq!(
            said(r#"{"error": {"code": -32602, "message": {"reason": "too long"}}}"#),
            r#": {"reason":"too long"}"#
        );
        assert_eq!(said("\n  <html>\x1b[31mNo\n<p>"), ": <html>[31mNo");
        assert_eq!(said(""), "");
        assert_eq!(said(&"ü".repeat(1000)).len(), TOLD_BYTES + 2);
    }

    #[test]
    fn a_service_that_limits_its_callers_is_left_alone_for_as_long_as_it_says() {
        let respite = |status: u16, headers: &[(&str, &str)]| {
            respite(status, |name| headers.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(respite(200, &[("x-ratelimit-remaining", "12")]), None);
        assert_eq!(respite(429, &[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(respite(403, &[("retry-after", "7"), ("x-ratelimit-remaining", "0")]), Some(Duration::from_secs(7)));
        assert_eq!(respite(429, &[]), Some(USUAL_RESPITE));
        assert_eq!(respite(403, &[]), None, "that one may not, however long one waits");
        assert_eq!(respite(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")]), Some(Duration::ZERO));
        let far = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999")];
        assert_eq!(respite(200, &far), Some(LONGEST_RESPITE));
    }

    #[test]
    fn of_a_cookie_its_name_and_value_are_sent_back() {
        assert_eq!(cookie("TWISTED_SESSION=a.b=; Path=/; HttpOnly").as_deref(), Some("TWISTED_SESSION=a.b="));
        for odd in ["", "=a", "nothing", "a=b c; Path=/"] {
            assert_eq!(cookie(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_name_in_an_address_is_no_part_of_its_making() {
        assert_eq!(encoded("linux x86/gates?a=b&ü"), "linux%20x86%2Fgates%3Fa%3Db%26%C3%BC");
    }
}
