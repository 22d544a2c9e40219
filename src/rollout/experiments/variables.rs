//! What an argument of an analysis may say of its Experiment: `{{templates.NAME.podTemplateHash}}`,
//! `{{templates.NAME.replicaset.name}}`, `{{experiment.availableAt}}` and `{{experiment.finishedAt}}`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::analysis::args;
use crate::api::analysis_template::Argument;
use crate::units::{PodHash, Timestamp};

/// What they stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    values: BTreeMap<String, String>,
    has_end: bool,
}

impl Variables {
    /// Those of an Experiment that became available at a time and lasts for a duration.
    pub(crate) fn new(available_at: Timestamp, duration: Option<Duration>) -> Self {
        let mut values = BTreeMap::from([("experiment.availableAt".to_owned(), available_at.to_string())]);
        let finished = duration.map(|duration| available_at.plus(duration).to_string());
        values.extend(finished.map(|finished| ("experiment.finishedAt".to_owned(), finished)));
        Self { values, has_end: duration.is_some() }
    }

    /// Adds those of a template.
    pub(crate) fn add(&mut self, template: &str, set: &str, hash: &PodHash) {
        self.values.insert(format!("templates.{template}.podTemplateHash"), hash.to_string());
        self.values.insert(format!("templates.{template}.replicaset.name"), set.to_owned());
    }

    /// The argument with its variables replaced.
    ///
    /// # Errors
    /// Which of them stands for nothing.
    pub(crate) fn fill(&self, argument: &Argument) -> Result<Argument, String> {
        let value = argument.value.as_deref().map(|text| self.fill_text(text)).transpose()?;
        Ok(Argument { value, ..argument.clone() })
    }

    /// The text with its variables replaced.
    ///
    /// # Errors
    /// Which of them stands for nothing.
    pub(crate) fn fill_text(&self, text: &str) -> Result<String, String> {
        args::replace_tags(text, |tag| {
            if !tag.starts_with("templates.") && !tag.starts_with("experiment.") {
                // Nobody's here: it is part of what the value says.
                return Ok(format!("{{{{{tag}}}}}"));
            }
            self.values.get(tag).cloned().ok_or_else(|| self.unknown(tag))
        })
    }

    fn unknown(&self, tag: &str) -> String {
        if tag == "experiment.finishedAt" && !self.has_end {
            return format!("{{{{{tag}}}}} has no value: set spec.duration");
        }
        let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
        format!("{{{{{tag}}}}} has no value; known are {}", known.join(", "))
    }
}
