//! Keeps splits in step with the objects that routes are made of.

use std::collections::BTreeSet;

use futures::stream::{self, BoxStream, StreamExt};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::is_filled;
use super::splits::{Objects, RouteReference, Split};
use crate::traffic::RouteKind;

/// The objects of a kind in a namespace, as they are watched.
type Watched = (RouteKind, Store<DynamicObject>);

/// Publishes how the routes split requests, until nobody looks at it. A route that there has never been is left out.
pub(super) async fn follow(client: Client, routes: Vec<RouteReference>, publish: watch::Sender<Vec<Split>>) {
    let kind = |route: &RouteReference| {
        route.kinds().into_iter().map(|kind| (kind, route.namespace.clone())).collect::<Vec<_>>()
    };
    let kinds: BTreeSet<(RouteKind, String)> = routes.iter().flat_map(kind).collect();
    let (stores, events): (Vec<Watched>, Vec<_>) =
        kinds.into_iter().map(|(kind, namespace)| watched(&client, kind, &namespace)).unzip();
    let mut events = stream::select_all(events);
    let mut known = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            // Before all lists are there, subsets would only seem to be missing.
            Ok(()) if stores.iter().all(|(_, store)| is_filled(store)) => {
                let next = splits(&routes, &objects(&stores), &mut known);
                publish.send_if_modified(|current| std::mem::replace(current, next.clone()) != next);
            }
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "watching routes; trying again"),
        }
    }
}

fn watched(
    client: &Client,
    kind: RouteKind,
    namespace: &str,
) -> (Watched, BoxStream<'static, Result<(), watcher::Error>>) {
    let version = kind.versions().first().copied().unwrap_or_default();
    let resource = GroupVersionKind::gvk(kind.group(), version, kind.as_str());
    let resource = ApiResource::from_gvk_with_plural(&resource, kind.plural());
    let writer = Writer::<DynamicObject>::new(resource.clone());
    let store = writer.as_reader();
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let events = watcher(objects, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .map(|event| event.map(drop));
    ((kind, store), events.boxed())
}

fn objects(stores: &[Watched]) -> Objects {
    let of_kind = |(kind, store): &Watched| {
        let kind = *kind;
        store.state().into_iter().map(move |object| (kind, DynamicObject::clone(&object)))
    };
    Objects(stores.iter().flat_map(of_kind).collect())
}

/// One that is gone leads nowhere, so that requests to it fail.
fn splits(routes: &[RouteReference], objects: &Objects, known: &mut BTreeSet<RouteReference>) -> Vec<Split> {
    let split = |route: &RouteReference| {
        let split = route.split(objects);
        if split.is_some() {
            known.insert(route.clone());
        }
        let gone = || Split { route: route.to_string(), backends: Vec::new() };
        split.or_else(|| known.contains(route).then(gone))
    };
    routes.iter().filter_map(split).collect()
}
