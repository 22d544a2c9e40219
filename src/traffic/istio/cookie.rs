//! The cookie that the canary's destination sets in the routes that lead to both versions.

use serde_json::{Value, json};

use super::roles::Roles;
use crate::traffic::Session;
use crate::traffic::route::{at, items, set};
use crate::traffic::session::Setters;

/// Where a destination adds headers to answers.
const ADDED: [&str; 3] = ["headers", "response", "add"];
/// The header that sets a cookie.
const NAME: &str = "Set-Cookie";

/// The headers that set cookies as a destination has them, in whatever letters.
fn headers(entry: &Value) -> impl Iterator<Item = (&str, &str)> {
    let added = at(entry, &ADDED).as_object().into_iter().flatten();
    let cookies = added.filter(|(name, _)| name.eq_ignore_ascii_case(NAME));
    cookies.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
}

/// The name of our header.
fn ours<'v>(session: &Session, entry: &'v Value) -> Option<&'v str> {
    headers(entry).find(|(_, value)| session.is_set_by(value)).map(|(name, _)| name)
}

fn has_anothers(session: &Session, entry: &Value) -> bool {
    headers(entry).any(|(_, value)| !session.is_set_by(value))
}

/// Lets a destination of the Rollout's set the cookie that is wanted, and none other of ours.
pub(super) fn render(entry: &mut Value, session: &Session, wanted: Option<&Session>) {
    let [headers, response, add] = ADDED;
    let name = ours(session, entry).map(str::to_owned);
    if let Some(session) = wanted.filter(|_| !has_anothers(session, entry)) {
        let name = name.as_deref().unwrap_or(NAME);
        set(entry, &[headers, response, add, name], Some(json!(session.header())));
    } else if let Some(name) = name {
        set(entry, &[headers, response, add, &name], None);
        for path in [&ADDED[..], &[headers, response], &[headers]] {
            let is_empty = at(entry, path).as_object().is_some_and(serde_json::Map::is_empty);
            if is_empty {
                set(entry, path, None);
            }
        }
    }
}

/// What sets the cookie in these routes.
pub(super) fn setters<'v>(
    roles: Roles<'_>,
    bases: impl Iterator<Item = &'v Value> + Clone,
    session: &Session,
    canary: &str,
) -> Setters {
    let entries = |base: &'v Value| items(base, &["route"]).iter();
    let right = session.header();
    let is_right = |entry: &Value| match roles.of_entry(entry) {
        Some(name) if name == canary => headers(entry).map(|(_, value)| value).eq([right.as_str()]),
        Some(_) => ours(session, entry).is_none(),
        None => true,
    };
    Setters {
        are_right: bases.clone().flat_map(entries).all(is_right),
        is_any: bases
            .flat_map(entries)
            .any(|entry| roles.of_entry(entry).is_some() && ours(session, entry).is_some()),
    }
}

/// What is in the way of the cookie in a route: another one of a destination that may be the canary's.
pub(super) fn problem(
    roles: Roles<'_>,
    route: &Value,
    session: &Session,
    canaries: &[String],
) -> Option<String> {
    let is_canarys = |entry: &Value| {
        roles.of_entry(entry).is_some_and(|name| canaries.iter().any(|canary| canary == name))
    };
    let mut entries = items(route, &["route"]).iter();
    let entry = entries.find(|entry| is_canarys(entry) && has_anothers(session, entry))?;
    let name = roles.of_entry(entry).unwrap_or_default();
    Some(format!(
        "has {} that adds a header {NAME} to answers of {} that is not the annotation's, and takes one only: remove it, or the \
         annotation",
        super::roles::shown(route),
        name.rsplit('/').next().unwrap_or(name)
    ))
}
