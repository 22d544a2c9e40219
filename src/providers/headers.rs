//! The headers of a request: those of the metric, and the one that says who asks.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::{Hidden, Shared};
use crate::analysis::Secret;
use crate::analysis::query::access::{CertificateCheck, Credentials};

/// Hides the password in a URL, and what the client sends in its place.
pub(super) fn hide_userinfo(client: &reqwest::Client, url: &Url, hidden: &mut Hidden) {
    let Some(password) = url.password() else { return };
    hidden.add(&Secret::new(password));
    let request = client.get(url.clone()).build().ok();
    if let Some(value) = request.as_ref().and_then(|request| request.headers().get(AUTHORIZATION)) {
        hide_sent(value, hidden);
    }
}

/// A server may repeat what it got, encoded as it is.
fn hide_sent(value: &HeaderValue, hidden: &mut Hidden) {
    let sent = value.to_str().unwrap_or_default();
    hidden.add(&Secret::new(sent.split_once(' ').map_or(sent, |(_, credentials)| credentials)));
}

/// What the headers are made of.
pub(super) struct Wanted<'a> {
    pub(super) headers: &'a [(String, Secret)],
    pub(super) credentials: Option<&'a Credentials>,
    pub(super) certificate: CertificateCheck,
}

impl Wanted<'_> {
    /// The headers; a token that is in them is hidden from now on.
    pub(super) async fn make(
        &self,
        shared: &Shared,
        client: &reqwest::Client,
        hidden: &mut Hidden,
    ) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let header =
                HeaderName::try_from(name.as_str()).map_err(|_| format!("'{name}' is not a header name"))?;
            let value = HeaderValue::try_from(value.reveal()).map_err(|_| {
                format!("the value of header '{name}' has characters that a header cannot have")
            })?;
            headers.append(header, value);
        }
        let request = client.get("http://localhost/");
        let request = match self.credentials {
            // A signature is about the whole request, and comes last.
            Some(Credentials::SigV4(_)) | None => return Ok(headers),
            Some(Credentials::Basic { username, password }) => {
                request.basic_auth(username, Some(password.reveal()))
            }
            Some(Credentials::OAuth2(oauth2)) => {
                let token = shared.tokens.token(oauth2, &shared.clients, self.certificate).await?;
                hidden.add(&token);
                request.bearer_auth(token.reveal())
            }
            Some(Credentials::Google { key }) => {
                let token = shared.google.token(key.as_ref()).await?;
                hidden.add(&token);
                request.bearer_auth(token.reveal())
            }
        };
        // The request is never sent: it is the client's own way to write the header.
        let mut request =
            request.build().map_err(|_| "the credentials have characters that a header cannot have")?;
        if let Some(value) = request.headers_mut().remove(AUTHORIZATION) {
            hide_sent(&value, hidden);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}
