//! Some histories as sync engines tell them: the health of Argo CD and the status of kstatus, each time one of them changes.

use crate::histories::{play, scenarios};
use crate::kstatus;
use crate::lua;

/// Plays a scenario and compares what is said of its objects of a kind.
fn check(scenario: &str, kind: &str, expected: &[&str]) {
    let mut words = Vec::<String>::new();
    play(&scenarios()[scenario], &mut |_, object| {
        if object["kind"] != kind {
            return;
        }
        let said = format!("{} {:?}", lua::health(object).status, kstatus::compute(object).unwrap());
        if words.last() != Some(&said) {
            words.push(said);
        }
    });
    assert_eq!(words, expected, "{scenario}");
}

/// Before there is a status, Argo CD waits; kstatus takes what says nothing for done, and only the first status mends that.
const NO_STATUS: &str = "Progressing Current";
const GOES_ON: &str = "Progressing InProgress";
const PAUSED: &str = "Suspended InProgress";
const GOOD: &str = "Healthy Current";
const BAD: &str = "Degraded Failed";

#[test]
fn a_first_version_is_waited_for() {
    check("first_deploy", "Rollout", &[NO_STATUS, GOES_ON, GOOD]);
    check("first_deploy_never_ready", "Rollout", &[NO_STATUS, GOES_ON, BAD, GOES_ON, GOOD]);
}

#[test]
fn a_canary_is_waited_for_also_while_it_pauses() {
    let steps = [GOES_ON, PAUSED, GOES_ON, PAUSED];
    check("pause_and_promote", "Rollout", &[&[GOES_ON, GOOD], &steps[..], &[GOES_ON, GOOD]].concat());
    check("restart", "Rollout", &[GOES_ON, GOOD, GOES_ON, GOOD]);
}

#[test]
fn a_pause_is_healthy_where_its_owner_says_so_and_one_by_hand_is_not() {
    let scenario = "pause_that_is_reported_as_healthy";
    check(scenario, "Rollout", &[GOES_ON, GOOD, GOES_ON, GOOD, GOES_ON, PAUSED, GOES_ON, GOOD]);
}

#[test]
fn a_new_rollout_waits_for_what_it_refers_to() {
    let comes_late = [NO_STATUS, GOES_ON, BAD, GOES_ON, GOOD];
    let later = [GOES_ON, PAUSED, BAD, GOOD];
    check("workload_missing", "Rollout", &[&comes_late[..], &later].concat());
}

#[test]
fn what_was_taken_back_is_degraded_and_failed_until_somebody_goes_on() {
    let aborted = [GOES_ON, GOOD, GOES_ON, PAUSED, BAD];
    check("bluegreen_abort", "Rollout", &aborted);
    let again = [GOES_ON, PAUSED, GOES_ON, PAUSED, GOES_ON, GOOD];
    check("retry_after_abort", "Rollout", &[&aborted[..], &again].concat());
    check("bluegreen_post_promotion_fails", "Rollout", &[GOES_ON, GOOD, GOES_ON, BAD]);
}

#[test]
fn an_invalid_spec_and_a_passed_deadline_are_degraded_and_failed() {
    check("invalid_spec_heals", "Rollout", &[GOES_ON, GOOD, GOES_ON, BAD, GOES_ON, BAD, GOES_ON, GOOD]);
    let mended = [GOES_ON, PAUSED, GOES_ON, PAUSED, GOES_ON, GOOD];
    check("pods_never_ready", "Rollout", &[&[GOES_ON, GOOD, GOES_ON, BAD], &mended[..]].concat());
}

#[test]
fn a_blue_green_update_is_waited_for_until_it_has_switched() {
    check("bluegreen", "Rollout", &[GOES_ON, GOOD, GOES_ON, PAUSED, GOES_ON, GOOD]);
}

#[test]
fn runs_and_experiments_are_waited_for_and_no_verdict_is_no_success() {
    check("experiment_step", "AnalysisRun", &[NO_STATUS, GOES_ON, GOOD]);
    check("experiment_step", "Experiment", &[NO_STATUS, GOES_ON, GOOD]);
    check("bluegreen_post_promotion_fails", "AnalysisRun", &[NO_STATUS, GOES_ON, BAD]);
    check("inconclusive_analysis", "AnalysisRun", &[NO_STATUS, GOES_ON, "Unknown Failed"]);
}
