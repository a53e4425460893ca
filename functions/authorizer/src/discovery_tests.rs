//! Documents of an issuer, as a server on this machine gives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that has these documents, by path: status and body. Gives its address.
async fn server(documents: impl Fn(&str) -> BTreeMap<&'static str, (u16, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let documents = Arc::new(documents(&address));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let documents = Arc::clone(&documents);
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let missing = (404, String::new());
                let (status, body) = documents.get(path).unwrap_or(&missing);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\nlocation: /keys\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                // Whoever has read enough goes away.
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

fn discovery(issuer: &str, keys: Option<&str>, reach: Reach) -> Discovery {
    let second = Duration::from_secs(1);
    Discovery {
        issuer: issuer.to_owned(),
        keys: keys.map(str::to_owned),
        client: client_within(issuer, reach, second, second).expect("a client"),
        reach,
    }
}

const SET: &str = r#"{"keys":[]}"#;

fn metadata(address: &str, issuer: &str) -> BTreeMap<&'static str, (u16, String)> {
    let body = json!({"issuer": issuer, "jwks_uri": format!("{address}/keys")}).to_string();
    BTreeMap::from([
        ("/.well-known/openid-configuration", (200, body)),
        ("/keys", (200, SET.to_owned())),
    ])
}

#[tokio::test]
async fn keys_are_found_by_the_metadata_or_where_the_settings_say() {
    let address = server(|address| metadata(address, address)).await;
    let found = discovery(&address, None, Reach::Local).fetch().await;
    assert_eq!(found.expect("found"), json!({"keys": []}));
    let there = format!("{address}/keys");
    let found = discovery("https://issuer.example", Some(&there), Reach::Local);
    assert_eq!(found.fetch().await.expect("found"), json!({"keys": []}));
}

#[tokio::test]
async fn what_is_no_good_is_named() {
    let long = "x".repeat(MOST_BYTES + 1);
    let address = server(|_| {
        BTreeMap::from([
            ("/long", (200, long.clone())),
            ("/text", (200, "hello".to_owned())),
            ("/moved", (302, SET.to_owned())),
            (
                "/.well-known/openid-configuration",
                (200, r#"{"issuer":"x"}"#.to_owned()),
            ),
        ])
    })
    .await;
    for (keys, named) in [
        (Some("/long"), "more than"),
        (Some("/text"), "no JSON"),
        // A redirect is not followed: it could lead anywhere.
        (Some("/moved"), "HTTP 302"),
        (Some("/none"), "HTTP 404"),
        (None, "another issuer"),
    ] {
        let keys = keys.map(|path| format!("{address}{path}"));
        let refused = discovery(&address, keys.as_deref(), Reach::Local)
            .keys()
            .await;
        let said = refused.expect_err("it is refused").to_string();
        assert!(said.contains(named) && said.contains(&address), "{said}");
    }
    // A deployment that is not local calls nobody here, whatever names the address.
    let there = format!("{address}/long");
    for keys in [Some(there.as_str()), None] {
        let refused = discovery(&address, keys, Reach::Public).keys().await;
        assert!(matches!(refused, Err(Unusable::Address(..))), "{refused:?}");
    }
}
