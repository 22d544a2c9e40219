//! The manifests of the demo: the API server's Rollout and its success rate, as their users wrote them, plus what they
//! leave open.
//!
//! The two files are embedded as they are. At run time the pods and a Service are added, and every wait is divided by
//! a [`Pace`]; nothing else changes.

use std::num::NonZeroU32;

use serde_json::Value;

use crate::units::{format_duration, parse_duration};

/// The Rollout: a canary in steps with an analysis between them.
pub const API_SERVER: &str = include_str!("manifests/api-server.yaml");
/// The AnalysisTemplate that it names.
pub const SUCCESS_RATE: &str = include_str!("manifests/success-rate.yaml");
/// What the Rollout leaves open.
pub const COMPLETION: &str = include_str!("manifests/completion.yaml");
/// The Service that its users call.
pub const SERVICE: &str = include_str!("manifests/service.yaml");

/// Where the Rollout holds the image.
const IMAGE: &str = "/spec/template/spec/containers/0/image";
/// Where the Rollout holds the port.
const PORT: &str = "/spec/template/spec/containers/0/ports/0/containerPort";
/// Fields of Rollouts and templates that hold a wait.
const WAITS: [&str; 3] = ["duration", "interval", "initialDelay"];
/// Field that holds a query, whose windows are waits as well.
const QUERY: &str = "query";

/// How many times faster than written a manifest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(pub NonZeroU32);

impl Pace {
    /// As written.
    pub const AS_WRITTEN: Self = Self(NonZeroU32::MIN);

    fn hurry(self, text: &str) -> Option<String> {
        parse_duration(text).map(|wait| format_duration(wait / self.0.get()))
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no YAML.
    #[error("reading {name}")]
    Read {
        /// The file.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// It cannot be written as YAML.
    #[error("writing {name}")]
    Write {
        /// The file.
        name: &'static str,
        /// Why.
        #[source]
        source: serde_saphyr::SerializeError,
    },
}

/// The objects of the demo.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoManifests {
    /// The Rollout, with pods that serve at the given port.
    pub rollout: Value,
    /// The AnalysisTemplate.
    pub template: Value,
    /// The Service.
    pub service: Value,
}

impl DemoManifests {
    /// The objects of the demo at `pace`, with pods of `image` that serve at `port`.
    ///
    /// # Errors
    /// When an embedded file is no YAML.
    pub fn new(pace: Pace, image: &str, port: u16) -> Result<Self, ManifestError> {
        let mut rollout = read("api-server.yaml", API_SERVER)?;
        merge(&mut rollout, read("completion.yaml", COMPLETION)?);
        set(&mut rollout, IMAGE, image.into());
        set(&mut rollout, PORT, port.into());
        let mut template = read("success-rate.yaml", SUCCESS_RATE)?;
        hurry(&mut rollout, pace);
        hurry(&mut template, pace);
        Ok(Self { rollout, template, service: read("service.yaml", SERVICE)? })
    }

    /// The objects as files for `kubectl apply`: name and content.
    ///
    /// # Errors
    /// When an object cannot be written as YAML.
    pub fn files(&self) -> Result<Vec<(&'static str, String)>, ManifestError> {
        let objects = [
            ("service.yaml", &self.service),
            ("success-rate.yaml", &self.template),
            ("api-server.yaml", &self.rollout),
        ];
        let write = |(name, object): (&'static str, &Value)| {
            let text = serde_saphyr::to_string(object);
            text.map(|text| (name, text)).map_err(|source| ManifestError::Write { name, source })
        };
        objects.into_iter().map(write).collect()
    }
}

fn read(name: &'static str, text: &str) -> Result<Value, ManifestError> {
    serde_saphyr::from_str(text).map_err(|source| ManifestError::Read { name, source: Box::new(source) })
}

/// Lays `addition` over `base`: objects are merged, everything else is replaced.
pub fn merge(base: &mut Value, addition: Value) {
    match (base, addition) {
        (Value::Object(base), Value::Object(addition)) => {
            for (key, value) in addition {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, addition) => *base = addition,
    }
}

/// Divides every wait in `manifest` by `pace`: pauses, intervals, delays, and the windows of queries.
pub fn hurry(manifest: &mut Value, pace: Pace) {
    match manifest {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if WAITS.contains(&name.as_str()) => {
                        if let Some(shorter) = pace.hurry(text) {
                            *text = shorter;
                        }
                    }
                    Value::String(text) if name == QUERY => *text = hurry_windows(text, pace),
                    other => hurry(other, pace),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hurry(value, pace)),
        _ => {}
    }
}

/// Divides the windows of a query, `[5m]`, by `pace`.
fn hurry_windows(query: &str, pace: Pace) -> String {
    let mut parts = query.split('[');
    let mut hurried = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        hurried.push('[');
        // A window has a unit; a bare number in brackets belongs to a regular expression.
        let window = part.split_once(']').filter(|(window, _)| window.ends_with(char::is_alphabetic));
        match window.and_then(|(window, rest)| Some((pace.hurry(window)?, rest))) {
            Some((window, rest)) => hurried.extend([window.as_str(), "]", rest]),
            None => hurried.push_str(part),
        }
    }
    hurried
}

fn set(manifest: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = manifest.pointer_mut(pointer) {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{AnalysisTemplate, Rollout};

    fn pace(times: u32) -> Pace {
        Pace(NonZeroU32::new(times).unwrap())
    }

    #[test]
    fn at_their_own_pace_the_manifests_differ_from_the_files_only_by_the_pods() {
        let demo = DemoManifests::new(Pace::AS_WRITTEN, "serin-demo:v1", 8080).unwrap();
        assert_eq!(demo.template, read("", SUCCESS_RATE).unwrap());
        let mut rollout = demo.rollout;
        let pods = rollout["spec"].as_object_mut().unwrap().remove("template").unwrap();
        assert_eq!(rollout, read("", API_SERVER).unwrap());
        assert_eq!(pods["metadata"]["labels"], rollout["spec"]["selector"]["matchLabels"]);
    }

    #[test]
    fn a_faster_pace_divides_pauses_intervals_and_windows_and_nothing_else() {
        let demo = DemoManifests::new(pace(20), "serin-demo:v2-err50", 9000).unwrap();
        let steps = &demo.rollout["spec"]["strategy"]["canary"]["steps"];
        assert_eq!(
            *steps,
            json!([
                {"setWeight": 10}, {"pause": {"duration": "15s"}}, {"setWeight": 30}, {"pause": {"duration": "15s"}},
                {"analysis": {"templates": [{"templateName": "success-rate"}]}}, {"setWeight": 100},
            ])
        );
        let metric = &demo.template["spec"]["metrics"][0];
        assert_eq!((&metric["interval"], &metric["failureLimit"]), (&json!("6s"), &json!(3)));
        let query = metric["provider"]["prometheus"]["query"].as_str().unwrap();
        assert_eq!(query.matches("[15s]").count(), 2, "{query}");
        assert!(query.contains(r#"{job="api-server",status=~"2.."}[15s])) /"#), "{query}");
        assert_eq!(demo.rollout.pointer(IMAGE), Some(&json!("serin-demo:v2-err50")));
        assert_eq!(demo.rollout.pointer(PORT), Some(&json!(9000)));
    }

    #[test]
    fn a_bracket_that_is_no_window_stays() {
        let query = "a{b=~\"[5]..\"}[1m] offset 5m and c[";
        assert_eq!(hurry_windows(query, pace(6)), "a{b=~\"[5]..\"}[10s] offset 5m and c[");
    }

    #[test]
    fn files_hold_the_objects() {
        let demo = DemoManifests::new(Pace::AS_WRITTEN, "serin-demo:v1", 8080).unwrap();
        let files = demo.files().unwrap();
        let objects: Vec<Value> = files.iter().map(|(name, text)| read(name, text).unwrap()).collect();
        assert_eq!(objects, [demo.service, demo.template, demo.rollout]);
    }

    #[test]
    fn the_objects_are_what_the_wire_types_say() {
        let demo = DemoManifests::new(Pace::AS_WRITTEN, "serin-demo:v1", 8080).unwrap();
        serde_json::from_value::<Rollout>(demo.rollout).unwrap();
        serde_json::from_value::<AnalysisTemplate>(demo.template).unwrap();
        serde_json::from_value::<k8s_openapi::api::core::v1::Service>(demo.service).unwrap();
    }
}
