//! Which Application of Argo CD a Rollout belongs to.
//!
//! Argo CD writes it into an annotation of what it applies. The annotation must name the Rollout itself: a copy of the
//! object, or one that a template made with the annotations of another one, belongs to no Application.

/// The annotation in which Argo CD says what an object belongs to.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";

/// The name of an Application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApplicationName {
    /// Its namespace; `None` is the namespace of Argo CD.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The Application that `tracking_id` names, if it is the annotation of the Rollout `namespace`/`name`.
///
/// Its form is `<app>:<group>/<kind>:<namespace>/<name>`; an Application outside of Argo CD's namespace is
/// `<namespace>_<app>`, which is told apart because no name of Kubernetes has an underscore.
#[must_use]
pub fn owner(tracking_id: &str, namespace: &str, name: &str) -> Option<ApplicationName> {
    let (app, object) = tracking_id.split_once(':')?;
    if object != format!("argoproj.io/Rollout:{namespace}/{name}") {
        return None;
    }
    let (of, app) = match app.split_once('_') {
        Some((of, app)) => (Some(of), app),
        None => (None, app),
    };
    let named = is_name(app) && of.is_none_or(is_name);
    named.then(|| ApplicationName { namespace: of.map(str::to_owned), name: app.to_owned() })
}

/// Whether Kubernetes takes `text` as the name of an object, so that it can be put in a request's path.
fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<&u8>| b.is_some_and(|b| letter(*b));
    let bytes = text.as_bytes();
    text.len() <= 253
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| letter(*b) || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tracking_id: &str, expected: Option<(Option<&str>, &str)>) {
        let expected = expected.map(|(namespace, name)| ApplicationName {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        });
        assert_eq!(owner(tracking_id, "shop", "cart"), expected, "{tracking_id}");
    }

    #[test]
    fn an_application_is_found_by_the_annotation_of_the_rollout_itself() {
        check("store:argoproj.io/Rollout:shop/cart", Some((None, "store")));
        check("team-a_store:argoproj.io/Rollout:shop/cart", Some((Some("team-a"), "store")));
    }

    #[test]
    fn an_annotation_of_another_object_names_no_application() {
        check("store:argoproj.io/Rollout:shop/basket", None);
        check("store:argoproj.io/Rollout:other/cart", None);
        check("store:apps/Deployment:shop/cart", None);
        check("store:argoproj.io/Rollout:shop/cart:more", None);
    }

    #[test]
    fn what_is_no_name_is_never_asked_for() {
        for bad in ["", "_store", "team-a_", "../secrets", "Store", "-store", "a_b_c", "store?x=1"] {
            check(&format!("{bad}:argoproj.io/Rollout:shop/cart"), None);
        }
        check("store", None);
    }
}
