//! From a REQUEST event to a policy, or to the word that API Gateway answers with 401.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html>

use std::collections::HashMap;

use boot::events::EventError;
use domain::ports::{ApiKeys, Clock, RefusalCounts};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::credential::{self, Caller, Doors, Refused};
use crate::jwks::KeySource;

/// What we read of an authorizer event of type REQUEST.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    #[serde(rename = "methodArn")]
    method_arn: String,
    #[serde(default)]
    headers: Option<HashMap<String, String>>,
    #[serde(default, rename = "requestContext")]
    context: Context,
}

#[derive(Debug, Default, Deserialize)]
struct Context {
    #[serde(default)]
    identity: Identity,
}

#[derive(Debug, Default, Deserialize)]
struct Identity {
    #[serde(default, rename = "sourceIp")]
    source: Option<String>,
}

/// Allows whoever has a good credential the whole stage, says who they are and until when. Whose credential
/// has none of our scopes is denied all of it: API Gateway makes 403 of it, which says what to ask for.
///
/// Who is refused is counted, by address and minute: the audit makes entries of that. A count that cannot
/// be kept is an error in the log, and changes nothing of the answer.
///
/// # Errors
/// Exactly `Unauthorized` for everyone whose credential is no good: API Gateway makes 401 of it. One that
/// is absent, malformed, wrong, revoked or expired gives the same answer. Another error where it cannot be
/// found out: API Gateway lets nobody in and answers 500.
pub(crate) async fn answer<P: RefusalCounts + ApiKeys + Clock, S: KeySource>(
    doors: &Doors<S>,
    ports: &P,
    request: &Request,
) -> Result<Value, EventError> {
    let authorization = request.headers.iter().flatten();
    let mut values = authorization
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value.as_str());
    let stage = whole_stage(&request.method_arn).ok_or_else(unauthorized)?;
    match credential::caller(doors, ports, values.next()).await {
        Ok(caller) => Ok(policy(&caller, &stage)),
        Err(Refused::Unavailable(error)) => {
            tracing::error!(
                error = &*error as &dyn std::error::Error,
                "nobody is let in whose credential cannot be checked"
            );
            Err(EventError {
                kind: "Unavailable",
                message: "credentials cannot be checked now".to_owned(),
            })
        }
        Err(refused) => {
            count(ports, request, &refused).await;
            Err(unauthorized())
        }
    }
}

async fn count<P: RefusalCounts + Clock>(ports: &P, request: &Request, refused: &Refused) {
    let source = request.context.identity.source.as_deref();
    let source = source.unwrap_or("unknown");
    tracing::info!(source, reason = %refused, "a request is refused");
    if let Err(error) = ports.count_refusal(source, ports.now()).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            source,
            "a refused request was not counted"
        );
    }
}

/// What API Gateway is told of a caller who is known.
fn policy(caller: &Caller, stage: &str) -> Value {
    let owner = caller.principal.owner.as_str();
    let mut context = json!({
        "owner": owner,
        "scopes": caller.principal.scopes.join(" "),
    });
    if let Some(end) = caller.expires_at {
        context["expires_at"] = end.0.to_string().into();
    }
    let effect = if caller.principal.scopes.is_empty() {
        "Deny"
    } else {
        "Allow"
    };
    json!({
        "principalId": owner,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{
                "Action": "execute-api:Invoke",
                "Effect": effect,
                "Resource": stage,
            }],
        },
        "context": context,
    })
}

fn unauthorized() -> EventError {
    EventError {
        kind: "Unauthorized",
        message: "Unauthorized".to_owned(),
    }
}

/// `arn:aws:execute-api:region:account:api/stage/METHOD/path` → the same up to the stage, then `*`.
fn whole_stage(method_arn: &str) -> Option<String> {
    let mut parts = method_arn.splitn(3, '/');
    match (parts.next()?, parts.next()?, parts.next()) {
        (api, stage, Some(_)) if api.contains(":execute-api:") && !stage.is_empty() => {
            Some(format!("{api}/{stage}/*"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_issuer::Published;
    use boot::AccessToken;
    use domain::UnixMillis;
    use sha2::{Digest, Sha256};

    fn token(text: &str) -> Doors<Published> {
        let hash: String = Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Doors {
            token: AccessToken::from_sha256_hex(&hash).expect("a hash"),
            issuer: None,
        }
    }

    fn sample(text: &str) -> Request {
        serde_json::from_str(text).expect("a REQUEST event")
    }

    const WITH_TOKEN: &str = include_str!("../../../events/authorizer.json");
    const WITHOUT: &str = include_str!("../../../events/authorizer-no-bearer.json");

    async fn decide(token: &Doors<Published>, request: &Request) -> Result<Value, EventError> {
        answer(token, &testkit::Fake::new(1), request).await
    }

    #[tokio::test]
    async fn the_bearer_may_use_the_whole_stage() {
        let answer = decide(&token("sample-token"), &sample(WITH_TOKEN)).await;
        let answer = answer.expect("allowed");
        let statement = &answer["policyDocument"]["Statement"][0];
        assert_eq!(statement["Effect"], "Allow");
        assert_eq!(
            statement["Resource"],
            "arn:aws:execute-api:us-east-1:123456789012:abcde12345/production/*"
        );
        assert_eq!(
            answer["context"]["scopes"],
            "sessions:read sessions:write approve admin"
        );
        let owner = answer["context"]["owner"].as_str().expect("text");
        domain::OwnerId::parse(owner).expect("an owner");
        assert_eq!(answer["principalId"], owner);
        // It has no end.
        assert!(answer["context"].get("expires_at").is_none());
        // API Gateway hands only plain values on.
        for value in answer["context"].as_object().expect("an object").values() {
            assert!(value.is_string(), "{value}");
        }
    }

    #[tokio::test]
    async fn everyone_else_is_told_the_same() {
        let wrong = decide(&token("another"), &sample(WITH_TOKEN)).await;
        let none = decide(&token("sample-token"), &sample(WITHOUT)).await;
        let bare = r#"{"methodArn": "arn:aws:execute-api:r:1:a/s/POST/mcp", "headers": null}"#;
        let empty = decide(&token("sample-token"), &sample(bare)).await;
        let key = domain::ApiKey::from_random([1; 17], [[1; 17]; 2]);
        let unknown = WITH_TOKEN.replace("sample-token", key.expose());
        let unknown = decide(&token("sample-token"), &sample(&unknown)).await;
        for refused in [wrong, none, empty, unknown] {
            assert_eq!(refused, Err(unauthorized()));
        }
        assert_eq!(unauthorized().to_string(), "Unauthorized");
    }

    #[test]
    fn a_caller_without_scopes_is_denied_everything() {
        let mut caller = Caller {
            principal: domain::Principal {
                owner: domain::OwnerId::of("i", "s"),
                scopes: Vec::new(),
            },
            expires_at: Some(UnixMillis(7)),
        };
        let effect = |policy: &Value| policy["policyDocument"]["Statement"][0]["Effect"].clone();
        assert_eq!(effect(&policy(&caller, "x/*")), "Deny");
        caller.principal.scopes.push("approve".to_owned());
        let allowed = policy(&caller, "x/*");
        assert_eq!(effect(&allowed), "Allow");
        assert_eq!(allowed["context"]["expires_at"], "7");
    }

    #[tokio::test]
    async fn what_cannot_be_checked_is_no_refusal() {
        let ports = testkit::Fake::new(1);
        ports.refuse("api_key", true);
        let key = domain::ApiKey::from_random([1; 17], [[1; 17]; 2]);
        let request = sample(&WITH_TOKEN.replace("sample-token", key.expose()));
        let failed = answer(&token("sample-token"), &ports, &request).await;
        assert_eq!(failed.expect_err("it fails").kind, "Unavailable");
        assert!(
            ports
                .refusals(UnixMillis(u64::MAX), 9)
                .await
                .expect("read")
                .is_empty()
        );
    }

    #[tokio::test]
    async fn who_is_refused_is_counted_and_answered_whatever_becomes_of_it() {
        let ports = testkit::Fake::new(1);
        let refused = async |text: &str| {
            let answer = answer(&token("another"), &ports, &sample(text)).await;
            assert_eq!(answer, Err(unauthorized()));
        };
        refused(WITH_TOKEN).await;
        refused(WITH_TOKEN).await;
        refused(r#"{"methodArn": "arn:aws:execute-api:r:1:a/s/POST/mcp"}"#).await;
        let allowed = answer(&token("sample-token"), &ports, &sample(WITH_TOKEN)).await;
        assert!(allowed.is_ok());
        ports.fail_call(1, testkit::FaultTime::Before);
        refused(WITH_TOKEN).await;
        let counted = ports.refusals(ports.now().plus(60_000), 10).await;
        let counted = counted.expect("read");
        let counted: Vec<_> = counted.iter().map(|it| (&*it.source, it.count)).collect();
        assert_eq!(counted, [("198.51.100.7", 2), ("unknown", 1)]);
    }

    #[test]
    fn an_arn_that_is_none_allows_nothing() {
        for bad in [
            "",
            "*",
            "arn:aws:execute-api:r:1:a",
            "a/b/c",
            "arn:aws:execute-api:r:1:a//x",
        ] {
            assert_eq!(whole_stage(bad), None, "{bad}");
        }
    }
}
