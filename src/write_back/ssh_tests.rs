//! Over SSH, with a server in this process that lets Git itself answer.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::server::{Auth, Config, Handler, Msg, Session, VerifiedPublicKey, run_stream};
use russh::{Channel, ChannelId};
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::*;
use crate::analysis::Secret;

/// What keys are made of: that of the server, that of the replica, and that of somebody else.
const SERVER: u8 = 1;
const REPLICA: u8 = 2;
const OTHER: u8 = 3;

fn key(seed: u8) -> PrivateKey {
    let pair = Ed25519Keypair::from_seed(&[seed; 32]);
    PrivateKey::new(KeypairData::Ed25519(pair), "").unwrap()
}

/// A server that lets the replica's key in.
struct SshServer {
    port: u16,
    /// Keys that were shown to it.
    shown: Arc<AtomicUsize>,
}

struct Connection {
    shown: Arc<AtomicUsize>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl SshServer {
    async fn start() -> Self {
        let config = Config {
            keys: vec![key(SERVER)],
            auth_rejection_time: std::time::Duration::ZERO,
            ..Config::default()
        };
        let (config, shown) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown_to = Arc::clone(&shown);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection { shown: Arc::clone(&shown_to), channels: HashMap::new() };
                let config = Arc::clone(&config);
                // A client that does not trust the server breaks off.
                tokio::spawn(
                    async move { drop(run_stream(config, stream, connection).await.unwrap().await) },
                );
            }
        });
        Self { port, shown }
    }

    /// The line of its key.
    fn known_host(&self, seed: u8) -> String {
        format!("[127.0.0.1]:{} {}", self.port, key(seed).public_key().to_openssh().unwrap())
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, shown: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.shown.fetch_add(1, Ordering::Relaxed);
        let is_known = shown.public_key.key_data() == key(REPLICA).public_key().key_data();
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = String::from_utf8(data.to_vec()).unwrap();
        let (program, folder) = command.split_once(' ').unwrap();
        let mut child = Command::new("git")
            .args([program.strip_prefix("git-").unwrap(), folder.trim_matches('\'')])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let channel = self.channels.remove(&id).unwrap();
        let handle = session.handle();
        session.channel_success(id)?;
        let (mut from_client, mut to_client) = split(channel.into_stream());
        tokio::spawn(async move { drop(copy(&mut from_client, &mut input).await) });
        tokio::spawn(async move {
            copy(&mut output, &mut to_client).await.unwrap();
            to_client.flush().await.unwrap();
            let code = child.wait().await.unwrap().code().unwrap_or(1);
            let _ = handle.exit_status_request(id, code.unsigned_abs()).await;
            let _ = handle.eof(id).await;
            let _ = handle.close(id).await;
        });
        Ok(())
    }
}

/// What a replica with a key, that knows hosts by these lines, makes of a bad version.
async fn carry_out(server: &SshServer, known_hosts: String, seed: u8) -> (Ground, Result<Written, Failure>) {
    let (ground, _) = after_a_bad_version();
    let url = format!("ssh://git@127.0.0.1:{}{}", server.port, ground.path("server").display());
    let private = key(seed).to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap();
    let credentials =
        Credentials::Key { private: Secret::new(private.as_str()), passphrase: None, known_hosts };
    let folder = ground.path("one");
    let work = move || order().carry_out(&Repository::open(&folder, &url, credentials)?);
    let written = tokio::task::spawn_blocking(work).await.unwrap();
    (ground, written)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_is_reverted_over_ssh() {
    let server = SshServer::start().await;
    let (ground, written) = carry_out(&server, server.known_host(SERVER), REPLICA).await;
    assert!(matches!(written, Ok(Written::Commit(_))), "{written:?}");
    assert_eq!(ground.file("main", "web/rollout.yaml"), image(1).trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_the_known_one_is_shown_no_key() {
    let server = SshServer::start().await;
    for (lines, part) in [
        (server.known_host(OTHER), "knownHosts has another key for it"),
        ("[127.0.0.2]:22 ssh-ed25519 AAAA".to_owned(), "knownHosts has no key of this kind for it"),
    ] {
        let (ground, written) = carry_out(&server, lines, REPLICA).await;
        let why = written.unwrap_err().why;
        assert!(why.contains(part), "{why}");
        assert_eq!(ground.count("main"), "2");
    }
    assert_eq!(server.shown.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_named() {
    let server = SshServer::start().await;
    let (_, written) = carry_out(&server, server.known_host(SERVER), OTHER).await;
    let why = written.unwrap_err().why;
    assert!(why.contains("it refused the credentials"), "{why}");
}
