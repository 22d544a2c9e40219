//! What a user of the sandbox can do next, ready to be copied.

use std::path::Path;

use crate::sandbox::cluster::LocalCluster;
use crate::sandbox::tools::Tools;
use crate::view::{Line, Tone};

/// The hints, for a sandbox that runs.
pub(super) fn hints(cluster: &LocalCluster, tools: &Tools, manifests: &Path) -> Vec<Line> {
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let own = own.map(|folder| format!(":{}", folder.display())).unwrap_or_default();
    let kubeconfig = cluster.control_plane().kubeconfig_path();
    let shell = [
        format!("export KUBECONFIG={}", kubeconfig.display()),
        format!("export PATH={}{own}:$PATH", tools.folder().display()),
        format!("kubectl apply -f {}", manifests.display()),
        "kubectl get ro".to_owned(),
        "kubectl serin get rollout api-server -w".to_owned(),
        "kubectl serin set image api-server api-server=serin-demo:v2-err50".to_owned(),
        "kubectl serin promote api-server".to_owned(),
    ];
    let heading = |text: &str| Line::default().with(Tone::Active, text);
    let mut lines = vec![Line::default(), heading("The sandbox runs. In another shell:"), Line::default()];
    lines.extend(shell.map(|command| Line::plain(format!("  {command}"))));
    lines.push(Line::default());
    lines.push(heading("Pods of any image run; words in the tag say how:"));
    lines.push(Line::default());
    for (words, meaning) in BEHAVIOURS {
        lines.push(Line::plain(format!("  {words:<24}{meaning}")));
    }
    lines.push(Line::default());
    lines.push(Line::plain(
        "Started with --route virtualservice/NAME (or ingress, traefikservice, trafficsplit), the",
    ));
    lines.push(Line::plain("sandbox sends the requests of users by the weights of that object."));
    lines.push(Line::default());
    lines.push(Line::plain(format!("Prometheus: {}", cluster.prometheus().url())));
    lines.push(Line::plain("Control-C ends everything and leaves nothing behind."));
    lines.push(Line::default());
    lines
}

/// The words that a tag may be made of.
const BEHAVIOURS: [(&str, &str); 7] = [
    ("v1, good, ...", "serves; any word that means nothing else names the version"),
    ("v2-err30", "30 % of requests fail"),
    ("v2-lat200ms", "takes 200 ms to answer"),
    ("v2-backlog50", "falls behind by 50 messages a second"),
    ("v2-slow-start5s", "is ready 5 s after its start"),
    ("v2-slow-stop5s", "serves on for 5 s after its deletion"),
    ("crash, never, badimage", "crashes; is never ready; has no image"),
];
