//! Asking a CI service over HTTP, for JSON. What its answers mean is the caller's; that a service may be away for a while is
//! known here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error};

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

/// What a service knows somebody by. It is written nowhere.
#[derive(Clone)]
pub(super) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// `None`: there is none in it, or none that a header could hold.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }
}

/// One service.
#[derive(Clone, Debug)]
pub(super) struct Http {
    agent: Agent,
    /// Without a slash at its end.
    base: String,
    token: Option<Token>,
    known: Arc<Mutex<Known>>,
}

/// What the service has said that holds for what is asked next.
#[derive(Debug, Default)]
struct Known {
    /// By path: its answer, and by what it knows whether that is still so.
    answers: HashMap<String, (String, Value)>,
    /// It is not to be asked before.
    not_before: Option<Instant>,
}

/// An answer as it came.
struct Answer {
    status: u16,
    etag: Option<String>,
    respite: Option<Duration>,
    text: Vec<u8>,
}

impl Http {
    pub(super) fn new(base: impl Into<String>) -> Self {
        Self::with_token(base, None)
    }

    pub(super) fn with_token(base: impl Into<String>, token: Option<Token>) -> Self {
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
        Self { agent: config.new_agent(), base: base.into(), token, known: Arc::default() }
    }

    /// Asks something that may be asked again: while there is nobody to answer, it is.
    pub(super) async fn get(&self, path: &str) -> Result<Value, HttpError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            self.wait_until_welcome().await;
            match self.send(path, None).await {
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
        self.send(path, None).await
    }

    /// Asks once. One that is not waited for may have been heard all the same.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, HttpError> {
        self.send(path, Some(body.to_string())).await
    }

    async fn send(&self, path: &str, body: Option<String>) -> Result<Value, HttpError> {
        let (agent, address) = (self.agent.clone(), format!("{}{path}", self.base));
        let asked = address.clone();
        let authorization = self.token.as_ref().map(|token| format!("Bearer {}", token.0));
        let before = if body.is_none() { self.known().answers.get(path).cloned() } else { None };
        let etag = before.as_ref().map(|(etag, _)| etag.clone());
        let asking = move || -> Result<Answer, Error> {
            let mut answer = match body {
                None => {
                    let headers = [("authorization", authorization), ("if-none-match", etag)];
                    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
                    headers.fold(agent.get(&asked), |get, (name, value)| get.header(name, value)).call()?
                }
                Some(body) => agent.post(&asked).content_type("application/json").send(body)?,
            };
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            let (etag, status) = (header("etag"), answer.status().as_u16());
            let respite = respite(status, header);
            let text = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec()?;
            Ok(Answer { status, etag, respite, text })
        };
        let absent = |why: String| HttpError::Absent { address: address.clone(), why };
        let asked = tokio::task::spawn_blocking(asking).await.map_err(|error| absent(error.to_string()))?;
        let Answer { status, etag, respite, text } = asked.map_err(|error| absent(why(&error)))?;
        if let Some(respite) = respite {
            self.known().not_before = Some(Instant::now() + respite);
        }
        if let (304, Some((_, before))) = (status, before) {
            return Ok(before);
        }
        if !(200..300).contains(&status) {
            return Err(HttpError::Refused { said: self.struck(&said(&text)), address, status });
        }
        let garbled = |error: serde_json::Error| HttpError::Garbled { address, why: error.to_string() };
        let answer: Value = serde_json::from_slice(&text).map_err(garbled)?;
        if let Some(etag) = etag {
            self.known().answers.insert(path.to_owned(), (etag, answer.clone()));
        }
        Ok(answer)
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
        self.token.as_ref().map_or_else(|| said.to_owned(), |token| said.replace(&token.0, "***"))
    }
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
fn said(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let json: Option<Value> = serde_json::from_str(&text).ok();
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
        assert_eq!(said(br#"{"message": "Bad credentials", "status": "401"}"#), ": Bad credentials");
        assert_eq!(
            said(br#"{"error": {"code": -32602, "message": {"reason": "too long"}}}"#),
            r#": {"reason":"too long"}"#
        );
        assert_eq!(said(b"\n  <html>\x1b[31mNo\n<p>"), ": <html>[31mNo");
        assert_eq!(said(b""), "");
        assert_eq!(said("ü".repeat(1000).as_bytes()).len(), TOLD_BYTES + 2);
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
    fn a_token_is_written_nowhere() {
        let http = Http::with_token("http://127.0.0.1:1", Token::new(" hush-hush\n"));
        assert!(!format!("{http:?}").contains("hush"));
        assert_eq!(http.struck("bad credentials: hush-hush"), "bad credentials: ***");
        assert!(Token::new(" ").is_none() && Token::new("a\nb").is_none());
    }

    #[test]
    fn a_name_in_an_address_is_no_part_of_its_making() {
        assert_eq!(encoded("linux x86/gates?a=b&ü"), "linux%20x86%2Fgates%3Fa%3Db%26%C3%BC");
    }
}
