//! Keys and certificates of one sandbox: an authority that signs the API server and every client of it.
//!
//! They never leave the sandbox's state folder and are worth nothing after it; hence no validity period is set.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

/// The group whose members the API server lets do everything, without throttling them.
const ADMINISTRATORS: &str = "system:masters";

/// Names under which the API server's certificate is valid.
const SERVER_NAMES: [&str; 4] = ["127.0.0.1", "localhost", "kubernetes.default", "kubernetes.default.svc"];

/// A certificate with its private key, both in PEM.
#[derive(Clone)]
pub struct KeyedCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

/// The key pair that service account tokens are signed and checked with, both in PEM.
#[derive(Clone)]
pub struct TokenKeys {
    /// Signs tokens, PKCS#8.
    pub private: String,
    /// Checks tokens.
    pub public: String,
}

impl TokenKeys {
    /// A new pair.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let pair = KeyPair::generate()?;
        Ok(Self { private: pair.serialize_pem(), public: pair.public_key_pem() })
    }
}

/// The certificate authority of one sandbox.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("serin-sandbox");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// The authority's certificate in PEM, for whoever has to trust it.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for the API server.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn server(&self) -> Result<KeyedCertificate, rcgen::Error> {
        let mut params = CertificateParams::new(SERVER_NAMES.map(str::to_owned).to_vec())?;
        params.distinguished_name = named("kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A certificate that lets its holder do everything, under the name `user`.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn administrator(&self, user: &str) -> Result<KeyedCertificate, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(user);
        params.distinguished_name.push(DnType::OrganizationName, ADMINISTRATORS);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<KeyedCertificate, rcgen::Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(KeyedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// The API server reads a common name as the user and an organisation as its group.
fn named(user: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    name
}
