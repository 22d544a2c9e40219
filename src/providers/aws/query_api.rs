//! AWS's older APIs: a form goes out, XML comes back.

use std::time::Duration;

use reqwest::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::Hidden;
use super::super::http::{self, HttpClients};
use super::Aws;
use crate::analysis::query::access::{CertificateCheck, SigV4};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A service of AWS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// Its name in signatures and host names.
    pub(super) name: &'static str,
    /// Its name in `AWS_ENDPOINT_URL_` variables.
    pub(super) endpoint: &'static str,
    /// The version of its API.
    pub(super) version: &'static str,
    /// Who wants it asked.
    pub(super) asked_by: AskedBy,
}

/// Who wants a service asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedBy {
    /// Metrics, which may ask some servers only.
    Metrics,
    /// The controller.
    Controller,
}

/// A list.
#[derive(Debug, Deserialize)]
pub(super) struct Members<T> {
    #[serde(default = "Vec::new")]
    pub(super) member: Vec<T>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { member: Vec::new() }
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Error")]
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

impl Aws {
    /// Asks a service in a region, with the credentials that are nearest.
    ///
    /// # Errors
    /// Why there is no answer, in one sentence.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        clients: &HttpClients,
        service: Service,
        region: &str,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<T, String> {
        let asked = self.send(clients, service, region, action, parameters);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        answer.map_err(|why| format!("{action}: {why}"))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        clients: &HttpClients,
        service: Service,
        region: &str,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<T, String> {
        let usual = format!("https://{}.{region}.{}", service.name, domain(region));
        let address = self.environment.endpoint(service.endpoint).unwrap_or(&usual);
        let url = http::parse_url(address)?;
        let (client, url) = match service.asked_by {
            AskedBy::Metrics => clients.for_metric(url, CertificateCheck::On)?,
            AskedBy::Controller => clients.for_url(url, CertificateCheck::On)?,
        };
        let named =
            [("Action", action), ("Version", service.version)].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let form: Vec<_> = named.iter().chain(parameters).collect();
        let mut request: Request =
            client.post(url).form(&form).build().map_err(|error| http::cause(&error))?;
        let who = SigV4 { region: Some(region.to_owned()), ..SigV4::default() };
        let mut hidden = Hidden::default();
        self.sign(&mut request, service.name, &who, &mut hidden).await?;
        let response = client.execute(request).await.map_err(|error| http::cause(&error))?;
        let (status, later) = (response.status(), http::aside(&response));
        let body = http::read(response).await?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.forget(&who);
        }
        if status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return quick_xml::de::from_str(&text)
                .map_err(|_| format!("its answer cannot be read{}", http::quote(&body, &hidden)));
        }
        Err(refusal(&body, &hidden)
            .unwrap_or_else(|| format!("it answered {status}{later}{}", http::quote(&body, &hidden))))
    }
}

/// What AWS says against a request.
fn refusal(body: &[u8], hidden: &Hidden) -> Option<String> {
    let refusal: Refusal = quick_xml::de::from_str(&String::from_utf8_lossy(body)).ok()?;
    let Reason { code, message } = refusal.error;
    Some(hidden.redact(&format!("{code}: {message}")))
}

/// The domain of AWS's hosts in a region.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}
