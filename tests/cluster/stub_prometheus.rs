//! A server that answers like Prometheus, or as badly as one can, and that can go away and come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the server answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A vector of one value.
    Value(f64),
    /// A vector of none.
    Empty,
    /// A page for people.
    Html,
    /// A failure of its own.
    Broken,
}

/// The server.
pub(crate) struct StubPrometheus {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    server: JoinHandle<()>,
}

impl StubPrometheus {
    /// Starts a server on a free port.
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let server = tokio::spawn(serve(listener, answer.clone()));
        Self { address, answer, server }
    }

    /// Its address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Refuses every connection from now on.
    pub(crate) async fn go_away(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    /// Answers again, at the same address.
    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.server = tokio::spawn(serve(listener, self.answer.clone()));
    }
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<Answer>>) {
    let respond = move || {
        let answer = *answer.lock().unwrap();
        async move { respond(answer) }
    };
    axum::serve(listener, Router::new().fallback(respond)).await.unwrap();
}

fn respond(answer: Answer) -> Response {
    let vector = |values: &[f64]| {
        let result: Vec<_> = values
            .iter()
            .map(|value| json!({"metric": {}, "value": [1_700_000_000, value.to_string()]}))
            .collect();
        let body =
            json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string();
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    match answer {
        Answer::Value(value) => vector(&[value]),
        Answer::Empty => vector(&[]),
        Answer::Html => {
            ([(header::CONTENT_TYPE, "text/html")], "<html><body>Sign in</body></html>").into_response()
        }
        Answer::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "out of memory").into_response(),
    }
}
