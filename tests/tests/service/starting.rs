//! What a service takes, and what it refuses before it is one.

use std::fs;

use e2e::mcp::{Client, http_client};
use e2e::script;
use e2e::service::{Installation, Setup, TOKEN};
use e2e::session::Session;
use serde_json::{Value, json};

/// Starts one that must not, and says what it printed.
fn refused(setup: &Setup, installation: &Installation, code: i32) -> String {
    match setup.try_start(installation) {
        Ok(service) => panic!("it started: {}", service.about),
        Err((status, said)) => {
            assert_eq!(status.code(), Some(code), "{said}");
            said
        }
    }
}

#[tokio::test]
async fn secrets_are_needed_and_bad_ones_are_named_and_not_shown() {
    let installation = Installation::make();
    let token = "SHANNON_ACCESS_TOKEN";
    let file = "SHANNON_ACCESS_TOKEN_FILE";
    let said = refused(&Setup::new().without(file), &installation, 2);
    assert!(said.contains("SHANNON_ACCESS_TOKEN is not set"), "{said}");
    for (value, problem) in [
        ("", "too short"),
        ("a-short-one-of-31-bytes-0123456", "too short"),
        ("changeme-changeme-0123456789-abcdef", "looks like a sample"),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "looks like a sample",
        ),
    ] {
        let said = refused(
            &Setup::new().without(file).with(token, value),
            &installation,
            2,
        );
        assert!(
            said.contains(token) && said.contains(problem),
            "{value}: {said}"
        );
        assert!(value.is_empty() || !said.contains(value), "{said}");
        let setup = Setup::new();
        fs::write(setup.path().join("access-token"), value).expect("a file");
        let said = refused(&setup, &installation, 2);
        assert!(
            said.contains(token) && said.contains(problem),
            "{value}: {said}"
        );
        assert!(value.is_empty() || !said.contains(value), "{said}");
    }
    let said = refused(&Setup::new().with(token, TOKEN), &installation, 2);
    assert!(said.contains("both set"), "{said}");
    let said = refused(
        &Setup::new().with("SHANNON_DEV_TOKEN", TOKEN),
        &installation,
        2,
    );
    assert!(
        said.contains("SHANNON_DEV_TOKEN is for a local stack"),
        "{said}"
    );

    let mut keyless = Setup::new();
    keyless.arguments.clear();
    let said = refused(&keyless, &installation, 2);
    assert!(
        said.contains("ANTHROPIC_API_KEY is not set") && said.contains("--offline"),
        "{said}"
    );
    let path = keyless.path().join("key");
    fs::write(&path, "too-short-a-key\n").expect("a file");
    let keyed = keyless.with("ANTHROPIC_API_KEY_FILE", &path.display().to_string());
    let said = refused(&keyed, &installation, 2);
    assert!(said.contains("ANTHROPIC_API_KEY has 15 bytes"), "{said}");
    assert!(!said.contains("too-short-a-key"), "{said}");
    fs::write(&path, "").expect("a file");
    let said = refused(&keyed, &installation, 2);
    assert!(
        said.contains("ANTHROPIC_API_KEY_FILE") && said.contains("is empty"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_for_developing_is_refused_and_so_is_half_an_installation() {
    let installation = Installation::make();
    for option in ["--watch", "--ephemeral", "--release", "--test-hooks"] {
        let mut setup = Setup::new();
        setup.arguments.push(option.to_owned());
        let said = refused(&setup, &installation, 2);
        assert!(said.contains(option), "{said}");
    }
    for url in ["shannon.example.com", "ftp://x", "https://x/path"] {
        let said = refused(
            &Setup::new().with("SHANNON_PUBLIC_URL", url),
            &installation,
            2,
        );
        assert!(
            said.contains("SHANNON_PUBLIC_URL") && said.contains(url),
            "{said}"
        );
    }
    let runner = installation.path().join("functions/session-runner");
    fs::remove_file(runner).expect("a link");
    let said = refused(&Setup::new(), &installation, 1);
    assert!(said.contains("holds no program session-runner"), "{said}");
    fs::remove_file(installation.path().join("template.yaml")).expect("a file");
    let said = refused(&Setup::new(), &installation, 2);
    assert!(
        said.contains("template.yaml") && said.contains("--template"),
        "{said}"
    );
}

#[tokio::test]
async fn it_is_as_deployed_and_says_so_in_json_lines() {
    let installation = Installation::make();
    let setup = Setup::new();
    // What a platform says counts where we say nothing, and the file for everything else.
    let port = setup.port.to_string();
    let config = setup.path().join("shannon.toml");
    fs::write(&config, "max_turns = 7\nlog_level = \"info\"\n").expect("a file");
    let setup = setup
        .without("SHANNON_PORT")
        .with("PORT", &port)
        .with("SHANNON_CONFIG_PATH", &config.display().to_string());
    let service = setup.start(&installation);
    assert_eq!(service.get("/health").await, 200);
    assert_eq!(service.get("/ready").await, 200, "{}", service.said());
    assert_eq!(service.printed(), "", "nothing belongs on standard output");
    for line in service.said().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    assert!(!service.said().contains(TOKEN));
    let own = setup.state().join("logs/emulator.log");
    assert!(e2e::process::eventually(
        std::time::Duration::from_secs(10),
        || own.exists()
    ));

    // No development issuer, and nobody without the token.
    let metadata = "/.well-known/oauth-protected-resource/mcp";
    let found = http_client()
        .get(format!("{}{metadata}", service.url))
        .send()
        .await;
    let found = found.expect("an answer").text().await.expect("a body");
    assert!(
        !found.contains("authorization_servers\":[\"http"),
        "{found}"
    );
    let nobody = Client::new(
        &format!("{}/mcp", service.url),
        "another-token-0123456789-abcdefgh",
    );
    assert_eq!(nobody.request("tools/list", json!({})).await.status, 401);
    assert!(
        !setup.state().join("token").exists(),
        "the token is kept nowhere"
    );

    // Rates as deployed: twenty at once, and no more.
    let client = service.client();
    let requests = (0..40).map(|_| client.request("tools/list", json!({})));
    let answers = futures_util::future::join_all(requests).await;
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert!(refused > 0, "40 requests at once passed");

    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mut session = Session::scripted(&client, &[script::text("hello")]).await;
    session.until_turns_ended(1).await;
    assert!(session.said().contains("hello"));
    session.cancel().await;
}
