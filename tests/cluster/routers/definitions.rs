//! The definitions of the objects that routers write to, as their own projects publish them.
//!
//! `tests/cluster/build.sh --tests` takes them out of the Go modules that `definitions.txt` pins; a kind that no Go module
//! defines has a file in the folder of this one's name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::pinned;
use crate::shared::DEADLINE;

/// What is pinned.
const LIST: &str = include_str!("../definitions.txt");
/// Between two questions whether a kind is served.
const POLL: Duration = Duration::from_millis(50);

/// Defines what these files say on the shared control plane, each file once, and returns when all of it is served.
///
/// `istio/crds.yaml#VirtualService` is one kind of a file that defines several.
pub(crate) async fn install(client: &Client, files: &[&'static str]) {
    static INSTALLED: Mutex<BTreeSet<&'static str>> = Mutex::const_new(BTreeSet::new());
    let mut installed = INSTALLED.lock().await;
    for file in files {
        if !installed.contains(file) {
            install_file(client, file).await;
            installed.insert(*file);
        }
    }
}

/// Defines what one file says.
pub(crate) async fn install_file(client: &Client, file: &str) {
    let definitions = read(file);
    assert!(!definitions.is_empty(), "{file} defines nothing");
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("test").force();
    for definition in &definitions {
        let name = text(definition, "/metadata/name");
        if let Err(error) = api.patch(name, &params, &Patch::Apply(definition)).await {
            panic!("{name} of {file} cannot be defined: {error}");
        }
    }
    for definition in &definitions {
        let served = until_served(client, definition);
        let name = text(definition, "/metadata/name");
        timeout(DEADLINE, served).await.unwrap_or_else(|_| panic!("{name} of {file} is not served"));
    }
}

/// Asks for objects of every version until there is an answer: the condition `Established` comes a moment too early.
async fn until_served(client: &Client, definition: &Value) {
    for version in definition["spec"]["versions"].as_array().unwrap() {
        if version["served"] == json!(false) {
            continue;
        }
        let (group, version) = (text(definition, "/spec/group"), text(version, "/name"));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{group}/{version}"),
            kind: text(definition, "/spec/names/kind").to_owned(),
            plural: text(definition, "/spec/names/plural").to_owned(),
        };
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        while objects.list(&ListParams::default().limit(1)).await.is_err() {
            sleep(POLL).await;
        }
    }
}

fn read(file: &str) -> Vec<Value> {
    let (path, kind) = file.split_once('#').map_or((file, None), |(path, kind)| (path, Some(kind)));
    let path = find(path);
    let content = std::fs::read_to_string(&path).unwrap();
    // Picked by their text: parsing a megabyte for one of fifteen definitions takes seconds.
    let documents = content.split("\n---").filter(|text| {
        text.contains("\nkind: CustomResourceDefinition")
            && kind.is_none_or(|kind| text.contains(&format!("\n    kind: {kind}\n")))
    });
    documents.map(|text| modern(serde_saphyr::from_str(text.trim_start_matches("---")).unwrap())).collect()
}

fn find(file: &str) -> PathBuf {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/routers/definitions").join(file);
    if local.is_file() {
        return local;
    }
    let folder = pinned::definitions();
    let fetched = folder.join(file);
    assert!(
        fetched.is_file(),
        "{file} is neither in tests/cluster/routers/definitions nor in {}; fetch what is missing with `make test-tools`",
        folder.display()
    );
    fetched
}

/// The definition as today's API servers take it. Projects that have come to rest still publish `v1beta1`: one schema for
/// all versions, unknown fields kept, and only the last version served.
fn modern(mut definition: Value) -> Value {
    if definition["apiVersion"] != "apiextensions.k8s.io/v1beta1" {
        return definition;
    }
    definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
    let spec = definition["spec"].as_object_mut().unwrap();
    let mut schema = spec.remove("validation").unwrap()["openAPIV3Schema"].take();
    schema["type"] = json!("object");
    schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
    for field in ["version", "additionalPrinterColumns"] {
        spec.remove(field);
    }
    for version in spec["versions"].as_array_mut().unwrap() {
        version["served"] = json!(true);
        version["schema"] = json!({"openAPIV3Schema": schema});
    }
    definition
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_definition_of_the_list_is_served() {
    let client = crate::shared::client();
    // Argo CD's scripts are in the list, too.
    let names = LIST.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let files = names.filter(|name| name.contains(".yaml"));
    install(&client, &files.collect::<Vec<_>>()).await;
}
