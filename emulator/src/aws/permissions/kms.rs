//! KMS, as S3 asks it in the sender's name for each object of a bucket that is encrypted with a key of the
//! stack. Facts: S3 User Guide, "Using server-side encryption with AWS KMS keys" (encryption context); AWS
//! KMS Developer Guide, "AWS KMS condition keys".
//!
//! The key's own policy permits everybody who comes by the bucket, as the template says; what counts here
//! is what the sender's role refuses.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Denied, Permissions};
use crate::{
    credentials::Principal,
    iam::{Decision, Request},
    template::REGION,
};

/// Who reads or writes objects, for the moment at which it is known how they are encrypted.
#[derive(Clone)]
pub(in crate::aws) struct Opener {
    permissions: Permissions,
    sender: Principal,
}

impl Opener {
    pub(in crate::aws) fn new(permissions: &Permissions, sender: &Principal) -> Self {
        Self {
            permissions: permissions.clone(),
            sender: sender.clone(),
        }
    }

    /// Whether the sender may have KMS do this (`Decrypt`, `GenerateDataKey`) for an object; `context` is
    /// what was said in addition when it was stored, as its header has it.
    pub(in crate::aws) fn may(
        &self,
        action: &str,
        (bucket, key): (&str, &str),
        context: Option<&str>,
    ) -> Result<(), Denied> {
        let permissions = &self.permissions;
        let Some(arn) = permissions.0.object_keys.get(bucket) else {
            return Ok(());
        };
        let Some(identity) = permissions.identity(&self.sender) else {
            return Ok(());
        };
        let object = format!("arn:aws:s3:::{bucket}/{key}");
        let mut request = Request::new(&format!("kms:{action}"), arn)
            .with("kms:ViaService", [format!("s3.{REGION}.amazonaws.com")])
            .with("kms:EncryptionContext:aws:s3:arn", [object]);
        for (name, value) in pairs(context) {
            request = request.with(&format!("kms:EncryptionContext:{name}"), [value]);
        }
        let (_, decision) = Permissions::decide(&identity, &request);
        if decision != Decision::Refused {
            return Ok(());
        }
        let denied = Denied {
            user: identity.user,
            request,
            decision,
        };
        tracing::warn!("refused: {denied}");
        Err(denied)
    }
}

/// One that cannot be read was refused when it came.
fn pairs(context: Option<&str>) -> BTreeMap<String, String> {
    let decoded = context.and_then(|context| BASE64_STANDARD.decode(context).ok());
    let pairs = decoded.and_then(|json| serde_json::from_slice(&json).ok());
    pairs.unwrap_or_default()
}
