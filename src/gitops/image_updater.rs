//! What keeps Argo CD Image Updater from offering a rejected tag again: the annotation `ignore-tags` of the image's alias.

use std::collections::BTreeMap;

use super::image::Image;

/// Tags that are ignored at most, the newest.
const MOST: usize = 100;
const PREFIX: &str = "argocd-image-updater.argoproj.io/";

/// The annotations of an Application that change for the rejected images; none where it is not kept up, or they are there.
#[must_use]
pub fn ignored(annotations: &BTreeMap<String, String>, images: &[String]) -> BTreeMap<String, String> {
    let list = annotations.get(&format!("{PREFIX}image-list")).map(String::as_str).unwrap_or_default();
    let mut changed = BTreeMap::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (alias, reference) = match entry.split_once('=') {
            Some((alias, reference)) => (alias.trim().to_owned(), reference.trim()),
            None => (Image::parse(entry).repository.replace('/', "_"), entry),
        };
        let kept_up = Image::parse(reference);
        let key = format!("{PREFIX}{alias}.ignore-tags");
        for image in images.iter().map(|image| Image::parse(image)) {
            let Some(tag) = image.tag.filter(|_| image.repository == kept_up.repository) else { continue };
            let known =
                changed.get(&key).or_else(|| annotations.get(&key)).map(String::as_str).unwrap_or_default();
            if known.split(',').any(|known| known.trim() == tag) {
                continue;
            }
            let mut all: Vec<&str> = known.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
            // An annotation cannot grow for ever; the oldest were offered long ago.
            all.drain(..all.len().saturating_sub(MOST - 1));
            all.push(tag);
            changed.insert(key.clone(), all.join(","));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored_of(annotations: &[(&str, &str)], images: &[&str]) -> Vec<(String, String)> {
        let annotations =
            annotations.iter().map(|(key, text)| (format!("{PREFIX}{key}"), (*text).to_owned()));
        let images: Vec<String> = images.iter().map(|image| (*image).to_owned()).collect();
        ignored(&annotations.collect(), &images).into_iter().collect()
    }

    #[test]
    fn the_tag_is_added_for_the_alias_of_its_image() {
        let list = ("image-list", "app=registry/cart:~1, other=registry/other");
        let expected = [(format!("{PREFIX}app.ignore-tags"), "1.3".to_owned())];
        assert_eq!(ignored_of(&[list], &["registry/cart:1.3", "registry/unknown:1"]), expected);
        let expected = [(format!("{PREFIX}app.ignore-tags"), "1.2,1.3".to_owned())];
        assert_eq!(ignored_of(&[list, ("app.ignore-tags", "1.2")], &["registry/cart:1.3"]), expected);
    }

    #[test]
    fn without_an_alias_it_is_the_image_with_underscores() {
        let expected = [(format!("{PREFIX}registry_cart.ignore-tags"), "2".to_owned())];
        assert_eq!(ignored_of(&[("image-list", "registry/cart:~1")], &["registry/cart:2"]), expected);
    }

    #[test]
    fn what_is_ignored_already_or_not_kept_up_changes_nothing() {
        assert!(
            ignored_of(&[("image-list", "a=r/cart"), ("a.ignore-tags", "1, 2")], &["r/cart:2"]).is_empty()
        );
        assert!(ignored_of(&[], &["r/cart:2"]).is_empty());
        assert!(ignored_of(&[("image-list", "a=r/cart")], &["r/cart@sha256:ab"]).is_empty());
    }
}
