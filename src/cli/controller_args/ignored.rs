//! Flags of Argo Rollouts that mean nothing here.

use clap::Args;

/// Accepted so that a Deployment written for Argo Rollouts starts; each one given is named once in the log.
#[derive(Args, Debug)]
#[command(
    next_help_heading = "Accepted without effect: nothing here needs them, or what they set up does not exist yet"
)]
pub(super) struct IgnoredArgs {
    #[arg(long, value_name = "NUMBER")]
    service_threads: Option<String>,
    #[arg(long, value_name = "NUMBER")]
    ingress_threads: Option<String>,
    #[arg(long, value_name = "NUMBER")]
    ephemeral_metadata_threads: Option<String>,
    #[arg(long, value_name = "NUMBER")]
    ephemeral_metadata_update_pod_retries: Option<String>,
    #[arg(long, value_name = "LEVEL")]
    kloglevel: Option<String>,
    #[arg(long, value_name = "VERSION")]
    aws_target_group_binding_api_version: Option<String>,
    #[arg(long, value_name = "CLASSES")]
    alb_ingress_classes: Vec<String>,
    #[arg(long, value_name = "CLASSES")]
    nginx_ingress_classes: Vec<String>,
    #[arg(long, value_name = "VERSION")]
    istio_api_version: Option<String>,
    #[arg(long, value_name = "VERSION")]
    ambassador_api_version: Option<String>,
    #[arg(long, value_name = "VERSION")]
    traffic_split_api_version: Option<String>,
    #[arg(long, value_name = "GROUP")]
    traefik_api_group: Option<String>,
    #[arg(long, value_name = "VERSION")]
    traefik_api_version: Option<String>,
    #[arg(long, value_name = "VERSION")]
    ingress_api_version: Option<String>,
    #[arg(long, value_name = "VERSION")]
    appmesh_crd_version: Option<String>,
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    self_service_notification_enabled: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    enable_pprof_address: Option<String>,
}

impl IgnoredArgs {
    /// The flags that were given.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let single = [
            ("--service-threads", &self.service_threads),
            ("--ingress-threads", &self.ingress_threads),
            ("--ephemeral-metadata-threads", &self.ephemeral_metadata_threads),
            ("--ephemeral-metadata-update-pod-retries", &self.ephemeral_metadata_update_pod_retries),
            ("--kloglevel", &self.kloglevel),
            ("--aws-target-group-binding-api-version", &self.aws_target_group_binding_api_version),
            ("--istio-api-version", &self.istio_api_version),
            ("--ambassador-api-version", &self.ambassador_api_version),
            ("--traffic-split-api-version", &self.traffic_split_api_version),
            ("--traefik-api-group", &self.traefik_api_group),
            ("--traefik-api-version", &self.traefik_api_version),
            ("--ingress-api-version", &self.ingress_api_version),
            ("--appmesh-crd-version", &self.appmesh_crd_version),
            ("--self-service-notification-enabled", &self.self_service_notification_enabled),
            ("--enable-pprof-address", &self.enable_pprof_address),
        ];
        let lists = [
            ("--alb-ingress-classes", &self.alb_ingress_classes),
            ("--nginx-ingress-classes", &self.nginx_ingress_classes),
        ];
        let single = single.into_iter().filter(|(_, value)| value.is_some()).map(|(flag, _)| flag);
        single
            .chain(lists.into_iter().filter(|(_, values)| !values.is_empty()).map(|(flag, _)| flag))
            .collect()
    }
}
