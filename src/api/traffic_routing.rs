//! `spec.strategy.canary.trafficRouting`: which router shifts the traffic, and by which objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::schema::any;

/// Labels or annotations by key.
pub type MetadataValues = BTreeMap<String, String>;

/// Text that must match; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StringMatch {
    /// The whole text.
    pub exact: Option<String>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// A regular expression.
    pub regex: Option<String>,
}

/// The routers of a canary.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficRouting {
    /// Istio.
    pub istio: Option<IstioTrafficRouting>,
    /// NGINX ingress controller.
    pub nginx: Option<NginxTrafficRouting>,
    /// AWS load balancer controller.
    pub alb: Option<AlbTrafficRouting>,
    /// Service Mesh Interface.
    pub smi: Option<SmiTrafficRouting>,
    /// Ambassador.
    pub ambassador: Option<AmbassadorTrafficRouting>,
    /// AWS App Mesh.
    pub app_mesh: Option<AppMeshTrafficRouting>,
    /// Traefik.
    pub traefik: Option<TraefikTrafficRouting>,
    /// Apache APISIX.
    pub apisix: Option<ApisixTrafficRouting>,
    /// Router plugins by name, each with its own configuration.
    pub plugins: Option<BTreeMap<String, PluginConfig>>,
    /// Routes that steps may create, in their order of precedence.
    pub managed_routes: Option<Vec<ManagedRoute>>,
    /// The whole of the weight's scale; 100 when absent.
    pub max_traffic_weight: Option<i32>,
}

/// Configuration of a plugin, handed over as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PluginConfig(pub Value);

impl JsonSchema for PluginConfig {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PluginConfig".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        any(generator)
    }
}

/// A route that steps may create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ManagedRoute {
    /// Its name.
    pub name: String,
}

/// Istio: which VirtualServices and which DestinationRule.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioTrafficRouting {
    /// The VirtualService.
    pub virtual_service: Option<IstioVirtualService>,
    /// Several VirtualServices.
    pub virtual_services: Option<Vec<IstioVirtualService>>,
    /// Subsets, when traffic is split by subset.
    pub destination_rule: Option<IstioDestinationRule>,
}

/// A VirtualService and its routes.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioVirtualService {
    /// `name` or `name.namespace`.
    pub name: String,
    /// HTTP routes by name; the only one when absent.
    pub routes: Option<Vec<String>>,
    /// TLS routes.
    pub tls_routes: Option<Vec<TlsRoute>>,
    /// TCP routes.
    pub tcp_routes: Option<Vec<TcpRoute>>,
}

/// A TLS route by port and server names.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// Port.
    pub port: Option<i64>,
    /// Server names.
    pub sni_hosts: Option<Vec<String>>,
}

/// A TCP route by port.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TcpRoute {
    /// Port.
    pub port: Option<i64>,
}

/// A DestinationRule and the subsets in it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioDestinationRule {
    /// Its name.
    pub name: String,
    /// Subset of the canary.
    pub canary_subset_name: Option<String>,
    /// Subset of stable.
    pub stable_subset_name: Option<String>,
    /// Subsets with weights of their own, left alone.
    pub additional_subset_names: Option<Vec<String>>,
}

/// NGINX: which Ingresses.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NginxTrafficRouting {
    /// Prefix of the annotations; `nginx.ingress.kubernetes.io` when absent.
    pub annotation_prefix: Option<String>,
    /// Ingress of the stable version.
    pub stable_ingress: Option<String>,
    /// Several Ingresses.
    pub stable_ingresses: Option<Vec<String>>,
    /// Annotations for the canary Ingress, without the prefix.
    pub additional_ingress_annotations: Option<BTreeMap<String, String>>,
    /// Annotations for the canary Ingress, as they are.
    pub canary_ingress_annotations: Option<BTreeMap<String, String>>,
}

/// ALB: which Ingress and which action.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlbTrafficRouting {
    /// The Ingress.
    pub ingress: Option<String>,
    /// Several Ingresses.
    pub ingresses: Option<Vec<String>>,
    /// Port of the Services.
    pub service_port: Option<i32>,
    /// Service the action is named after; the stable Service when absent.
    pub root_service: Option<String>,
    /// Prefix of the annotations; `alb.ingress.kubernetes.io` when absent.
    pub annotation_prefix: Option<String>,
    /// Keeps a client on one version.
    pub stickiness_config: Option<StickinessConfig>,
}

/// How long a client stays on one version.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StickinessConfig {
    /// Whether it does.
    pub enabled: Option<bool>,
    /// Seconds, from 1 to 604800.
    pub duration_seconds: Option<i64>,
}

/// SMI: which TrafficSplit.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmiTrafficRouting {
    /// Service clients use; the stable Service when absent.
    pub root_service: Option<String>,
    /// Name of the TrafficSplit; the Rollout's when absent.
    pub traffic_split_name: Option<String>,
}

/// Ambassador: which Mappings.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AmbassadorTrafficRouting {
    /// Names of the Mappings.
    pub mappings: Option<Vec<String>>,
}

/// App Mesh: which virtual service and nodes.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppMeshTrafficRouting {
    /// The virtual service.
    pub virtual_service: Option<AppMeshVirtualService>,
    /// Its virtual nodes.
    pub virtual_node_group: Option<AppMeshVirtualNodeGroup>,
}

/// A virtual service and its routes.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppMeshVirtualService {
    /// Its name.
    pub name: String,
    /// Names of its routes.
    pub routes: Option<Vec<String>>,
}

/// The nodes of both versions.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppMeshVirtualNodeGroup {
    /// Node of the canary.
    pub canary_virtual_node_ref: Option<AppMeshVirtualNodeRef>,
    /// Node of stable.
    pub stable_virtual_node_ref: Option<AppMeshVirtualNodeRef>,
}

/// A virtual node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppMeshVirtualNodeRef {
    /// Its name.
    pub name: String,
}

/// Traefik: which weighted TraefikService.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraefikTrafficRouting {
    /// Its name.
    pub weighted_traefik_service_name: Option<String>,
}

/// APISIX: which route.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApisixTrafficRouting {
    /// The route.
    pub route: Option<ApisixRoute>,
}

/// An ApisixRoute and its rules.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApisixRoute {
    /// Its name.
    pub name: String,
    /// Names of its rules.
    pub rules: Option<Vec<String>>,
}
