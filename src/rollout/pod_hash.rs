//! The hashes that name a revision and a list of steps, identical to those of Argo Rollouts.
//!
//! A ReplicaSet carries the hash of its pod template as the label `rollouts-pod-template-hash`, a Rollout the hash of
//! its steps as `status.currentStepHash`. Both name things that already run when Serin takes over from Argo Rollouts
//! 1.9 or later: another spelling of the hash would be a new revision of every Rollout. So both are computed as
//! there: FNV-1a (32 bits) over the JSON that Go writes for the decoded object, spelled in an alphabet without vowels.
//!
//! The object is taken as stored in the cluster and is decoded here in Go's sense: unknown fields are dropped,
//! quantities become canonical, what is empty is left out (`json`), by tables of the Go structs (`layout`).
//! Equality of templates beyond their hash (defaulted fields, injected metadata) is deliberately not decided here.

mod json;
mod layout;
mod pod_fields;
mod quantity;
mod step_fields;

use serde_json::Value;

use layout::Kind;

/// What a pod template is decoded as.
static POD_TEMPLATE: Kind = Kind::Struct(pod_fields::POD_TEMPLATE_SPEC);
/// What the steps of a canary are decoded as.
static STEPS: Kind = Kind::List(&Kind::Struct(step_fields::CANARY_STEP));

/// What the digits of a hash are spelled with: no vowels and nothing that looks like one, so that no word comes up.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The `rollouts-pod-template-hash` of a pod template: 1 to 10 characters, fit for a label and a name.
///
/// `template` is the pod template as stored (`spec.template` of a Rollout, or of the workload it refers to);
/// `null` is an empty template. `collision_count` is `status.collisionCount`; `None` and `Some(0)` give different
/// hashes. The order of keys never matters. What Kubernetes could not decode, as a malformed quantity, is hashed as
/// it stands.
///
/// ```
/// let template = serde_json::json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
/// assert_eq!(serin::rollout::pod_hash::pod_template_hash(&template, None), "6778545797");
/// ```
#[must_use]
pub fn pod_template_hash(template: &Value, collision_count: Option<i32>) -> String {
    let text = json::go_json(&POD_TEMPLATE, Some(template));
    let mut hash = Fnv1a::new();
    hash.add(text.as_bytes());
    if let Some(count) = collision_count {
        // The buffer that is hashed has eight bytes, of which a count fills four.
        hash.add(&count.to_le_bytes());
        hash.add(&[0; 4]);
    }
    hash.spelled()
}

/// The `status.currentStepHash` of the steps of a canary: 1 to 10 characters.
///
/// `steps` is `spec.strategy.canary.steps` as stored. `None` and `null` mean that there are none, which has a hash
/// of its own, other than that of an empty list.
#[must_use]
pub fn steps_hash(steps: Option<&Value>) -> String {
    let text = json::go_json(&STEPS, steps);
    let mut hash = Fnv1a::new();
    hash.add(text.as_bytes());
    hash.spelled()
}

/// The Fowler-Noll-Vo hash, variant 1a, of 32 bits.
struct Fnv1a(u32);

impl Fnv1a {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    /// The decimal digits of the hash, each spelled as the letter at its byte's place modulo the alphabet's length.
    fn spelled(&self) -> String {
        let letter = |digit: u8| ALPHABET.get(usize::from(digit) % ALPHABET.len()).copied().map(char::from);
        self.0.to_string().bytes().filter_map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::api::canary_step::CanaryStep;

    /// Templates and steps with the hash that Go gives them; `tests/pod_hash` generates them.
    const VECTORS: &str = include_str!("../../tests/pod_hash/vectors.json");
    /// Templates and steps with the hashes that Argo Rollouts left on ReplicaSets and in status.
    const TAKEOVER: &str = include_str!("../../tests/pod_hash/takeover.json");

    fn rows(file: &str, section: &str) -> Vec<Value> {
        let mut file: Value = serde_json::from_str(file).unwrap();
        serde_json::from_value(file[section].take()).unwrap()
    }

    fn written(template: &Value) -> String {
        json::go_json(&POD_TEMPLATE, Some(template))
    }

    /// Checks that a template whose only container has `fields` is written with `expected` in that container.
    fn check_container(fields: &Value, expected: &str) {
        let template = json!({"spec": {"containers": [fields]}});
        assert_eq!(
            written(&template),
            format!(r#"{{"metadata":{{}},"spec":{{"containers":[{expected}]}}}}"#)
        );
    }

    #[test]
    fn every_generated_template_has_the_hash_that_go_gives_it() {
        let vectors = rows(VECTORS, "templates");
        let wrong: Vec<String> = vectors
            .iter()
            .filter_map(|v| {
                let count = v["collisionCount"].as_i64().map(|count| i32::try_from(count).unwrap());
                let hash = pod_template_hash(&v["template"], count);
                (v["hash"] != hash).then(|| format!("{}: {hash} for {}", v["name"], written(&v["template"])))
            })
            .collect();
        assert!(vectors.len() >= 200);
        assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
    }

    #[test]
    fn every_generated_list_of_steps_has_the_hash_that_go_gives_it() {
        let vectors = rows(VECTORS, "steps");
        let wrong: Vec<String> = vectors
            .iter()
            .filter(|v| v["hash"] != steps_hash(Some(&v["steps"])))
            .map(|v| format!("{}: {}", v["name"], json::go_json(&STEPS, Some(&v["steps"]))))
            .collect();
        assert!(vectors.len() >= 140);
        assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
    }

    #[test]
    fn steps_that_were_read_as_wire_types_keep_their_hash() {
        let mut read = 0;
        for row in rows(VECTORS, "steps") {
            // The schema of Argo Rollouts has no null configuration, and the wire type takes it for none.
            let Ok(steps) = serde_json::from_value::<Option<Vec<CanaryStep>>>(row["steps"].clone()) else {
                continue;
            };
            if row["steps"].to_string().contains(r#""config":null"#) {
                continue;
            }
            read += 1;
            assert_eq!(
                row["hash"],
                steps_hash(Some(&serde_json::to_value(steps).unwrap())),
                "{}",
                row["name"]
            );
        }
        assert!(read >= 90);
    }

    #[test]
    fn pod_templates_of_running_rollouts_keep_the_label_of_their_replica_set() {
        for row in rows(TAKEOVER, "templates") {
            assert_eq!(row["hash"], pod_template_hash(&row["template"], None), "{}", row["situation"]);
        }
    }

    #[test]
    fn steps_of_running_rollouts_keep_their_hash() {
        for row in rows(TAKEOVER, "steps") {
            assert_eq!(row["hash"], steps_hash(Some(&row["steps"])), "{}", row["situation"]);
        }
    }

    #[test]
    fn missing_steps_hash_the_word_null_and_an_empty_list_does_not() {
        assert_eq!(steps_hash(None), steps_hash(Some(&Value::Null)));
        assert_ne!(steps_hash(None), steps_hash(Some(&json!([]))));
    }

    #[test]
    fn an_empty_template_is_written_with_its_required_parts() {
        let expected = r#"{"metadata":{},"spec":{"containers":null}}"#;
        assert_eq!(written(&Value::Null), expected);
        assert_eq!(written(&json!({"metadata": {"creationTimestamp": null}, "status": {}})), expected);
    }

    #[test]
    fn containers_always_have_resources_and_unknown_fields_are_dropped() {
        check_container(&json!({"flavour": "x", "name": "c"}), r#"{"name":"c","resources":{}}"#);
    }

    #[test]
    fn equal_quantities_hash_alike() {
        let limits = |cpu: Value| json!({"spec": {"containers": [{"resources": {"limits": {"cpu": cpu}}}]}});
        let one = pod_template_hash(&limits(json!("1")), None);
        for cpu in [json!("1000m"), json!(1), json!(1.0), json!(" 1000m ")] {
            assert_eq!(pod_template_hash(&limits(cpu.clone()), None), one, "{cpu}");
        }
    }

    #[test]
    fn a_malformed_quantity_is_hashed_as_it_stands() {
        check_container(
            &json!({"resources": {"limits": {"cpu": "a < b ", "memory": true}}}),
            r#"{"name":"","resources":{"limits":{"cpu":"a \u003c b ","memory":true}}}"#,
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_hashed_as_it_stands() {
        check_container(
            &json!({"name": 7, "env": {"b": 1, "a": [2.50]}, "tty": "", "ports": [{"containerPort": 80.0}, "x"]}),
            r#"{"name":7,"ports":[{"containerPort":80},"x"],"env":{"a":[2.5],"b":1},"resources":{},"tty":""}"#,
        );
        assert_eq!(written(&json!("text")), r#""text""#);
    }

    #[test]
    fn collision_counts_change_the_hash_even_when_zero() {
        let template = json!({});
        let hashes = [None, Some(0), Some(1), Some(-1)].map(|count| pod_template_hash(&template, count));
        let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
    }

    /// Any JSON, its keys often those of a pod template or a step.
    fn any_json(number: impl Strategy<Value = f64> + 'static) -> impl Strategy<Value = Value> {
        let words =
            [pod_fields::POD_TEMPLATE_SPEC, pod_fields::POD_SPEC, pod_fields::CONTAINER, pod_fields::VOLUME]
                .into_iter()
                .chain([pod_fields::OBJECT_META, pod_fields::RESOURCE_REQUIREMENTS, step_fields::CANARY_STEP])
                .flatten()
                .map(|field| field.name)
                .collect::<Vec<_>>();
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            number.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[-+]?[0-9]{0,25}[.]?[0-9]{0,25}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 200, 12, move |inner| {
            let key = prop_oneof![3 => proptest::sample::select(words.clone()).prop_map(str::to_owned), 1 => any::<String>()];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..12)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    /// Numbers that survive being written and read: the JSON parser may be off by the last bit of others.
    fn eighths() -> impl Strategy<Value = f64> {
        any::<i32>().prop_map(|number| f64::from(number) / 8.0)
    }

    /// The same JSON with the keys of every object inserted in reverse order.
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Object(entries) => {
                let entries = entries.iter().rev().map(|(key, value)| (key.clone(), reversed(value)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn any_json_has_a_hash_and_the_order_of_keys_never_matters(
            value in any_json(any::<f64>()),
            count: Option<i32>,
        ) {
            let hash = pod_template_hash(&value, count);
            prop_assert!((1..=10).contains(&hash.len()));
            prop_assert!(hash.bytes().all(|b| ALPHABET.contains(&b)));
            prop_assert_eq!(hash, pod_template_hash(&reversed(&value), count));
            prop_assert_eq!(steps_hash(Some(&value)), steps_hash(Some(&reversed(&value))));
        }

        #[test]
        fn what_is_written_for_a_template_is_json_that_is_written_alike_again(value in any_json(eighths())) {
            let text = written(&value);
            let again: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(written(&again), text);
        }
    }
}
