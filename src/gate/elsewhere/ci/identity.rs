//! As whom lexpr asks a CI service. What proves it comes from lexpr's environment, is shown to that service alone and is written
//! nowhere.

use std::ffi::OsString;
use std::fmt;

use crate::plan::ci_service::Credentials;

/// Something that nobody is to read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(value: String) -> Self {
        Self(value)
    }

    pub(super) fn shown_to_its_service(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Clone, Debug)]
pub(super) enum Identity {
    Nobody,
    /// Shown with each question (RFC 6750).
    Token(Secret),
    /// Shown once, for a session (RFC 7617).
    Login {
        user: Secret,
        password: Secret,
    },
}

impl Identity {
    /// # Errors
    /// A variable that holds nothing of use, by its name.
    pub(super) fn of(credentials: &Credentials, environment: &[(OsString, OsString)]) -> Result<Self, String> {
        let held = |key: &str, name: &str, is_fit: fn(char) -> bool| {
            let value = environment.iter().find(|(of, _)| *of == *name).and_then(|(_, value)| value.to_str());
            // A file that was read into a variable ends with a line break.
            let value = value.map(|value| value.trim_end_matches(['\r', '\n']));
            let fit = value.filter(|value| !value.is_empty() && value.chars().all(is_fit));
            fit.map(|value| Secret(value.to_owned()))
                .ok_or_else(|| format!("the variable {name}, which `{key}` names, holds none"))
        };
        Ok(match credentials {
            Credentials::None => Self::Nobody,
            Credentials::Token { env } => Self::Token(held("tokenEnv", env, |c| c.is_ascii_graphic())?),
            Credentials::Login { user_env, password_env } => Self::Login {
                // What stands behind a colon is the password.
                user: held("userEnv", user_env, |c| !c.is_control() && c != ':')?,
                password: held("passwordEnv", password_env, |c| !c.is_control())?,
            },
        })
    }

    /// What goes with each question, beside a session.
    pub(super) fn bearer(&self) -> Option<String> {
        match self {
            Self::Token(Secret(token)) => Some(format!("Bearer {token}")),
            Self::Nobody | Self::Login { .. } => None,
        }
    }

    /// What a session is asked for with.
    pub(super) fn login(&self) -> Option<String> {
        match self {
            Self::Login { user: Secret(user), password: Secret(password) } => {
                Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
            }
            Self::Nobody | Self::Token(_) => None,
        }
    }

    /// `said` without what proves who asks: a service may repeat what it was given.
    pub(super) fn struck(&self, said: &str) -> String {
        match self {
            Self::Nobody => said.to_owned(),
            Self::Token(Secret(token)) => said.replace(token, STRUCK),
            Self::Login { password: Secret(password), .. } => {
                let header = self.login().unwrap_or_default();
                let encoded = header.trim_start_matches("Basic ");
                said.replace(encoded, STRUCK).replace(password, STRUCK)
            }
        }
    }
}

pub(super) const STRUCK: &str = "***";

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 0x3f) as usize];
            text.push(if at > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(credentials: &Credentials, value: &str) -> Result<Identity, String> {
        Identity::of(credentials, &[("SECRET".into(), value.into()), ("USER_NAME".into(), "ann".into())])
    }

    #[test]
    fn what_proves_who_asks_is_in_no_text() {
        let token = Credentials::Token { env: "SECRET".to_owned() };
        let login = Credentials::Login { user_env: "USER_NAME".to_owned(), password_env: "SECRET".to_owned() };
        for credentials in [&token, &login] {
            let identity = of(credentials, "hush-hush\n").unwrap();
            assert!(!format!("{identity:?}").contains("hush"));
            assert_eq!(identity.struck("bad credentials: hush-hush"), "bad credentials: ***");
        }
        let identity = of(&login, "hush-hush").unwrap();
        assert_eq!(identity.login().as_deref(), Some("Basic YW5uOmh1c2gtaHVzaA=="));
        assert_eq!(identity.struck("for YW5uOmh1c2gtaHVzaA=="), "for ***");
        for unfit in ["", "\n", "a\nb", "a b"] {
            let said = of(&token, unfit).unwrap_err();
            assert_eq!(said, "the variable SECRET, which `tokenEnv` names, holds none");
        }
        let swapped = Credentials::Login { user_env: "SECRET".to_owned(), password_env: "MISSING".to_owned() };
        assert!(of(&swapped, "a:b").unwrap_err().contains("userEnv"));
        assert!(of(&swapped, "a").unwrap_err().contains("MISSING"));
    }

    #[test]
    fn base64_is_that_of_its_standard() {
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(cases.map(|case| base64(case.as_bytes())), expected);
    }
}
