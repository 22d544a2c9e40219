use super::super::abort::tests::rejected;
use super::*;

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn change(path: &str, removed: &[&str], added: &[&str]) -> Change {
    near(path, &[], removed, added)
}

fn near(path: &str, around: &[&str], removed: &[&str], added: &[&str]) -> Change {
    let hunk = Hunk { added: lines(added), removed: lines(removed), around: lines(around) };
    Change { path: path.to_owned(), hunks: vec![hunk] }
}

fn commit(id: &str, changes: &[Change]) -> Commit {
    let message = format!("change {id}\n\nmore\n");
    Commit { id: id.to_owned(), message, changes: changes.to_vec(), is_root: false }
}

fn log(commits: &[Commit]) -> Log {
    Log { commits: commits.to_vec(), synced: None, before: None }
}

fn found(rejected: &Rejected, log: &Log) -> Suspect {
    match find(rejected, log) {
        Finding::Suspect(suspect) => suspect,
        other => panic!("{other:?}"),
    }
}

fn unknown(rejected: &Rejected, log: &Log) -> String {
    match find(rejected, log) {
        Finding::Unknown(why) => why,
        other => panic!("{other:?}"),
    }
}

/// A commit that went from the stable image to the rejected one.
fn bad(id: &str) -> Commit {
    commit(id, &[change("web/rollout.yaml", &["image: registry/cart:1"], &["image: registry/cart:2"])])
}

/// The rejected version of the test without an image of its own.
fn without_image() -> Rejected {
    Rejected { images: vec![], replaced: vec![], ..rejected() }
}

#[test]
fn the_newest_commit_that_put_the_image_in_brought_it() {
    let other = commit("c", &[change("web/service.yaml", &[], &["port: 81"])]);
    let suspect = found(&rejected(), &log(&[other, bad("b"), bad("a")]));
    assert_eq!((suspect.id.as_str(), suspect.subject.as_str()), ("b", "change b"));
    assert_eq!(suspect.by, By::Image("registry/cart:2".into()));
    assert_eq!((suspect.paths, suspect.is_built_on), (["web/rollout.yaml".to_owned()].into(), false));
}

#[test]
fn what_was_pushed_after_the_sync_did_not_bring_it() {
    let synced = |id: &str| Log { synced: Some(id.to_owned()), ..log(&[bad("c"), bad("b"), bad("a")]) };
    let suspect = found(&rejected(), &synced("b"));
    assert_eq!((suspect.id.as_str(), suspect.is_built_on), ("b", true));
    assert_eq!(found(&rejected(), &synced("unknown")).id, "c");
}

fn tag(id: &str, around: &[&str], key: &str, old: &str) -> Commit {
    let line = |version: &str| format!("  {key}: \"{version}\"");
    commit(id, &[near("web/values.yaml", around, &[&line(old)], &[&line("2")])])
}

fn by(by: &str) -> impl Fn(Suspect) -> bool {
    let by = by.to_owned();
    move |suspect| format!("{:?}", suspect.by).starts_with(&by)
}

#[test]
fn a_tag_counts_only_in_the_place_of_the_stable_one() {
    let near = tag("b", &["- name: registry/cart"], "newTag", "1");
    assert!(by("NearTag")(found(&rejected(), &log(&[near]))));
    assert!(by("Tag")(found(&rejected(), &log(&[tag("b", &[], "tag", "1")]))));
    // Two replicas are no version 2.
    let why = unknown(&rejected(), &log(&[tag("b", &["name: cart"], "replicas", "1")]));
    assert!(why.contains("no commit was found that puts registry/cart:2"), "{why}");
    unknown(&rejected(), &log(&[tag("b", &["name: cart"], "tag", "9")]));
    // Where another version was tried in between, it may have been any.
    let rejected = Rejected { follows_stable: false, ..rejected() };
    assert!(by("NearTag")(found(&rejected, &log(&[tag("b", &["name: cart"], "tag", "1.5")]))));
}

#[test]
fn of_tags_that_several_services_share_the_one_near_the_name_is_taken() {
    let (cart, pay) = (&["  repository: registry/cart"][..], &["  repository: registry/pay"][..]);
    let suspect = found(&rejected(), &log(&[tag("b", pay, "tag", "1"), tag("a", cart, "tag", "1")]));
    assert_eq!((suspect.id.as_str(), suspect.by), ("a", By::NearTag("registry/cart:2".into())));
    // Where two are near, and where both names are, nothing is certain.
    assert!(by("Tag")(found(&rejected(), &log(&[tag("b", cart, "tag", "1"), tag("a", cart, "tag", "1")]))));
    assert!(by("Tag")(found(&rejected(), &log(&[tag("b", &[cart, pay].concat(), "tag", "1")]))));
}

#[test]
fn the_reference_comes_before_any_tag_and_no_reference_is_a_tag() {
    let app_version = tag("c", &["name: cart"], "appVersion", "1");
    assert_eq!(found(&rejected(), &log(&[app_version, bad("b")])).id, "b");
    let pay = near("web/pay.yaml", &["name: cart"], &["image: registry/pay:1"], &["image: registry/pay:2"]);
    unknown(&rejected(), &log(&[commit("b", &[pay])]));
}

#[test]
fn a_sync_that_is_not_in_the_log_is_told() {
    let of = |synced: &str| Log { synced: Some(synced.to_owned()), ..log(&[bad("b")]) };
    assert!(found(&rejected(), &of("gone")).is_sync_missing);
    assert!(!found(&rejected(), &of("b")).is_sync_missing);
}

#[test]
fn a_line_that_only_moved_or_took_another_form_brought_nothing() {
    let moved = commit(
        "c",
        &[
            change("web/rollout.yaml", &["image: registry/cart:2"], &[]),
            change("web/moved.yaml", &[], &["image: registry/cart:2"]),
        ],
    );
    let quoted =
        commit("d", &[change("web/moved.yaml", &["image: registry/cart:2"], &["image: 'registry/cart:2'"])]);
    assert_eq!(found(&rejected(), &log(&[quoted, moved, bad("a")])).id, "a");
}

#[test]
fn the_first_commit_of_a_repository_brought_nothing() {
    let root = Commit { is_root: true, ..bad("a") };
    unknown(&rejected(), &log(&[root]));
}

#[test]
fn without_an_image_the_only_change_between_two_syncs_is_it() {
    let env = change("web/rollout.yaml", &[], &[]);
    let commits =
        [commit("d", &[]), commit("c", &[]), commit("b", std::slice::from_ref(&env)), commit("a", &[env])];
    let mut all = log(&commits);
    assert!(unknown(&without_image(), &all).contains("history does not tell"));
    (all.synced, all.before) = (Some("c".into()), Some("a".into()));
    let suspect = found(&without_image(), &all);
    assert_eq!((suspect.id.as_str(), suspect.by), ("b", By::OnlyChange));
}

#[test]
fn of_several_changes_or_none_nothing_is_guessed() {
    let env = change("web/rollout.yaml", &[], &[]);
    let commits = [commit("c", std::slice::from_ref(&env)), commit("b", &[env]), commit("a", &[])];
    let why = |synced: &str, before: &str| {
        let between = Log { synced: Some(synced.into()), before: Some(before.into()), ..log(&commits) };
        unknown(&without_image(), &between)
    };
    assert!(why("c", "a").contains("several commits"));
    assert!(why("a", "a").contains("Git did not change"));
    assert!(why("x", "a").contains("not among the newest"));
    assert!(why("a", "c").contains("no commit between"));
}

#[test]
fn commits_that_came_with_the_same_sync_are_told() {
    let env = commit("c", &[change("web/rollout.yaml", &[], &[])]);
    let with = |before: &str| Log {
        synced: Some("c".into()),
        before: Some(before.into()),
        ..log(&[env.clone(), bad("b"), commit("a", &[])])
    };
    assert!(found(&rejected(), &with("a")).has_company);
    let alone = Log { synced: Some("b".into()), ..with("a") };
    assert!(!found(&rejected(), &alone).has_company);
}

#[test]
fn what_took_another_version_back_is_not_taken_back_as_the_only_change() {
    let mut ours = commit("b", &[change("web/rollout.yaml", &[], &[])]);
    ours.message =
        format!("Revert\n\n{}", trailers::trailers(&Rejected { begun_at: None, ..rejected() }, "x"));
    ours.message = ours.message.replace("Serin-Abort: 6f1c", "Serin-Abort: other");
    let all = Log { synced: Some("b".into()), before: Some("a".into()), ..log(&[ours, commit("a", &[])]) };
    assert!(unknown(&without_image(), &all).contains("took another one back"));
}

#[test]
fn an_abort_that_was_answered_is_not_looked_into_again() {
    let mut answer = commit("c", &[]);
    answer.message = format!("Revert\n\n{}", trailers::trailers(&rejected(), "b"));
    assert_eq!(find(&rejected(), &log(&[answer, bad("b")])), Finding::Answered("c".into()));
}

#[test]
fn a_file_says_the_version_by_the_image_or_by_the_line() {
    let suspect = found(&rejected(), &log(&[bad("b")]));
    assert!(suspect.is_said_in("a: 1\nimage: 'registry/cart:2'\n"));
    assert!(!suspect.is_said_in("image: registry/cart:21\n"));
    let suspect = found(&rejected(), &log(&[tag("b", &["name: cart"], "tag", "1")]));
    assert!(suspect.is_said_in("    tag: '2'\n") && !suspect.is_said_in("replicas: 2\n"));
}

#[test]
fn lines_that_matter_have_the_name_or_a_version() {
    let needles = Needles::of(&rejected());
    assert!(needles.are_in("- name: registry/cart") && needles.are_in("tag: 2"));
    assert!(!needles.are_in("memory: 64Mi") && needles.are_in("- name: registry/pay"));
}
