//! CloudWatch, read from a server that answers in the form that AWS documents.

use std::future::pending;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::super::tests::{Server, request_to};
use super::super::{Provider, ProviderOptions, Providers};
use crate::analysis::{Sample, Value};

fn page(results: &str, rest: &str) -> String {
    format!(
        "<GetMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><GetMetricDataResult>\
         <MetricDataResults>{results}</MetricDataResults>{rest}</GetMetricDataResult><ResponseMetadata>\
         <RequestId>1</RequestId></ResponseMetadata></GetMetricDataResponse>"
    )
}

fn result(id: &str, status: &str, points: &[(&str, &str)]) -> String {
    let list = |of: fn(&(&str, &str)) -> String| points.iter().map(of).collect::<String>();
    format!(
        "<member><Id>{id}</Id><Label>{id} label</Label><StatusCode>{status}</StatusCode><Timestamps>{}</Timestamps>\
         <Values>{}</Values></member>",
        list(|(time, _)| format!("<member>{time}</member>")),
        list(|(_, value)| format!("<member>{value}</member>")),
    )
}

async fn measure(server: &Server, region: &[(&str, &str)]) -> Sample {
    let url = server.url();
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLEEXAMPLE00"),
        ("AWS_SECRET_ACCESS_KEY", "s3cret"),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", &url),
    ];
    let environment = environment.iter().chain(region);
    let aws = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let query = json!({"id": "errors", "expression": "SUM(METRICS()) / 10"});
    let request = request_to("cloudWatch", &json!({"metricDataQueries": [query]}), &[]);
    Providers::new(ProviderOptions { aws, ..ProviderOptions::default() }).measure(&request).await
}

const REGION: [(&str, &str); 1] = [("AWS_REGION", "eu-central-1")];

fn json_of(sample: &Sample) -> &Json {
    let Ok(Value::Json(json)) = &sample.result else { panic!("{sample:?}") };
    json
}

#[tokio::test]
async fn results_are_read_page_by_page() {
    let server = Server::start(|seen| {
        let more = "<NextToken>more</NextToken><Messages><member><Code>Slow</Code><Value>wait</Value></member></Messages>";
        match seen.form.get("NextToken").map(String::as_str) {
            None => page(&result("errors", "PartialData", &[("t2", "2.0"), ("t1", "1E-3")]), more),
            Some("more") => {
                page(&(result("errors", "Complete", &[("t0", "0")]) + &result("none", "Complete", &[])), "<NextToken/>")
            }
            Some(other) => panic!("{other}"),
        }
    })
    .await;
    let sample = measure(&server, &REGION).await;
    let expected = json!([
        {"Id": "errors", "Label": "errors label", "StatusCode": "Complete", "Timestamps": ["t2", "t1", "t0"],
         "Values": [2.0, 0.001, 0.0], "Messages": []},
        {"Id": "none", "Label": "none label", "StatusCode": "Complete", "Timestamps": [], "Values": [], "Messages": []},
    ]);
    assert_eq!(json_of(&sample), &expected);
    assert_eq!(sample.metadata["messages"], "Slow: wait");
    let seen = server.seen().remove(0);
    assert_eq!([&seen.form["Action"], &seen.form["Version"]], ["GetMetricData", "2010-08-01"]);
    assert_eq!(seen.form["MetricDataQueries.member.1.Expression"], "SUM(METRICS()) / 10");
    assert_eq!(
        [&seen.form["StartTime"], &seen.form["EndTime"]],
        ["2023-11-14T22:08:20Z", "2023-11-14T22:13:20Z"]
    );
    let signed = seen.headers["authorization"].to_str().unwrap();
    assert!(signed.contains("/eu-central-1/monitoring/aws4_request"), "{signed}");
}

/// An answer and what is said of it.
type Case = (fn() -> Response, &'static str);

#[tokio::test]
async fn every_unusable_answer_is_told_in_one_clear_sentence() {
    fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
        let error =
            format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
        (status, format!("<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>")).into_response()
    }
    let cases: Vec<Case> = vec![
        (
            || {
                refusal(
                    StatusCode::FORBIDDEN,
                    "AccessDenied",
                    "not authorized to perform: cloudwatch:GetMetricData",
                )
            },
            "GetMetricData: AccessDenied: not authorized to perform: cloudwatch:GetMetricData",
        ),
        (
            || refusal(StatusCode::UNAUTHORIZED, "InvalidClientTokenId", "the token is invalid"),
            "GetMetricData: InvalidClientTokenId: the token is invalid",
        ),
        (
            || refusal(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
            "GetMetricData: Throttling: Rate exceeded",
        ),
        (
            || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response(),
            "GetMetricData: it answered 429 Too Many Requests (Retry-After: 7)",
        ),
        (
            || (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
            "GetMetricData: it answered 500 Internal Server Error: oops",
        ),
        (
            || "<html>Login</html>".into_response(),
            "GetMetricData: its answer cannot be read: <html>Login</html>",
        ),
        (|| "".into_response(), "GetMetricData: its answer cannot be read"),
        (|| "x".repeat(5 << 20).into_response(), "GetMetricData: the answer is larger than 4 MiB"),
        (
            || page(&result("errors", "Complete", &[("t", "NaN")]), "").into_response(),
            "query errors has the value NaN, which is not a number",
        ),
        (|| page(&result("errors", "Forbidden", &[]), "").into_response(), "query errors ended as Forbidden"),
        (|| page("", "<NextToken>more</NextToken>").into_response(), "it has more than 10 pages of results"),
    ];
    for (answer, expected) in cases {
        let server = Server::start(move |_| answer()).await;
        let why = measure(&server, &REGION).await.result.unwrap_err();
        assert_eq!(why, format!("CloudWatch in eu-central-1: {expected}"));
    }
}

#[tokio::test]
async fn nothing_found_is_an_empty_list() {
    let server = Server::start(|_| page("", "")).await;
    let sample = measure(&server, &REGION).await;
    assert!(sample.result.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_left() {
    let slow = Server::serve(Router::new().fallback(async || pending::<()>().await), Arc::default()).await;
    let why = measure(&slow, &REGION).await.result.unwrap_err();
    assert_eq!(why, "CloudWatch in eu-central-1: GetMetricData: no answer within 10 s");
}

#[tokio::test]
async fn without_a_region_it_is_told_where_to_set_one() {
    let server = Server::start(|_| page("", "")).await;
    let why = measure(&server, &[]).await.result.unwrap_err();
    assert!(why.starts_with("CloudWatch cannot be asked: no AWS region is known"), "{why}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_service_that_is_not_on_the_list_is_not_asked_for_a_metric() {
    let server = Server::start(|_| "").await;
    let aws = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLEEXAMPLE00"),
        ("AWS_SECRET_ACCESS_KEY", "s3cret"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", &server.url()),
    ];
    let aws = aws.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let allowed = vec!["prometheus:9090".parse().unwrap()];
    let query = json!({"id": "errors", "expression": "SUM(METRICS())"});
    let request = request_to("cloudWatch", &json!({"metricDataQueries": [query]}), &[]);
    let providers = Providers::new(ProviderOptions { allowed, aws, ..ProviderOptions::default() });
    let message = providers.measure(&request).await.result.unwrap_err();
    assert!(message.contains("metrics may not ask this server"), "{message}");
    assert!(server.seen().is_empty());
}
