//! What people are told of a Rollout, by real requests to a server that notes them.

use std::collections::BTreeSet;
use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use serin::api::Rollout;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary};
use crate::shared::{DEADLINE, apply, client, kubeconfig, namespace, wait_for_all};

/// A request as the server got it.
#[derive(Clone, Debug)]
struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Value,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A server that stands for every service. While it is down, it answers 503.
struct Services {
    url: String,
    got: Arc<watch::Sender<Vec<Request>>>,
    is_down: Arc<AtomicBool>,
}

type Noted = (Arc<watch::Sender<Vec<Request>>>, Arc<AtomicBool>);

impl Services {
    async fn start() -> Self {
        let (got, is_down) = (Arc::new(watch::channel(vec![]).0), Arc::new(AtomicBool::new(false)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(note).with_state((Arc::clone(&got), Arc::clone(&is_down)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, got, is_down }
    }

    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Waits for a request that is so.
    async fn until(&self, is_so: impl Fn(&Request) -> bool) -> Request {
        let mut got = self.got.subscribe();
        let found = got.wait_for(|all| all.iter().any(&is_so));
        let all = tokio::time::timeout(DEADLINE, found).await;
        let all = all.unwrap_or_else(|_| panic!("no such request among {:#?}", self.got.borrow())).unwrap();
        all.iter().find(|one| is_so(one)).unwrap().clone()
    }
}

async fn note(
    State((got, is_down)): State<Noted>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, &'static str) {
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    let path = uri.path().to_owned();
    let answer = if path.starts_with("/teams") { "1" } else { r#"{"ok": true}"# };
    let is_silent = path.starts_with("/silent");
    got.send_modify(|all| all.push(Request { method, path, headers, body }));
    if is_silent {
        return pending().await;
    }
    if is_down.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "come back later");
    }
    (StatusCode::OK, answer)
}

/// Configures all services at one server, with their key in the Secret.
async fn configure(client: &Client, namespace: &str, services: &Services, more: &[(&str, &str)]) {
    let url = &services.url;
    let template = "
message: '{{.rollout.metadata.name}}: {{.event.message}}'
webhook:
  hook: {method: POST, path: '/{{.rollout.metadata.namespace}}', body: '{\"reason\": \"{{.event.reason}}\"}'}
";
    let mut data = json!({
        "service.slack": format!("{{token: $key, apiURL: '{url}/slack'}}"),
        "service.teams": format!("recipientUrls: {{web: '{url}/teams/$key'}}"),
        "service.pagerdutyv2": format!("{{serviceKeys: {{night: $key}}, apiURL: '{url}/pager'}}"),
        "service.grafana": format!("{{apiUrl: '{url}/grafana', apiKey: $key}}"),
        "service.webhook.silent": format!("url: '{url}/silent'"),
        "service.webhook.hook": format!("{{url: '{url}/hook', headers: [{{name: X-Key, value: $key}}]}}"),
        "trigger.on-rollout-completed": "- send: [told]",
        "trigger.on-rollout-paused": "- send: [told]",
        "template.told": template,
        "subscriptions": "- {recipients: ['grafana:deploys'], triggers: [on-rollout-completed]}",
    });
    for (key, text) in more {
        data[*key] = json!(text);
    }
    apply::<ConfigMap>(client, namespace, serin::notify::CONFIG_MAP, json!({"data": data})).await;
    apply::<Secret>(client, namespace, serin::notify::SECRET, json!({"stringData": {"key": "t0ken-t0ken"}}))
        .await;
}

/// Subscribes recipients of services to triggers.
async fn subscribe(subject: &Subject, to: &[(&str, &str)]) {
    let annotation =
        |(what, who): &(&str, &str)| (format!("notifications.argoproj.io/subscribe.{what}"), json!(who));
    let annotations: Value = to.iter().map(annotation).collect::<serde_json::Map<_, _>>().into();
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    subject.rollouts.patch(subject.name, &PatchParams::default(), &patch).await.unwrap();
}

fn has_nothing_pending(rollout: Option<&Rollout>) -> bool {
    let status = rollout.and_then(|rollout| rollout.status.as_ref());
    status.is_some_and(|status| status.pending_notifications.is_none())
}

fn steps() -> Value {
    canary(json!([{"setWeight": 25}, {"pause": {}}]))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_gets_what_somebody_has_subscribed_to() {
    let (client, services) = (client(), Services::start().await);
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "notified").await;
    configure(&client, &namespace, &services, &[]).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let _controller = ControllerProcess::start_traced(&kubeconfig(), &namespace, log.path());
    let subject = Subject::create(&client, &namespace, "v1", steps()).await;
    subject.until_phase("Healthy").await;
    let annotation = services.until(|request| request.path == "/grafana/annotations").await;
    assert_eq!(annotation.body["tags"], json!(["deploys"]), "by a subscription of all Rollouts");
    assert!(
        annotation.body["text"].as_str().unwrap().starts_with("web: Rollout completed update to revision 1")
    );

    subscribe(
        &subject,
        &[
            ("on-rollout-paused.slack", "ops;web"),
            ("on-rollout-paused.teams", "web"),
            ("on-rollout-paused.pagerdutyv2", "night"),
            ("on-rollout-paused.hook", ""),
        ],
    )
    .await;
    subject.release("v2").await;
    for channel in ["ops", "web"] {
        let message = services.until(|request| request.body["channel"] == channel).await;
        assert_eq!(
            (message.path.as_str(), message.header("authorization")),
            ("/slack/chat.postMessage", "Bearer t0ken-t0ken")
        );
        assert_eq!(message.body["text"], "web: Rollout is paused");
    }
    let card = services.until(|request| request.path == "/teams/t0ken-t0ken").await;
    assert_eq!(card.body["@type"], "MessageCard");
    let alert = services.until(|request| request.path == "/pager/v2/enqueue").await;
    assert_eq!(alert.body["routing_key"], "t0ken-t0ken");
    let hook = services.until(|request| request.path == format!("/hook/{namespace}")).await;
    assert_eq!((hook.method.as_str(), hook.header("x-key")), ("POST", "t0ken-t0ken"));
    assert_eq!(hook.body, json!({"reason": "RolloutPaused"}));

    subject.until(has_nothing_pending).await;
    let paused =
        services.got.borrow().iter().filter(|request| request.path == "/slack/chat.postMessage").count();
    assert_eq!(paused, 2, "each is told once");
    let logged = std::fs::read_to_string(log.path()).unwrap();
    assert!(logged.contains("notified") && !logged.contains("t0ken"), "{logged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_does_not_take_is_sent_again_even_by_the_next_controller() {
    let (client, services) = (client(), Services::start().await);
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "notified-late").await;
    configure(&client, &namespace, &services, &[]).await;
    let mut controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = Subject::create(&client, &namespace, "v1", steps()).await;
    subject.until_phase("Healthy").await;
    services.until(|request| request.path == "/grafana/annotations").await;

    services.set_down(true);
    subscribe(&subject, &[("on-rollout-paused.hook", ""), ("on-rollout-completed.hook", "")]).await;
    subject.release("v2").await;
    let is_pause = |request: &Request| request.body["reason"] == "RolloutPaused";
    let first = services.until(is_pause).await;
    let id = first.header("idempotency-key").to_owned();
    // Who takes nothing keeps no update waiting.
    subject.resume().await;
    subject.until_phase("Healthy").await;
    controller.kill_and_restart().await;
    services.set_down(false);
    services.until(|request| request.body["reason"] == "RolloutCompleted").await;
    subject.until(has_nothing_pending).await;
    let all = services.got.borrow().clone();
    let ids: BTreeSet<_> = all
        .iter()
        .filter(|request| is_pause(request))
        .map(|request| request.header("idempotency-key"))
        .collect();
    assert_eq!(ids, BTreeSet::from([id.as_str()]), "it is the same one each time");
    let order: Vec<_> = all
        .iter()
        .filter(|request| request.path.starts_with("/hook"))
        .map(|request| request.body["reason"].clone())
        .collect();
    assert!(
        order.is_sorted_by_key(|reason| reason == "RolloutCompleted"),
        "in the order in which it happened: {order:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_configuration_is_told_on_it_and_heals() {
    let (client, services) = (client(), Services::start().await);
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "notified-badly").await;
    let wrong = [("service.opsgenie", "apiUrl: x"), ("trigger.on-rollout-completed", "- send: [other]")];
    configure(&client, &namespace, &services, &wrong).await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let told = wait_for_all(&events, "two problems", |events| {
        let told = events.iter().filter(|event| event.reason.as_deref() == Some("InvalidNotificationConfig"));
        let told: Vec<_> = told.map(|event| event.message.clone().unwrap_or_default()).collect();
        (told.len() == 2).then_some(told)
    })
    .await;
    assert!(
        told.iter().any(|problem| problem.starts_with("service.opsgenie: 'opsgenie' is not supported")),
        "{told:?}"
    );
    assert!(told.iter().any(|problem| problem.contains("there is no template.other")), "{told:?}");
    let subject = Subject::create(&client, &namespace, "v1", steps()).await;
    subject.until_phase("Healthy").await;
    let waits = |rollout: Option<&Rollout>| rollout.is_some() && !has_nothing_pending(rollout);
    subject.until(waits).await;
    let mended = [wrong[1], ("template.other", "message: mended")];
    configure(&client, &namespace, &services, &mended).await;
    let told = services.until(|request| request.path == "/grafana/annotations").await;
    assert_eq!(told.body["text"], "mended");
    subject.until(has_nothing_pending).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_answers_keeps_no_update_and_no_other_service_waiting() {
    let (client, services) = (client(), Services::start().await);
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "notified-silent").await;
    configure(&client, &namespace, &services, &[]).await;
    let mut controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = Subject::create(&client, &namespace, "v1", steps()).await;
    subject.until_phase("Healthy").await;
    subscribe(&subject, &[("on-rollout-paused.silent", ""), ("on-rollout-paused.hook", "")]).await;
    subject.release("v2").await;
    services.until(|request| request.path == "/silent").await;
    services.until(|request| request.body["reason"] == "RolloutPaused").await;
    subject.resume().await;
    subject.until_phase("Healthy").await;
    let waits_for = |service: &'static str| {
        move |rollout: Option<&Rollout>| {
            let status = rollout.and_then(|rollout| rollout.status.as_ref());
            let pending = status.and_then(|status| status.pending_notifications.as_ref());
            pending.is_some_and(|pending| pending.iter().all(|one| one.service == service))
        }
    };
    subject.until(waits_for("silent")).await;
    // The next one begins with what is left.
    let asked = |all: &Vec<Request>| all.iter().filter(|request| request.path == "/silent").count();
    let before = asked(&services.got.borrow());
    controller.kill_and_restart().await;
    let mut got = services.got.subscribe();
    let again = got.wait_for(|all| asked(all) > before);
    tokio::time::timeout(DEADLINE, again).await.unwrap().unwrap();
}
