//! Argo CD's own scripts, run as Argo CD runs them. `tests/cluster/build.sh --tests` takes them out of its Go module.

use std::collections::BTreeSet;
use std::fs;

use mlua::serde::SerializeOptions;
use mlua::{Lua, LuaSerdeExt, Table};
use serde_json::Value;
use serin::sim::merge_patch::diff;

use crate::pinned;

/// What is said of an object, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) status: String,
    pub(crate) message: String,
}

/// The health of an object. A word that Argo CD does not know is `Unknown` to it.
pub(crate) fn health(object: &Value) -> Health {
    const KNOWN: [&str; 6] = ["Unknown", "Progressing", "Healthy", "Suspended", "Degraded", "Missing"];
    let lua = state(object, 0);
    let found: Table = run(&lua, object, "health.lua").unwrap();
    let text = |key| found.get::<Option<String>>(key).unwrap().unwrap_or_default();
    let (status, message) = (text("status"), text("message"));
    if KNOWN.contains(&status.as_str()) {
        Health { status, message }
    } else {
        Health { status: "Unknown".to_owned(), message: "Lua returned an invalid health status".to_owned() }
    }
}

/// The actions that are offered for an object.
///
/// # Errors
/// What the script complains of.
pub(crate) fn offered(object: &Value) -> Result<BTreeSet<String>, mlua::Error> {
    let lua = state(object, 0);
    let actions: Table = run(&lua, object, "actions/discovery.lua")?;
    let mut offered = BTreeSet::new();
    for pair in actions.pairs::<String, Table>() {
        let (name, action) = pair?;
        if action.get::<Option<bool>>("disabled")? != Some(true) {
            offered.insert(name);
        }
    }
    Ok(offered)
}

/// The JSON merge patch that an action makes of an object at this time, in seconds since 1970; `None` when it changes nothing.
///
/// # Errors
/// What the script complains of.
pub(crate) fn action(object: &Value, name: &str, now: i64) -> Result<Option<Value>, mlua::Error> {
    let lua = state(object, now);
    let changed: Table = run(&lua, object, &format!("actions/{name}/action.lua"))?;
    let changed: Value = lua.from_value(mlua::Value::Table(changed))?;
    Ok(diff(object, &changed))
}

/// A new state, with the object in it, in which it is `now`.
fn state(object: &Value, now: i64) -> Lua {
    let lua = Lua::new();
    // Nothing stands for nothing; an empty list stays one on the way back.
    let options = SerializeOptions::new().serialize_unit_to_null(false).serialize_none_to_null(false);
    lua.globals().set("obj", lua.to_value_with(object, options).unwrap()).unwrap();
    lua.globals().set("now", now).unwrap();
    lua.load("local date = os.date; os.date = function(format) return date(format, now) end").exec().unwrap();
    lua
}

fn run(lua: &Lua, object: &Value, script: &str) -> Result<Table, mlua::Error> {
    lua.load(file(object["kind"].as_str().unwrap(), script)).eval()
}

/// A file of Argo CD's about a kind.
pub(crate) fn file(kind: &str, name: &str) -> String {
    let file = pinned::definitions().join("argo-cd").join(kind).join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{} cannot be read ({error}); fetch what is missing with `make test-tools`", file.display())
    })
}
