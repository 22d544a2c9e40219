//! Load balancers, read from a server that answers in the form that AWS documents.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::tests::{Seen, Server};
use super::super::{LoadBalancers, ProviderOptions, Providers};
use crate::traffic::verification::{Question, Share, Target, TargetKind};

const HOST: &str = "k8s-shop-web-0123456789-42.eu-central-1.elb.amazonaws.com";
const TAG: &str = "ingress.k8s.aws/resource";

fn question(canary: u64) -> Question {
    let share = |service: &str, weight| Share {
        service: service.to_owned(),
        resource: format!("shop/web-{service}:80"),
        weight,
    };
    let shares = [share("canary", canary), share("stable", 100 - canary)];
    Question { ingress: "web".to_owned(), host: Some(HOST.to_owned()), shares, experiments: vec![] }
}

/// An answer of one page, as the API writes it.
fn page(action: &str, list: &str, members: &str, next: &str) -> String {
    format!(
        "<{action}Response xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
         <{action}Result><{list}>{members}</{list}>{next}</{action}Result>\
         <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{action}Response>"
    )
}

fn weighted(arn: &str, weight: u64) -> String {
    format!("<member><TargetGroupArn>arn:{arn}</TargetGroupArn><Weight>{weight}</Weight></member>")
}

fn forward(groups: &str) -> String {
    format!(
        "<member><RuleArn>arn:rule</RuleArn><Priority>1</Priority><Conditions><member><Field>path-pattern</Field>\
         <PathPatternConfig><Values><member>/*</member></Values></PathPatternConfig></member></Conditions>\
         <Actions><member><Type>forward</Type><Order>1</Order><ForwardConfig><TargetGroups>{groups}</TargetGroups>\
         <TargetGroupStickinessConfig><Enabled>false</Enabled></TargetGroupStickinessConfig></ForwardConfig></member>\
         </Actions><IsDefault>false</IsDefault></member>"
    )
}

fn tagged(arn: &str, resource: &str) -> String {
    format!(
        "<member><ResourceArn>arn:{arn}</ResourceArn><Tags><member><Key>elbv2.k8s.aws/cluster</Key><Value>c</Value>\
         </member><member><Key>{TAG}</Key><Value>{resource}</Value></member></Tags></member>"
    )
}

/// What AWS answers about a load balancer whose canary has 20.
fn aws(seen: &Seen) -> Response {
    let action = seen.form["Action"].as_str();
    let marker = seen.form.get("Marker").map(String::as_str);
    let answer = match (action, marker) {
        ("DescribeLoadBalancers", None) => {
            let other =
                "<member><LoadBalancerArn>arn:other</LoadBalancerArn><DNSName>other</DNSName></member>";
            page(action, "LoadBalancers", other, "<NextMarker>more</NextMarker>")
        }
        ("DescribeLoadBalancers", Some("more")) => {
            let name = HOST.to_uppercase();
            let ours = format!(
                "<member><LoadBalancerArn>arn:lb</LoadBalancerArn><DNSName>{name}</DNSName></member>"
            );
            page(action, "LoadBalancers", &ours, "<NextMarker/>")
        }
        ("DescribeListeners", None) => {
            let listeners = "<member><ListenerArn>arn:80</ListenerArn><Port>80</Port></member>\
                 <member><ListenerArn>arn:443</ListenerArn></member>";
            page(action, "Listeners", listeners, "")
        }
        ("DescribeRules", None) if seen.form["ListenerArn"] == "arn:80" => {
            let redirect = "<member><Actions><member><Type>redirect</Type></member></Actions></member>";
            page(action, "Rules", redirect, "")
        }
        ("DescribeRules", None) => {
            let rules = forward(&(weighted("canary", 20) + &weighted("stable", 80)))
                + "<member><Actions><member><Type>forward</Type><TargetGroupArn>arn:docs</TargetGroupArn></member></Actions></member>";
            page(action, "Rules", &rules, "")
        }
        ("DescribeTargetGroups", None) => {
            let group = |arn: &str, kind: &str| {
                format!(
                    "<member><TargetGroupArn>arn:{arn}</TargetGroupArn><TargetType>{kind}</TargetType></member>"
                )
            };
            let groups = group("canary", "ip") + &group("stable", "instance") + &group("docs", "ip");
            page(action, "TargetGroups", &groups, "")
        }
        ("DescribeTags", None) => {
            let tags = tagged("canary", "shop/web-canary:80")
                + &tagged("stable", "shop/web-stable:80")
                + "<member><ResourceArn>arn:docs</ResourceArn><Tags/></member>";
            page(action, "TagDescriptions", &tags, "")
        }
        ("DescribeTargetHealth", None) => {
            let health = "<member><HealthCheckPort>80</HealthCheckPort><Target><Id>10.0.0.2</Id><Port>80</Port></Target>\
                 <TargetHealth><State>initial</State><Reason>Elb.RegistrationInProgress</Reason></TargetHealth></member>";
            page(action, "TargetHealthDescriptions", health, "")
        }
        other => panic!("{other:?}"),
    };
    (StatusCode::OK, [("content-type", "text/xml")], answer).into_response()
}

fn reader(server: &Server) -> LoadBalancers {
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLEEXAMPLE00"),
        ("AWS_SECRET_ACCESS_KEY", "s3cret"),
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &server.url()),
    ];
    let aws = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    Providers::new(ProviderOptions { aws, ..ProviderOptions::default() }).load_balancers()
}

fn actions(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| seen.form["Action"].clone()).collect()
}

#[tokio::test]
async fn a_load_balancer_is_read_with_its_rules_target_groups_and_targets() {
    let server = Server::start(aws).await;
    let found = reader(&server).read(HOST, &question(20), TAG).await.unwrap();
    let rule =
        |weights: &[(&str, u64)]| weights.iter().map(|(arn, weight)| ((*arn).to_owned(), *weight)).collect();
    assert_eq!(found.rules, [rule(&[("arn:canary", 20), ("arn:stable", 80)]), rule(&[("arn:docs", 1)])]);
    let groups: Vec<_> =
        found.groups.iter().map(|group| (group.arn.as_str(), group.resource.as_str(), group.kind)).collect();
    assert_eq!(
        groups,
        [
            ("arn:canary", "shop/web-canary:80", TargetKind::Addresses),
            ("arn:stable", "shop/web-stable:80", TargetKind::Instances)
        ]
    );
    let state = ["10.0.0.2", "initial", "Elb.RegistrationInProgress"].map(str::to_owned);
    let [id, state, reason] = state;
    assert_eq!(found.groups[0].targets, [Target { id, state, reason }]);
    let asked = server.seen();
    assert_eq!(asked[0].form["Version"], "2015-12-01");
    let signed = asked[0].headers["authorization"].to_str().unwrap();
    assert!(signed.contains("/eu-central-1/elasticloadbalancing/aws4_request"), "{signed}");
    let tags = asked.iter().find(|seen| seen.form["Action"] == "DescribeTags").unwrap();
    assert_eq!(tags.form["ResourceArns.member.3"], "arn:docs");
}

#[tokio::test]
async fn what_changes_seldom_is_asked_once() {
    let server = Server::start(aws).await;
    let reader = reader(&server);
    reader.read(HOST, &question(20), TAG).await.unwrap();
    let before = server.seen().len();
    reader.read(HOST, &question(0), TAG).await.unwrap();
    let again = actions(&server).split_off(before);
    assert_eq!(
        again,
        [
            "DescribeListeners",
            "DescribeRules",
            "DescribeRules",
            "DescribeTargetHealth",
            "DescribeTargetHealth"
        ]
    );
}

#[tokio::test]
async fn target_groups_that_are_not_there_yet_are_looked_for_again() {
    let server = Server::start(aws).await;
    let reader = reader(&server);
    let mut other = question(20);
    other.shares[0].resource = "shop/web-new:80".to_owned();
    for _ in 0..2 {
        let found = reader.read(HOST, &other, TAG).await.unwrap();
        assert!(found.groups.iter().all(|group| group.resource != "shop/web-new:80"));
    }
    assert_eq!(actions(&server).iter().filter(|action| *action == "DescribeTags").count(), 2);
}

#[tokio::test]
async fn every_unusable_answer_is_told_in_one_clear_sentence() {
    let refusal = |code: &str, message: &str| {
        format!(
            "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        )
    };
    let denied = "User: me is not authorized to perform: elasticloadbalancing:DescribeLoadBalancers";
    let empty = page("DescribeLoadBalancers", "LoadBalancers", "", "");
    let cases = [
        (StatusCode::FORBIDDEN, refusal("AccessDenied", denied), format!("AccessDenied: {denied}")),
        (
            StatusCode::BAD_REQUEST,
            refusal("Throttling", "Rate exceeded"),
            "Throttling: Rate exceeded".to_owned(),
        ),
        (StatusCode::TOO_MANY_REQUESTS, String::new(), "it answered 429 Too Many Requests".to_owned()),
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "<html>oops</html>".to_owned(),
            "it answered 500 Internal Server Error: <html>oops</html>".to_owned(),
        ),
        (
            StatusCode::OK,
            "<html>Login</html>".to_owned(),
            "its answer cannot be read: <html>Login</html>".to_owned(),
        ),
        (StatusCode::OK, String::new(), "its answer cannot be read".to_owned()),
        (StatusCode::OK, "x".repeat(5 << 20), "the answer is larger than 4 MiB".to_owned()),
        (StatusCode::OK, empty, format!("there is no load balancer {HOST} in eu-central-1")),
    ];
    for (status, body, expected) in cases {
        let body = Arc::new(body);
        let server = Server::start(move |_| (status, (*body).clone())).await;
        let why = reader(&server).read(HOST, &question(20), TAG).await.unwrap_err();
        assert!(why == format!("DescribeLoadBalancers: {expected}") || why == expected, "{why}");
    }
}

#[tokio::test]
async fn a_list_without_end_is_left() {
    let server = Server::start(|seen| {
        page(&seen.form["Action"], "LoadBalancers", "", "<NextMarker>more</NextMarker>")
    })
    .await;
    let why = reader(&server).read(HOST, &question(20), TAG).await.unwrap_err();
    assert_eq!(why, "DescribeLoadBalancers: it has more than 100 pages");
}

#[tokio::test]
async fn a_name_that_is_not_one_of_aws_needs_a_region() {
    let server = Server::start(aws).await;
    let why = reader(&server).read("lb.example.com", &question(20), TAG).await.unwrap_err();
    assert!(why.contains("no AWS region is known"), "{why}");
    assert!(server.seen().is_empty());
}
