//! The credentials that are set up nearest to the controller.

use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider, EnvCredentialProvider,
    IMDSv2CredentialProvider, ProfileCredentialProvider,
};
use reqsign_core::{Context, Error, ProvideCredential, ProvideCredentialDyn, Result};

use super::{AwsEnvironment, SESSION_NAME};

type Source = Box<dyn ProvideCredentialDyn<Credential = Credential>>;

/// The sources, the nearest first; with a profile that is named, it alone.
#[derive(Debug)]
pub(super) struct Nearest {
    sources: Vec<Source>,
    /// Asked where none of them is set up.
    last: Option<IMDSv2CredentialProvider>,
    /// What is to be done about it when there are no credentials.
    absence: String,
}

impl Nearest {
    pub(super) fn new(environment: &AwsEnvironment, profile: Option<String>, region: &str) -> Self {
        if let Some(profile) = profile {
            let absence = format!(
                "the shared configuration has no profile '{profile}' with aws_access_key_id and aws_secret_access_key"
            );
            let profile = ProfileCredentialProvider::new().with_profile(profile);
            return Self { sources: vec![Box::new(profile)], last: None, absence };
        }
        let session = environment.variable("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME);
        let identity = AssumeRoleWithWebIdentityCredentialProvider::new()
            .with_role_session_name(session.to_owned())
            .with_region(region.to_owned())
            .with_regional_sts_endpoint();
        let sources: [Source; 4] = [
            Box::new(EnvCredentialProvider::new()),
            Box::new(identity),
            Box::new(ProfileCredentialProvider::new()),
            Box::new(ECSCredentialProvider::new()),
        ];
        let absence = "none are set up: give the controller's service account a role (IRSA or EKS Pod Identity), \
             or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        let last = Some(IMDSv2CredentialProvider::new());
        Self { sources: sources.into(), last, absence: absence.to_owned() }
    }
}

impl ProvideCredential for Nearest {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        for source in &self.sources {
            if let Some(found) = source.provide_credential_dyn(context).await? {
                return Ok(Some(found));
            }
        }
        let absence = || Error::config_invalid(self.absence.clone());
        let Some(last) = &self.last else { return Err(absence()) };
        match last.provide_credential(context).await {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => Err(absence()),
            Err(why) => Err(absence().with_source(why)),
        }
    }
}
