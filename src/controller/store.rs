//! One kind of object as the cluster holds it, indexed by what it refers to, and never older than what was written.
//!
//! Two sources feed a store: the watch, and the answers to our own writes. Versions decide between them, so a pass sees
//! what the pass before it wrote, and a late watch event takes nothing back. Whether an object is there at all, only the
//! watch decides: a deleted one may be shown again by it (a label selector left and entered), never by a late answer. The
//! API server's resource versions are decimal numbers that grow (guaranteed for every kind since Kubernetes 1.35, and
//! true before).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::tombstones::Tombstones;
use crate::rollout::workload::WorkloadKind;
use crate::traffic::RouteKind;

/// Namespace and name of an object; the namespace is empty for cluster-scoped ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its name.
    pub(crate) name: Arc<str>,
}

impl Key {
    /// The key of an object.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A kind of object that owns what is made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OwnerKind {
    Rollout,
    Experiment,
}

/// What an object refers to; a store finds objects by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Link {
    /// This object controls it.
    Owner {
        /// The owner's kind.
        kind: OwnerKind,
        /// The owner's namespace and name.
        key: Key,
        /// The owner's uid; another object of the same name owns nothing of it.
        uid: Arc<str>,
    },
    /// It names this AnalysisTemplate; namespace `*` where the reader's namespace decides.
    Template(Key),
    /// It names this Service.
    Service(Key),
    /// It takes its pod template from this workload.
    Workload {
        /// The workload's kind.
        kind: WorkloadKind,
        /// The workload's namespace and name.
        key: Key,
    },
    /// Its router is configured by this object.
    Route {
        /// The object's kind.
        kind: RouteKind,
        /// Its namespace and name.
        key: Key,
    },
    /// Its router is configured by any object of a kind in a namespace.
    Routes {
        /// The objects' kind.
        kind: RouteKind,
        /// Their namespace.
        namespace: Arc<str>,
    },
    /// It is in this namespace.
    Namespace(Arc<str>),
}

/// What identifies one state of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) key: Key,
    pub(crate) uid: Arc<str>,
    pub(crate) version: u64,
}

impl Identity {
    /// Reads the identity from metadata; absent parts are empty.
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        let text = |field: &Option<String>| -> Arc<str> { field.as_deref().unwrap_or_default().into() };
        Self {
            key: Key { namespace: text(&meta.namespace), name: text(&meta.name) },
            uid: text(&meta.uid),
            version: meta.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }
}

/// A value that a store can hold.
pub(crate) trait Cached: PartialEq {
    /// What it refers to.
    fn links(&self) -> Vec<Link>;
}

/// One object of a store.
#[derive(Debug)]
pub(crate) struct Stored<T> {
    pub(crate) identity: Identity,
    pub(crate) value: Arc<T>,
    /// Who has shown this state; a state that was written counts as shown by the watch once it has followed.
    shown_by: Source,
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self { identity: self.identity.clone(), value: Arc::clone(&self.value), shown_by: self.shown_by }
    }
}

/// A change of a store that passes may have to look at: the links that the object has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Key,
    pub(crate) links: BTreeSet<Link>,
    /// Whether it has other links than before.
    pub(crate) relinked: bool,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The watch.
    Watch,
    /// The answer to our own write.
    Write,
}

struct Listing {
    seen: HashSet<Key>,
    newest: u64,
}

struct Inner<T> {
    objects: HashMap<Key, Stored<T>>,
    by_link: HashMap<Link, BTreeSet<Key>>,
    gone: Tombstones,
    listing: Option<Listing>,
}

impl<T> Default for Inner<T> {
    fn default() -> Self {
        Self { objects: HashMap::new(), by_link: HashMap::new(), gone: Tombstones::default(), listing: None }
    }
}

/// All objects of one kind.
pub(crate) struct Store<T> {
    inner: RwLock<Inner<T>>,
}

impl<T: Cached> Store<T> {
    pub(crate) fn new() -> Self {
        Self { inner: RwLock::default() }
    }

    /// Takes in one state of one object. `None` when that changes nothing.
    pub(crate) fn put(&self, identity: Identity, value: T, source: Source) -> Option<Change> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).put(identity, value, source)
    }

    /// Whether this very state is known already, so that nobody has to take it in. Counts as shown by `source` then.
    pub(crate) fn knows(&self, identity: &Identity, source: Source) -> bool {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).knows(identity, source)
    }

    /// Takes an object out. `None` when a newer object of that name is known, or none at all.
    pub(crate) fn remove(&self, identity: &Identity) -> Option<Change> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).remove(identity)
    }

    /// Takes out an object whose newest state cannot be read. A readable state may come later.
    pub(crate) fn remove_unreadable(&self, identity: &Identity) -> Option<Change> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let known = inner.objects.get(&identity.key)?;
        (known.identity.version < identity.version).then(|| inner.drop_object(&identity.key))
    }

    /// A listing of everything begins.
    pub(crate) fn begin_listing(&self) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.listing = Some(Listing { seen: HashSet::new(), newest: 0 });
    }

    /// What the listing that is about to end has not contained.
    pub(crate) fn unlisted(&self) -> Vec<Stored<T>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).unlisted().cloned().collect()
    }

    /// The listing is complete: what it did not contain is gone.
    pub(crate) fn end_listing(&self) -> Vec<Change> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).end_listing()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Stored<T>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).objects.get(key).cloned()
    }

    /// Keys of the objects that refer to `link`, sorted.
    pub(crate) fn keys_linked(&self, link: &Link) -> Vec<Key> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.by_link.get(link).into_iter().flatten().cloned().collect()
    }

    /// The objects that refer to `link`, sorted by key.
    pub(crate) fn linked(&self, link: &Link) -> Vec<Stored<T>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let keys = inner.by_link.get(link).into_iter().flatten();
        keys.filter_map(|key| inner.objects.get(key)).cloned().collect()
    }

    /// Whether any object refers to a link of this sort.
    pub(crate) fn any_link(&self, is_wanted: impl Fn(&Link) -> bool) -> bool {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).by_link.keys().any(is_wanted)
    }

    /// Keys of the objects that refer to links of this sort, sorted.
    pub(crate) fn keys_with(&self, is_wanted: impl Fn(&Link) -> bool) -> BTreeSet<Key> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let links = inner.by_link.iter().filter(|(link, _)| is_wanted(link));
        links.flat_map(|(_, keys)| keys).cloned().collect()
    }

    /// Everything is forgotten, as if nothing had ever been listed.
    pub(crate) fn clear(&self) {
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    /// All objects, sorted by key; for scrapes, not for passes.
    pub(crate) fn all(&self) -> Vec<Stored<T>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = inner.objects.values().cloned().collect();
        drop(inner);
        all.sort_by(|a, b| a.identity.key.cmp(&b.identity.key));
        all
    }
}

impl<T: Cached> Inner<T> {
    fn put(&mut self, identity: Identity, value: T, source: Source) -> Option<Change> {
        self.list(&identity, source);
        if self.gone.hide(&identity, source) {
            return None;
        }
        if let Some(known) = self.objects.get_mut(&identity.key) {
            if identity.version < known.identity.version {
                return None;
            }
            if identity.version == known.identity.version {
                known.confirm(source);
                return None;
            }
            if known.identity.uid == identity.uid && *known.value == value {
                (known.identity.version, known.shown_by) = (identity.version, source);
                return None;
            }
        }
        Some(self.replace(identity, value, source))
    }

    fn knows(&mut self, identity: &Identity, source: Source) -> bool {
        let known = self.objects.get_mut(&identity.key);
        let Some(known) = known.filter(|known| known.identity == *identity) else { return false };
        known.confirm(source);
        self.list(identity, source);
        true
    }

    /// Keeps what a listing contains while one goes on.
    fn list(&mut self, identity: &Identity, source: Source) {
        if let (Some(listing), Source::Watch) = (&mut self.listing, source) {
            listing.seen.insert(identity.key.clone());
            listing.newest = listing.newest.max(identity.version);
        }
    }

    fn replace(&mut self, identity: Identity, value: T, shown_by: Source) -> Change {
        let key = identity.key.clone();
        let mut links = self.unlink(&key);
        let next: BTreeSet<Link> = value.links().into_iter().collect();
        let relinked = links != next;
        for link in next {
            self.by_link.entry(link.clone()).or_default().insert(key.clone());
            links.insert(link);
        }
        self.objects.insert(key.clone(), Stored { identity, value: Arc::new(value), shown_by });
        Change { key, links, relinked }
    }

    fn remove(&mut self, identity: &Identity) -> Option<Change> {
        self.gone.bury(&identity.uid, identity.version);
        let known = self.objects.get(&identity.key)?;
        (known.identity.uid == identity.uid).then(|| self.drop_object(&identity.key))
    }

    fn unlisted(&self) -> impl Iterator<Item = &Stored<T>> {
        let listing = self.listing.iter();
        listing.flat_map(|listing| self.objects.values().filter(|object| !listing.leaves(object)))
    }

    fn end_listing(&mut self) -> Vec<Change> {
        let gone: BTreeSet<Identity> = self.unlisted().map(|object| object.identity.clone()).collect();
        self.listing = None;
        let drop_unlisted = |identity: &Identity| {
            // The list may be older than the object: then the watch that follows shows this very version.
            self.gone.bury(&identity.uid, identity.version.saturating_sub(1));
            self.drop_object(&identity.key)
        };
        gone.iter().map(drop_unlisted).collect()
    }

    fn drop_object(&mut self, key: &Key) -> Change {
        let links = self.unlink(key);
        self.objects.remove(key);
        Change { key: key.clone(), relinked: !links.is_empty(), links }
    }

    /// Takes the object out of the index; returns the links it had.
    fn unlink(&mut self, key: &Key) -> BTreeSet<Link> {
        let links: BTreeSet<Link> = self
            .objects
            .get(key)
            .map(|object| object.value.links())
            .unwrap_or_default()
            .into_iter()
            .collect();
        for link in &links {
            if let Some(keys) = self.by_link.get_mut(link) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_link.remove(link);
                }
            }
        }
        links
    }
}

impl<T> Stored<T> {
    /// The same state came from here, too.
    fn confirm(&mut self, source: Source) {
        if source == Source::Watch {
            self.shown_by = source;
        }
    }
}

impl Listing {
    /// Whether an object stays: it is in the list, or was written after the list was made, which the watch that follows
    /// will show. A state that the watch has shown before is not spared: the list is newer.
    fn leaves<T>(&self, object: &Stored<T>) -> bool {
        let identity = &object.identity;
        let is_unseen_write = object.shown_by == Source::Write && identity.version > self.newest;
        is_unseen_write || self.seen.contains(&identity.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Thing(&'static str, Option<&'static str>);

    impl Cached for Thing {
        fn links(&self) -> Vec<Link> {
            self.1.map(owner).into_iter().collect()
        }
    }

    fn owner(uid: &str) -> Link {
        Link::Owner { kind: OwnerKind::Rollout, key: Key::new("ns", "owner"), uid: uid.into() }
    }

    fn identity(name: &str, uid: &str, version: u64) -> Identity {
        Identity { key: Key::new("ns", name), uid: uid.into(), version }
    }

    fn value(store: &Store<Thing>, name: &str) -> Option<&'static str> {
        store.get(&Key::new("ns", name)).map(|stored| stored.value.0)
    }

    #[test]
    fn an_older_watch_event_does_not_take_a_write_back() {
        let store = Store::new();
        store.put(identity("a", "1", 5), Thing("written", None), Source::Write);
        assert_eq!(store.put(identity("a", "1", 4), Thing("older", None), Source::Watch), None);
        assert_eq!(value(&store, "a"), Some("written"));
        assert!(store.put(identity("a", "1", 6), Thing("newer", None), Source::Watch).is_some());
        assert_eq!(value(&store, "a"), Some("newer"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let store = Store::new();
        store.put(identity("a", "1", 9), Thing("nine", None), Source::Watch);
        store.put(identity("a", "1", 10), Thing("ten", None), Source::Watch);
        assert_eq!(value(&store, "a"), Some("ten"));
    }

    #[test]
    fn a_new_version_of_the_same_value_is_no_change() {
        let store = Store::new();
        store.put(identity("a", "1", 1), Thing("x", None), Source::Watch);
        assert_eq!(store.put(identity("a", "1", 2), Thing("x", None), Source::Watch), None);
        assert_eq!(store.get(&Key::new("ns", "a")).unwrap().identity.version, 2);
    }

    #[test]
    fn a_late_answer_does_not_bring_a_deleted_object_back() {
        let store = Store::new();
        store.put(identity("a", "1", 1), Thing("x", None), Source::Watch);
        assert!(store.remove(&identity("a", "1", 3)).is_some());
        assert_eq!(store.put(identity("a", "1", 2), Thing("late", None), Source::Write), None);
        assert_eq!(value(&store, "a"), None);
        assert!(store.put(identity("a", "2", 4), Thing("again", None), Source::Watch).is_some());
    }

    #[test]
    fn an_object_that_left_the_selector_is_seen_again_when_it_comes_back() {
        let store = Store::new();
        store.put(identity("a", "1", 1), Thing("x", None), Source::Watch);
        store.remove(&identity("a", "1", 3));
        assert_eq!(store.put(identity("a", "1", 5), Thing("unseen", None), Source::Write), None);
        assert!(store.put(identity("a", "1", 4), Thing("back", None), Source::Watch).is_some());
        assert!(store.put(identity("a", "1", 5), Thing("written", None), Source::Write).is_some());
        assert_eq!(value(&store, "a"), Some("written"));
    }

    #[test]
    fn an_object_written_while_the_list_was_on_its_way_stays_or_comes_back() {
        let store = Store::new();
        store.put(identity("new", "1", 5), Thing("x", None), Source::Write);
        store.begin_listing();
        store.put(identity("older", "2", 4), Thing("x", None), Source::Watch);
        assert_eq!(store.end_listing(), []);
        store.begin_listing();
        store.put(identity("newer", "3", 6), Thing("x", None), Source::Watch);
        assert_eq!(store.end_listing().len(), 2, "this list may be newer than the write");
        assert!(store.put(identity("new", "1", 5), Thing("x", None), Source::Watch).is_some());
        assert_eq!(value(&store, "new"), Some("x"));
    }

    #[test]
    fn a_state_that_is_known_counts_as_shown_and_as_listed_and_another_is_not_known() {
        let store = Store::new();
        assert!(!store.knows(&identity("a", "1", 5), Source::Watch));
        store.put(identity("a", "1", 5), Thing("x", None), Source::Write);
        for other in [identity("a", "1", 4), identity("a", "1", 6), identity("a", "2", 5)] {
            assert!(!store.knows(&other, Source::Watch), "{other:?}");
        }
        store.begin_listing();
        assert!(store.knows(&identity("a", "1", 5), Source::Watch));
        assert!(store.end_listing().is_empty(), "the list contained it");
        store.begin_listing();
        assert_eq!(store.end_listing().len(), 1, "the watch had shown it, and the list is newer");
    }

    #[test]
    fn a_written_object_that_the_watch_has_shown_goes_with_the_next_list() {
        let store = Store::new();
        store.put(identity("a", "1", 5), Thing("x", None), Source::Write);
        store.put(identity("a", "1", 5), Thing("x", None), Source::Watch);
        store.begin_listing();
        assert_eq!(store.end_listing().len(), 1);
        assert_eq!(store.put(identity("a", "1", 6), Thing("late", None), Source::Write), None);
    }

    #[test]
    fn a_late_deletion_spares_the_object_that_took_the_name() {
        let store = Store::new();
        store.put(identity("a", "2", 4), Thing("second", None), Source::Write);
        assert_eq!(store.remove(&identity("a", "1", 3)), None);
        assert_eq!(value(&store, "a"), Some("second"));
    }

    #[test]
    fn a_new_listing_removes_what_it_does_not_contain_but_keeps_what_was_just_written() {
        let store = Store::new();
        store.put(identity("old", "1", 1), Thing("x", Some("o")), Source::Watch);
        store.put(identity("kept", "2", 2), Thing("x", None), Source::Watch);
        store.begin_listing();
        store.put(identity("kept", "2", 2), Thing("x", None), Source::Watch);
        store.put(identity("new", "3", 9), Thing("x", None), Source::Write);
        let changes = store.end_listing();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].key, Key::new("ns", "old"));
        assert_eq!(changes[0].links, BTreeSet::from([owner("o")]));
        assert_eq!(value(&store, "new"), Some("x"));
    }

    #[test]
    fn objects_are_found_by_link_and_a_moved_link_reports_both_ends() {
        let store = Store::new();
        store.put(identity("a", "1", 1), Thing("x", Some("o1")), Source::Watch);
        store.put(identity("b", "2", 1), Thing("x", Some("o1")), Source::Watch);
        assert_eq!(store.linked(&owner("o1")).len(), 2);
        let change = store.put(identity("a", "1", 2), Thing("x", Some("o2")), Source::Watch).unwrap();
        assert_eq!(change.links, BTreeSet::from([owner("o1"), owner("o2")]));
        assert_eq!(store.keys_linked(&owner("o1")), [Key::new("ns", "b")]);
    }
}
