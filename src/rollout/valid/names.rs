//! Names that become names of objects, or part of one.

use std::collections::BTreeSet;

use super::SpecError;

/// Longest name of a Service.
const LONGEST_SERVICE: usize = 63;

/// Whether this is a part of a DNS name: lower-case letters, digits and, between them, '-'.
pub(super) fn is_dns_part(part: &str) -> bool {
    let at_ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.chars().all(|c| at_ends(c) || c == '-') && part.starts_with(at_ends) && part.ends_with(at_ends)
}

/// Reports a name that is missing, that no object could have, or that is not the only one of its kind.
pub(crate) fn check_name(
    field: &str,
    name: &str,
    names: &mut BTreeSet<String>,
    problems: &mut Vec<SpecError>,
) {
    let field = format!("{field}.name");
    if name.is_empty() {
        problems.push(SpecError::new(field, "is missing"));
    } else if !name.split('.').all(is_dns_part) {
        let message = format!(
            "'{name}' becomes part of the name of an object: use lower-case letters, digits and, between them, '-' or '.'"
        );
        problems.push(SpecError::new(field, message));
    } else if !names.insert(name.to_owned()) {
        let message = format!("'{name}' is the name of another one too: give each its own");
        problems.push(SpecError::new(field, message));
    }
}

/// Reports a name that no Service can have, or that is not the only one.
pub(crate) fn check_service_name(
    field: &str,
    name: &str,
    names: &mut BTreeSet<String>,
    problems: &mut Vec<SpecError>,
) {
    let field = format!("{field}.service.name");
    let is_legal = name.len() <= LONGEST_SERVICE
        && is_dns_part(name)
        && name.starts_with(|first: char| first.is_ascii_lowercase());
    if !is_legal {
        let message = format!(
            "a Service cannot be called '{name}': name one with a letter first, then letters in lower case, digits and '-', \
             at most {LONGEST_SERVICE} in all"
        );
        problems.push(SpecError::new(field, message));
    } else if !names.insert(name.to_owned()) {
        let message = format!("'{name}' is the Service of another template too: give each its own");
        problems.push(SpecError::new(field, message));
    }
}
