//! `create_upload`: a signed place for a file that does not fit a request.

use domain::Principal;
use domain::use_cases::{self, CreateUploadError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, refused};
use crate::timestamp::to_rfc3339;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "create_upload",
    title: "Prepare a file upload",
    description: "Gives a place for one file: send it with the returned HTTP request (method, url, headers) and \
        exactly as many bytes as you stated, before it expires. Then pass upload_id to create_session (as an attachment, \
        or as the workspace when it is a tar.gz archive) or to send_message. The url is a secret until it expires.",
    effect: Effect::Adds,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["bytes"],
        "properties": {
            "bytes": {"type": "integer", "minimum": 1, "description": "Exact size of the file in bytes; usually at most 104857600."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["upload_id", "method", "url", "headers", "bytes", "expires_at_unix_ms"],
        "properties": {
            "upload_id": {"type": "string", "description": "By this create_session and send_message know the file."},
            "method": {"type": "string"},
            "url": {"type": "string"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Headers that must be sent exactly so."},
            "bytes": {"type": "integer"},
            "expires_at_unix_ms": {"type": "integer"}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    bytes: u64,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let (upload, request) =
        use_cases::create_upload(&work.ports, &work.deployment, &writer, input.bytes)
            .await
            .map_err(|error| refused!(error, CreateUploadError::Unavailable, ASK_AGAIN))?;
    let headers: serde_json::Map<String, Value> = request
        .headers
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    let text = format!(
        "{}: send {} bytes with {} to {} and the headers {} before {}",
        upload.id,
        upload.bytes,
        request.method,
        request.url,
        Value::Object(headers.clone()),
        to_rfc3339(upload.expires_at)
    );
    let structured = json!({
        "upload_id": upload.id.as_str(),
        "method": request.method,
        "url": request.url,
        "headers": headers,
        "bytes": upload.bytes,
        "expires_at_unix_ms": upload.expires_at.0,
    });
    Ok(Done::new(structured, text))
}
