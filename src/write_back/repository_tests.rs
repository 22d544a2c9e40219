//! On a bare repository of a real Git, which people use with the `git` program.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::super::write::{Order, Written};
use super::*;
use crate::gitops::abort::tests::rejected;
use crate::gitops::application::Source;
use crate::gitops::config::Mode;

/// A server's repository, and what a person has checked out of it.
struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let ground = Self { folder: TempDir::new().unwrap() };
        ground.git(".", &["init", "--quiet", "--bare", "--initial-branch=main", "server"]);
        ground.git(".", &["clone", "--quiet", "server", "person"]);
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, within: &str, arguments: &[&str]) -> String {
        let person =
            ["-c", "user.name=shop", "-c", "user.email=shop@example.com", "-c", "init.defaultBranch=main"];
        let output = Command::new("git")
            .current_dir(self.path(within))
            .args(person)
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A person's commit on main.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        if !self.is_empty() {
            self.git("person", &["pull", "--quiet", "--ff-only", "origin", "main"]);
        }
        for (path, text) in files {
            let path = self.path("person").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git("person", &["add", "--all"]);
        self.git("person", &["commit", "--quiet", "--message", "change"]);
        self.git("person", &["push", "--quiet", "origin", "HEAD:main"]);
        self.git("person", &["rev-parse", "HEAD"])
    }

    fn is_empty(&self) -> bool {
        self.git("server", &["for-each-ref"]).is_empty()
    }

    /// What a replica of its own makes of an order.
    fn replica(&self, name: &str) -> Repository {
        let url = self.path("server").display().to_string();
        Repository::open(&self.path(name), &url, Credentials::None).unwrap()
    }

    fn file(&self, branch: &str, path: &str) -> String {
        self.git("server", &["show", &format!("{branch}:{path}")])
    }

    fn count(&self, branch: &str) -> String {
        self.git("server", &["rev-list", "--count", branch])
    }
}

fn image(version: u32) -> String {
    format!("kind: Rollout\nimage: registry/cart:{version}\n")
}

fn order() -> Order {
    Order {
        rejected: rejected(),
        source: Source {
            url: String::new(),
            target: "HEAD".into(),
            paths: ["web".to_owned()].into(),
            synced: None,
            before: None,
        },
        is_one_of_several: false,
        mode: Mode::Commit,
        author: Author::default(),
        measured: vec![],
        links: std::collections::BTreeMap::new(),
        stands: Box::new(|| true),
    }
}

/// A server whose main went from version 1 to 2, and the bad commit.
fn after_a_bad_version() -> (Ground, String) {
    let ground = Ground::new();
    ground.commit(&[("web/rollout.yaml", &image(1)), ("other/x.yaml", "a: 1\n")]);
    let bad = ground.commit(&[("web/rollout.yaml", &image(2))]);
    (ground, bad)
}

fn proposed(written: Written) -> super::super::write::Proposed {
    match written {
        Written::Proposal(proposed) => *proposed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_commit_of_a_bad_version_is_reverted_once() {
    let (ground, bad) = after_a_bad_version();
    let Written::Commit(revert) = order().carry_out(&ground.replica("one")).unwrap() else { panic!() };
    assert_eq!(ground.git("server", &["rev-parse", "main"]), revert);
    assert_eq!(ground.file("main", "web/rollout.yaml"), image(1).trim());
    let message = ground.git("server", &["log", "-1", "--format=%B", "main"]);
    assert!(message.contains(&format!("Serin-Reverts: {bad}")), "{message}");
    // A replica that starts anew finds it, and so does the same one.
    for name in ["one", "two"] {
        assert_eq!(order().carry_out(&ground.replica(name)).unwrap(), Written::Commit(revert.clone()));
    }
    assert_eq!(ground.count("main"), "3");
}

#[test]
fn an_abort_that_people_took_back_is_not_written() {
    let (ground, bad) = after_a_bad_version();
    let order = Order { stands: Box::new(|| false), ..order() };
    assert_eq!(order.carry_out(&ground.replica("one")).unwrap(), Written::Withdrawn);
    assert_eq!(ground.git("server", &["rev-parse", "main"]), bad);
}

#[test]
fn two_replicas_make_the_same_commit() {
    let (ground, _) = after_a_bad_version();
    let (one, two) = (ground.replica("one"), ground.replica("two"));
    // Both have read the branch before one of them writes.
    let tip = two.fetch("main").unwrap();
    assert_eq!(one.fetch("main").unwrap(), tip);
    let first = order().carry_out(&one).unwrap();
    let (attempt, tree) = {
        let log = two.log(tip, &["web".to_owned()].into(), &Needles::of(&rejected())).unwrap();
        let crate::gitops::suspect::Finding::Suspect(suspect) =
            crate::gitops::suspect::find(&rejected(), &log)
        else {
            panic!()
        };
        two.attempt(&suspect, tip).unwrap()
    };
    assert_eq!(attempt, Attempt::Clean);
    let message = ground.git("server", &["log", "-1", "--format=%B", "main"]);
    let second = two
        .commit(tree.unwrap(), tip, &format!("{message}\n"), &Author::default(), rejected().abort.aborted_at)
        .unwrap();
    assert_eq!(first, Written::Commit(second.to_string()));
    assert_eq!(two.push(second, "main", Some(tip)).unwrap(), Pushed::Moved);
    assert_eq!(ground.count("main"), "3");
}

#[test]
fn a_commit_of_somebody_else_in_between_is_kept() {
    let (ground, _) = after_a_bad_version();
    let replica = ground.replica("one");
    let tip = replica.fetch("main").unwrap();
    ground.commit(&[("other/x.yaml", "a: 2\n")]);
    let tree = replica.clone.find_commit(tip).unwrap().parent(0).unwrap().tree_id();
    let late = replica.commit(tree, tip, "late", &Author::default(), Timestamp::from_millis(0)).unwrap();
    assert_eq!(replica.push(late, "main", Some(tip)).unwrap(), Pushed::Moved);
    assert!(matches!(order().carry_out(&replica).unwrap(), Written::Commit(_)));
    assert_eq!(ground.file("main", "other/x.yaml"), "a: 2");
    assert_eq!(ground.file("main", "web/rollout.yaml"), image(1).trim());
}

#[test]
fn what_was_built_on_the_bad_commit_is_put_before_people() {
    let (ground, _) = after_a_bad_version();
    let more = format!("{}# more\n\n\n\nreplicas: 3\n", image(2));
    ground.commit(&[("web/rollout.yaml", &more)]);
    let replica = ground.replica("one");
    let proposed = proposed(order().carry_out(&replica).unwrap());
    assert!(!proposed.is_pushed && proposed.proposal.base == "main");
    assert_eq!(replica.push(proposed.commit, &proposed.proposal.head, None).unwrap(), Pushed::Taken);
    assert_eq!(ground.count("main"), "3");
    // Whoever looks again knows that the branch is there.
    assert!(super::tests::proposed(order().carry_out(&ground.replica("two")).unwrap()).is_pushed);
}

#[test]
fn a_conflict_becomes_a_branch_from_the_bad_commit() {
    let (ground, bad) = after_a_bad_version();
    ground.commit(&[("web/rollout.yaml", "kind: Rollout\nimage: registry/cart:2 # for now\n")]);
    let replica = ground.replica("one");
    let proposed = proposed(order().carry_out(&replica).unwrap());
    assert!(proposed.why.contains("same lines"), "{}", proposed.why);
    assert_eq!(replica.push(proposed.commit, &proposed.proposal.head, None).unwrap(), Pushed::Taken);
    let head = proposed.proposal.head;
    assert_eq!(ground.git("server", &["rev-parse", &format!("{head}^")]), bad);
    assert_eq!(ground.file(&head, "web/rollout.yaml"), image(1).trim());
}

/// What is made of a bad version after these commits, each a list of files.
fn after(commits: &[&[(&str, &str)]]) -> (Ground, Written) {
    let ground = Ground::new();
    for files in commits {
        ground.commit(files);
    }
    let written = order().carry_out(&ground.replica("one")).unwrap();
    (ground, written)
}

fn is_proposed(written: Written, part: &str) {
    let why = proposed(written).why;
    assert!(why.contains(part), "{why}");
}

#[test]
fn a_first_commit_and_one_that_makes_files_are_never_reverted_without_people() {
    let (one, two) = (image(1), image(2));
    let (ground, written) = after(&[&[("web/rollout.yaml", &two)]]);
    assert!(matches!(written, Written::Unknown(_)), "{written:?}");
    assert_eq!(ground.count("main"), "1");
    let (_, written) = after(&[&[("other/x.yaml", "a: 1\n")], &[("web/rollout.yaml", &two)]]);
    is_proposed(written, "makes or removes files");
    let (_, written) =
        after(&[&[("web/rollout.yaml", &one)], &[("web/rollout.yaml", &two), ("web/new.yaml", "a: 1\n")]]);
    is_proposed(written, "makes or removes files");
}

#[test]
fn a_version_in_a_file_that_was_renamed_later_is_put_before_people() {
    let (ground, bad) = after_a_bad_version();
    ground.git("person", &["mv", "web/rollout.yaml", "web/canary.yaml"]);
    ground.commit(&[]);
    let proposed = proposed(order().carry_out(&ground.replica("one")).unwrap());
    assert!(proposed.proposal.head.contains(&bad[..12]), "{}", proposed.proposal.head);
}

#[test]
fn a_commit_that_did_more_than_this_version_is_put_before_people() {
    let (one, two) = (image(1), image(2));
    let pay = |version: &str| format!("image: registry/pay:{version}\n");
    let (seven, eight) = (pay("7"), pay("8"));
    let base: &[(&str, &str)] =
        &[("web/rollout.yaml", &one), ("web/pay.yaml", &seven), ("other/x.yaml", "a: 1\n")];
    let (_, written) = after(&[base, &[("web/rollout.yaml", &two), ("web/pay.yaml", &eight)]]);
    is_proposed(written, "more than this version");
    // What is not the Application's counts, too.
    let (_, written) = after(&[base, &[("web/rollout.yaml", &two), ("other/x.yaml", "a: 2\n")]]);
    is_proposed(written, "more than this version");
}

#[test]
fn of_services_that_share_a_tag_the_right_one_is_taken_back() {
    let values = |cart: &str, pay: &str| {
        format!(
            "cart:\n  image: registry/cart\n  tag: \"{cart}\"\n  a: 1\n  b: 2\n  c: 3\n  d: 4\npay:\n  image: registry/pay\n  tag: \"{pay}\"\n"
        )
    };
    let (first, bad, later) = (values("1", "1"), values("2", "1"), values("2", "2"));
    let file = "web/values.yaml";
    let (ground, written) = after(&[&[(file, &first)], &[(file, &bad)], &[("other/x.yaml", "a: 1\n")]]);
    assert!(matches!(written, Written::Commit(_)), "{written:?}");
    assert_eq!(ground.file("main", file), first.trim());
    let (_, written) = after(&[&[(file, &first)], &[(file, &bad)], &[(file, &later)]]);
    is_proposed(written, "later commits changed the same files");
}

#[test]
fn a_branch_that_somebody_set_back_is_not_pushed_forward() {
    let (ground, bad) = after_a_bad_version();
    let replica = ground.replica("one");
    let tip = replica.fetch("main").unwrap();
    let tree = replica.tree(tip).unwrap();
    let commit = replica.commit(tree, tip, "late", &Author::default(), Timestamp::from_millis(0)).unwrap();
    ground.git("server", &["update-ref", "refs/heads/main", &format!("{bad}^")]);
    assert_eq!(replica.push(commit, "main", Some(tip)).unwrap(), Pushed::Moved);
    // Nor is one made again that is gone.
    ground.git("server", &["update-ref", "-d", "refs/heads/main"]);
    assert_eq!(replica.push(commit, "main", Some(tip)).unwrap(), Pushed::Moved);
    assert_eq!(ground.git("server", &["for-each-ref"]), "");
}

#[test]
fn a_branch_may_be_called_like_the_folder_of_one_that_was() {
    let (ground, _) = after_a_bad_version();
    let replica = ground.replica("one");
    ground.git("server", &["branch", "release", "main"]);
    replica.fetch("release").unwrap();
    ground.git("server", &["branch", "--delete", "--force", "release"]);
    ground.git("server", &["branch", "release/1", "main"]);
    replica.fetch("release/1").unwrap();
}

#[test]
fn two_services_that_one_commit_gave_the_same_tag_are_put_before_people() {
    let kustomization = |cart: &str, pay: &str| {
        format!(
            "images:\n- name: registry/cart\n  newTag: \"{cart}\"\n- name: registry/pay\n  newTag: \"{pay}\"\n"
        )
    };
    let (first, bad) = (kustomization("1", "1"), kustomization("2", "2"));
    let (_, written) = after(&[&[("web/kustomization.yaml", &first)], &[("web/kustomization.yaml", &bad)]]);
    proposed(written);
    let (ground, written) = after(&[
        &[("web/kustomization.yaml", &first)],
        &[("web/kustomization.yaml", &kustomization("2", "1"))],
    ]);
    // Of neighbours, only the names say which is which: people look at it.
    is_proposed(written, "only a tag");
    assert_eq!(ground.count("main"), "2");
}

#[test]
fn people_may_go_on_from_the_branch_of_a_proposal() {
    let (ground, _) = after_a_bad_version();
    let order = Order { mode: Mode::PullRequest, ..order() };
    let replica = ground.replica("one");
    let first = proposed(order.carry_out(&replica).unwrap());
    replica.push(first.commit, &first.proposal.head, None).unwrap();
    ground.git("person", &["fetch", "--quiet", "origin"]);
    ground.git("person", &["checkout", "--quiet", "-B", "more", &format!("origin/{}", first.proposal.head)]);
    ground.git("person", &["commit", "--quiet", "--allow-empty", "--message", "more"]);
    ground.git("person", &["push", "--quiet", "origin", &format!("HEAD:{}", first.proposal.head)]);
    assert!(proposed(order.carry_out(&ground.replica("two")).unwrap()).is_pushed);
}

#[test]
fn a_branch_of_somebody_else_is_not_taken_for_a_proposal() {
    let (ground, bad) = after_a_bad_version();
    let head = format!("serin/revert-{}-main", &bad[..12]);
    ground.git("server", &["branch", &head, "main"]);
    let order = Order { mode: Mode::PullRequest, ..order() };
    let why = order.carry_out(&ground.replica("one")).unwrap_err().why;
    assert!(why.contains("is somebody else's"), "{why}");
}

#[test]
fn a_branch_that_moved_on_to_another_version_needs_nothing() {
    let (ground, _) = after_a_bad_version();
    ground.commit(&[("web/rollout.yaml", &image(3))]);
    assert_eq!(order().carry_out(&ground.replica("one")).unwrap(), Written::NotNeeded);
    ground.commit(&[("web/rollout.yaml", &image(1))]);
    assert_eq!(order().carry_out(&ground.replica("one")).unwrap(), Written::NotNeeded);
}

#[test]
fn a_merge_is_reverted_as_one() {
    let ground = Ground::new();
    ground.commit(&[("web/rollout.yaml", &image(1))]);
    ground.git("person", &["checkout", "--quiet", "-b", "release"]);
    std::fs::write(ground.path("person").join("web/rollout.yaml"), image(2)).unwrap();
    ground.git("person", &["commit", "--quiet", "--all", "--message", "two"]);
    ground.git("person", &["checkout", "--quiet", "-B", "main", "origin/main"]);
    ground.git("person", &["merge", "--quiet", "--no-ff", "--message", "Merge release", "release"]);
    ground.git("person", &["push", "--quiet", "origin", "main"]);
    assert!(matches!(order().carry_out(&ground.replica("one")).unwrap(), Written::Commit(_)));
    assert_eq!(ground.file("main", "web/rollout.yaml"), image(1).trim());
    let subject = ground.git("server", &["log", "-1", "--format=%s", "main"]);
    assert_eq!(subject, "Revert \"Merge release\"");
}

#[test]
fn a_tag_or_a_commit_cannot_be_written_to() {
    let (ground, bad) = after_a_bad_version();
    let mut order = order();
    order.source.target = bad;
    let Written::Unknown(why) = order.carry_out(&ground.replica("one")).unwrap() else { panic!() };
    assert!(why.contains("which is no branch"), "{why}");
}

#[test]
fn a_server_that_is_not_there_is_a_failure_that_names_it() {
    let ground = Ground::new();
    let url = ground.path("nowhere").display().to_string();
    let repository = Repository::open(&ground.path("one"), &url, Credentials::None).unwrap();
    let Failure { why, .. } = order().carry_out(&repository).unwrap_err();
    assert!(why.contains("nowhere cannot be read"), "{why}");
}

#[test]
fn a_server_whose_certificate_nobody_vouches_for_gets_no_request() {
    use std::io::Read as _;

    crate::providers::install_tls();
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![own.cert.der().clone()], key.into()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/shop/web.git", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
        // Nothing, or an end of the connection.
        rustls::StreamOwned::new(connection, stream).read(&mut [0]).unwrap_or_default()
    });
    let ground = Ground::new();
    let repository = Repository::open(&ground.path("one"), &url, Credentials::None).unwrap();
    let why = repository.branches().unwrap_err().why;
    assert!(why.contains("its certificate is not trusted"), "{why}");
    assert_eq!(server.join().unwrap(), 0, "the request was sent");
}

#[path = "ssh_tests.rs"]
mod ssh;
