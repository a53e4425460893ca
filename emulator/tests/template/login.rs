//! The optional user pool: an identity provider for those who have none.

use crate::real;

#[test]
fn the_pool_is_the_issuer_once_the_address_is_known() {
    let options = [
        ("LoginDomain", "shannon-test"),
        ("PublicUrl", "https://mcp.example.com"),
    ];
    let stack = real(&options).unwrap();
    let environment = |name: &str| {
        let mut functions = stack.functions.iter();
        let function = functions.find(|one| one.name == name).unwrap();
        function.environment.clone()
    };
    let issuer = "https://cognito-idp.us-east-1.amazonaws.com/shannon-userpool";
    for name in ["discover", "authorizer"] {
        assert_eq!(environment(name)["SHANNON_OIDC_ISSUER"], issuer);
    }
    // Clients ask for scopes as it calls them, and its client is known.
    for name in [
        "discover",
        "catalog",
        "call",
        "read",
        "tasks",
        "listen",
        "legacy",
        "authorizer",
    ] {
        let prefix = &environment(name)["SHANNON_OIDC_SCOPE_PREFIX"];
        assert_eq!(prefix, "https://mcp.example.com/mcp/", "{name}");
    }
    let clients = &environment("authorizer")["SHANNON_OIDC_CLIENTS"];
    assert_eq!(clients, "shannon-userpoolclient");
    let login = "claude mcp add --transport http --client-id shannon-userpoolclient --callback-port 3118 \
                 shannon https://mcp.example.com/mcp && claude mcp login shannon";
    assert_eq!(stack.outputs["ClaudeCodeLogin"], login);
    assert_eq!(
        stack.outputs["McpRemoteLogin"],
        "npx mcp-remote https://mcp.example.com/mcp 3334 --static-oauth-client-info \
         '{\"client_id\": \"shannon-userpoolclient\"}'"
    );
}

/// Without the address there is none, whatever is asked for; nor beside another issuer.
#[test]
fn otherwise_there_is_none() {
    for options in [
        &[("LoginDomain", "shannon-test")][..],
        &[
            ("LoginDomain", "shannon-test"),
            ("PublicUrl", "https://a.example"),
            ("OidcIssuer", "https://issuer.example"),
        ],
        &[("PublicUrl", "https://a.example")],
    ] {
        let stack = real(options).unwrap();
        let mut not_served = stack.not_served.iter();
        let has_pool = not_served.any(|one| one.logical_id.starts_with("UserPool"));
        assert!(!has_pool, "{options:?}");
        assert!(
            !stack.outputs.contains_key("ClaudeCodeLogin"),
            "{options:?}"
        );
        for function in &stack.functions {
            if let Some(clients) = function.environment.get("SHANNON_OIDC_CLIENTS") {
                assert_eq!(clients, "", "{options:?}");
            }
        }
    }
}
