//! Providers against the real servers: an InfluxDB and a Graphite that hold known values.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value as Json, json};
use serin::analysis::secrets::{Home, Keyring, SecretSource};
use serin::analysis::{MeasureRequest, Query, Sample, Secret, SecretKey, Secrets, Value};
use serin::providers::{Provider, ProviderOptions, Providers, install_tls};
use serin::sandbox::process::{Program, Supervised};
use serin::units::Timestamp;
use tempfile::TempDir;

use crate::pinned;

/// Longest time that a server takes to answer at all.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server of its own folder and port.
struct Server {
    url: String,
    process: Supervised,
    _state: TempDir,
}

impl Server {
    /// Starts the program that `program` makes of a folder and an address, and waits until it answers at `path`.
    async fn start(path: &str, program: impl FnOnce(&Path, SocketAddr) -> Program) -> Self {
        install_tls();
        let state = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Supervised::start(&program(state.path(), address), state.path()).await.unwrap();
        let url = format!("http://{address}");
        let mut server = Self { url, process, _state: state };
        let ready = async {
            let mut pause = tokio::time::interval(Duration::from_millis(50));
            while reqwest::get(format!("{}{path}", server.url)).await.is_err() {
                pause.tick().await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, ready).await;
        let ended = server.process.ended().unwrap();
        assert!(answered.is_ok(), "no answer ({ended:?}): {}", server.process.last_lines(10));
        server
    }

    async fn post(&self, request: reqwest::RequestBuilder) -> Response {
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{response:?}: {}", self.process.last_lines(10));
        response
    }
}

async fn influxdb() -> Server {
    let program = |state: &Path, address: SocketAddr| {
        let folder = state.display();
        // Its own port for backups is any.
        let configuration = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n\
             [meta]\ndir = \"{folder}/meta\"\n[data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\n\
             [http]\nbind-address = \"{address}\"\nauth-enabled = true\nflux-enabled = true\n"
        );
        std::fs::write(state.join("influxdb.conf"), configuration).unwrap();
        Program {
            name: "influxd",
            path: pinned::program("influxd"),
            arguments: ["-config", "influxdb.conf"].map(Into::into).into(),
            environment: Vec::new(),
        }
    };
    let server = Server::start("/ping", program).await;
    let (client, query) = (Client::new(), format!("{}/query", server.url));
    let user = "CREATE USER shop WITH PASSWORD 't0ken' WITH ALL PRIVILEGES";
    server.post(client.post(&query).form(&[("q", user)])).await;
    let as_user = |url: &str| client.post(url).basic_auth("shop", Some("t0ken"));
    server.post(as_user(&query).form(&[("q", "CREATE DATABASE shop")])).await;
    let points = "errors,version=old value=0.75\nerrors,version=new value=0.25\n";
    server.post(as_user(&format!("{}/write?db=shop", server.url)).body(points)).await;
    server
}

async fn graphite() -> Server {
    let program = |state: &Path, address: SocketAddr| {
        let modules =
            pinned::folder("graphite", &[include_str!("graphite/requirements.txt")]).join("graphite");
        assert!(
            modules.is_dir(),
            "{} is missing; build what is missing with `make test-tools`",
            modules.display()
        );
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/graphite");
        Program {
            name: "graphite",
            path: PathBuf::from("/usr/bin/env"),
            arguments: vec!["python3".into(), own.join("serve.py").into(), address.to_string().into()],
            environment: vec![
                ("PYTHONPATH", modules.display().to_string()),
                ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
                ("GRAPHITE_DATA", state.display().to_string()),
            ],
        }
    };
    Server::start("/version", program).await
}

/// A measurement by a provider, with these keys of Secrets.
async fn measure(provider: Json, keys: &[(&str, &str, &str)]) -> Sample {
    let key = |(name, key, value): &(&str, &str, &str)| {
        let key = SecretKey { home: Home::Controller, name: (*name).to_owned(), key: (*key).to_owned() };
        (key, Ok(Some(Secret::new(*value))))
    };
    let secrets: Secrets = keys.iter().map(key).collect();
    let mut ring = Keyring::new(SecretSource::Read(&secrets));
    let at = Timestamp::from_millis(0);
    let query = Query::parse(&serde_json::from_value(provider).unwrap(), at, &mut ring).unwrap();
    let request =
        MeasureRequest { metric: "m".to_owned(), at, query, secrets: ring.used.into_iter().collect() };
    Providers::new(ProviderOptions::default()).measure(&request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_influxdb_says_what_was_written_to_it() {
    let server = influxdb().await;
    let ask = async |query: &str, token: &str| {
        let keys = [
            ("influxdb", "address", server.url.as_str()),
            ("influxdb", "authToken", token),
            ("influxdb", "org", "shop"),
        ];
        measure(json!({"influxdb": {"query": query}}), &keys).await.result
    };
    let of = |version: &str| {
        format!(
            "from(bucket: \"shop/autogen\") |> range(start: -5m) |> filter(fn: (r) => \
             r._measurement == \"errors\" and r.version == \"{version}\") |> last()"
        )
    };
    assert_eq!(ask(&of("new"), "shop:t0ken").await, Ok(Value::Numbers(vec![0.25])));
    assert_eq!(ask(&of("none"), "shop:t0ken").await, Ok(Value::Numbers(vec![])));
    let refused = ask("from(bucket", "shop:t0ken").await.unwrap_err();
    assert!(refused.contains("expected RPAREN"), "{refused}");
    let unknown = ask(&of("new"), "shop:wr0ng").await.unwrap_err();
    assert!(unknown.contains("401 Unauthorized") && unknown.contains("authorization failed"), "{unknown}");
    assert!(!unknown.contains("wr0ng"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_graphite_says_what_its_files_hold() {
    let server = graphite().await;
    let ask = async |query: &str| {
        measure(json!({"graphite": {"address": server.url, "query": query}}), &[]).await.result
    };
    let Ok(Value::Numbers(points)) = ask("target=shop.errors&from=-1min").await else { panic!("no points") };
    assert!(!points.is_empty());
    assert_eq!(points, vec![0.25; points.len()]);
    let scaled = "target=summarize(scale(shop.errors,4),'1h','avg')&from=-10min";
    assert_eq!(ask(scaled).await, Ok(Value::Numbers(vec![1.0])));
    let nothing = ask("shop.nothing").await.unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");
}
