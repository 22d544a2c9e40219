//! The blue-green strategy: Services, the preview's size, what makes the switch, analyses, delays.

use std::time::Duration;

use serde_json::Value;

use super::strategy::{Chosen, Delays, bounds, scale_down, share};
use super::{BlueGreen, Promotion, Services, SpecError, Strategy, not_negative, services};
use crate::api::rollout::{BlueGreenStrategy, RolloutAnalysis};
use crate::events::RunKind;
use crate::rollout::replicas::{Share, Threshold};
use crate::rollout::runs::{self, Analysis};
use crate::rollout::snapshot::Snapshot;
use crate::units::ReplicaCount;

const PATH: &str = "spec.strategy.blueGreen";

/// Parses the strategy.
pub(super) fn parse(
    snapshot: &Snapshot,
    given: &BlueGreenStrategy,
    replicas: ReplicaCount,
    template: &Value,
    problems: &mut Vec<SpecError>,
) -> Chosen {
    let (active_service, preview_service) = both_services(snapshot, given, template, problems);
    let preview = given.preview_replica_count;
    let preview = preview
        .map(|count| not_negative(&format!("{PATH}.previewReplicaCount"), Some(count), 0, problems))
        // A preview of no pods would never be ready; it is one of all pods, as when the field is absent.
        .filter(|count| *count > 0);
    let mut analysis = |name: &str, analysis: Option<&RolloutAnalysis>, kind| -> Option<Box<Analysis>> {
        let field = format!("{PATH}.{name}");
        analysis.map(|analysis| Box::new(runs::parse(snapshot, &field, analysis, kind, problems)))
    };
    let pre = analysis("prePromotionAnalysis", given.pre_promotion_analysis.as_ref(), RunKind::PrePromotion);
    let post =
        analysis("postPromotionAnalysis", given.post_promotion_analysis.as_ref(), RunKind::PostPromotion);
    let unavailable = share(&format!("{PATH}.maxUnavailable"), given.max_unavailable.as_ref(), problems);
    let delays = Delays {
        scale_down_delay_seconds: given.scale_down_delay_seconds,
        scale_down_delay_revision_limit: given.scale_down_delay_revision_limit,
        abort_scale_down_delay_seconds: given.abort_scale_down_delay_seconds,
    };
    check_limit(snapshot, given, problems);
    let strategy = BlueGreen {
        active_service,
        preview_service,
        preview_replicas: preview.map(ReplicaCount::from_status),
        promotion: promotion(given, problems),
        pre_promotion: pre,
        post_promotion: post,
    };
    Chosen {
        strategy: Strategy::BlueGreen(Box::new(strategy)),
        // The two environments have all pods each; only restarts are bounded.
        bounds: bounds(replicas, Share::Percent(100), unavailable),
        steps: Vec::new(),
        background: None,
        services: Services::default(),
        scale_down: scale_down(PATH, &delays, problems),
        threshold: Threshold::All,
    }
}

fn both_services(
    snapshot: &Snapshot,
    given: &BlueGreenStrategy,
    template: &Value,
    problems: &mut Vec<SpecError>,
) -> (String, Option<String>) {
    let (active, preview) =
        (services::named(given.active_service.as_ref()), services::named(given.preview_service.as_ref()));
    if active.is_none() {
        let message = "is missing: name the Service that users' traffic goes through";
        problems.push(SpecError::new(format!("{PATH}.activeService"), message));
    }
    if active.is_some() && active == preview {
        let message = "This rollout uses the same service for the active and preview services, \
                       but two different services are required.";
        problems.push(SpecError::new(format!("{PATH}.previewService"), message));
    }
    let named = [("activeService", active.as_ref()), ("previewService", preview.as_ref())];
    services::check(snapshot, PATH, template, &named, problems);
    (active.unwrap_or_default(), preview)
}

fn promotion(given: &BlueGreenStrategy, problems: &mut Vec<SpecError>) -> Promotion {
    let field = format!("{PATH}.autoPromotionSeconds");
    let seconds = not_negative(&field, given.auto_promotion_seconds, 0, problems);
    match (given.auto_promotion_enabled, u64::try_from(seconds).unwrap_or_default()) {
        (Some(false), _) => Promotion::ByPerson,
        (_, 0) => Promotion::WhenReady,
        (_, seconds) => Promotion::After(Duration::from_secs(seconds)),
    }
}

fn check_limit(snapshot: &Snapshot, given: &BlueGreenStrategy, problems: &mut Vec<SpecError>) {
    let history = snapshot.rollout.spec.revision_history_limit;
    let (Some(limit), history) = (given.scale_down_delay_revision_limit, history.unwrap_or(10)) else {
        return;
    };
    if limit > history {
        let message = format!(
            "This rollout's revision history limit can not be smaller than the rollout's scale down limit: \
             {limit} is more than {history}"
        );
        problems.push(SpecError::new(format!("{PATH}.scaleDownDelayRevisionLimit"), message));
    }
}
