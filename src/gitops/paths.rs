//! Which files of a repository an Application is made of: its folder, the value files of its chart, what Argo CD is told
//! that it depends on, and what overlays of Kustomize refer to.

use std::collections::BTreeSet;

use serde_json::Value;

/// Folders of Kustomize that are followed at most.
const MOST: usize = 200;
/// The names that Kustomize looks for, in this order.
const KUSTOMIZATION: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Fields of a kustomization whose items may be folders or files.
const REFERENCES: [&str; 10] = [
    "resources",
    "bases",
    "components",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "configurations",
    "generators",
    "replacements",
    "transformers",
];

/// A path from the root of a repository: `relative` as seen from the folder `base`; one that begins with a slash is from the
/// root. `None` where it leads out of the repository.
#[must_use]
pub fn join(base: &str, relative: &str) -> Option<String> {
    let begin = if relative.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in begin.split('/').chain(relative.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether a file is one of `paths`, or below one of them. The empty path is the root.
#[must_use]
pub fn holds(paths: &BTreeSet<String>, file: &str) -> bool {
    paths.iter().any(|path| {
        let below = file.strip_prefix(path.as_str());
        path.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The paths, and all that their kustomizations refer to in the repository. `read` gives the text of a file; `None` where
/// there is no file.
pub fn with_references(
    paths: BTreeSet<String>,
    read: &mut dyn FnMut(&str) -> Option<String>,
) -> BTreeSet<String> {
    let mut all = paths.clone();
    let mut waiting: Vec<String> = paths.into_iter().collect();
    let mut followed = 0;
    while let Some(folder) = waiting.pop().filter(|_| followed < MOST) {
        followed = followed.saturating_add(1);
        let kustomization = KUSTOMIZATION.iter().find_map(|name| read(&join(&folder, name)?));
        for reference in kustomization.iter().flat_map(|text| references(text)) {
            // An address of another repository leads nowhere in this one, which does no harm.
            if let Some(path) = join(&folder, &reference).filter(|path| !path.is_empty())
                && all.insert(path.clone())
            {
                waiting.push(path);
            }
        }
    }
    all
}

fn references(kustomization: &str) -> Vec<String> {
    let Ok(value) = serde_saphyr::from_str::<Value>(kustomization) else { return vec![] };
    let items = REFERENCES.iter().filter_map(|field| value.get(field)?.as_array()).flatten();
    items
        .filter_map(|item| item.as_str().or_else(|| item.get("path")?.as_str()))
        // A patch may stand in the list itself.
        .filter(|text| !text.contains(['\n', ':']))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn a_path_never_leads_out_of_the_repository() {
        assert_eq!(join("apps/web", "../base/./values.yaml").as_deref(), Some("apps/base/values.yaml"));
        assert_eq!(join("apps/web", "/env/values.yaml").as_deref(), Some("env/values.yaml"));
        assert_eq!(join("", ".").as_deref(), Some(""));
        assert_eq!(join("apps", "../../etc"), None);
    }

    #[test]
    fn a_file_is_below_a_folder_by_whole_names() {
        let paths = set(&["apps/web", "values.yaml"]);
        assert!(holds(&paths, "apps/web/rollout.yaml") && holds(&paths, "values.yaml"));
        assert!(!holds(&paths, "apps/website/rollout.yaml") && !holds(&paths, "apps"));
        assert!(holds(&set(&[""]), "anything"));
    }

    #[test]
    fn an_overlay_is_made_of_its_bases_and_patches_too() {
        let files = BTreeMap::from([
            (
                "overlays/dev/kustomization.yaml",
                "resources: [../../base, 'https://example.com/x']\npatches:\n- path: ../patch.yaml\n- patch: |-\n    a: b\n",
            ),
            (
                "base/kustomization.yml",
                "resources: [rollout.yaml]\ncomponents: [../component, ../overlays/dev]\n",
            ),
            ("component/Kustomization", "{"),
        ]);
        let mut read = |path: &str| files.get(path).map(|text| (*text).to_owned());
        let all = with_references(set(&["overlays/dev"]), &mut read);
        assert_eq!(
            all,
            set(&["base", "base/rollout.yaml", "component", "overlays/dev", "overlays/patch.yaml"])
        );
    }
}
