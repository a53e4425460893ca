//! From a REQUEST event to a policy, or to the word that API Gateway answers with 401.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html>

use std::collections::HashMap;

use boot::AccessToken;
use boot::events::EventError;
use domain::ports::{Clock, RefusalCounts};
use serde::Deserialize;
use serde_json::{Value, json};

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

/// Decides, and counts who is refused, by address and minute: the audit makes entries of that. A count
/// that cannot be kept is an error in the log, and changes nothing of the answer.
///
/// # Errors
/// As [`decide`].
pub(crate) async fn answer<P: RefusalCounts + Clock>(
    token: &AccessToken,
    ports: &P,
    request: &Request,
) -> Result<Value, EventError> {
    let decided = decide(token, request);
    if decided.is_err() {
        let source = request.context.identity.source.as_deref();
        let source = source.unwrap_or("unknown");
        if let Err(error) = ports.count_refusal(source, ports.now()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                source,
                "a refused request was not counted"
            );
        }
    }
    decided
}

/// Allows the bearer of the token the whole stage and says who they are.
///
/// # Errors
/// Exactly `Unauthorized` for everyone else: API Gateway makes 401 of it. A token that is absent,
/// malformed or wrong gives the same answer.
pub(crate) fn decide(token: &AccessToken, request: &Request) -> Result<Value, EventError> {
    let authorization = request.headers.iter().flatten();
    let mut values = authorization
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value.as_str());
    let principal = token.check(values.next()).map_err(|_| unauthorized())?;
    Ok(json!({
        "principalId": principal.owner.as_str(),
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{
                "Action": "execute-api:Invoke",
                "Effect": "Allow",
                "Resource": whole_stage(&request.method_arn).ok_or_else(unauthorized)?,
            }],
        },
        "context": {
            "owner": principal.owner.as_str(),
            "scopes": principal.scopes.join(" "),
        },
    }))
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
    use sha2::{Digest, Sha256};

    fn token(text: &str) -> AccessToken {
        let hash: String = Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        AccessToken::from_sha256_hex(&hash).expect("a hash")
    }

    fn sample(text: &str) -> Request {
        serde_json::from_str(text).expect("a REQUEST event")
    }

    const WITH_TOKEN: &str = include_str!("../../../events/authorizer.json");
    const WITHOUT: &str = include_str!("../../../events/authorizer-no-bearer.json");

    #[test]
    fn the_bearer_may_use_the_whole_stage() {
        let answer = decide(&token("sample-token"), &sample(WITH_TOKEN)).expect("allowed");
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
        // API Gateway hands only plain values on.
        for value in answer["context"].as_object().expect("an object").values() {
            assert!(value.is_string(), "{value}");
        }
    }

    #[test]
    fn everyone_else_is_told_the_same() {
        let wrong = decide(&token("another"), &sample(WITH_TOKEN));
        let none = decide(&token("sample-token"), &sample(WITHOUT));
        let bare = r#"{"methodArn": "arn:aws:execute-api:r:1:a/s/POST/mcp", "headers": null}"#;
        let empty = decide(&token("sample-token"), &sample(bare));
        for refused in [wrong, none, empty] {
            assert_eq!(refused, Err(unauthorized()));
        }
        assert_eq!(unauthorized().to_string(), "Unauthorized");
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
