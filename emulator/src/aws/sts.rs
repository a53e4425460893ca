//! STS: AssumeRole with session tags, over the query protocol. Facts: AWS Security Token Service API
//! Reference, "AssumeRole"; IAM User Guide, "Pass session tags in AWS STS".

use std::{collections::BTreeMap, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;

use super::{permissions::Permissions, query, time_text};
use crate::{
    credentials::{Credentials, Principal},
    template::ACCOUNT,
};

const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// Bounds of a session's life. Who has a role itself, as every function does, gets an hour at most.
const LEAST_SECONDS: u64 = 900;
const MOST_SECONDS: u64 = 3600;
/// Most tags of a session.
const TAGS: usize = 50;

/// Whether a request of the query protocol is for this service.
pub(super) fn is_meant(body: &[u8]) -> bool {
    query::field(body, "Version").as_deref() == Some(VERSION)
}

/// What AssumeRole is asked for.
struct Wanted {
    role: String,
    name: String,
    lifetime: Duration,
    tags: BTreeMap<String, String>,
}

impl Wanted {
    fn read(body: &[u8]) -> Result<Self, String> {
        let mut wanted = Self {
            role: String::new(),
            name: String::new(),
            lifetime: Duration::from_secs(MOST_SECONDS),
            tags: BTreeMap::new(),
        };
        let mut tags: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (key, value) in url::form_urlencoded::parse(body) {
            match key.as_ref() {
                "Action" | "Version" => {}
                // So a list without members is written.
                "Tags" if value.is_empty() => {}
                "RoleArn" => wanted.role = value.into_owned(),
                "RoleSessionName" => wanted.name = value.into_owned(),
                "DurationSeconds" => {
                    let seconds = value.parse().ok();
                    let seconds = seconds.filter(|it| (LEAST_SECONDS..=MOST_SECONDS).contains(it));
                    let seconds = seconds.ok_or_else(|| {
                        format!("DurationSeconds has to be {LEAST_SECONDS} to {MOST_SECONDS}")
                    })?;
                    wanted.lifetime = Duration::from_secs(seconds);
                }
                other => {
                    let part = other.strip_prefix("Tags.member.");
                    match part.and_then(|part| part.split_once('.')) {
                        Some((place, "Key")) => {
                            tags.entry(place.to_owned()).or_default().0 = value.into_owned();
                        }
                        Some((place, "Value")) => {
                            tags.entry(place.to_owned()).or_default().1 = value.into_owned();
                        }
                        _ => {
                            return Err(format!(
                                "the emulator does not know the parameter {other}"
                            ));
                        }
                    }
                }
            }
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,.@-".contains(&byte);
        if !(2..=64).contains(&wanted.name.len()) || !wanted.name.bytes().all(allowed) {
            return Err(
                "RoleSessionName has to be 2 to 64 characters of A-Za-z0-9_=,.@-".to_owned(),
            );
        }
        let count = tags.len();
        wanted.tags = tags.into_values().collect();
        let too_long = |(name, value): (&String, &String)| {
            name.is_empty() || name.len() > 128 || value.len() > 256
        };
        if count > TAGS || count != wanted.tags.len() || wanted.tags.iter().any(too_long) {
            return Err(format!(
                "a session has at most {TAGS} tags of different names with 1 to 128 characters and \
                 values with up to 256"
            ));
        }
        Ok(wanted)
    }
}

/// Answers one request whose sender is known.
pub(super) fn answer(
    permissions: &Permissions,
    credentials: &Credentials,
    sender: &Principal,
    operation: &str,
    body: &Bytes,
) -> Response {
    if operation != "AssumeRole" {
        let words = format!("the emulator does not know the action {operation:?} of STS");
        return fault("InvalidAction", &words);
    }
    let wanted = match Wanted::read(body) {
        Ok(wanted) => wanted,
        Err(words) => return fault("ValidationError", &words),
    };
    if let Err(denied) = permissions.assume(sender, &wanted.role, &wanted.tags) {
        return fault("AccessDenied", &denied.to_string());
    }
    let Wanted {
        role,
        name,
        lifetime,
        tags,
    } = wanted;
    let short = role.rsplit('/').next().unwrap_or_default();
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{short}/{name}");
    let user = format!(
        "<AssumedRoleUser><AssumedRoleId>AROAEMULATED:{name}</AssumedRoleId><Arn>{arn}</Arn>\
         </AssumedRoleUser>"
    );
    let issued = credentials.issue_for(Principal::Session { role, name, tags }, lifetime);
    let until = issued
        .expires_at
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
    let credentials = format!(
        "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
        issued.key.id,
        issued.key.secret,
        issued.token,
        time_text(until)
    );
    let result = format!("<AssumeRoleResult>{user}{credentials}</AssumeRoleResult>");
    query::respond(NAMESPACE, StatusCode::OK, "AssumeRoleResponse", &result)
}

/// A refusal; also what STS answers when it is told to fail.
pub(super) fn fault(code: &str, message: &str) -> Response {
    let status = match code {
        "AccessDenied" => StatusCode::FORBIDDEN,
        "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    query::refuse(NAMESPACE, status, code, message)
}
