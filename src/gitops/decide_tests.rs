use super::super::abort::tests::rejected;
use super::*;

const FILE: &str = "web/rollout.yaml";
const OLD: &str = "image: registry/cart:1";
const NEW: &str = "image: registry/cart:2";
const MORE: &str = "more than this version";

fn file(path: &str, removed: &[&str], added: &[&str]) -> ChangedFile {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    ChangedFile { path: path.to_owned(), added: lines(added), removed: lines(removed) }
}

fn by_image() -> By {
    By::Image("registry/cart:2".into())
}

fn by_tag() -> By {
    By::NearTag("registry/cart:2".into())
}

/// The step of a case that is certain but for what is changed.
fn step(
    change: impl FnOnce(&mut Suspect, &mut Extent, &mut Rejected),
    more: impl FnOnce(&mut Facts<'_>),
) -> Step {
    let mut suspect = Suspect {
        id: "b".into(),
        subject: String::new(),
        by: by_image(),
        paths: [FILE.to_owned()].into(),
        is_built_on: false,
        is_sync_missing: false,
        has_company: false,
    };
    let files = vec![file(FILE, &[OLD, "# one", ""], &[NEW, "# two"])];
    let (mut extent, mut rejected) = (Extent { files, ..Extent::default() }, rejected());
    change(&mut suspect, &mut extent, &mut rejected);
    let mut facts = Facts {
        rejected: &rejected,
        suspect: &suspect,
        extent: &extent,
        is_there: true,
        attempt: Attempt::Clean,
        stays: false,
        is_one_of_several: false,
        mode: Mode::Commit,
        refused: None,
    };
    more(&mut facts);
    decide(&facts)
}

/// The same of a commit that changed this in the file.
fn of_file(by: By, removed: &[&str], added: &[&str]) -> Step {
    let files = vec![file(FILE, removed, added)];
    step(|found, extent, _| (found.by, extent.files) = (by, files), |_| {})
}

fn proposed(step: Step, part: &str) {
    match step {
        Step::Propose(why) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clean_revert_of_what_came_after_stable_is_a_commit() {
    assert_eq!(step(|_, _, _| {}, |_| {}), Step::Commit);
    assert_eq!(of_file(by_tag(), &["  tag: \"1\""], &["  tag: '2'"]), Step::Commit);
    let label = |version: u8| format!("app.kubernetes.io/version: \"{version}\"");
    assert_eq!(of_file(by_image(), &[OLD, &label(1)], &[NEW, &label(2)]), Step::Commit);
}

#[test]
fn what_is_not_there_any_more_is_not_written() {
    assert_eq!(step(|found, _, _| found.is_built_on = true, |facts| facts.is_there = false), Step::Nothing);
    let unchanged = step(|_, _, _| {}, |facts| facts.attempt = Attempt::Unchanged);
    assert!(matches!(unchanged, Step::Unclear(_)), "{unchanged:?}");
    // Of a version without an image nothing is looked for.
    proposed(step(|found, _, _| found.by = By::OnlyChange, |facts| facts.is_there = false), "one change");
    let unchanged = step(|found, _, _| found.by = By::OnlyChange, |facts| facts.attempt = Attempt::Unchanged);
    assert_eq!(unchanged, Step::Nothing);
}

#[test]
fn what_others_did_before_or_after_is_put_before_people() {
    proposed(step(|_, _, _| {}, |facts| facts.attempt = Attempt::Conflict), "same lines");
    proposed(step(|found, _, _| found.is_built_on = true, |_| {}), "same files");
    proposed(step(|found, _, _| found.is_sync_missing = true, |_| {}), "not among the newest");
    proposed(step(|_, _, rejected| rejected.follows_stable = false, |_| {}), "another version");
    proposed(step(|_, _, _| {}, |facts| facts.stays = true), "still say");
    proposed(step(|found, _, _| found.has_company = true, |_| {}), "same sync");
    proposed(step(|_, _, rejected| rejected.images.push("envoy:9".into()), |_| {}), "several images");
    proposed(step(|_, _, _| {}, |facts| facts.is_one_of_several = true), "several repositories");
}

#[test]
fn a_commit_that_did_more_is_put_before_people() {
    proposed(step(|_, extent, _| extent.changes_tree = true, |_| {}), "makes or removes files");
    proposed(step(|_, extent, _| extent.is_cut = true, |_| {}), MORE);
    proposed(step(|_, extent, _| extent.files.push(file("CHANGELOG.md", &[], &["- two"])), |_| {}), MORE);
    let pay = |version: u8| format!("image: registry/pay:{version}");
    proposed(of_file(by_image(), &[OLD, &pay(7)], &[NEW, &pay(8)]), MORE);
    proposed(of_file(by_image(), &[OLD, &pay(7)], &[NEW]), MORE);
    proposed(of_file(by_image(), &[OLD, "replicas: 2"], &[NEW, "replicas: 20"]), MORE);
    proposed(of_file(by_image(), &[OLD, "  tag: \"1\""], &[NEW, "  tag: \"2\""]), MORE);
    let list = ["- registry/cart:2", "- registry/pay:8"];
    proposed(of_file(by_image(), &["- registry/cart:1", "- registry/pay:7"], &list), MORE);
    let both =
        |cart: u8, pay: u8| format!("{{\"a\": \"registry/cart:{cart}\", \"b\": \"registry/pay:{pay}\"}}");
    proposed(of_file(by_image(), &[&both(1, 7)], &[&both(2, 8)]), MORE);
    assert_eq!(of_file(by_image(), &[&both(1, 7)], &[&both(2, 7)]), Step::Commit);
}

#[test]
fn of_two_tags_in_a_file_one_may_be_anothers() {
    let (old, new) = (["newTag: \"1\"", "newTag: \"1\""], ["newTag: \"2\"", "newTag: \"2\""]);
    proposed(of_file(by_tag(), &old, &new), MORE);
}

#[test]
fn what_is_not_certain_or_not_allowed_is_put_before_people() {
    proposed(step(|found, _, _| found.by = By::Tag("registry/cart:2".into()), |_| {}), "only a tag");
    proposed(step(|_, _, _| {}, |facts| facts.mode = Mode::PullRequest), "configuration");
    proposed(step(|_, _, _| {}, |facts| facts.refused = Some("hook declined")), "hook declined");
}
