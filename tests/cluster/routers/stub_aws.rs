//! AWS as far as load balancers go: one that follows an Ingress, or stays as it is, or cannot be asked. Its targets are nodes,
//! as nobody publishes endpoints here.

use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{api, found};

/// The host of its only load balancer.
pub(crate) const HOST: &str = "k8s-shop-0123456789-42.eu-central-1.elb.amazonaws.com";
const INGRESS: super::Kind = ("networking.k8s.io", "v1", "Ingress", "ingresses");
const SERVICES: [&str; 2] = ["canary", "stable"];
const ACTION: &str =
    "/metadata/annotations/alb.ingress.kubernetes.io~1actions.stable#/ForwardConfig/TargetGroups";

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// The load balancer follows at once.
    Follows,
    /// It stays as it is.
    Stays,
    /// Nobody may ask.
    Denies,
}

/// The server.
pub(crate) struct StubAws {
    url: String,
    state: Arc<State>,
}

struct State {
    client: Client,
    namespace: OnceLock<String>,
    mood: Mutex<Mood>,
    /// The weights of both target groups.
    weights: Mutex<[u64; 2]>,
    /// How often the rules were asked for, or would have been.
    asked: watch::Sender<usize>,
}

impl StubAws {
    pub(crate) async fn start(client: Client) -> Self {
        let state = Arc::new(State {
            client,
            namespace: OnceLock::new(),
            mood: Mutex::new(Mood::Follows),
            weights: Mutex::new([0, 100]),
            asked: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answering = Arc::clone(&state);
        let answer = move |body: Bytes| {
            let state = Arc::clone(&answering);
            async move { state.answer(&body).await }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self { url, state }
    }

    /// The environment of a controller that asks it, about the Ingress of a namespace.
    pub(crate) fn environment(&self, namespace: &str) -> Vec<(String, String)> {
        self.state.namespace.set(namespace.to_owned()).unwrap();
        let variables = [
            ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLEEXAMPLE00"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Waits until it was asked so many times more.
    pub(crate) async fn until_asked(&self, times: usize) {
        let mut asked = self.state.asked.subscribe();
        let before = *asked.borrow();
        asked.wait_for(|now| *now >= before + times).await.unwrap();
    }
}

impl State {
    async fn answer(&self, body: &[u8]) -> Response {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
        let action = form.iter().find(|(name, _)| name == "Action").map_or("", |(_, action)| action.as_str());
        if *self.mood.lock().unwrap() == Mood::Denies {
            self.asked.send_modify(|asked| *asked += 1);
            let error = "<Error><Code>AccessDenied</Code><Message>not authorized</Message></Error>";
            return (StatusCode::FORBIDDEN, format!("<ErrorResponse>{error}</ErrorResponse>"))
                .into_response();
        }
        let (list, members) = match action {
            "DescribeLoadBalancers" => {
                ("LoadBalancers", format!("<LoadBalancerArn>lb</LoadBalancerArn><DNSName>{HOST}</DNSName>"))
            }
            "DescribeListeners" => ("Listeners", "<ListenerArn>80</ListenerArn>".to_owned()),
            "DescribeRules" => ("Rules", self.rule().await),
            "DescribeTargetGroups" => {
                ("TargetGroups", group("canary") + "</member><member>" + &group("stable"))
            }
            "DescribeTags" => {
                ("TagDescriptions", self.tags("canary") + "</member><member>" + &self.tags("stable"))
            }
            "DescribeTargetHealth" => {
                let health =
                    "<Target><Id>i-1</Id></Target><TargetHealth><State>healthy</State></TargetHealth>";
                ("TargetHealthDescriptions", health.to_owned())
            }
            other => panic!("{other}"),
        };
        let members = if members.is_empty() { members } else { format!("<member>{members}</member>") };
        format!(
            "<{action}Response><{action}Result><{list}>{members}</{list}></{action}Result></{action}Response>"
        )
        .into_response()
    }

    async fn rule(&self) -> String {
        if *self.mood.lock().unwrap() == Mood::Follows {
            let ingress = api(&self.client, self.namespace(), INGRESS).get("shop").await.unwrap();
            let groups = found(&serde_json::to_value(ingress).unwrap(), ACTION).unwrap();
            let weight = |service: &str| {
                let mut groups = groups.as_array().unwrap().iter();
                groups
                    .find(|group| group["ServiceName"] == service)
                    .map(|group| group["Weight"].as_u64().unwrap())
            };
            *self.weights.lock().unwrap() = SERVICES.map(|service| weight(service).unwrap_or_default());
        }
        self.asked.send_modify(|asked| *asked += 1);
        let weights = *self.weights.lock().unwrap();
        let groups = SERVICES.iter().zip(weights).map(|(service, weight)| {
            format!("<member><TargetGroupArn>{service}</TargetGroupArn><Weight>{weight}</Weight></member>")
        });
        let groups: String = groups.collect();
        format!(
            "<Actions><member><ForwardConfig><TargetGroups>{groups}</TargetGroups></ForwardConfig></member></Actions>"
        )
    }

    fn tags(&self, service: &str) -> String {
        let resource = format!("{}/shop-{service}:80", self.namespace());
        format!(
            "<ResourceArn>{service}</ResourceArn><Tags><member><Key>ingress.k8s.aws/resource</Key><Value>{resource}</Value>\
             </member></Tags>"
        )
    }

    fn namespace(&self) -> &str {
        self.namespace.get().unwrap()
    }
}

fn group(service: &str) -> String {
    format!("<TargetGroupArn>{service}</TargetGroupArn><TargetType>instance</TargetType>")
}

/// The status of an Ingress that has the load balancer.
pub(crate) fn ingress_status() -> Value {
    serde_json::json!({"status": {"loadBalancer": {"ingress": [{"hostname": HOST}]}}})
}
