//! A server that answers like Prometheus, or as badly as one can, and that can go away and come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Connections that may wait to be taken.
const BACKLOG: u32 = 128;

/// What the server answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A vector of one value.
    Value(f64),
    /// A vector of none.
    Empty,
    /// A table of one value, as InfluxDB answers.
    Table(f64),
    /// A page for people.
    Html,
    /// A failure of its own.
    Broken,
}

/// The server.
pub(crate) struct StubPrometheus {
    answer: Arc<Mutex<Answer>>,
    /// Bound to the port, but never listening: it keeps the port while the server is away, and connections are refused.
    held: TcpSocket,
    server: Option<Running>,
}

struct Running {
    end: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl StubPrometheus {
    /// Starts a server on a free port.
    pub(crate) fn start(answer: Answer) -> Self {
        let held = socket((Ipv4Addr::LOCALHOST, 0).into());
        let mut stub = Self { answer: Arc::new(Mutex::new(answer)), held, server: None };
        stub.come_back();
        stub
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.held.local_addr().unwrap()
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Refuses every connection from now on; those that are open are closed.
    pub(crate) async fn go_away(&mut self) {
        let Running { end, ended } = self.server.take().expect("it is away already");
        end.send(()).unwrap();
        ended.await.unwrap();
    }

    /// Answers again, at the same address.
    pub(crate) fn come_back(&mut self) {
        let listener = socket(self.address()).listen(BACKLOG).unwrap();
        let (end, ending) = oneshot::channel();
        let ended = tokio::spawn(serve(listener, self.answer.clone(), ending));
        self.server = Some(Running { end, ended });
    }
}

/// A socket with this address, which it may share with others of this user.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<Answer>>, ending: oneshot::Receiver<()>) {
    let respond = move || {
        let answer = *answer.lock().unwrap();
        async move { respond(answer) }
    };
    let server = axum::serve(listener, Router::new().fallback(respond));
    server.with_graceful_shutdown(async { drop(ending.await) }).await.unwrap();
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
        Answer::Table(value) => format!(",result,table,_value\r\n,_result,0,{value}\r\n").into_response(),
        Answer::Html => {
            ([(header::CONTENT_TYPE, "text/html")], "<html><body>Sign in</body></html>").into_response()
        }
        Answer::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "out of memory").into_response(),
    }
}
