//! What scopes a request needs, and what a caller is told who has no token or lacks a scope: 401 and 403
//! with a challenge (RFC 6750, section 3; RFC 9728, section 5.1; MCP, "Scope Challenge Handling").
//!
//! Behind API Gateway the header arrives under another name (`x-amzn-remapped-www-authenticate`), so the
//! body says the same.

use domain::Principal;
use domain::authorization::{Administer, ReadSessions, Scope, WriteSessions};
use domain::roles;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::answer::{Body, INVALID_REQUEST, error_message, error_response, json_response};

/// Where the metadata of the MCP endpoint is, below the deployment's own address: the path of the endpoint
/// comes last (RFC 9728, section 3.1).
pub const METADATA_PATH: &str = "/.well-known/oauth-protected-resource/mcp";

/// The address of the deployment's configuration as a resource.
const CONFIG: &str = "shannon://config";

/// The scopes that a request needs, apart from what a tool needs. `name` is what it names.
fn of_method(method: &str, name: Option<&str>) -> &'static [&'static str] {
    const READ: &[&str] = &[ReadSessions::NAME];
    match method {
        "resources/read" if name == Some(CONFIG) => &[ReadSessions::NAME, Administer::NAME],
        "resources/list"
        | "resources/read"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "prompts/get"
        | "completion/complete"
        | "tasks/get"
        | "subscriptions/listen" => READ,
        "tasks/update" | "tasks/cancel" => &[ReadSessions::NAME, WriteSessions::NAME],
        _ => &[],
    }
}

/// The scopes that the caller lacks for a request. `tool` says what a tool needs.
pub(crate) fn lacking(
    principal: &Principal,
    method: &str,
    name: Option<&str>,
    tool: impl Fn(&str) -> Option<&'static str>,
) -> Vec<&'static str> {
    let of_tool = match (method, name) {
        ("tools/call", Some(name)) => tool(name),
        _ => None,
    };
    let needed = of_method(method, name).iter().copied().chain(of_tool);
    needed
        .filter(|scope| !principal.scopes.iter().any(|it| it == scope))
        .collect()
}

/// Makes challenges of one deployment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Challenges {
    /// `, resource_metadata="…"`, or nothing where the deployment's address is not known.
    metadata: String,
    /// What the issuer puts before the names of our scopes.
    scope_prefix: String,
}

/// Our scopes as clients have to ask the issuer for them. In a quoted string some characters would end
/// it, and no name of a scope has them (RFC 6749, section 3.3).
pub(crate) fn asked_for<'a>(
    scopes: impl IntoIterator<Item = &'a str>,
    prefix: Option<&str>,
) -> Vec<String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let prefix = prefix.filter(|prefix| prefix.bytes().all(plain));
    let prefix = prefix.unwrap_or_default();
    let scopes = scopes.into_iter();
    scopes.map(|scope| format!("{prefix}{scope}")).collect()
}

impl Challenges {
    pub(crate) fn new(public_url: Option<&str>, scope_prefix: Option<&str>) -> Self {
        // In a quoted string these would end it, and no address has them.
        let plain = |url: &&str| !url.is_empty() && !url.contains(['"', '\\']);
        let metadata = public_url.filter(plain).map(|url| {
            let base = url.trim_end_matches('/');
            format!(", resource_metadata=\"{base}{METADATA_PATH}\"")
        });
        Self {
            metadata: metadata.unwrap_or_default(),
            scope_prefix: scope_prefix.unwrap_or_default().to_owned(),
        }
    }

    fn header(&self, parameters: &str) -> HeaderValue {
        let parameters = format!("{parameters}{}", self.metadata);
        let text = format!("Bearer {}", parameters.trim_start_matches(", "));
        // Ours is ASCII; what is not in an address is told in the body all the same.
        HeaderValue::from_str(text.trim_end()).unwrap_or(HeaderValue::from_static("Bearer"))
    }

    /// Nobody can be told from the request.
    pub(crate) fn unauthenticated(&self) -> Response<Body> {
        let mut refused = error_response(
            StatusCode::UNAUTHORIZED,
            &Value::Null,
            INVALID_REQUEST,
            "the request carries no valid bearer token",
        );
        let challenge = self.header("");
        refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        refused
    }

    /// The caller lacks scopes. The challenge names those that they have as well, so that whoever asks for
    /// another token loses nothing.
    pub(crate) fn insufficient(
        &self,
        id: &Value,
        principal: &Principal,
        lacking: &[&'static str],
    ) -> Response<Body> {
        let has = principal.scopes.iter().map(String::as_str);
        let wanted = roles::known(has.chain(lacking.iter().copied()));
        let wanted = wanted.iter().map(String::as_str);
        let wanted = asked_for(wanted, Some(&self.scope_prefix)).join(" ");
        let words = match lacking {
            [one] => format!("this needs a token with the scope {one}"),
            more => format!("this needs a token with the scopes {}", more.join(" ")),
        };
        let mut message = error_message(id, INVALID_REQUEST, &words);
        message["error"]["data"] = json!({"error": "insufficient_scope", "scope": wanted});
        let mut refused = json_response(StatusCode::FORBIDDEN, &message);
        let parameters = format!(
            "error=\"insufficient_scope\", scope=\"{wanted}\", error_description=\"{words}\""
        );
        let challenge = self.header(&parameters);
        refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(scopes: &[&str]) -> Principal {
        Principal {
            owner: domain::OwnerId::of("i", "s"),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_needed_depends_on_the_method_and_what_it_names() {
        let tool = |name: &str| (name == "writes").then_some(WriteSessions::NAME);
        let lack = |method, name| lacking(&principal(&[]), method, name, tool);
        assert_eq!(lack("tools/call", Some("writes")), ["sessions:write"]);
        for free in [
            "initialize",
            "ping",
            "tools/list",
            "prompts/list",
            "server/discover",
        ] {
            assert!(lack(free, None).is_empty(), "{free}");
        }
        // Who calls a tool that is not there is told that.
        assert!(lack("tools/call", Some("other")).is_empty());
        assert_eq!(
            lack("resources/read", Some("shannon://sessions")),
            ["sessions:read"]
        );
        assert_eq!(
            lack("resources/read", Some(CONFIG)),
            ["sessions:read", "admin"]
        );
        assert_eq!(
            lack("tasks/cancel", Some("t")),
            ["sessions:read", "sessions:write"]
        );
        let reader = principal(&["sessions:read"]);
        let more = lacking(&reader, "tasks/update", Some("t"), tool);
        assert_eq!(more, ["sessions:write"]);
    }

    #[test]
    fn a_challenge_says_where_to_go_and_keeps_what_one_has() {
        let challenges = Challenges::new(Some("https://shannon.example/"), None);
        let header = |response: Response<Body>| {
            let value = response.headers()[WWW_AUTHENTICATE].to_str();
            value.expect("text").to_owned()
        };
        let metadata = "resource_metadata=\"https://shannon.example/.well-known/oauth-protected-resource/mcp\"";
        assert_eq!(
            header(challenges.unauthenticated()),
            format!("Bearer {metadata}")
        );
        let reader = principal(&["approve", "sessions:read"]);
        let refused = challenges.insufficient(&json!(1), &reader, &["sessions:write"]);
        assert_eq!(refused.status(), 403);
        assert_eq!(
            header(refused),
            format!(
                "Bearer error=\"insufficient_scope\", scope=\"sessions:read sessions:write approve\", \
                 error_description=\"this needs a token with the scope sessions:write\", {metadata}"
            )
        );
        // As the issuer calls them.
        let named = Challenges::new(None, Some("https://shannon.example/mcp/"));
        assert_eq!(
            header(named.insufficient(&json!(1), &reader, &["sessions:write"])),
            "Bearer error=\"insufficient_scope\", \
             scope=\"https://shannon.example/mcp/sessions:read \
             https://shannon.example/mcp/sessions:write https://shannon.example/mcp/approve\", \
             error_description=\"this needs a token with the scope sessions:write\""
        );
        let odd = asked_for(["approve"], Some("\", evil=\""));
        assert_eq!(odd, ["approve"]);
        for unknown in [None, Some(""), Some("https://a.example/\"x")] {
            let challenges = Challenges::new(unknown, None);
            assert_eq!(header(challenges.unauthenticated()), "Bearer");
        }
    }
}
