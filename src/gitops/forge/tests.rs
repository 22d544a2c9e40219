use serde_json::{Value, json};

use super::*;
use crate::analysis::query::HttpMethod;

const KINDS: [Kind; 5] =
    [Kind::GitHub, Kind::GitLab, Kind::Gitea, Kind::Bitbucket, Kind::BitbucketDataCenter];

fn forge(kind: Kind) -> Forge {
    let url = match kind {
        Kind::GitHub => "https://github.com/shop/web.git",
        Kind::GitLab => "https://gitlab.com/shop/eu/web.git",
        Kind::Gitea => "https://gitea.test/shop/web.git",
        Kind::Bitbucket => "https://bitbucket.org/shop/web.git",
        Kind::BitbucketDataCenter => "https://bb.test/scm/SHOP/web.git",
    };
    Forge::new(kind, url, None).unwrap()
}

fn proposal() -> Proposal {
    Proposal {
        head: "serin/revert-web".to_owned(),
        base: "release/1 & 2".to_owned(),
        title: "Revert web".to_owned(),
        body: "It *failed*.\n".to_owned(),
    }
}

fn token() -> Secret {
    Secret::new("s3cret\n")
}

fn answer(status: u16, body: &Value) -> (u16, Vec<u8>) {
    (status, body.to_string().into_bytes())
}

fn found(kind: Kind, status: u16, body: &Value) -> Result<Option<Opened>, String> {
    let (status, body) = answer(status, body);
    forge(kind).found(Answer { status, body: &body }, &proposal())
}

fn created(kind: Kind, status: u16, body: &Value) -> Result<Created, String> {
    let (status, body) = answer(status, body);
    forge(kind).created(Answer { status, body: &body })
}

fn opened(number: u64, url: &str, state: State) -> Opened {
    Opened { number, url: Url::parse(url).unwrap(), state }
}

#[track_caller]
fn check_find(kind: Kind, url: &str) {
    let request = forge(kind).find(&token(), &proposal());
    assert_eq!(request.url, url);
    assert_eq!(request.method, HttpMethod::Get);
    assert_eq!(request.body, None);
}

#[track_caller]
fn check_create(kind: Kind, url: &str, body: &Value) {
    let request = forge(kind).create(&token(), &proposal());
    assert_eq!(request.url, url);
    assert_eq!(request.method, HttpMethod::Post);
    assert_eq!(sent(&request), *body);
}

fn sent(request: &HttpRequest) -> Value {
    let (content_type, body) = request.body.as_ref().unwrap();
    assert_eq!(*content_type, Some("application/json"));
    serde_json::from_str(body.reveal()).unwrap()
}

/// That each of these states of one pull request is read as the other, in lists and alone.
#[track_caller]
fn check_states(
    kind: Kind,
    pull: impl Fn(&str) -> Value,
    list: impl Fn(Value) -> Value,
    states: &[(&str, State)],
) {
    for (theirs, ours) in states {
        let expected = opened(7, "https://git.test/7", *ours);
        assert_eq!(found(kind, 200, &list(pull(theirs))), Ok(Some(expected.clone())), "{theirs}");
        assert_eq!(created(kind, 201, &pull(theirs)), Ok(Created::New(expected)), "{theirs}");
    }
}

#[test]
fn kinds_are_written_as_people_know_them() {
    let names = KINDS.map(|kind| serde_json::to_value(kind).unwrap());
    assert_eq!(json!(names), json!(["github", "gitlab", "gitea", "bitbucket", "bitbucket-data-center"]));
    assert_eq!(serde_json::from_value::<Kind>(json!("gitea")).unwrap(), Kind::Gitea);
}

#[test]
fn github_is_asked_for_the_branch_of_the_owner() {
    check_find(
        Kind::GitHub,
        "https://api.github.com/repos/shop/web/pulls?head=shop%3Aserin%2Frevert-web&base=release%2F1%20%26%202\
         &state=all&sort=created&direction=desc&per_page=50",
    );
    let body = json!({
        "head": "serin/revert-web", "base": "release/1 & 2", "title": "Revert web", "body": "It *failed*.\n",
    });
    check_create(Kind::GitHub, "https://api.github.com/repos/shop/web/pulls", &body);
}

fn github_pull(state: &str) -> Value {
    let (state, merged_at) = match state {
        "merged" => ("closed", json!("2026-11-01T10:00:00Z")),
        other => (other, Value::Null),
    };
    json!({
        "number": 7, "html_url": "https://git.test/7", "state": state, "merged_at": merged_at,
        "head": {"ref": "serin/revert-web"}, "base": {"ref": "release/1 & 2"}, "draft": false,
    })
}

#[test]
fn answers_of_github_are_read() {
    let states = [("open", State::Open), ("merged", State::Merged), ("closed", State::Closed)];
    check_states(Kind::GitHub, github_pull, |pull| json!([pull]), &states);
    assert_eq!(found(Kind::GitHub, 200, &json!([])), Ok(None));
    let exists = json!({"message": "Validation Failed", "errors": [{
        "resource": "PullRequest", "code": "custom",
        "message": "A pull request already exists for shop:serin/revert-web.",
    }]});
    assert_eq!(created(Kind::GitHub, 422, &exists), Ok(Created::Exists));
    let equal = json!({"message": "Validation Failed", "errors": [{
        "resource": "PullRequest", "code": "custom", "message": "No commits between main and serin/revert-web",
    }]});
    assert_eq!(
        created(Kind::GitHub, 422, &equal).unwrap_err(),
        "cannot make the pull request in shop/web on GitHub: \
         it answered 422 (Validation Failed; No commits between main and serin/revert-web)"
    );
}

#[test]
fn pull_requests_of_other_branches_are_not_ours() {
    let mut other = github_pull("open");
    other["head"]["ref"] = json!("main");
    assert_eq!(found(Kind::GitHub, 200, &json!([other])), Ok(None));
    let mut other = github_pull("open");
    other["base"]["ref"] = json!("main");
    assert_eq!(found(Kind::GitHub, 200, &json!([other])), Ok(None));
    let mut of_a_fork = gitlab_request("opened");
    of_a_fork["source_project_id"] = json!(9);
    assert_eq!(found(Kind::GitLab, 200, &json!([of_a_fork])), Ok(None));
    let mut of_a_fork = bitbucket_pull("OPEN");
    of_a_fork["source"]["repository"] = Value::Null;
    assert_eq!(found(Kind::Bitbucket, 200, &json!({"values": [of_a_fork]})), Ok(None));
    let mut elsewhere = data_center_pull("OPEN");
    elsewhere["toRef"]["id"] = json!("refs/heads/main");
    assert_eq!(found(Kind::BitbucketDataCenter, 200, &json!({"values": [elsewhere]})), Ok(None));
    let mut upstream = data_center_pull("OPEN");
    upstream["toRef"]["repository"]["id"] = json!(2);
    assert_eq!(found(Kind::BitbucketDataCenter, 200, &json!({"values": [upstream]})), Ok(None));
}

#[test]
fn of_several_the_open_one_counts_and_else_the_newest() {
    let numbered = |number: u64, state| {
        let mut pull = github_pull(state);
        pull["number"] = json!(number);
        pull
    };
    let number = |pulls: Value| found(Kind::GitHub, 200, &pulls).unwrap().unwrap().number;
    assert_eq!(number(json!([numbered(3, "closed"), numbered(2, "open"), numbered(1, "merged")])), 2);
    assert_eq!(number(json!([numbered(3, "closed"), numbered(1, "merged")])), 3);
}

#[test]
fn gitlab_is_asked_for_a_project_with_its_groups() {
    check_find(
        Kind::GitLab,
        "https://gitlab.com/api/v4/projects/shop%2Feu%2Fweb/merge_requests?source_branch=serin%2Frevert-web\
         &target_branch=release%2F1%20%26%202&state=all&order_by=created_at&sort=desc&per_page=50",
    );
    let body = json!({
        "source_branch": "serin/revert-web", "target_branch": "release/1 & 2", "title": "Revert web",
        "description": "It *failed*.\n", "remove_source_branch": true,
    });
    check_create(Kind::GitLab, "https://gitlab.com/api/v4/projects/shop%2Feu%2Fweb/merge_requests", &body);
}

fn gitlab_request(state: &str) -> Value {
    json!({
        "id": 9001, "iid": 7, "web_url": "https://git.test/7", "state": state, "source_branch": "serin/revert-web",
        "target_branch": "release/1 & 2", "source_project_id": 4, "target_project_id": 4,
    })
}

#[test]
fn answers_of_gitlab_are_read() {
    let states = [
        ("opened", State::Open),
        ("locked", State::Open),
        ("merged", State::Merged),
        ("closed", State::Closed),
    ];
    check_states(Kind::GitLab, gitlab_request, |request| json!([request]), &states);
    let exists = json!({"message": ["Another open merge request already exists for this source branch: !7"]});
    assert_eq!(created(Kind::GitLab, 409, &exists), Ok(Created::Exists));
    let scope = json!({"error": "insufficient_scope", "error_description": "It requires higher privileges."});
    assert_eq!(
        created(Kind::GitLab, 403, &scope).unwrap_err(),
        "cannot make the pull request in shop/eu/web on GitLab: it answered 403 (insufficient_scope; \
         It requires higher privileges.); the token needs the scope api and the role Developer"
    );
}

#[test]
fn gitea_is_asked_for_what_changed_last() {
    check_find(
        Kind::Gitea,
        "https://gitea.test/api/v1/repos/shop/web/pulls\
         ?state=all&sort=recentupdate&base_branch=release%2F1%20%26%202&limit=50",
    );
    let body = json!({
        "head": "serin/revert-web", "base": "release/1 & 2", "title": "Revert web", "body": "It *failed*.\n",
    });
    check_create(Kind::Gitea, "https://gitea.test/api/v1/repos/shop/web/pulls", &body);
}

fn gitea_pull(number: u64, state: &str) -> Value {
    let is_merged = state == "merged";
    json!({
        "number": number,
        "html_url": format!("https://git.test/{number}"),
        "state": if is_merged { "closed" } else { state },
        "merged": is_merged,
        "head": {"label": "serin/revert-web", "ref": "refs/pull/7/head", "repo_id": 3},
        "base": {"label": "release/1 & 2", "ref": "release/1 & 2", "repo_id": 3},
    })
}

#[test]
fn answers_of_gitea_are_read() {
    let states = [("open", State::Open), ("merged", State::Merged), ("closed", State::Closed)];
    check_states(Kind::Gitea, |state| gitea_pull(7, state), |pull| json!([pull]), &states);
    assert_eq!(found(Kind::Gitea, 200, &json!([])), Ok(None));
    assert!(
        found(Kind::Gitea, 404, &json!({"message": "not found"})).unwrap_err().contains("write:repository")
    );
    let exists = json!({"message": "pull request already exists for these targets [id: 3, issue_id: 7]"});
    assert_eq!(created(Kind::Gitea, 409, &exists), Ok(Created::Exists));
    assert!(
        created(Kind::Gitea, 404, &json!({"message": "not found"})).unwrap_err().contains("write:repository")
    );
}

#[test]
fn the_open_or_else_the_newest_of_giteas_pull_requests_is_found() {
    let found =
        |listed: &[Value]| found(Kind::Gitea, 200, &json!(listed)).unwrap().map(|opened| opened.number);
    let pull = gitea_pull;
    assert_eq!(found(&[pull(7, "merged"), pull(9, "closed"), pull(8, "closed")]), Some(9));
    assert_eq!(found(&[pull(7, "merged"), pull(8, "open"), pull(9, "closed")]), Some(8));
    for (branch, field, other) in [
        ("head", "label", json!("serin/revert-shop")),
        ("head", "repo_id", json!(4)),
        ("head", "repo_id", json!(-1)),
        ("base", "label", json!("main")),
    ] {
        let mut listed = pull(7, "open");
        listed[branch][field] = other;
        assert_eq!(found(&[listed]), None, "{branch} {field}");
    }
}

#[test]
fn bitbucket_is_asked_by_a_query_in_which_branches_are_quoted() {
    check_find(
        Kind::Bitbucket,
        "https://api.bitbucket.org/2.0/repositories/shop/web/pullrequests?q=source.branch.name%20%3D%20%22\
         serin%2Frevert-web%22%20AND%20destination.branch.name%20%3D%20%22release%2F1%20%26%202%22\
         &state=OPEN&state=MERGED&state=DECLINED&state=SUPERSEDED&sort=-created_on&pagelen=50",
    );
    let body = json!({
        "title": "Revert web", "description": "It *failed*.\n", "close_source_branch": true,
        "source": {"branch": {"name": "serin/revert-web"}}, "destination": {"branch": {"name": "release/1 & 2"}},
    });
    check_create(Kind::Bitbucket, "https://api.bitbucket.org/2.0/repositories/shop/web/pullrequests", &body);
    let hostile = Proposal { head: "a\" OR \"".to_owned(), ..proposal() };
    let request = forge(Kind::Bitbucket).find(&token(), &hostile);
    assert!(
        request.url.contains("q=source.branch.name%20%3D%20%22a%5C%22%20OR%20%5C%22%22%20AND"),
        "{}",
        request.url
    );
}

fn bitbucket_pull(state: &str) -> Value {
    json!({
        "id": 7, "links": {"html": {"href": "https://git.test/7"}}, "state": state,
        "source": {"branch": {"name": "serin/revert-web"}, "repository": {"uuid": "{1}"}},
        "destination": {"branch": {"name": "release/1 & 2"}, "repository": {"uuid": "{1}"}},
    })
}

#[test]
fn answers_of_bitbucket_are_read() {
    let states = [
        ("OPEN", State::Open),
        ("QUEUED", State::Open),
        ("MERGED", State::Merged),
        ("DECLINED", State::Closed),
        ("SUPERSEDED", State::Closed),
    ];
    check_states(Kind::Bitbucket, bitbucket_pull, |pull| json!({"values": [pull], "size": 1}), &states);
    let exists = json!({"type": "error", "error": {"message": "There is already an open pull request"}});
    assert_eq!(created(Kind::Bitbucket, 409, &exists), Ok(Created::Exists));
    let refused = json!({"type": "error", "error": {"message": "There are no changes to be pulled"}});
    assert_eq!(
        created(Kind::Bitbucket, 400, &refused).unwrap_err(),
        "cannot make the pull request in shop/web on Bitbucket: \
         it answered 400 (There are no changes to be pulled)"
    );
}

#[test]
fn data_center_is_asked_by_full_names_of_branches() {
    check_find(
        Kind::BitbucketDataCenter,
        "https://bb.test/rest/api/1.0/projects/SHOP/repos/web/pull-requests?at=refs%2Fheads%2Fserin%2Frevert-web\
         &direction=OUTGOING&state=ALL&order=NEWEST&limit=50",
    );
    let repository = json!({"slug": "web", "project": {"key": "SHOP"}});
    let body = json!({
        "title": "Revert web", "description": "It *failed*.\n",
        "fromRef": {"id": "refs/heads/serin/revert-web", "repository": repository},
        "toRef": {"id": "refs/heads/release/1 & 2", "repository": repository},
    });
    let url = "https://bb.test/rest/api/1.0/projects/SHOP/repos/web/pull-requests";
    check_create(Kind::BitbucketDataCenter, url, &body);
}

fn data_center_pull(state: &str) -> Value {
    json!({
        "id": 7, "links": {"self": [{"href": "https://git.test/7"}]}, "state": state,
        "fromRef": {"id": "refs/heads/serin/revert-web", "repository": {"id": 1}},
        "toRef": {"id": "refs/heads/release/1 & 2", "repository": {"id": 1}},
    })
}

#[test]
fn answers_of_data_center_are_read() {
    let states = [("OPEN", State::Open), ("MERGED", State::Merged), ("DECLINED", State::Closed)];
    let list = |pull| json!({"values": [pull], "isLastPage": true});
    check_states(Kind::BitbucketDataCenter, data_center_pull, list, &states);
    let refused = |exception: &str| {
        json!({"errors": [{
            "context": null, "message": "Only one may be open",
            "exceptionName": format!("com.atlassian.bitbucket.pull.{exception}"),
        }]})
    };
    let duplicate = refused("DuplicatePullRequestException");
    assert_eq!(created(Kind::BitbucketDataCenter, 409, &duplicate), Ok(Created::Exists));
    assert_eq!(
        created(Kind::BitbucketDataCenter, 409, &refused("EmptyPullRequestException")).unwrap_err(),
        "cannot make the pull request in SHOP/web on Bitbucket Data Center: it answered 409 (Only one may be open)"
    );
}

#[test]
fn each_forge_gets_the_token_as_it_wants_it_and_nobody_else_sees_it() {
    for (kind, name, value) in [
        (Kind::GitHub, "Authorization", "Bearer s3cret"),
        (Kind::GitLab, "PRIVATE-TOKEN", "s3cret"),
        (Kind::Gitea, "Authorization", "token s3cret"),
        (Kind::Bitbucket, "Authorization", "Bearer s3cret"),
        (Kind::BitbucketDataCenter, "Authorization", "Bearer s3cret"),
    ] {
        for request in [forge(kind).find(&token(), &proposal()), forge(kind).create(&token(), &proposal())] {
            let header = request.headers.iter().find(|(known, _)| known == name).unwrap();
            assert_eq!(header.1.reveal(), value, "{kind:?}");
            assert!(!format!("{request:?}").contains("s3cret"));
            assert!(!request.url.contains("s3cret"));
        }
    }
    let with_password = Forge::new(Kind::GitHub, "https://bot:s3cret@github.com/shop/web", None).unwrap();
    assert!(!format!("{with_password:?}").contains("s3cret"));
}

#[test]
fn every_forge_says_what_a_refused_token_needs() {
    for kind in KINDS {
        for status in [401, 403, 404] {
            let error = created(kind, status, &json!({"message": "no"})).unwrap_err();
            assert!(error.contains(kind.rights()), "{error}");
            assert!(error.contains(&format!("it answered {status}")), "{error}");
        }
        let moved = found(kind, 301, &json!({})).unwrap_err();
        assert!(moved.ends_with("write its new address into url or forge.api"), "{moved}");
    }
}

#[test]
fn what_a_forge_says_is_one_line_of_bounded_length() {
    let long = "x\n\u{1b}[31m".repeat(100_000);
    let nested = json!({"message": {"error": {"message": {"error": {"message": long}}}}});
    let bodies =
        [json!({"message": long}), json!({"errors": vec![json!({"message": long}); 9]}), nested, json!(long)];
    for (kind, body) in KINDS.iter().flat_map(|kind| bodies.iter().map(|body| (*kind, body))) {
        for error in [found(kind, 500, body).unwrap_err(), created(kind, 200, body).unwrap_err()] {
            assert!(error.chars().count() < 500, "{error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }
}

#[test]
fn an_answer_that_is_no_answer_says_what_to_check() {
    for kind in KINDS {
        let page = forge(kind).found(Answer { status: 200, body: b"\n<html>" }, &proposal()).unwrap_err();
        assert!(page.ends_with("it answered a page in place of JSON; is forge.api right?"), "{page}");
        let nothing = forge(kind).created(Answer { status: 201, body: b"" }).unwrap_err();
        assert!(nothing.ends_with("are forge.kind and forge.api right?"), "{nothing}");
    }
    let mut without_page = github_pull("open");
    without_page["html_url"] = json!("javascript:alert(1)");
    assert!(created(Kind::GitHub, 201, &without_page).unwrap_err().ends_with("pull request 7 has no page"));
}

#[test]
fn titles_are_one_short_line_that_closes_nothing() {
    let title = |title: &str| {
        let proposal = Proposal { title: title.to_owned(), ..proposal() };
        sent(&forge(Kind::GitHub).create(&token(), &proposal))["title"].as_str().unwrap().to_owned()
    };
    assert_eq!(title(" Revert\r\nweb\t to *1* "), "Revert web to *1*");
    assert_eq!(title("closes #1 for @all"), "closes #\u{200b}1 for @\u{200b}all");
    assert_eq!(title(&"é".repeat(200)), "é".repeat(200));
    assert_eq!(title(&"é".repeat(201)), format!("{}…", "é".repeat(199)));
}

#[test]
fn bodies_are_cut_where_the_forge_takes_no_more() {
    for (kind, field, longest) in [
        (Kind::GitHub, "body", 65_536),
        (Kind::GitLab, "description", 1_048_576),
        (Kind::Gitea, "body", 32_768),
        (Kind::Bitbucket, "description", 32_768),
        (Kind::BitbucketDataCenter, "description", 32_768),
    ] {
        let proposal = Proposal { body: "é".repeat(longest + 1), ..proposal() };
        let body = sent(&forge(kind).create(&token(), &proposal))[field].as_str().unwrap().to_owned();
        assert_eq!(body.chars().count(), longest, "{kind:?}");
        assert!(body.ends_with("é…"), "{kind:?}");
    }
}

#[test]
fn names_cannot_leave_their_part_of_an_address() {
    for kind in KINDS {
        let name = "a/../b?c#d%e é";
        let hostile = Proposal { head: name.to_owned(), base: name.to_owned(), ..proposal() };
        let url = forge(kind).find(&token(), &hostile).url;
        assert!(url.contains("a%2F..%2Fb%3Fc%23d%25e%20%C3%A9"), "{url}");
        assert!(!url.contains("?c#d"), "{url}");
        assert_eq!(Url::parse(&url).unwrap().as_str(), url, "it is sent as it is written");
    }
}
