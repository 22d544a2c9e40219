//! The commands that write: read, ask `commands` what to write, send it.

use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Request};
use kube::{Api, Resource};
use serde_json::{Value, json};

use super::arguments::{Command, Kind, Names, Set};
use super::connection::Connection;
use super::error::PluginError;
use super::{now, objects, screen};
use crate::api::{AnalysisRun, Experiment, Rollout};
use crate::commands::{self, Answer, Body, ImageChange, Part, Promotion, Target, ToRevision};
use crate::units::{Revision, Timestamp};

/// Who the writes are from, in `managedFields`.
const FIELD_MANAGER: &str = "kubectl-serin";

/// How often a command is computed anew because the rollout changed under it. The controller writes a status a few
/// times a second at most, so that a second attempt is rare and a fifth one means that something else is wrong.
const ATTEMPTS: usize = 5;

/// What is to be done to one rollout.
#[derive(Clone, Debug)]
enum Act {
    Promote(Promotion),
    Abort,
    Retry,
    Pause,
    Undo(ToRevision),
    Restart(Timestamp),
    SetImage(Vec<ImageChange>),
}

/// Does what the command says to each of the rollouts it names. One that fails does not keep the others from it.
pub(super) async fn act(connection: &Connection, command: Command) -> Result<(), PluginError> {
    if let Command::Terminate(names) = &command {
        return steer(connection, names, Steering::Terminate).await;
    }
    if let Command::Retry(names) = &command
        && names.kind() == Kind::Experiment
    {
        return steer(connection, names, Steering::Retry).await;
    }
    let (names, act) = parts(command)?;
    if let [name] = names.as_slice() {
        return act_on(connection, name, &act).await;
    }
    let mut failed = 0;
    for name in &names {
        match act_on(connection, name, &act).await {
            Ok(()) => {}
            Err(error) if error.is_closed_output() => return Err(error),
            Err(error) => {
                eprintln!("error: {error}");
                failed += 1;
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(PluginError::Several { failed, all: names.len() }) }
}

/// The rollouts that a command names, and what it does to them.
fn parts(command: Command) -> Result<(Vec<String>, Act), PluginError> {
    Ok(match command {
        Command::Promote(promote) => {
            let promotion = if promote.full { Promotion::Full } else { Promotion::Step };
            (promote.names.all()?, Act::Promote(promotion))
        }
        Command::Abort(names) => (names.all()?, Act::Abort),
        Command::Retry(names) => (names.all()?, Act::Retry),
        Command::Pause(names) => (names.all()?, Act::Pause),
        Command::Undo(undo) => {
            let number = undo.to_revision.to_string();
            let to = match undo.to_revision {
                0 => ToRevision::Previous,
                _ => ToRevision::Number(Revision::parse(Some(&number))),
            };
            (undo.names.all()?, Act::Undo(to))
        }
        Command::Restart(restart) => {
            let at = now().plus(restart.r#in.unwrap_or_default()).whole_seconds();
            (restart.names.all()?, Act::Restart(at))
        }
        Command::Set(Set::Image(image)) => {
            let (name, changes) = image.parts()?;
            (vec![name], Act::SetImage(changes))
        }
        Command::Get(_)
        | Command::List(_)
        | Command::Status(_)
        | Command::Why(_)
        | Command::Terminate(_)
        | Command::Version => {
            return Err(PluginError::Usage("this command writes nothing".to_owned()));
        }
    })
}

/// What is to be done to an Experiment or an AnalysisRun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steering {
    Terminate,
    Retry,
}

/// Does it to each that is named; the first that fails ends it.
async fn steer(connection: &Connection, names: &Names, steering: Steering) -> Result<(), PluginError> {
    let kind = names.kind();
    for name in names.all_of(kind)? {
        let answer = match (kind, steering) {
            (Kind::Experiment, Steering::Terminate) => {
                commands::terminate_experiment(&connection.find(&name).await?)
            }
            (Kind::Experiment, Steering::Retry) => commands::retry_experiment(&connection.find(&name).await?),
            (Kind::AnalysisRun, Steering::Terminate) => {
                commands::terminate_run(&connection.find(&name).await?)
            }
            (Kind::Rollout, _) | (Kind::AnalysisRun, Steering::Retry) => {
                let usage = "say what: terminate experiment NAME, or terminate analysisrun NAME";
                return Err(PluginError::Usage(usage.to_owned()));
            }
        };
        match answer {
            Answer::Nothing { why } => screen::say(&why)?,
            Answer::Refused { why } => return Err(PluginError::Refused(why)),
            Answer::Write { patches, done } => {
                let sent = send(connection, &name, patches).await;
                sent.map_err(|error| connection.failure(error, &format!("change '{name}'"), None))?;
                screen::say(&done)?;
            }
        }
    }
    Ok(())
}

async fn act_on(connection: &Connection, name: &str, act: &Act) -> Result<(), PluginError> {
    let mut meant: Option<(Vec<Body>, Option<i32>)> = None;
    for attempt in 1..=ATTEMPTS {
        let rollout = connection.rollout(name).await?;
        let (patches, done) = match answer(connection, &rollout, act).await? {
            Answer::Nothing { why } => return screen::say(&why),
            Answer::Refused { why } => return Err(PluginError::Refused(why)),
            Answer::Write { patches, done } => (patches, done),
        };
        let step = rollout.status.as_ref().and_then(|status| status.current_step_index);
        let now_meant = (patches.iter().map(|patch| patch.body.clone()).collect(), step);
        if meant.is_some_and(|meant| meant != now_meant) {
            // What the user saw is over; to go past the next step as well was never asked for.
            return Err(PluginError::Refused(format!(
                "rollout '{name}' has just moved on by itself; nothing was changed"
            )));
        }
        meant = Some(now_meant);
        match send(connection, name, patches).await {
            Ok(()) => return screen::say(&done),
            Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => {}
            Err(error) => {
                return Err(connection.failure(error, &format!("change rollout '{name}'"), Some(name)));
            }
        }
    }
    Err(PluginError::Refused(format!("rollout '{name}' changes too fast to be changed; try again")))
}

async fn answer(connection: &Connection, rollout: &Rollout, act: &Act) -> Result<Answer, PluginError> {
    Ok(match act {
        Act::Promote(promotion) => commands::promote(rollout, *promotion),
        Act::Abort => commands::abort(rollout),
        Act::Retry => commands::retry(rollout),
        Act::Pause => commands::pause(rollout),
        Act::Restart(at) => commands::restart(rollout, *at),
        Act::Undo(to) => {
            let replica_sets = objects::raw_replica_sets(connection, rollout).await?;
            let template = template(connection, rollout).await?;
            commands::undo(rollout, &template, &replica_sets, *to)
        }
        Act::SetImage(changes) => {
            let template = template(connection, rollout).await?;
            commands::set_image(rollout, &template, changes)
        }
    })
}

/// The pod template, wherever it is written.
async fn template(connection: &Connection, rollout: &Rollout) -> Result<Value, PluginError> {
    let (target, pointer) = commands::template_owner(rollout);
    let Target::Workload { api_version, kind, name } = target else {
        return Ok(rollout.spec.template.clone().unwrap_or_default());
    };
    let resource = resource(&api_version, &kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(connection.client.clone(), &connection.namespace, &resource);
    let doing = format!("read {kind} '{name}', which the rollout refers to");
    let workload = api.get(&name).await.map_err(|error| connection.failure(error, &doing, None))?;
    Ok(workload.data.pointer(pointer).cloned().unwrap_or_default())
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Sends the patches in their order; the first that fails ends it.
async fn send(
    connection: &Connection,
    rollout: &str,
    patches: Vec<commands::Patch>,
) -> Result<(), kube::Error> {
    for patch in patches {
        send_one(connection, rollout, patch).await?;
    }
    Ok(())
}

/// Sends a patch. The request is finished by hand, because the operations of a JSON patch are plain values here.
async fn send_one(connection: &Connection, rollout: &str, patch: commands::Patch) -> Result<(), kube::Error> {
    let (resource, name) = match &patch.target {
        Target::Rollout => (ApiResource::erase::<Rollout>(&()), rollout),
        Target::Experiment(name) => (ApiResource::erase::<Experiment>(&()), name.as_str()),
        Target::AnalysisRun(name) => (ApiResource::erase::<AnalysisRun>(&()), name.as_str()),
        Target::Workload { api_version, kind, name } => (resource(api_version, kind), name.as_str()),
    };
    let requests = Request::new(DynamicObject::url_path(&resource, Some(&connection.namespace)));
    let (body, content_type) = match patch.body {
        Body::Merge(change) => (conditional(change, patch.only_at), "application/merge-patch+json"),
        Body::Json(operations) => (Value::Array(operations), "application/json-patch+json"),
    };
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let request = match patch.part {
        Part::Object => requests.patch(name, &params, &Patch::Merge(body)),
        Part::Status => requests.patch_subresource("status", name, &params, &Patch::Merge(body)),
    };
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    if let Ok(content_type) = content_type.parse() {
        request.headers_mut().insert("content-type", content_type);
    }
    connection.client.request::<Value>(request).await.map(drop)
}

/// The change, refused by the API server when the object is not the one it was computed from.
fn conditional(mut change: Value, only_at: Option<String>) -> Value {
    if let (Some(version), Some(fields)) = (only_at, change.as_object_mut()) {
        fields.insert("metadata".to_owned(), json!({"resourceVersion": version}));
    }
    change
}
