//! As on Cloud Run: one function serves the whole endpoint on `$PORT`, and calls AWS as a role that it
//! assumes with the token of its identity, which `infra/cloud-run/identity-token` keeps in a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Router, routing};
use e2e::mcp::{Client, http_client};
use e2e::on_port::Server;
use e2e::session::Session;
use e2e::{checkout, process, stack};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/cloud-run";
const IDENTITY: &str = "header.payload.signature";

/// Google's metadata server and AWS's token service, in one.
#[derive(Debug, Default)]
struct Outside {
    credentials: Mutex<BTreeMap<String, String>>,
    assumed: Mutex<Vec<BTreeMap<String, String>>>,
}

async fn identity(headers: HeaderMap, uri: Uri) -> (StatusCode, String) {
    let flavor = headers
        .get("metadata-flavor")
        .and_then(|it| it.to_str().ok());
    let query = uri.query().unwrap_or_default();
    if flavor != Some("Google") || !query.contains("audience=shannon") {
        return (StatusCode::FORBIDDEN, String::new());
    }
    (StatusCode::OK, IDENTITY.to_owned())
}

async fn assume(State(outside): State<Arc<Outside>>, body: String) -> String {
    let form = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    outside.assumed.lock().expect("no panic").push(form);
    let credentials = outside.credentials.lock().expect("no panic");
    let of = |name: &str| credentials.get(name).cloned().unwrap_or_default();
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId>\
         <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>\
         <Arn>{ROLE}/cloud-run</Arn><AssumedRoleId>AROA:cloud-run</AssumedRoleId></AssumedRoleUser>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        of("AWS_ACCESS_KEY_ID"),
        of("AWS_SECRET_ACCESS_KEY"),
        of("AWS_SESSION_TOKEN"),
    )
}

async fn serve(outside: Arc<Outside>) -> String {
    let path = "/computeMetadata/v1/instance/service-accounts/default/identity";
    let router = Router::new()
        .route(path, routing::get(identity))
        .route("/", routing::post(assume))
        .with_state(outside);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The container beside the function; ends with the value.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        // It ends what it waits with; a kill would leave that behind.
        process::ask_to_end(self.0.id());
        if let Err(error) = self.0.wait() {
            eprintln!("waiting for the identity: {error}");
        }
    }
}

fn keep_identity(file: &Path, metadata: &str) -> Beside {
    let script = checkout::root().join("infra/cloud-run/identity-token");
    let child = Command::new(script)
        .arg(file)
        .arg("shannon")
        .env("GCE_METADATA_HOST", metadata)
        .spawn();
    Beside(child.expect("the script can be started"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_endpoint_is_served_on_a_port_with_a_role_that_an_identity_assumes() {
    let stack = stack::shared();
    // An instance, whose settings can be read.
    stack.client().legacy().request("ping", json!({})).await;
    let outside = Arc::new(Outside::default());
    let address = serve(Arc::clone(&outside)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    let beside = keep_identity(&token, &address);
    let made = process::eventually(Duration::from_secs(30), || token.is_file());
    assert!(made, "no token");
    assert_eq!(std::fs::read_to_string(&token).expect("a token"), IDENTITY);

    let server = Server::try_start(&stack, "legacy", |variables| {
        let mut kept = outside.credentials.lock().expect("no panic");
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ] {
            kept.insert(name.to_owned(), variables.remove(name).unwrap_or_default());
        }
        for (name, value) in [
            ("AWS_ROLE_ARN", ROLE.to_owned()),
            ("AWS_ROLE_SESSION_NAME", "cloud-run".to_owned()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
            ("AWS_ENDPOINT_URL_STS", format!("http://{address}")),
        ] {
            variables.insert(name.to_owned(), value);
        }
    });
    let server = server.unwrap_or_else(|said| panic!("{said}"));
    let base = server.url.trim_end_matches("/mcp").to_owned();
    let health = http_client()
        .get(format!("{base}/health"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(health.status(), 200);
    let health: Value = health.json().await.expect("JSON");
    assert_eq!(health["status"], "ok");

    // Who has no token gets nothing, before AWS is asked for anything.
    let stranger = Client::new(&server.url, "wrong");
    assert_eq!(stranger.request("tools/list", json!({})).await.status, 401);
    assert!(outside.assumed.lock().expect("no panic").is_empty());

    let client = Client::new(&server.url, &stack.token);
    let tools = client.request("tools/list", json!({})).await;
    let tools = tools.result()["tools"].as_array().expect("tools").clone();
    assert!(tools.iter().any(|tool| tool["name"] == "create_session"));
    let mut session = Session::scripted(&client, &["TEXT:from a container"]).await;
    session.until_turns_ended(1).await;
    assert_eq!(session.said(), "from a container");
    session.cancel().await;

    let assumed = outside.assumed.lock().expect("no panic").clone();
    assert!(!assumed.is_empty());
    for form in assumed {
        assert_eq!(form["Action"], "AssumeRoleWithWebIdentity");
        assert_eq!(
            (&*form["RoleArn"], &*form["WebIdentityToken"]),
            (ROLE, IDENTITY)
        );
    }
    let status = server.end();
    assert!(status.success(), "{status}");
    drop(beside);
}

#[tokio::test]
async fn a_function_does_not_serve_a_port_without_a_way_to_tell_who_calls() {
    let stack = stack::shared();
    stack.client().legacy().request("ping", json!({})).await;
    let refused = Server::try_start(&stack, "legacy", |variables| {
        variables.remove("SHANNON_ACCESS_TOKEN_SHA256");
    });
    let said = refused.expect_err("it does not start");
    assert!(
        said.contains("SHANNON_ACCESS_TOKEN_SHA256 is not set"),
        "{said}"
    );
}
