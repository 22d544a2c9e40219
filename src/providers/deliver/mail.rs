//! Sends a mail.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use url::Url;

use crate::analysis::query::access::{CertificateCheck, is_loopback};
use crate::notify::service::{Encryption, Mail};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends it; the error does not hold the password, which the server does not get before the connection is encrypted.
pub(super) async fn send(mail: &Mail) -> Result<(), String> {
    let tls = TlsParameters::builder(mail.host.clone())
        .dangerous_accept_invalid_certs(mail.certificate == CertificateCheck::Off)
        .build()
        .map_err(|error| format!("cannot encrypt: {error}"))?;
    // What stays on this machine nobody else can read.
    let is_here = Url::parse(&format!("http://{}", mail.host)).is_ok_and(|url| is_loopback(&url));
    let tls = match (mail.encryption, &mail.login) {
        (Encryption::FromTheBeginning, _) => Tls::Wrapper(tls),
        (Encryption::WhenOffered, Some(_)) if !is_here => Tls::Required(tls),
        (Encryption::WhenOffered, _) => Tls::Opportunistic(tls),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
        .port(mail.port)
        .tls(tls)
        .hello_name(ClientId::Domain("serin".to_owned()))
        .timeout(Some(PATIENCE));
    if let Some((name, password)) = &mail.login {
        transport = transport.credentials(Credentials::new(name.clone(), password.reveal().to_owned()));
    }
    transport.build().send(message(mail)?).await.map(drop).map_err(|error| error.to_string())
}

fn message(mail: &Mail) -> Result<Message, String> {
    let mailbox = |address: &str| {
        address.parse::<Mailbox>().map_err(|error| format!("'{address}' is no address: {error}"))
    };
    let content = if mail.is_html { ContentType::TEXT_HTML } else { ContentType::TEXT_PLAIN };
    let (from, to) = (mailbox(&mail.from)?, mailbox(&mail.to)?);
    let domain = from.email.domain().to_owned();
    Message::builder()
        .from(from)
        .to(to)
        .subject(mail.subject.clone())
        // What is sent again is one mail.
        .message_id(Some(format!("<{}@{domain}>", mail.id)))
        .header(content)
        .body(mail.body.clone())
        .map_err(|error| format!("it cannot be written: {error}"))
}
