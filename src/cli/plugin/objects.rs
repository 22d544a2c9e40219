//! Which objects belong to a rollout, as far as the API server can be asked for it.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope, Selector};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::error::PluginError;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::{AnalysisRun, Experiment, Rollout};
use crate::view::{self, ExperimentView, Observed};

/// The label selector for ReplicaSets and pods of a rollout.
pub(super) fn selector(rollout: &Rollout) -> String {
    let own = rollout.spec.selector.clone().and_then(|selector| Selector::try_from(selector).ok());
    let own = own.map(|selector| selector.to_string()).unwrap_or_default();
    if own.is_empty() { POD_TEMPLATE_HASH.to_owned() } else { format!("{own},{POD_TEMPLATE_HASH}") }
}

/// Reads a rollout and all that may belong to it.
pub(super) async fn read(connection: &Connection, name: &str) -> Result<Observed, PluginError> {
    let rollout = connection.rollout(name).await?;
    let of_rollout = ListParams::default().labels(&selector(&rollout));
    let all = ListParams::default();
    let (replica_sets, pods, analysis_runs, experiments) = futures::try_join!(
        list::<ReplicaSet>(connection, &of_rollout),
        list::<Pod>(connection, &of_rollout),
        list::<AnalysisRun>(connection, &all),
        list::<Experiment>(connection, &all),
    )?;
    Ok(Observed { rollout, replica_sets, pods, analysis_runs, experiments })
}

/// Reads an Experiment and all that may belong to it.
pub(super) async fn read_experiment(
    connection: &Connection,
    name: &str,
) -> Result<ExperimentView, PluginError> {
    let experiment = connection.find::<Experiment>(name).await?;
    let (of_pods, all) = (ListParams::default().labels(POD_TEMPLATE_HASH), ListParams::default());
    let (sets, pods, runs) = futures::try_join!(
        list::<ReplicaSet>(connection, &of_pods),
        list::<Pod>(connection, &of_pods),
        list::<AnalysisRun>(connection, &all),
    )?;
    Ok(view::experiment(&experiment, &sets, &pods, &runs))
}

async fn list<K>(connection: &Connection, params: &ListParams) -> Result<Vec<K>, PluginError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let listed = connection.api::<K>().list(params).await;
    let doing = format!("list {} in namespace '{}'", K::plural(&()), connection.namespace);
    Ok(listed.map_err(|error| connection.failure(error, &doing, None))?.items)
}

/// The ReplicaSets of a rollout, undecoded, so that nothing of their templates is lost.
pub(super) async fn raw_replica_sets(
    connection: &Connection,
    rollout: &Rollout,
) -> Result<Vec<DynamicObject>, PluginError> {
    let resource = ApiResource::erase::<ReplicaSet>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(connection.client.clone(), &connection.namespace, &resource);
    let listed = api.list(&ListParams::default().labels(&selector(rollout))).await;
    let doing = format!("list replicasets in namespace '{}'", connection.namespace);
    let listed = listed.map_err(|error| connection.failure(error, &doing, None))?;
    let uid = rollout.uid();
    let is_owned =
        |set: &DynamicObject| set.owner_references().iter().any(|owner| Some(&owner.uid) == uid.as_ref());
    Ok(listed.items.into_iter().filter(is_owned).collect())
}
