//! Mail by SMTP. The recipient is an address.

use serde::Deserialize;

use super::Notice;
use crate::analysis::Secret;
use crate::analysis::query::access::CertificateCheck;

/// The port of a connection that is encrypted from its beginning.
const SMTPS: u16 = 465;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    host: String,
    port: u16,
    from: String,
    username: Option<String>,
    password: Option<String>,
    #[serde(default)]
    html: bool,
    #[serde(default)]
    insecure_skip_verify: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    subject: Option<String>,
    body: Option<String>,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// From its beginning.
    FromTheBeginning,
    /// As soon as the server offers it (`STARTTLS`); a password is never sent without.
    WhenOffered,
}

/// One mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// Name of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Whether the server's certificate is checked.
    pub certificate: CertificateCheck,
    /// Name and password; `None` where the server asks for none.
    pub login: Option<(String, Secret)>,
    /// Who sends it.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
    /// Whether the text is HTML.
    pub is_html: bool,
    /// Tells it from others, also when it is sent again.
    pub id: String,
}

pub(super) fn mail(settings: Settings, notice: &Notice<'_>, part: Part) -> Result<Mail, String> {
    let login = match (settings.username, settings.password) {
        (Some(name), Some(password)) => Some((name, Secret::new(password))),
        (None, None) => None,
        _ => return Err("username and password come together: set both, or none".to_owned()),
    };
    let certificate =
        if settings.insecure_skip_verify { CertificateCheck::Off } else { CertificateCheck::On };
    let first_line = || notice.message.lines().next().unwrap_or_default().to_owned();
    Ok(Mail {
        encryption: match settings.port {
            SMTPS => Encryption::FromTheBeginning,
            _ => Encryption::WhenOffered,
        },
        host: settings.host,
        port: settings.port,
        certificate,
        login,
        from: settings.from,
        to: notice.recipient.to_owned(),
        subject: part.subject.unwrap_or_else(first_line),
        body: part.body.unwrap_or_else(|| notice.message.clone()),
        is_html: settings.html,
        id: notice.id.clone(),
    })
}
