//! Kubeconfig files for the sandbox: for the controller manager, for people, and for the clients of this process.

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::super::credentials::KeyedCertificate;

/// Who a client is to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name, for example `system:serviceaccount:serin:serin`.
    pub user: String,
    /// Groups; roles bind to them as well as to the user. `system:authenticated` is added by the API server.
    pub groups: Vec<String>,
}

impl Identity {
    /// What a pod of the service account is to the API server: the same roles and the same flow control apply.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        }
    }
}

/// A kubeconfig that uses the files `authority`, `certificate` and `key` by content, so that the text stands alone.
pub(super) fn render(server: &str, authority: &str, client: &KeyedCertificate) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n\
         clusters:\n- name: sandbox\n  cluster:\n    server: {server}\n    certificate-authority-data: {}\n\
         users:\n- name: sandbox\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n\
         contexts:\n- name: sandbox\n  context:\n    cluster: sandbox\n    user: sandbox\n    namespace: default\n",
        base64(authority),
        base64(&client.certificate),
        base64(&client.key),
    )
}

/// The client configuration that `text` describes.
///
/// # Errors
/// When the text is no kubeconfig.
pub(super) async fn load(text: &str) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(Kubeconfig::from_yaml(text)?, &options).await?;
    // From the environment; nobody else's proxy reaches our loopback.
    config.proxy_url = None;
    Ok(config)
}

/// `config`, acting as `identity`: the administrator impersonates it, and roles and flow control are the identity's.
pub(super) fn acting_as(mut config: Config, identity: &Identity) -> Config {
    config.auth_info.impersonate = Some(identity.user.clone());
    config.auth_info.impersonate_groups = Some(identity.groups.clone());
    config
}

/// Standard Base64 with padding.
fn base64(text: &str) -> String {
    // `ByteString` is how Kubernetes writes bytes into JSON: Base64, in quotes.
    let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
    serde_json::to_string(&bytes).unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::credentials::Authority;

    #[tokio::test]
    async fn a_kubeconfig_carries_its_certificates_and_names_the_server() {
        let authority = Authority::generate().unwrap();
        let client = authority.administrator("somebody").unwrap();
        let config =
            load(&render("https://127.0.0.1:6443", &authority.certificate(), &client)).await.unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://127.0.0.1:6443/");
        assert_eq!(config.root_cert.unwrap().len(), 1);
        assert_eq!(config.auth_info.client_certificate_data, Some(base64(&client.certificate)));
    }

    #[tokio::test]
    async fn an_identity_is_impersonated_with_its_groups() {
        let config = acting_as(
            Config::new("https://127.0.0.1:6443".parse().unwrap()),
            &Identity::service_account("serin", "controller"),
        );
        assert_eq!(config.auth_info.impersonate.as_deref(), Some("system:serviceaccount:serin:controller"));
        assert_eq!(
            config.auth_info.impersonate_groups.unwrap(),
            ["system:serviceaccounts", "system:serviceaccounts:serin"]
        );
    }
}
