//! A cookie that keeps a user on the canary once the split has chosen it. Its value tells the canary's revision and when its
//! update began, and the route for requests with it goes with the canary: it is void when that ends, whatever browsers
//! remember, and stays so when the same revision is tried again.

use std::collections::BTreeMap;

use super::{ManagedRoute, TrafficTarget};

use crate::api::Rollout;
use crate::api::canary_step::HeaderRoutingMatch;
use crate::api::labels::SESSION_COOKIE;
use crate::api::traffic_routing::StringMatch;

/// What each cookie has, and what those that outlive a browser have behind it.
const ATTRIBUTES: &str = "; Path=/; HttpOnly";
const MAX_AGE: &str = "; Max-Age=";

/// The cookie as a Rollout asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Seconds that browsers keep it; `None` for as long as they run.
    pub max_age: Option<u32>,
}

/// The cookie of one canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The Rollout.
    pub rollout: String,
    /// The cookie.
    pub cookie: Cookie,
    /// Its value: the canary's revision, and when its update began.
    pub value: String,
}

impl Cookie {
    /// The cookie that a Rollout's annotation asks for; `None` without one.
    ///
    /// # Errors
    /// What is wrong with the annotation, and what would be right.
    pub fn of(rollout: &Rollout) -> Result<Option<Self>, String> {
        let annotations = rollout.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(SESSION_COOKIE)).map(|text| Self::parse(text)).transpose()
    }

    /// Reads `NAME` or `NAME; Max-Age=SECONDS`.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "must be NAME or \"NAME; Max-Age=SECONDS\" with letters, digits, - and _ in the name, not {text:?}"
            )
        };
        let (name, attribute) = text.split_once(';').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let name = name.trim();
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if name.is_empty() || !name.chars().all(is_letter) {
            return Err(wrong());
        }
        let age = |text: &str| {
            let (key, seconds) = text.trim().split_once('=')?;
            let seconds = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
            key.eq_ignore_ascii_case("max-age").then_some(seconds)
        };
        let max_age = attribute.map(|text| age(text).ok_or_else(wrong)).transpose()?;
        Ok(Self { name: name.to_owned(), max_age })
    }
}

impl Session {
    /// The session of the canary that a Rollout's status knows; `None` where none is asked for.
    pub(super) fn of(rollout: &Rollout) -> Option<Self> {
        Self::with(Cookie::of(rollout).ok()??, rollout)
    }

    /// The same with a cookie; `None` before there is a canary.
    #[must_use]
    pub fn with(cookie: Cookie, rollout: &Rollout) -> Option<Self> {
        let status = rollout.status.as_ref()?;
        let hash = status.current_pod_hash.as_ref()?;
        let began = status.duration.as_ref().and_then(|duration| duration.rollout_started_at);
        let began = began.map(|at| format!("-{}", at.as_millis() / 1000)).unwrap_or_default();
        let rollout = rollout.metadata.name.clone().unwrap_or_default();
        Some(Self { rollout, cookie, value: format!("{hash}{began}") })
    }

    /// Name of the route for requests that have the cookie, among those that steps make. Other Rollouts may have theirs in the
    /// same object.
    #[must_use]
    pub fn route(&self) -> String {
        format!("{}-session-affinity", self.rollout)
    }

    /// The header of an answer that sets the cookie.
    #[must_use]
    pub fn header(&self) -> String {
        let Self { cookie: Cookie { name, max_age }, value, .. } = self;
        let age = max_age.map(|seconds| format!("{MAX_AGE}{seconds}")).unwrap_or_default();
        format!("{name}={value}{ATTRIBUTES}{age}")
    }

    /// Whether a header of an answer sets the cookie as we do, for whichever canary. Users may set one of its name.
    #[must_use]
    pub fn is_set_by(&self, header: &str) -> bool {
        let rest = header.strip_prefix(&self.cookie.name).and_then(|rest| rest.strip_prefix('='));
        let Some((value, rest)) = rest.and_then(|rest| rest.split_once(ATTRIBUTES)) else { return false };
        let is_value =
            |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        let is_number = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
        is_value(value) && (rest.is_empty() || rest.strip_prefix(MAX_AGE).is_some_and(is_number))
    }

    /// What requests with the cookie have.
    #[must_use]
    pub fn asked(&self) -> HeaderRoutingMatch {
        let Self { cookie: Cookie { name, .. }, value, .. } = self;
        let regex = Some(format!("^(.*;\\s*)?{name}={value}(;.*)?$"));
        HeaderRoutingMatch {
            header_name: Some("cookie".to_owned()),
            header_value: Some(StringMatch { regex, ..StringMatch::default() }),
        }
    }
}

/// The session whose cookie a destination of this name is to set: the canary's, while there is a route for it.
pub(super) fn wanted<'a>(target: &'a TrafficTarget, name: &str) -> Option<&'a Session> {
    target.managed.iter().find_map(ManagedRoute::session).filter(|_| name == target.canary.name)
}

/// Which of the destinations that lead to the canary set the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setters {
    /// Whether all do that should, and no others.
    pub(super) are_right: bool,
    /// Whether any does.
    pub(super) is_any: bool,
}

/// A session is there where its cookie is set, too; a cookie without a route for it is to go.
pub(super) fn observe(
    found: &mut BTreeMap<String, Option<ManagedRoute>>,
    session: &Session,
    setters: Setters,
) {
    let name = session.route();
    match found.get_mut(&name) {
        Some(route) if !setters.are_right => *route = None,
        None if setters.is_any => drop(found.insert(name, None)),
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cookie_is_read_from_its_annotation() {
        let check = |text: &str, expected: Option<(&str, Option<u32>)>| {
            let found = Cookie::parse(text).ok();
            let found = found.as_ref().map(|cookie| (cookie.name.as_str(), cookie.max_age));
            assert_eq!(found, expected, "{text}");
        };
        check("version", Some(("version", None)));
        check(" shop_version-1 ; max-age=3600", Some(("shop_version-1", Some(3600))));
        check("version;Max-Age=60", Some(("version", Some(60))));
        for wrong in
            ["", "a b", "a=b", "a.*", "a; Max-Age=0", "a; Max-Age=soon", "a; Secure", "a; Max-Age=1; Secure"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn the_cookie_of_another_canary_is_void() {
        let cookie = Cookie::parse("version; Max-Age=60").unwrap();
        let began = |began: Option<&str>| {
            let status = json!({"currentPodHash": "6f9c", "duration": {"rolloutStartedAt": began}});
            let rollout = json!({"metadata": {"name": "web"}, "spec": {}, "status": status});
            Session::with(cookie.clone(), &serde_json::from_value(rollout).unwrap()).unwrap()
        };
        assert_eq!(began(Some("1970-01-01T00:01:40Z")).value, "6f9c-100");
        let session = began(None);
        assert_eq!(session.header(), "version=6f9c; Path=/; HttpOnly; Max-Age=60");
        for ours in [&session.header(), "version=another-7; Path=/; HttpOnly"] {
            assert!(session.is_set_by(ours), "{ours}");
        }
        for theirs in [
            "versions=6f9c; Path=/; HttpOnly",
            "version=6f9c",
            "version=6f9c; Path=/; Secure",
            "version=6f9c; Path=/; HttpOnly; Secure",
            "version=a b; Path=/; HttpOnly",
        ] {
            assert!(!session.is_set_by(theirs), "{theirs}");
        }
        let asked = session.asked().header_value.unwrap().regex.unwrap();
        let regex = regex::Regex::new(&asked).unwrap();
        for cookies in ["version=6f9c", "a=b; version=6f9c", "version=6f9c; a=b", "a=b;version=6f9c;c=d"] {
            assert!(regex.is_match(cookies), "{cookies}");
        }
        for cookies in
            ["version=6f9", "version=6f9c1", "my-version=6f9c", "a=version=6f9c", "version=6f9c-100"]
        {
            assert!(!regex.is_match(cookies), "{cookies}");
        }
    }
}
