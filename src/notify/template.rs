//! Templates are Go's `text/template` in every text of an entry, with the Rollout, its AnalysisRuns, the recipient, the
//! context of the `ConfigMap`, the keys of the Secret, and the event.
//!
//! Absent on purpose: functions that Go's library does not have, but for `upper` and `lower`.

use gotmpl::Template;
use serde::Serialize;
use serde_json::Value;

/// Most iterations of all loops of one template.
const MAX_ITERATIONS: u64 = 10_000;
/// Longest text that a template may come to, in bytes.
const MAX_LENGTH: usize = 100_000;

/// What templates know.
pub(super) struct Data(gotmpl::Value);

impl Data {
    /// What templates know, by its names there.
    ///
    /// # Errors
    /// When a template could not know it.
    pub(super) fn new(known: &impl Serialize) -> Result<Self, String> {
        gotmpl::to_value(known).map(Self).map_err(|error| error.to_string())
    }
}

/// Whether all texts of an entry are templates.
///
/// # Errors
/// What is wrong with the first that is not.
pub(super) fn check(entry: &Value) -> Result<(), String> {
    texts(entry, &mut |text| parse(text).map(drop))
}

/// The entry with every text rendered.
///
/// # Errors
/// Which text cannot be rendered, and why.
pub(super) fn render(entry: &Value, data: &Data) -> Result<Value, String> {
    Ok(match entry {
        Value::String(text) => Value::String(render_text(text, data)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| render(item, data)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let rendered = |(key, value): (&String, &Value)| Ok((key.clone(), render(value, data)?));
            Value::Object(fields.iter().map(rendered).collect::<Result<_, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => entry.clone(),
    })
}

fn render_text(text: &str, data: &Data) -> Result<String, String> {
    let rendered = parse(text)?.execute_to_string(&data.0).map_err(|error| error.to_string())?;
    if rendered.len() > MAX_LENGTH {
        return Err(format!("it comes to {} bytes; at most {MAX_LENGTH} are sent", rendered.len()));
    }
    Ok(rendered)
}

fn parse(text: &str) -> Result<Template, String> {
    let cased = |change: fn(&str) -> String| {
        move |arguments: &[gotmpl::Value]| match arguments {
            [gotmpl::Value::String(text)] => Ok(gotmpl::Value::String(change(text).into())),
            _ => Ok(gotmpl::Value::Nil),
        }
    };
    let template = Template::new("template")
        .max_range_iters(MAX_ITERATIONS)
        .func("upper", cased(str::to_uppercase))
        .func("lower", cased(str::to_lowercase));
    template.parse(text).map_err(|error| error.to_string())
}

fn texts(value: &Value, look: &mut impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    match value {
        Value::String(text) => look(text),
        Value::Array(items) => items.iter().try_for_each(|item| texts(item, look)),
        Value::Object(fields) => fields.values().try_for_each(|field| texts(field, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(text: &str) -> Result<String, String> {
        let containers = json!([{"name": "main", "image": "app:v2"}, {"name": "side", "image": "mesh:1"}]);
        let rollout = json!({
            "metadata": {"name": "api"}, "spec": {"replicas": 4, "strategy": {"canary": {}}, "template": {"spec": {"containers": containers}}},
            "status": {"conditions": [{"type": "Progressing", "message": "it \"fails\""}]},
        });
        render_text(
            text,
            &Data::new(&json!({"rollout": rollout, "recipient": "ops", "event": {"message": "done"}}))?,
        )
    }

    #[test]
    fn templates_of_the_field_are_rendered() {
        for (template, expected) in [
            (
                "Rollout {{.rollout.metadata.name}} to {{ .recipient }}: {{.event.message}}",
                "Rollout api to ops: done",
            ),
            (
                "{{if .rollout.spec.strategy.blueGreen}}BlueGreen{{end}}{{if .rollout.spec.strategy.canary}}Canary{{end}}",
                "",
            ),
            (
                "{{range $i, $c := .rollout.spec.template.spec.containers}}{{if $i}}, {{end}}{{$c.name}}={{$c.image}}{{end}}",
                "main=app:v2, side=mesh:1",
            ),
            ("{{range .rollout.status.conditions}}{{printf \"%q\" .message}}{{end}}", "\"it \\\"fails\\\"\""),
            ("{{.rollout.spec.replicas}} {{.rollout.spec.none}} {{upper .recipient}}", "4 <no value> OPS"),
        ] {
            assert_eq!(rendered(template), Ok(expected.to_owned()), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_rendered_is_told() {
        assert!(rendered("{{ sprigThing . }}").unwrap_err().contains("sprigThing"));
        assert!(rendered("{{ if }}").is_err());
        assert!(rendered("{{ range $i := 100000 }}{{ range $j := 100000 }}x{{end}}{{end}}").is_err());
        assert!(rendered("{{define \"x\"}}{{template \"x\" .}}{{end}}{{template \"x\" .}}").is_err());
    }
}
