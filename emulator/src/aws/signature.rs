//! AWS Signature Version 4 of requests whose body is at hand (DynamoDB, ECS, Lambda): knowing an access
//! key id, which presigned URLs show, is not enough to call. Facts: IAM User Guide, "Create a signed
//! AWS API request". S3 has its own variant, which `s3s` checks.

use hmac::{Hmac, Mac};
use http::request::Parts;
use sha2::{Digest, Sha256};

use crate::credentials::{BadToken, Credentials, Principal};

/// Why a request is not from someone we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// There is no usable `Authorization` header.
    #[error("Request is missing Authentication Token")]
    Missing,
    /// The access key was never issued, or was taken back.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The key is a temporary one, and its token is missing or wrong, or its time is over.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// The secret is wrong, or the request was changed on its way.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your \
         AWS Secret Access Key and signing method."
    )]
    Mismatch,
}

impl SignatureError {
    /// The error code that AWS's JSON services give.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::UnknownKey | Self::Token(BadToken::Invalid) => "UnrecognizedClientException",
            Self::Token(BadToken::Expired) => "ExpiredTokenException",
            Self::Mismatch => "InvalidSignatureException",
        }
    }
}

struct Authorization<'a> {
    key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let fields = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            match field.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed_headers = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => return None,
            }
        }
        let mut scope = credential?.split('/');
        let (key, date) = (scope.next()?, scope.next()?);
        let (region, service) = (scope.next()?, scope.next()?);
        if scope.next() != Some("aws4_request") || scope.next().is_some() {
            return None;
        }
        Some(Self {
            key,
            date,
            region,
            service,
            signed_headers: signed_headers?,
            signature: signature?,
        })
    }
}

/// Who signed this request.
///
/// # Errors
/// See [`SignatureError`]; the request must be refused.
pub(super) fn verify(
    parts: &Parts,
    body: &[u8],
    credentials: &Credentials,
) -> Result<Principal, SignatureError> {
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let authorization = header("authorization")
        .and_then(Authorization::parse)
        .ok_or(SignatureError::Missing)?;
    let (principal, secret) = credentials
        .lookup(authorization.key)
        .ok_or(SignatureError::UnknownKey)?;
    let time = header("x-amz-date")
        .filter(|time| time.starts_with(authorization.date))
        .ok_or(SignatureError::Mismatch)?;
    let request = canonical_request(parts, body, &authorization).ok_or(SignatureError::Mismatch)?;
    let scope = format!(
        "{}/{}/{}/aws4_request",
        authorization.date, authorization.region, authorization.service
    );
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hexadecimal(&Sha256::digest(request))
    );
    let mut key = authenticate(format!("AWS4{secret}").as_bytes(), authorization.date)
        .map(|code| code.finalize().into_bytes());
    for part in [authorization.region, authorization.service, "aws4_request"] {
        key = key.and_then(|key| Some(authenticate(&key, part)?.finalize().into_bytes()));
    }
    let given = from_hexadecimal(authorization.signature).ok_or(SignatureError::Mismatch)?;
    key.and_then(|key| authenticate(&key, &text))
        .ok_or(SignatureError::Mismatch)?
        // Compares in constant time.
        .verify_slice(&given)
        .map_err(|_| SignatureError::Mismatch)?;
    // An empty one is none.
    let token = header("x-amz-security-token").filter(|token| !token.is_empty());
    credentials.check_token(authorization.key, token)?;
    Ok(principal)
}

fn canonical_request(
    parts: &Parts,
    body: &[u8],
    authorization: &Authorization<'_>,
) -> Option<String> {
    let mut headers = String::new();
    for name in authorization.signed_headers.split(';') {
        let values: Vec<_> = parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        if values.is_empty() {
            return None;
        }
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    // Without these two being signed, the request could be sent elsewhere or do something else.
    let signed = |wanted: &str| {
        authorization
            .signed_headers
            .split(';')
            .any(|name| name == wanted)
    };
    if !signed("host") || (parts.headers.contains_key("x-amz-target") && !signed("x-amz-target")) {
        return None;
    }
    let mut query: Vec<_> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            if pair.contains('=') {
                pair.to_owned()
            } else {
                format!("{pair}=")
            }
        })
        .collect();
    query.sort_unstable();
    Some(format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        parts.method,
        encode_path(parts.uri.path()),
        query.join("&"),
        authorization.signed_headers,
        hexadecimal(&Sha256::digest(body)),
    ))
}

// All services but S3 encode the path, as it was sent, a second time.
fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn authenticate(key: &[u8], text: &str) -> Option<Hmac<Sha256>> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).ok()?;
    code.update(text.as_bytes());
    Some(code)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
