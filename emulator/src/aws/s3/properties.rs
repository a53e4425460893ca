//! What S3 keeps about an object beside its bytes: headers that a later GET repeats, user metadata,
//! encryption and checksums; and its tags.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use s3s::{
    S3Result,
    dto::{Checksum, ChecksumType, ServerSideEncryption, Timestamp},
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::lock::Lock;

/// Headers and metadata of one version, as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Properties {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) expires: Option<Timestamp>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    pub(super) encryption: Option<String>,
    pub(super) encryption_key: Option<String>,
    /// As the request gave it: base64 of a JSON object of texts.
    #[serde(default)]
    pub(super) encryption_context: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) parts: Option<i32>,
    pub(super) checksums: Checksums,
    /// Of an upload: the algorithm that its parts use.
    pub(super) checksum_algorithm: Option<String>,
    #[serde(default)]
    pub(super) lock: Option<Lock>,
}

/// Refuses an encryption context as S3 does: only KMS takes one, and it is base64 of a JSON object
/// of texts.
pub(super) fn check_encryption_context(
    encryption: Option<&str>,
    context: Option<&str>,
) -> S3Result<()> {
    let Some(context) = context else {
        return Ok(());
    };
    if !encryption.is_some_and(|name| name.starts_with("aws:kms")) {
        return Err(s3_error!(
            InvalidArgument,
            "Server Side Encryption with AWS KMS managed key requires HTTP header \
             x-amz-server-side-encryption : aws:kms"
        ));
    }
    let pairs = STANDARD
        .decode(context)
        .ok()
        .and_then(|json| serde_json::from_slice::<BTreeMap<String, String>>(&json).ok());
    match pairs {
        Some(_) => Ok(()),
        None => Err(s3_error!(
            InvalidArgument,
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 \
             string holding JSON which represents a string-string map"
        )),
    }
}

impl Properties {
    /// The encryption that a response names: S3 encrypts everything, at least with its own key.
    pub(super) fn encryption(&self) -> Option<ServerSideEncryption> {
        Some(self.encryption.as_ref().map_or_else(
            || ServerSideEncryption::from_static(ServerSideEncryption::AES256),
            |name| name.clone().into(),
        ))
    }

    pub(super) fn metadata(&self) -> Option<s3s::dto::Metadata> {
        self.metadata.as_ref().map(|map| {
            map.iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        })
    }
}

/// Sorted copy of the metadata of a request.
pub(super) fn metadata_from(map: Option<s3s::dto::Metadata>) -> Option<BTreeMap<String, String>> {
    map.map(|map| map.into_iter().collect())
}

/// Base64 digests of an object, each present only if it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksums {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    /// `FULL_OBJECT` or `COMPOSITE` (a digest over the digests of the parts).
    pub(super) kind: Option<String>,
}

impl Checksums {
    pub(super) fn from_request(checksum: Checksum) -> Self {
        Self {
            crc32: checksum.checksum_crc32,
            crc32c: checksum.checksum_crc32c,
            crc64nvme: checksum.checksum_crc64nvme,
            sha1: checksum.checksum_sha1,
            sha256: checksum.checksum_sha256,
            kind: Some("FULL_OBJECT".to_owned()),
        }
    }

    pub(super) fn kind(&self) -> Option<ChecksumType> {
        self.kind.clone().map(ChecksumType::from)
    }

    /// Name and value of each digest, by the header's suffix.
    pub(super) fn named(&self) -> [(&'static str, Option<&String>); 5] {
        [
            ("CRC32", self.crc32.as_ref()),
            ("CRC32C", self.crc32c.as_ref()),
            ("CRC64NVME", self.crc64nvme.as_ref()),
            ("SHA1", self.sha1.as_ref()),
            ("SHA256", self.sha256.as_ref()),
        ]
    }
}

/// Tags of one version, in the order they were given.
pub(super) type Tags = Vec<(String, String)>;

/// Parses the header form `a=b&c=d`.
pub(super) fn tags_from_header(header: Option<&str>) -> S3Result<Tags> {
    let tags = url::form_urlencoded::parse(header.unwrap_or_default().as_bytes())
        .into_owned()
        .collect();
    check_tags(tags)
}

/// Refuses what S3 refuses: more than ten tags, long or repeated keys.
pub(super) fn check_tags(tags: Tags) -> S3Result<Tags> {
    if tags.len() > 10 {
        return Err(s3_error!(
            InvalidTag,
            "Object tags cannot be greater than 10"
        ));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(s3_error!(
                InvalidTag,
                "The TagKey you have provided is invalid"
            ));
        }
        if value.chars().count() > 256 {
            return Err(s3_error!(
                InvalidTag,
                "The TagValue you have provided is invalid"
            ));
        }
        if tags[..index].iter().any(|(other, _)| other == key) {
            return Err(s3_error!(
                InvalidTag,
                "Cannot provide multiple Tags with the same key"
            ));
        }
    }
    Ok(tags)
}
