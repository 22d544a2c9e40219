//! A watch cache of one kind of object: what the controller sees, which may lag behind what is stored.
//!
//! Like the controller's own store it also takes in the answers to the controller's own writes, and versions decide which
//! state of an object is newer: nothing the controller has written is ever taken back by a late watch event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use crate::units::Timestamp;

/// The state of one object after a change.
#[derive(Clone, Debug)]
pub(super) struct Change<T> {
    /// The object's name.
    pub(super) name: String,
    /// The version that the change made.
    pub(super) version: u64,
    /// What it is now; `None` when it was deleted.
    pub(super) object: Option<T>,
}

/// Objects of one kind by name, and the watch events that are on their way.
#[derive(Clone, Debug)]
pub(super) struct Watched<T> {
    shown: BTreeMap<String, T>,
    /// The newest version known of each name, also of deleted ones.
    known: BTreeMap<String, u64>,
    coming: VecDeque<(Timestamp, Change<T>)>,
    /// Names of objects that the controller wrote and has not been woken for yet, and when it wrote the first.
    answered: BTreeSet<String>,
    answered_at: Option<Timestamp>,
    lag: Duration,
    down_until: Option<Timestamp>,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self {
            shown: BTreeMap::new(),
            known: BTreeMap::new(),
            coming: VecDeque::new(),
            answered: BTreeSet::new(),
            answered_at: None,
            lag: Duration::ZERO,
            down_until: None,
        }
    }
}

impl<T> Watched<T> {
    /// What the controller sees, by name.
    pub(super) const fn shown(&self) -> &BTreeMap<String, T> {
        &self.shown
    }

    /// Sets how much later than it is stored a state is seen; states on their way keep their time.
    pub(super) const fn set_lag(&mut self, lag: Duration) {
        self.lag = lag;
    }

    /// The watch is broken until `until`: what happens until then is seen at that time.
    pub(super) const fn break_until(&mut self, until: Timestamp) {
        self.down_until = Some(until);
    }

    /// A change is stored; its watch event is on its way.
    pub(super) fn publish(&mut self, now: Timestamp, change: Change<T>) {
        let mut at = now.plus(self.lag);
        if let Some(until) = self.down_until.filter(|until| *until > now) {
            at = at.max(until);
        }
        if let Some((last, _)) = self.coming.back() {
            at = at.max(*last);
        }
        self.coming.push_back((at, change));
    }

    /// The answer to a write of our own, which is seen at once.
    pub(super) fn answer(&mut self, now: Timestamp, change: Change<T>) {
        let name = change.name.clone();
        if self.take_in(change) {
            self.answered.insert(name);
            self.answered_at.get_or_insert(now);
        }
    }

    /// When there is something new next; `None` when the cache is up to date.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        self.coming.front().map(|(at, _)| *at).into_iter().chain(self.answered_at).min()
    }

    /// Takes in the watch events that are due; names of the objects that are new by them or by answers.
    pub(super) fn advance(&mut self, now: Timestamp) -> BTreeSet<String> {
        let due = self.coming.iter().take_while(|(at, _)| *at <= now).count();
        let events: Vec<Change<T>> = self.coming.drain(..due).map(|(_, change)| change).collect();
        self.answered_at = None;
        let mut news = std::mem::take(&mut self.answered);
        for change in events {
            let name = change.name.clone();
            if self.take_in(change) {
                news.insert(name);
            }
        }
        news
    }

    /// Shows everything as it is stored, as after a restart.
    pub(super) fn relist(&mut self) {
        self.down_until = None;
        let events: Vec<Change<T>> = self.coming.drain(..).map(|(_, change)| change).collect();
        for change in events {
            self.take_in(change);
        }
    }

    /// Adds what is shown and what is on its way, as `describe` tells each object.
    pub(super) fn describe(&self, text: &mut String, describe: impl Fn(&T) -> String) {
        for (name, object) in &self.shown {
            let _ = write!(text, "{name}={};", describe(object));
        }
        for (at, change) in &self.coming {
            let object = change.object.as_ref().map(&describe);
            let _ = write!(text, "{at:?}:{}={object:?};", change.name);
        }
        let (answered, at) = (&self.answered, self.answered_at);
        let _ = writeln!(text, "{answered:?} {at:?} {:?} {:?}", self.lag, self.down_until);
    }

    fn take_in(&mut self, change: Change<T>) -> bool {
        if self.known.get(&change.name).is_some_and(|known| *known >= change.version) {
            return false;
        }
        self.known.insert(change.name.clone(), change.version);
        match change.object {
            Some(object) => self.shown.insert(change.name, object),
            None => self.shown.remove(&change.name),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn version(version: u64) -> Change<u64> {
        Change { name: "a".to_owned(), version, object: Some(version) }
    }

    fn shown(cache: &Watched<u64>) -> Option<u64> {
        cache.shown().get("a").copied()
    }

    #[test]
    fn a_lagging_cache_shows_each_state_later_and_in_order() {
        let mut cache = Watched::default();
        cache.set_lag(Duration::from_secs(5));
        cache.publish(at(1), version(1));
        cache.set_lag(Duration::ZERO);
        cache.publish(at(2), version(2));
        assert_eq!(cache.next_change(), Some(at(6)));
        assert!(cache.advance(at(5)).is_empty());
        assert!(!cache.advance(at(6)).is_empty());
        assert_eq!((shown(&cache), cache.next_change()), (Some(2), None));
    }

    #[test]
    fn a_late_event_takes_nothing_back_that_the_controller_wrote() {
        let mut cache = Watched::default();
        cache.set_lag(Duration::from_secs(5));
        cache.publish(at(1), version(1));
        cache.answer(at(2), version(2));
        assert_eq!(cache.advance(at(2)), BTreeSet::from(["a".to_owned()]));
        assert!(cache.advance(at(6)).is_empty());
        assert_eq!(shown(&cache), Some(2));
        cache.answer(at(7), Change { name: "a".to_owned(), version: 3, object: None });
        cache.publish(at(7), version(2));
        cache.advance(at(12));
        assert_eq!(shown(&cache), None);
    }

    #[test]
    fn a_broken_watch_shows_everything_when_it_is_back() {
        let mut cache = Watched::default();
        cache.break_until(at(60));
        cache.publish(at(1), version(1));
        cache.publish(at(2), version(2));
        assert!(cache.advance(at(59)).is_empty());
        assert!(!cache.advance(at(60)).is_empty());
        assert_eq!(shown(&cache), Some(2));
        cache.publish(at(61), version(3));
        assert!(!cache.advance(at(61)).is_empty());
    }
}
