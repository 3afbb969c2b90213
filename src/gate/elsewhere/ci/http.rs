//! Asking a CI service over HTTP, for JSON. What its answers mean is the caller's; that a service may be away for a while is
//! known here.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
}

impl Http {
    pub(super) fn new(base: impl Into<String>) -> Self {
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
        Self { agent: config.new_agent(), base: base.into() }
    }

    /// Asks something that may be asked again: while there is nobody to answer, it is.
    pub(super) async fn get(&self, path: &str) -> Result<Value, HttpError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.send(path, None).await {
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
        let asking = move || -> Result<(u16, Vec<u8>), Error> {
            let mut answer = match body {
                None => agent.get(&asked).call()?,
                Some(body) => agent.post(&asked).content_type("application/json").send(body)?,
            };
            let text = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec()?;
            Ok((answer.status().as_u16(), text))
        };
        let absent = |why: String| HttpError::Absent { address: address.clone(), why };
        let asked = tokio::task::spawn_blocking(asking).await.map_err(|error| absent(error.to_string()))?;
        let (status, text) = asked.map_err(|error| absent(why(&error)))?;
        if !(200..300).contains(&status) {
            return Err(HttpError::Refused { said: said(&text), address, status });
        }
        serde_json::from_slice(&text).map_err(|error| HttpError::Garbled { address, why: error.to_string() })
    }
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
    fn a_name_in_an_address_is_no_part_of_its_making() {
        assert_eq!(encoded("linux x86/gates?a=b&ü"), "linux%20x86%2Fgates%3Fa%3Db%26%C3%BC");
    }
}
