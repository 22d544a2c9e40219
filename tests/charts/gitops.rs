//! The write-back of the chart: off by default, apart from the controller, and with no more rights than it needs. What its
//! objects look like is in `serin/gitops*.out`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use serde_json::{Value, json};
use serin::cli::gitops_args::GitopsArgs;
use serin::gitops::config::{Config, KEY, Mode};
use serin::gitops::forge::Kind;

use crate::helm::render;

/// A file with values.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/serin").join(name).with_extension("yaml")
}

/// What the values of a file become, with further flags.
fn objects(name: &str, more: &[&str]) -> Vec<Value> {
    let file = file(name);
    let own = ["--set=crds.install=false", "--values", file.to_str().unwrap()];
    serde_saphyr::from_multiple(&render("delivery", &[&own, more].concat()).unwrap()).unwrap()
}

/// What Helm says of a configuration.
fn configured(config: &Value) -> Result<String, String> {
    let config = format!("gitops.config={config}");
    let own = ["--set=image.repository=serin,gitops.enabled=true,crds.install=false", "--set-json", &config];
    render("delivery", &own)
}

fn is_of_the_write_back(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/component"] == "gitops"
}

/// The one of this kind that is the write-back's, or the controller's.
fn one<'a>(objects: &'a [Value], kind: &str, of_the_write_back: bool) -> &'a Value {
    let wanted =
        |object: &&Value| object["kind"] == kind && is_of_the_write_back(object) == of_the_write_back;
    objects.iter().find(wanted).unwrap_or_else(|| panic!("there is no {kind}"))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|list| list.iter().map(|text| text.as_str().unwrap()).collect()).unwrap_or_default()
}

/// Its rights: `verb resource` with the names that they are for, by the namespace in which they hold; `*` is everywhere.
fn rights(objects: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let is_role = |object: &&Value| ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap());
    for role in objects.iter().filter(|object| is_of_the_write_back(object)).filter(is_role) {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or("*");
        let in_it = rights.entry(namespace.to_owned()).or_default();
        for rule in role["rules"].as_array().unwrap() {
            let names = rule.get("resourceNames").map(|names| format!(" {}", texts(names).join("+")));
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    in_it.insert(format!("{verb} {resource}{}", names.as_deref().unwrap_or_default()));
                }
            }
        }
    }
    rights
}

/// Compares the rights with lines of a namespace and what may be done in it.
fn check_rights(values: &str, more: &[&str], expected: &[(&str, &[&str])]) {
    let found = rights(&objects(values, more));
    let set = |rights: &[&str]| rights.iter().map(|right| (*right).to_owned()).collect::<BTreeSet<_>>();
    let expected =
        expected.iter().map(|(namespace, rights)| ((*namespace).to_owned(), set(rights))).collect();
    assert_eq!(found, expected, "{values}");
}

/// What it may do with the objects that it looks at.
const LOOKS: [&str; 6] = [
    "list rollouts",
    "watch rollouts",
    "patch rollouts",
    "list analysisruns",
    "list replicasets",
    "create events",
];

#[test]
fn it_may_read_the_applications_of_named_namespaces_and_the_secrets_of_its_configuration() {
    let own = [
        "list configmaps serin-canaries-gitops",
        "watch configmaps serin-canaries-gitops",
        "get secrets 2024+git-shop",
    ];
    let changed: &[&str] = &["get applications", "patch applications"];
    check_rights("gitops", &[], &[("*", &LOOKS), ("delivery", &own), ("shop", changed), ("sync", changed)]);
    let read: &[&str] = &["get applications"];
    let without = ["--set=gitops.config.imageUpdater=false"];
    check_rights("gitops", &without, &[("*", &LOOKS), ("delivery", &own), ("shop", read), ("sync", read)]);
}

#[test]
fn without_a_secret_in_its_configuration_it_may_read_none() {
    let own = ["list configmaps serin-gitops", "watch configmaps serin-gitops"];
    let everywhere = [&LOOKS[..], &["get applications"]].concat();
    check_rights("gitops_everywhere", &[], &[("*", &everywhere), ("delivery", &own)]);
    let open = ["--set-json", r#"gitops.config.repositories=[{"url":"https://git.example.com/open"}]"#];
    check_rights("gitops_everywhere", &open, &[("*", &everywhere), ("delivery", &own)]);
}

#[test]
fn of_one_namespace_it_may_do_nothing_elsewhere_but_read_applications() {
    let own = ["list configmaps serin-gitops", "watch configmaps serin-gitops", "get secrets git"];
    let own = [&LOOKS[..], &own].concat();
    check_rights("gitops_namespaced", &[], &[("delivery", &own), ("argocd", &["get applications"])]);
    // Argo CD may be where the release is.
    let own_argo_cd = [&own[..], &["get applications"]].concat();
    check_rights(
        "gitops_namespaced",
        &["--set=gitops.argocdNamespace=delivery"],
        &[("delivery", &own_argo_cd)],
    );
}

#[test]
fn what_flux_applies_can_be_read_where_the_values_say_and_nowhere_by_default() {
    let flux = ["get kustomizations", "get gitrepositories"];
    let own = ["list configmaps serin-gitops", "watch configmaps serin-gitops"];
    check_rights("gitops_flux", &[], &[("*", &LOOKS), ("delivery", &own), ("flux-system", &flux)]);
    let with_argo_cd = ["--set=gitops.argocdNamespace=flux-system"];
    let both = [&flux[..], &["get applications"]].concat();
    check_rights("gitops_flux", &with_argo_cd, &[("*", &LOOKS), ("delivery", &own), ("flux-system", &both)]);
    let everywhere = ["--set-json", r#"gitops.fluxNamespaces=["*"]"#];
    let looks = [&LOOKS[..], &flux].concat();
    check_rights("gitops_flux", &everywhere, &[("*", &looks), ("delivery", &own)]);
}

#[test]
fn rights_are_given_to_its_own_account_in_the_namespace_of_the_role() {
    for values in ["gitops", "gitops_everywhere", "gitops_flux", "gitops_namespaced"] {
        let objects = objects(values, &[]);
        let account = &one(&objects, "ServiceAccount", true)["metadata"]["name"];
        let pods = &one(&objects, "Deployment", true)["spec"]["template"]["spec"];
        assert_eq!(&pods["serviceAccountName"], account);
        assert_ne!(account, &one(&objects, "ServiceAccount", false)["metadata"]["name"]);
        let subjects = json!([{"kind": "ServiceAccount", "name": account, "namespace": "delivery"}]);
        let place = |object: &Value| {
            [&object["metadata"]["namespace"], &object["metadata"]["name"]].map(Value::to_string)
        };
        let of = |kind: &str| {
            objects
                .iter()
                .filter(|object| is_of_the_write_back(object) && object["kind"] == kind)
                .collect::<Vec<_>>()
        };
        for kind in ["Role", "ClusterRole"] {
            let bindings = of(&format!("{kind}Binding"));
            for binding in &bindings {
                assert_eq!(binding["subjects"], subjects);
                assert_eq!(binding["roleRef"]["kind"], kind);
                assert_eq!(binding["roleRef"]["name"], binding["metadata"]["name"]);
            }
            let bound: BTreeSet<_> = bindings.into_iter().map(place).collect();
            assert_eq!(bound, of(kind).into_iter().map(place).collect(), "{kind}");
        }
    }
}

#[test]
fn nothing_of_it_is_there_until_it_is_enabled() {
    let objects = objects("gitops", &["--set=gitops.enabled=false"]);
    assert!(objects.iter().all(|object| !object.to_string().contains("gitops")), "{objects:#?}");
}

#[test]
fn no_selector_of_the_controller_finds_its_pods_and_none_of_it_finds_those() {
    let objects = objects("gitops", &["--set-json", "podLabels={}"]);
    let mut tried = 0;
    for object in &objects {
        let selector = ["/spec/selector/matchLabels", "/spec/podSelector/matchLabels"];
        let Some(selector) = selector.iter().find_map(|place| object.pointer(place)) else { continue };
        for of_the_write_back in [true, false] {
            let pods = &one(&objects, "Deployment", of_the_write_back)["spec"]["template"];
            let labels = pods["metadata"]["labels"].as_object().unwrap();
            let finds =
                selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value));
            assert_eq!(finds, of_the_write_back == is_of_the_write_back(object), "{object:#}");
        }
        tried += 1;
    }
    // A Deployment, a NetworkPolicy and a PodMonitor of each, and the PodDisruptionBudget of the controller.
    assert_eq!(tried, 7);
}

#[test]
fn its_pods_are_as_guarded_as_those_of_the_controller() {
    let objects = objects("gitops", &[]);
    let [own, controller] =
        [true, false].map(|own| &one(&objects, "Deployment", own)["spec"]["template"]["spec"]);
    let places = [
        "/securityContext",
        "/containers/0/securityContext",
        "/containers/0/livenessProbe",
        "/containers/0/readinessProbe",
    ];
    for place in places {
        assert!(own.pointer(place).is_some_and(Value::is_object), "{place}");
        assert_eq!(own.pointer(place), controller.pointer(place), "{place}");
    }
    let mounts = &own["containers"][0]["volumeMounts"];
    assert_eq!(mounts, &json!([{"name": "scratch", "mountPath": "/tmp"}]));
    assert_eq!(own["volumes"], json!([{"name": "scratch", "emptyDir": {"sizeLimit": "5Gi"}}]));
}

#[test]
fn the_program_takes_the_flags_of_the_chart() {
    for values in ["gitops", "gitops_everywhere", "gitops_flux", "gitops_namespaced"] {
        let objects = objects(values, &[]);
        let container = &one(&objects, "Deployment", true)["spec"]["template"]["spec"]["containers"][0];
        let program = Command::new("serin").subcommand(GitopsArgs::augment_args(Command::new("gitops")));
        let given = ["serin"].into_iter().chain(texts(&container["args"]));
        let parsed = program.try_get_matches_from(given).unwrap_or_else(|why| panic!("{values}: {why}"));
        let (_, flags) = parsed.subcommand().unwrap();
        for (flag, name) in [("metrics_port", "metrics"), ("healthz_port", "healthz")] {
            let port = json!({"name": name, "containerPort": flags.get_one::<u16>(flag).unwrap()});
            assert!(container["ports"].as_array().unwrap().contains(&port), "{port}");
        }
    }
}

#[test]
fn flags_that_the_chart_sets_are_refused_among_the_further_ones() {
    for values in ["gitops", "gitops_namespaced"] {
        let objects = objects(values, &["--set-json", "gitops.extraArgs=[]"]);
        let arguments =
            &one(&objects, "Deployment", true)["spec"]["template"]["spec"]["containers"][0]["args"];
        for flag in texts(arguments).into_iter().skip(1) {
            let (file, extra) = (file(values), format!("gitops.extraArgs={}", json!([flag])));
            let given = ["--values", file.to_str().unwrap(), "--set-json", &extra];
            let complaint = render("delivery", &given).expect_err(flag);
            assert!(complaint.contains("at '/gitops/extraArgs/0': 'not' failed"), "{flag}: {complaint}");
        }
    }
}

#[test]
fn its_configuration_is_read_as_the_values_say_it() {
    let read = |values: &str| {
        let objects = objects(values, &[]);
        let map = one(&objects, "ConfigMap", true);
        let name = format!("--config={}", map["metadata"]["name"].as_str().unwrap());
        let pods = &one(&objects, "Deployment", true)["spec"]["template"]["spec"];
        assert!(texts(&pods["containers"][0]["args"]).contains(&name.as_str()), "{name}");
        Config::parse(map["data"][KEY].as_str().unwrap()).unwrap()
    };
    assert_eq!(read("gitops_everywhere"), Config::default());
    let config = read("gitops");
    let [shop, platform, _, open] = config.repositories.as_slice() else { panic!("{config:#?}") };
    assert_eq!((shop.mode, platform.mode), (Mode::PullRequest, Mode::Commit));
    assert_eq!((platform.secret.as_deref(), open.secret.as_deref()), (Some("2024"), None));
    assert_eq!(
        shop.forge.as_ref().map(|forge| (forge.kind, forge.api.is_some())),
        Some((Kind::GitLab, true))
    );
    assert_eq!((shop.author.name.as_str(), open.author.name.as_str()), ("Delivery", "Serin"));
    assert!(config.image_updater && config.links.contains_key("Dashboard"));
}

/// A configuration of one repository, `https://git.example.com/web` with these fields.
fn repository(fields: &Value) -> Value {
    let mut repository = json!({"url": "https://git.example.com/web"});
    repository.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"repositories": [repository]})
}

#[test]
fn the_chart_takes_what_the_program_takes() {
    let urls = [
        "https://git.example.com",
        "http://h:8080/a@b",
        "ssh://h/x",
        "ssh://git@h:22/x.git",
        "git@h:/x",
        "git@h:a/b.git",
    ];
    let kinds = ["github", "gitlab", "gitea", "bitbucket", "bitbucket-data-center"];
    let fields = urls
        .map(|url| json!({"url": url}))
        .into_iter()
        .chain(kinds.map(|kind| json!({"forge": {"kind": kind}})))
        .chain(["commit", "pullRequest"].map(|mode| json!({"mode": mode})))
        .chain([
            json!({"author": {"name": "É. B."}}),
            json!({"author": {"email": "a@b"}}),
            json!({"author": {}}),
        ]);
    for config in fields.map(|fields| repository(&fields)) {
        Config::parse(&config.to_string()).unwrap_or_else(|why| panic!("{config}: {why}"));
        configured(&config).unwrap_or_else(|why| panic!("{config}: {why}"));
    }
}

#[test]
fn the_chart_refuses_what_the_program_refuses() {
    let urls = [
        "",
        "x",
        "file:///srv/git",
        "https://",
        "https://u@h/x",
        "ssh://u:p@h/x",
        "https://h/x?y",
        "ssh://h/x#y",
    ];
    let many: Vec<_> = (0..101).map(|at| json!({"url": format!("https://h/{at}")})).collect();
    let author = |name: &str| repository(&json!({"author": {"name": name}}));
    let wrong = urls
        .map(|url| repository(&json!({"url": url})))
        .into_iter()
        .chain(["", " ", "a<b", "a\nb", &"a".repeat(201)].map(author))
        .chain([
            repository(&json!({"branch": "main"})),
            repository(&json!({"mode": "pull-request"})),
            repository(&json!({"forge": {"kind": "GitHub"}})),
            repository(&json!({"forge": {"kind": "github", "api": "api.example.com"}})),
            json!({"repositories": [{"secret": "git"}]}),
            json!({"repositories": many}),
            json!({"links": {"Board": "ftp://h/x"}}),
            json!({"image_updater": true}),
        ]);
    for config in wrong {
        assert!(Config::parse(&config.to_string()).is_err(), "the program takes {config}");
        let complaint = configured(&config).expect_err("the chart takes what the program does not");
        assert!(complaint.contains("at '/gitops/config"), "{config}: {complaint}");
    }
}
