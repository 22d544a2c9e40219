//! GitHub: the status of a commit, as an app of the repository's owner. The template says which repository and commit.

use std::fmt;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_with::skip_serializing_none;
use url::Url;

use super::{Notice, PATIENCE};
use crate::analysis::Secret;
use crate::analysis::query::HttpRequest;

/// Where GitHub's API is, but for those who run their own.
const API: &str = "https://api.github.com";
/// States that a commit can have.
const STATES: [&str; 4] = ["error", "failure", "pending", "success"];
/// Fewest digits that name a commit.
const SHORTEST: usize = 7;
/// Longest description of a status, in characters.
const DESCRIPTION: usize = 140;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    #[serde(rename = "appID")]
    app_id: IntOrString,
    #[serde(rename = "installationID")]
    installation_id: IntOrString,
    #[serde(rename = "privateKey")]
    private_key: String,
    /// The API of a GitHub of one's own.
    #[serde(rename = "enterpriseBaseURL")]
    enterprise_base_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The repository's URL.
    #[serde(default, rename = "repoURLPath")]
    repo_url: String,
    /// The commit's SHA.
    #[serde(default, rename = "revisionPath")]
    revision: String,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    #[serde(default)]
    state: String,
    label: Option<String>,
    #[serde(rename = "targetURL")]
    target_url: Option<String>,
}

/// What GitHub takes.
#[skip_serializing_none]
#[derive(Serialize)]
struct Body<'a> {
    state: &'a str,
    context: &'a str,
    description: String,
    target_url: Option<&'a str>,
}

/// The status of a commit, and who sets it.
#[derive(Clone, PartialEq)]
pub struct CommitStatus {
    /// Who signs: the number of the app.
    pub app: String,
    /// Its private key, as GitHub gives it out.
    pub key: Secret,
    /// What gives the app a token for the repository's owner, as soon as it is signed.
    pub token: HttpRequest,
    /// What sets the status, as soon as it has the token.
    pub status: HttpRequest,
}

impl fmt::Debug for CommitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitStatus").field("app", &self.app).finish_non_exhaustive()
    }
}

pub(super) fn commit_status(
    settings: Settings,
    notice: &Notice<'_>,
    part: &Part,
) -> Result<CommitStatus, String> {
    let repository = repository(&part.repo_url)?;
    let revision = part.revision.trim();
    if revision.len() < SHORTEST || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("github.revisionPath comes to '{revision}', which is no commit"));
    }
    let state = part.status.state.as_str();
    if !STATES.contains(&state) {
        return Err(format!("github.status.state is '{state}', and not one of {}", STATES.join(", ")));
    }
    let label = part.status.label.as_deref().unwrap_or("serin");
    let description: String = notice.message.chars().take(DESCRIPTION).collect();
    let target_url = part.status.target_url.as_deref();
    let body = json!(Body { state, context: label, description, target_url });
    let api = settings.enterprise_base_url.as_deref().unwrap_or(API).trim_end_matches('/');
    let installation = number("installationID", &settings.installation_id)?;
    let token = format!("{api}/app/installations/{installation}/access_tokens");
    let status = format!("{api}/repos/{repository}/statuses/{revision}");
    let request = |url, body: &serde_json::Value| {
        HttpRequest::post(url, body, PATIENCE).with_header("Accept", "application/vnd.github+json".to_owned())
    };
    Ok(CommitStatus {
        app: number("appID", &settings.app_id)?,
        key: Secret::new(settings.private_key),
        token: request(token, &json!({})),
        status: request(status, &body),
    })
}

/// `owner/name` of a repository's URL, with or without `.git`, by HTTPS or SSH.
fn repository(url: &str) -> Result<String, String> {
    let wrong = || format!("github.repoURLPath comes to '{url}', which is no repository's URL");
    let path = match Url::parse(url) {
        Ok(parsed) => parsed.path().to_owned(),
        Err(_) => url.split_once(':').map(|(_, path)| path.to_owned()).ok_or_else(wrong)?,
    };
    let path = path.trim_matches('/').trim_end_matches(".git");
    match path.split('/').collect::<Vec<_>>()[..] {
        [owner, name] if !owner.is_empty() && !name.is_empty() => Ok(path.to_owned()),
        _ => Err(wrong()),
    }
}

/// A number that may be text: a key of the Secret is.
fn number(field: &str, value: &IntOrString) -> Result<String, String> {
    let text = match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.trim().to_owned(),
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(text).ok_or_else(|| format!("{field} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_any_of_its_addresses() {
        for url in [
            "https://github.com/shop/web",
            "https://github.com/shop/web.git",
            "git@github.com:shop/web.git",
            "ssh://git@github.com/shop/web",
        ] {
            assert_eq!(repository(url), Ok("shop/web".to_owned()), "{url}");
        }
        for url in ["", "shop/web", "https://github.com/shop", "https://github.com/shop/web/tree/main"] {
            assert!(repository(url).is_err(), "{url}");
        }
    }
}
