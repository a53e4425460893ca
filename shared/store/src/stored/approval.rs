//! Approvals, decisions and what was granted, as stored.

use domain::{ApprovalRequest, CallDigest, Decision, Grant, UnixMillis, approval::Way};
use serde::{Deserialize, Serialize};

use super::checkpoint::milliseconds;

super::stored_name!(call_digest, domain::CallDigest);

#[derive(Serialize, Deserialize)]
#[serde(remote = "ApprovalRequest")]
pub(crate) struct StoredRequest {
    tool: String,
    #[serde(with = "call_digest")]
    digest: CallDigest,
    reason: String,
    policies: Vec<String>,
    parts: Vec<String>,
    pattern: Option<String>,
    preview: Option<String>,
    agent: Option<String>,
    #[serde(default)]
    visible: bool,
    editable: bool,
    #[serde(with = "milliseconds")]
    expires_at: UnixMillis,
}

/// One that may be missing.
pub(crate) mod optional_request {
    use domain::ApprovalRequest;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct One(#[serde(with = "super::StoredRequest")] ApprovalRequest);

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<ApprovalRequest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.clone().map(One).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ApprovalRequest>, D::Error> {
        Ok(Option::<One>::deserialize(deserializer)?.map(|one| one.0))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Decision", tag = "kind", rename_all = "snake_case")]
pub(crate) enum StoredDecision {
    AllowOnce,
    AllowCall,
    AllowPattern,
    AllowEdited { input: String },
    Deny { reason: String },
    Expire,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Way", rename_all = "snake_case")]
pub(crate) enum StoredWay {
    Page,
    Elicitation,
    Clock,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Grant", rename_all = "snake_case")]
enum StoredGrant {
    Call(#[serde(with = "call_digest")] CallDigest),
    Pattern(String),
}

super::stored_list!(grants, domain::Grant, "super::StoredGrant");

/// Grants as JSON text.
pub(crate) fn write_grants(granted: &[Grant]) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    grants::serialize(granted, &mut serde_json::Serializer::new(&mut bytes))?;
    // JSON of serde is UTF-8.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads what [`write_grants`] wrote.
pub(crate) fn read_grants(text: &str) -> Result<Vec<Grant>, serde_json::Error> {
    grants::deserialize(&mut serde_json::Deserializer::from_str(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_shape_stays() {
        let digest = CallDigest::of("Bash", "{}");
        let granted = vec![
            Grant::Call(digest.clone()),
            Grant::Pattern("permit(..)".to_owned()),
        ];
        let text = write_grants(&granted).expect("serialises");
        assert_eq!(
            text,
            format!(
                r#"[{{"call":"{}"}},{{"pattern":"permit(..)"}}]"#,
                digest.as_str()
            )
        );
        assert_eq!(read_grants(&text).expect("reads"), granted);
    }
}
