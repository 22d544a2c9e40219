//! `set image`: another image for containers of the pod template.

use kube::ResourceExt;
use serde_json::{Value, json};
use thiserror::Error;

use super::undo::template_owner;
use super::{Answer, Body, Part, Patch};
use crate::api::Rollout;

/// A container and the image it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageChange {
    /// Name of the container, or `*` for all.
    pub container: String,
    /// The image.
    pub image: String,
}

/// Why a `container=image` argument cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is not of the form container=image")]
pub struct ImageError(String);

impl std::str::FromStr for ImageChange {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((container, image)) if !container.is_empty() && !image.is_empty() => {
                Ok(Self { container: container.to_owned(), image: image.to_owned() })
            }
            _ => Err(ImageError(text.to_owned())),
        }
    }
}

/// Sets the images of containers, init containers included. `template` is the pod template as it stands: the
/// Rollout's own, or that of the workload it refers to.
#[must_use]
pub fn set_image(rollout: &Rollout, template: &Value, changes: &[ImageChange]) -> Answer {
    let name = rollout.name_any();
    let (target, root) = template_owner(rollout);
    let mut operations = Vec::new();
    for change in changes {
        let found = containers(template, &change.container);
        if found.is_empty() {
            let why = format!("rollout '{name}' has no container '{}'", change.container);
            return Answer::Refused { why };
        }
        let outdated = found.into_iter().filter(|found| found.image != Some(&change.image));
        for found in outdated {
            let path = format!("{root}{}", found.path);
            operations.push(json!({"op": "test", "path": format!("{path}/name"), "value": found.name}));
            operations.push(json!({"op": "add", "path": format!("{path}/image"), "value": change.image}));
        }
    }
    if operations.is_empty() {
        return Answer::Nothing { why: format!("rollout '{name}' has these images already") };
    }
    let patch = Patch { target, part: Part::Object, body: Body::Json(operations), only_at: None };
    Answer::Write { patches: vec![patch], done: format!("rollout '{name}' image updated") }
}

/// One container of a template.
struct Container<'a> {
    /// JSON pointer below the template.
    path: String,
    name: &'a str,
    image: Option<&'a str>,
}

/// The containers with this name, or all of the main ones for `*`.
fn containers<'a>(template: &'a Value, wanted: &str) -> Vec<Container<'a>> {
    let lists: &[&str] = if wanted == "*" { &["containers"] } else { &["initContainers", "containers"] };
    let mut found = Vec::new();
    for list in lists {
        let items = template.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        for (index, item) in items.into_iter().flatten().enumerate() {
            let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
            if wanted == "*" || wanted == name {
                let image = item.get("image").and_then(Value::as_str);
                found.push(Container { path: format!("/spec/{list}/{index}"), name, image });
            }
        }
    }
    found
}
