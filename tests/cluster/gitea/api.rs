//! Gitea's API, asked as the user who owns the repositories.

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::server::{PASSWORD, USER};

/// Where it is asked.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    url: String,
}

impl Api {
    pub(crate) fn new(url: String) -> Self {
        // Somebody else in this process may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { client: Client::builder().no_proxy().build().unwrap(), url }
    }

    /// The root of everything that Gitea serves.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it answers.
    pub(crate) async fn is_up(&self) -> bool {
        let answer = self.client.get(format!("{}/api/healthz", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Value {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Value {
        self.ask(Method::DELETE, path, None).await
    }

    /// A file as it is.
    pub(crate) async fn text(&self, path: &str) -> String {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, body) = self.send(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_default()
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, String) {
        let url = format!("{}/api/v1/{path}", self.url);
        let mut request = self.client.request(method, url).basic_auth(USER, Some(PASSWORD));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}
