use super::*;
use crate::analysis::query::HttpMethod;

/// What a service with these settings is sent, by a template with this part.
fn sent(key: &str, settings: &str, template: &str, recipient: &str) -> Result<HttpRequest, String> {
    match delivered(key, settings, template, recipient)? {
        Delivery::Http { request, .. } => Ok(request),
        other => panic!("{other:?}"),
    }
}

/// The same of a service that is no HTTP server, too.
fn delivered(key: &str, settings: &str, template: &str, recipient: &str) -> Result<Delivery, String> {
    let data = [
        (format!("service.{key}"), settings.to_owned()),
        ("trigger.on-rollout-aborted".to_owned(), "- send: [aborted]".to_owned()),
        ("template.aborted".to_owned(), template.to_owned()),
    ];
    let config = Config::parse(&data.into());
    assert_eq!(config.problems, Vec::<String>::new());
    let pending = PendingNotification {
        id: "7-0-0".to_owned(),
        r#type: "Warning".to_owned(),
        reason: "RolloutAborted".to_owned(),
        service: key.rsplit('.').next().unwrap().to_owned(),
        recipient: recipient.to_owned(),
        template: "aborted".to_owned(),
        message: "it failed".to_owned(),
        at: Timestamp::from_millis(1_700_000_000_000),
    };
    let secrets = [("token".to_owned(), Secret::new("s3cret\n"))].into();
    let about = json!({"rollout": {"metadata": {"name": "api"}}});
    super::delivery(&config, &pending, &about, &secrets)
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_str(request.body.as_ref().unwrap().1.reveal()).unwrap()
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.headers.iter().find(|(known, _)| known == name).unwrap().1.reveal()
}

#[test]
fn slack_gets_a_message_with_the_template_s_attachments() {
    let template = "
message: '{{.rollout.metadata.name}}: {{.event.message}}'
slack:
  attachments: '[{\"title\": \"{{.rollout.metadata.name}}\"}]'
";
    let settings = "{token: $token, username: serin, icon: ':bird:', apiURL: 'http://localhost:1/api/'}";
    let request = sent("slack", settings, template, "ops").unwrap();
    assert_eq!(request.url, "http://localhost:1/api/chat.postMessage");
    assert_eq!(header(&request, "Authorization"), "Bearer s3cret");
    let expected = json!({
        "channel": "ops", "text": "api: it failed", "username": "serin", "icon_emoji": ":bird:",
        "attachments": [{"title": "api"}],
    });
    assert_eq!(body(&request), expected);
    let broken = sent("slack", "token: x", "slack: {blocks: '[{'}", "ops").unwrap_err();
    assert!(broken.starts_with("template.aborted for service slack: slack.blocks is no JSON"), "{broken}");
    assert_eq!(Kind::Slack.accepts(br#"{"ok": true}"#), Ok(()));
    let refused = Kind::Slack.accepts(br#"{"ok": false, "error": "channel_not_found"}"#);
    assert_eq!(refused, Err("it says channel_not_found".to_owned()));
}

#[test]
fn teams_gets_a_card_at_the_recipient_s_address() {
    let template = "
message: text
teams: {title: '{{.rollout.metadata.name}}', themeColor: '#f00', facts: '[{\"name\": \"a\", \"value\": \"b\"}]'}
";
    let settings = "recipientUrls: {web: 'http://localhost:1/$token'}";
    let request = sent("teams", settings, template, "web").unwrap();
    assert_eq!(request.url, "http://localhost:1/s3cret");
    let expected = json!({
        "@type": "MessageCard", "@context": "https://schema.org/extensions", "text": "text", "title": "api",
        "themeColor": "#f00", "sections": [{"facts": [{"name": "a", "value": "b"}]}],
    });
    assert_eq!(body(&request), expected);
    let unknown = sent("teams", settings, template, "other").unwrap_err();
    assert!(unknown.contains("recipientUrls has no 'other'"), "{unknown}");
}

#[test]
fn pager_duty_gets_one_alert_however_often_it_is_sent() {
    let settings = "serviceKeys: {shop: $token}";
    let template = "{message: '{{.event.message}}', pagerdutyv2: {severity: critical, component: api}}";
    let request = sent("pagerdutyv2", settings, template, "shop").unwrap();
    assert_eq!(request.url, "https://events.pagerduty.com/v2/enqueue");
    let payload = json!({
        "summary": "it failed", "severity": "critical", "source": "serin", "component": "api",
        "timestamp": "2023-11-14T22:13:20Z",
    });
    let expected = json!({
        "routing_key": "s3cret", "event_action": "trigger", "dedup_key": "7-0-0", "payload": payload,
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn grafana_gets_an_annotation_with_the_tags_of_recipient_and_template() {
    let settings = "{apiUrl: 'http://localhost:1/api', apiKey: $token}";
    let request = sent("grafana", settings, "{message: down, grafana: {tags: c}}", "a|b").unwrap();
    assert_eq!(
        (request.url.as_str(), header(&request, "Authorization")),
        ("http://localhost:1/api/annotations", "Bearer s3cret")
    );
    assert_eq!(
        body(&request),
        json!({"time": 1_700_000_000_000_i64, "tags": ["a", "b", "c"], "text": "down"})
    );
}

#[test]
fn a_webhook_gets_what_its_part_of_the_template_says() {
    let settings = "
url: http://localhost:1/base/
headers: [{name: X-Key, value: $token}]
basicAuth: {username: me, password: $token}
";
    let template = "
webhook:
  ci: {method: POST, path: '/{{.rollout.metadata.name}}', body: '{\"text\": {{printf \"%q\" .event.message}}}'}
  other: {method: PUT}
";
    let request = sent("webhook.ci", settings, template, "").unwrap();
    assert_eq!((request.url.as_str(), request.method), ("http://localhost:1/base/api", HttpMethod::Post));
    assert_eq!(body(&request), json!({"text": "it failed"}));
    assert_eq!((header(&request, "X-Key"), header(&request, "Idempotency-Key")), ("s3cret", "7-0-0"));
    assert!(request.credentials.is_some());
    let plain = sent("webhook.ci", "url: http://localhost:1", "message: x", "").unwrap();
    assert_eq!((plain.url.as_str(), plain.method, plain.body), ("http://localhost:1", HttpMethod::Get, None));
}

#[test]
fn what_does_not_fit_is_named_without_secrets() {
    let key = "-----BEGIN-----\n\"secret\\\"\n-----END-----\n";
    let config = [
        ("service.webhook.ci", "url: http://localhost:1"),
        ("template.aborted", "webhook: {ci: {path: '/../{{.secrets.key}}'}}"),
        ("template.json", "slack: {blocks: '[{{.secrets.key}}'}"),
        ("service.slack", "token: x"),
    ];
    let config = Config::parse(&config.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
    assert_eq!(config.problems, Vec::<String>::new());
    let refused = |service: &str, template: &str| {
        let pending = PendingNotification {
            id: String::new(),
            r#type: "Normal".to_owned(),
            reason: "RolloutPaused".to_owned(),
            service: service.to_owned(),
            recipient: String::new(),
            template: template.to_owned(),
            message: String::new(),
            at: Timestamp::from_millis(0),
        };
        let secrets = [("key".to_owned(), Secret::new(key))].into();
        super::delivery(&config, &pending, &json!({}), &secrets).unwrap_err()
    };
    let path = refused("ci", "aborted");
    assert!(path.contains("leads out of the service's address"), "{path}");
    let json = refused("slack", "json");
    assert!(json.contains("slack.blocks is no JSON") && !json.contains("secret"), "{json}");
    assert!(refused("mail", "aborted").starts_with("service 'mail' is not in the ConfigMap"));
    assert!(refused("ci", "other").starts_with("template.other is not in the ConfigMap"));
    let odd =
        Service { kind: Kind::Webhook, name: "ci".to_owned(), settings: json!({"url": "x", "headers": key}) };
    let notice = Notice {
        recipient: "",
        id: String::new(),
        message: String::new(),
        part: Value::Null,
        at: Timestamp::from_millis(0),
    };
    let why = odd.delivery(odd.settings.clone(), &notice).unwrap_err();
    let hidden = [key.trim_end(), format!("{:?}", key.trim_end()).trim_matches('"')].map(Secret::new);
    assert!(why.contains("secret") && !redact(&why, &hidden).contains("secret"), "{why}");
}

#[test]
fn teams_says_in_the_body_that_it_has_taken_a_card() {
    assert_eq!(Kind::Teams.accepts(b"1"), Ok(()));
    assert_eq!(Kind::Teams.accepts(b""), Ok(()));
    assert!(Kind::Teams.accepts(b"Webhook message delivery failed with error: 429").is_err());
}

#[test]
fn a_mail_has_the_template_s_subject_and_body() {
    let settings = "{host: mail.shop, port: 587, from: serin@shop.example, username: me, password: $token}";
    let template =
        "{message: m, email: {subject: '{{.rollout.metadata.name}} failed', body: '{{.event.message}}'}}";
    let Delivery::Mail(mail) = delivered("email", settings, template, "ops@shop.example").unwrap() else {
        panic!("no mail")
    };
    let login = Some(("me".to_owned(), Secret::new("s3cret")));
    assert_eq!((mail.host.as_str(), mail.port, mail.login), ("mail.shop", 587, login));
    assert_eq!((mail.subject.as_str(), mail.body.as_str()), ("api failed", "it failed"));
    assert_eq!((mail.to.as_str(), mail.encryption), ("ops@shop.example", Encryption::WhenOffered));
    let plain = "{host: mail.shop, port: 465, from: a@b.c}";
    let Delivery::Mail(mail) = delivered("email", plain, "message: \"first\\nsecond\"", "x@y.z").unwrap()
    else {
        panic!("no mail")
    };
    assert_eq!((mail.subject.as_str(), mail.body.as_str()), ("first", "first\nsecond"));
    assert_eq!(mail.encryption, Encryption::FromTheBeginning);
    let half =
        delivered("email", "{host: h, port: 25, from: a@b.c, username: me}", "message: x", "x").unwrap_err();
    assert!(half.contains("come together"), "{half}");
}

#[test]
fn github_gets_the_status_of_the_commit_that_the_template_names() {
    let settings =
        "{appID: 12, installationID: '34', privateKey: $token, enterpriseBaseURL: 'http://localhost:1/'}";
    let template = "
message: '{{.event.message}}'
github:
  repoURLPath: https://github.com/shop/web.git
  revisionPath: 0a1b2c3
  status: {state: failure, label: delivery, targetURL: 'http://shop'}
";
    let Delivery::CommitStatus(wanted) = delivered("github", settings, template, "").unwrap() else {
        panic!("no status")
    };
    assert_eq!((wanted.app.as_str(), wanted.key), ("12", Secret::new("s3cret")));
    assert_eq!(wanted.token.url, "http://localhost:1/app/installations/34/access_tokens");
    assert_eq!(wanted.status.url, "http://localhost:1/repos/shop/web/statuses/0a1b2c3");
    let expected = json!({"state": "failure", "context": "delivery", "description": "it failed", "target_url": "http://shop"});
    assert_eq!(body(&wanted.status), expected);
    for (part, problem) in [
        ("repoURLPath: x", "is no repository's URL"),
        ("revisionPath: main", "which is no commit"),
        ("status: {state: bad}", "not one of error, failure, pending, success"),
    ] {
        let field = part.split(':').next().unwrap();
        let lines = template.lines().filter(|line| !line.trim_start().starts_with(&format!("{field}:")));
        let broken = format!("{}\n  {part}\n", lines.collect::<Vec<_>>().join("\n"));
        let why = delivered("github", settings, &broken, "").unwrap_err();
        assert!(why.contains(problem), "{why}");
    }
}
