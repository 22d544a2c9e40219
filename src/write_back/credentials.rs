//! What a Git server is shown, and what it has to show: credentials from a Secret, certificates, keys of hosts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use git2::{CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode, RemoteCallbacks};

use crate::analysis::Secret;
use crate::gitops::config::Location;
use crate::gitops::known_hosts::{self, Verdict};

/// The user of SSH where the address names none, as all forges have it.
const SSH_USER: &str = "git";

/// What a Git server is shown.
#[derive(Clone, Debug, Default)]
pub(crate) enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A user and a password or token.
    Password {
        /// The user; any text where a token is enough.
        username: String,
        /// The password or token.
        password: Secret,
    },
    /// A key of SSH, and the keys that servers may have.
    Key {
        /// The private key, in the form of OpenSSH or PEM.
        private: Secret,
        /// What it is encrypted with.
        passphrase: Option<Secret>,
        /// Lines of `known_hosts`.
        known_hosts: String,
    },
}

impl Credentials {
    /// Reads them from the data of a Secret.
    ///
    /// # Errors
    /// Which keys are missing.
    pub(crate) fn read(data: &BTreeMap<String, Secret>) -> Result<Self, String> {
        let text = |key: &str| data.get(key).map(Secret::reveal).filter(|text| !text.trim().is_empty());
        if let Some(private) = text("sshPrivateKey") {
            let known_hosts = text("knownHosts").ok_or("knownHosts is missing beside sshPrivateKey")?;
            return Ok(Self::Key {
                private: Secret::new(private),
                passphrase: text("sshPassphrase").map(|text| Secret::new(text.trim())),
                known_hosts: known_hosts.to_owned(),
            });
        }
        let password = text("token").or_else(|| text("password"));
        let password = password.ok_or("it has neither token, nor password, nor sshPrivateKey")?;
        let username = text("username").map_or("git", str::trim);
        Ok(Self::Password { username: username.to_owned(), password: Secret::new(password.trim()) })
    }

    /// What libgit2 shows the server; `Err` where it does not take these.
    fn answer(
        &self,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Result<Cred, git2::Error>, &'static str> {
        let user = user.unwrap_or(SSH_USER);
        match self {
            Self::Password { username, password } if allowed.is_user_pass_plaintext() => {
                Ok(Cred::userpass_plaintext(username, password.reveal()))
            }
            Self::Key { .. } if allowed.is_username() => Ok(Cred::username(user)),
            Self::Key { private, passphrase, .. } if allowed.is_ssh_memory() || allowed.is_ssh_key() => {
                let passphrase = passphrase.as_ref().map(Secret::reveal);
                Ok(Cred::ssh_key_from_memory(user, None, private.reveal(), passphrase))
            }
            Self::None => Err("it asks for credentials: name a Secret with them in repositories.secret"),
            Self::Password { .. } | Self::Key { .. } => Err(
                "it does not take this kind of credentials: a key is for ssh addresses, a token for https",
            ),
        }
    }
}

/// Why a request was given up by us, where it was: libgit2 tells only that.
#[derive(Clone, Default)]
pub(super) struct GivenUp(Rc<RefCell<Option<&'static str>>>);

impl GivenUp {
    /// The reason, for people.
    pub(super) fn why(&self) -> Option<&'static str> {
        *self.0.borrow()
    }

    fn because(&self, why: &'static str) -> git2::Error {
        self.0.replace(Some(why));
        git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, why)
    }
}

/// Callbacks that show `credentials` to the server of `location` alone, and once.
pub(super) fn callbacks<'a>(
    credentials: &'a Credentials,
    location: Option<&'a Location>,
    given_up: &GivenUp,
) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    let mut shown = false;
    let reasons = given_up.clone();
    callbacks.credentials(move |url, user, allowed| {
        // Another server, to which this one has sent us, gets nothing.
        if !location.zip(Location::parse(url).ok()).is_some_and(|(known, asking)| known.is_server_of(&asking))
        {
            return Err(reasons.because("it leads to another server, which gets no credentials"));
        }
        if !allowed.is_username() {
            if shown {
                return Err(reasons.because("it refused the credentials: renew what the Secret has"));
            }
            shown = true;
        }
        credentials.answer(user, allowed).unwrap_or_else(|why| Err(reasons.because(why)))
    });
    let reasons = given_up.clone();
    callbacks.certificate_check(move |certificate, host| {
        let Some(key) = certificate.as_hostkey() else {
            return Ok(CertificateCheckStatus::CertificatePassthrough);
        };
        let Credentials::Key { known_hosts, .. } = credentials else {
            return Err(reasons.because("there are no knownHosts to know it by"));
        };
        let port = location.and_then(Location::port);
        let verdict = key.hostkey().map(|key| known_hosts::look_up(known_hosts, host, port, key));
        match verdict {
            Some(Verdict::Known) => Ok(CertificateCheckStatus::CertificateOk),
            Some(Verdict::Revoked) => Err(reasons.because("its key is revoked in knownHosts")),
            Some(Verdict::Other) => {
                Err(reasons.because("knownHosts has another key for it: somebody may be in between"))
            }
            Some(Verdict::Unknown) | None => {
                Err(reasons.because("knownHosts has no key of this kind for it"))
            }
        }
    });
    callbacks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[(&str, &str)]) -> Result<Credentials, String> {
        Credentials::read(&data.iter().map(|(key, text)| ((*key).to_owned(), Secret::new(*text))).collect())
    }

    #[test]
    fn a_secret_has_a_token_a_password_or_a_key() {
        assert!(
            matches!(read(&[("token", "t\n")]), Ok(Credentials::Password { username, password }) if username == "git" && password.reveal() == "t")
        );
        assert!(
            matches!(read(&[("username", "u"), ("password", "p")]), Ok(Credentials::Password { username, .. }) if username == "u")
        );
        assert!(matches!(read(&[("sshPrivateKey", "k"), ("knownHosts", "h")]), Ok(Credentials::Key { .. })));
        assert!(read(&[("sshPrivateKey", "k")]).unwrap_err().contains("knownHosts is missing"));
        assert!(read(&[("token", " ")]).unwrap_err().contains("neither token"));
    }

    #[test]
    fn credentials_are_not_shown_by_a_debug_print() {
        let shown = format!("{:?}", read(&[("token", "hidden-token")]).unwrap());
        assert!(!shown.contains("hidden-token"), "{shown}");
    }
}
