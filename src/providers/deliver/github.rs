//! Sets the status of a commit as an app of GitHub's: with its key it signs for a token, with that for everything else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::analysis::Secret;
use crate::notify::service::CommitStatus;
use crate::units::Timestamp;

/// How long a signature holds, in seconds; GitHub takes ten minutes at most.
const LIFETIME: i64 = 300;
/// By how many seconds clocks may differ.
const SKEW: i64 = 60;

/// What GitHub answers.
#[derive(Deserialize)]
struct Answer {
    token: String,
}

/// What the app signs to ask for a token.
///
/// # Errors
/// When the key is none; the message holds nothing of it.
pub(super) fn signed(wanted: &CommitStatus, now: Timestamp) -> Result<Secret, String> {
    let wrong = || "privateKey is no RSA key in PEM".to_owned();
    let key = PrivateKeyDer::from_pem_slice(wanted.key.reveal().as_bytes()).map_err(|_| wrong())?;
    let key = match &key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return Err(wrong()),
    };
    let key = key.map_err(|_| wrong())?;
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let seconds = now.as_millis().div_euclid(1_000);
    let claims = json!({"iat": seconds - SKEW, "exp": seconds + LIFETIME, "iss": wanted.app});
    let signing = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    let signed = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signing.as_bytes(), &mut signature);
    signed.map_err(|_| "privateKey cannot sign".to_owned())?;
    Ok(Secret::new(format!("{signing}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// The token in GitHub's answer.
///
/// # Errors
/// When there is none.
pub(super) fn token(body: &[u8]) -> Result<Secret, String> {
    let answer: Result<Answer, _> = serde_json::from_slice(body);
    answer.map(|answer| Secret::new(answer.token)).map_err(|_| "its answer holds no token".to_owned())
}
