//! Writes to the objects that routers are configured by.

use futures::future::join_all;
use kube::Resource;
use kube::api::{Api, DynamicObject, Patch, PostParams};
use kube::core::ObjectMeta;
use serde_json::Value;

use super::{
    FIELD_MANAGER, Target, Writer, delete_parameters, is_absent, is_gone, owner_reference, patch_parameters,
};
use crate::controller::difference::difference;
use crate::controller::error::PassError;
use crate::controller::store::{Identity, Key};
use crate::controller::wire::RolloutObject;
use crate::traffic::{Need, RouteName, Routes, TrafficTarget, route};

impl Writer {
    /// Makes the routers' objects say what is wanted: one write per object that does not, and only to the state of it that
    /// is known.
    pub(super) async fn set_traffic(&self, target: &Target, wanted: &TrafficTarget) -> Result<(), PassError> {
        let needs = target.routers.needs();
        let before = self.caches.routes(&needs);
        let mut after = before.clone();
        target.routers.render(&mut after, wanted);
        let gone = before.objects.keys().filter(|name| after.get(name).is_none());
        let gone: Vec<_> = gone.map(|name| self.delete_route(name)).collect();
        let changed = after.objects.iter().filter(|(name, object)| before.get(name) != Some(object));
        let changed: Vec<_> =
            changed.map(|(name, object)| self.write_route(target, &before, name, object)).collect();
        // All are waited for: what became of one that is on its way has to be known even where another failed.
        join_all(changed).await.into_iter().collect::<Result<(), _>>()?;
        join_all(gone).await.into_iter().collect()
    }

    /// Takes our name off the fields of users' objects that we changed (`metadata.managedFields`). What they say stays.
    /// Another one that applies the object owns them alone then, and can change or drop them without a conflict.
    pub(super) async fn give_routes_back(&self, target: &Target) -> Result<(), PassError> {
        let known = self.caches.routes(&target.routers.needs());
        let given: Vec<_> = target.routers.held(&known).map(|name| self.give_route_back(name)).collect();
        join_all(given).await.into_iter().collect()
    }

    async fn give_route_back(&self, name: RouteName) -> Result<(), PassError> {
        let Some(api) = self.route_api(&name) else { return Err(not_served(&name)) };
        let Some(patch) = self.caches.give_back(&name) else { return Ok(()) };
        let action = || format!("give the fields of {name} back");
        let encode = |source| PassError::Encoding { object: Key::new(&name.namespace, &name.name), source };
        let patch = Patch::Json::<()>(serde_json::from_value(patch).map_err(encode)?);
        let given =
            self.call(action, async { api.patch(&name.name, &patch_parameters(), &patch).await }).await;
        let given = given.inspect_err(|error| self.route_not_written(&name, error))?;
        self.caches.wrote_route(name.kind, given);
        Ok(())
    }

    /// Reads again those objects whose last write got no answer, so that nothing is decided on what they may not say.
    ///
    /// # Errors
    /// When one cannot be read: nobody knows what it says.
    pub(crate) async fn settle_routes(&self, needs: &[Need]) -> Result<(), PassError> {
        for name in self.caches.routes.unsure(needs) {
            let Some(api) = self.route_api(&name) else { continue };
            let found = self.call(|| format!("read {name}"), async { api.get_opt(&name.name).await }).await?;
            match (found, self.caches.route_identity(&name)) {
                (Some(found), _) => self.caches.wrote_route(name.kind, found),
                (None, Some(known)) => self.caches.lost_route(name.kind, &known),
                (None, None) => {}
            }
            self.caches.routes.set_sure(&name);
        }
        Ok(())
    }

    /// Whether a Rollout that the watch does not show any more does not exist.
    ///
    /// # Errors
    /// When the API server does not say.
    pub(crate) async fn is_gone(&self, rollout: &Identity) -> Result<bool, PassError> {
        let key = &rollout.key;
        let api = self.api::<RolloutObject>(&key.namespace);
        let found = self.call(|| format!("look for rollout {key}"), async { api.get_opt(&key.name).await });
        Ok(found.await?.is_none_or(|found| Identity::of(found.meta()).uid != rollout.uid))
    }

    async fn write_route(
        &self,
        target: &Target,
        before: &Routes,
        name: &RouteName,
        object: &Value,
    ) -> Result<(), PassError> {
        let Some(api) = self.route_api(name) else { return Err(not_served(name)) };
        let written = if let Some(known) = before.get(name) {
            let Some(patch) = difference(&unversioned(known), object) else { return Ok(()) };
            let (action, parameters) = (|| format!("set the weights of {name}"), patch_parameters());
            self.call(action, async { api.patch(&name.name, &parameters, &Patch::Merge(&patch)).await }).await
        } else {
            let encode = |source| PassError::Encoding { object: target.identity.key.clone(), source };
            let object = created(target, name, object).map_err(encode)?;
            let parameters =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            self.call(|| format!("create {name}"), async { api.create(&parameters, &object).await }).await
        };
        let written =
            written.inspect_err(|error| self.route_not_written(name, error)).map_err(told_on_the_rollout)?;
        self.caches.wrote_route(name.kind, written);
        Ok(())
    }

    async fn delete_route(&self, name: &RouteName) -> Result<(), PassError> {
        let Some(api) = self.route_api(name) else { return Err(not_served(name)) };
        let Some(identity) = self.caches.route_identity(name) else { return Ok(()) };
        let parameters = delete_parameters(&identity, Some(identity.version));
        let action = || format!("delete {name}");
        let deleted = self.call(action, async { api.delete(&name.name, &parameters).await }).await;
        let deleted = is_gone(deleted.map(|answer| answer.is_right()));
        if deleted.inspect_err(|error| self.route_not_written(name, error))? {
            self.caches.lost_route(name.kind, &identity);
        }
        Ok(())
    }

    fn route_not_written(&self, name: &RouteName, error: &PassError) {
        if error.may_have_happened() {
            self.caches.routes.set_unsure(name.clone());
        } else if let (true, Some(known)) = (is_absent(error), self.caches.route_identity(name)) {
            self.caches.lost_route(name.kind, &known);
        }
    }

    fn route_api(&self, name: &RouteName) -> Option<Api<DynamicObject>> {
        let resource = self.caches.routes.served(name.kind)?;
        Some(Api::namespaced_with(self.client.clone(), &name.namespace, &resource))
    }
}

/// A refusal that stays until somebody does something about it is told on the Rollout.
fn told_on_the_rollout(error: PassError) -> PassError {
    match error.category() {
        "forbidden" | "invalid" => PassError::RouteRefused { message: error.to_string() },
        _ => error,
    }
}

fn not_served(name: &RouteName) -> PassError {
    PassError::NoRouter { name: name.to_string() }
}

/// An object without its version, so that a patch names the version that it is based on.
fn unversioned(object: &Value) -> Value {
    let mut object = object.clone();
    route::set(&mut object, &["metadata", "resourceVersion"], None);
    object
}

/// A new object as it is sent: the Rollout's own.
fn created(target: &Target, name: &RouteName, object: &Value) -> Result<DynamicObject, serde_json::Error> {
    let mut object: DynamicObject = serde_json::from_value(object.clone())?;
    object.metadata = ObjectMeta {
        name: Some(name.name.clone()),
        namespace: Some(name.namespace.clone()),
        owner_references: Some(vec![owner_reference(target)]),
        ..object.metadata
    };
    Ok(object)
}
