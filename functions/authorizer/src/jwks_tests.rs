//! The issuer's keys: rotated, lost, and asked for too often.

use serde_json::json;

use super::*;
use crate::test_issuer::{Published, Signer, encoded};

const CACHE_SECONDS: u64 = 300;

fn keys(source: &Published) -> Keys<Published> {
    Keys::new(source.clone(), CACHE_SECONDS)
}

fn at(seconds: u64) -> UnixMillis {
    UnixMillis(1_000_000 + seconds * 1000)
}

async fn outcome(keys: &Keys<Published>, id: &str, seconds: u64) -> &'static str {
    match keys.find(Some(id), Algorithm::ES256, at(seconds)).await {
        Ok(_) => "found",
        Err(NoKey::Unknown) => "unknown",
        Err(NoKey::Unavailable(_)) => "unavailable",
    }
}

#[tokio::test]
async fn a_rotated_key_is_found_at_once_and_the_old_one_goes_when_it_is_not_published_any_more() {
    let (old, new) = (Signer::ec(), Signer::ec());
    let source = Published::new([
        Published::keys(&[old.jwk("old")]),
        Published::keys(&[old.jwk("old"), new.jwk("new")]),
        Published::keys(&[new.jwk("new")]),
    ]);
    let keys = keys(&source);
    assert_eq!(outcome(&keys, "old", 0).await, "found");
    assert_eq!(outcome(&keys, "old", 20).await, "found");
    assert_eq!(source.asked(), 1);
    assert_eq!(outcome(&keys, "new", 30).await, "found");
    assert_eq!(outcome(&keys, "old", 30 + CACHE_SECONDS - 1).await, "found");
    assert_eq!(source.asked(), 2);
    assert_eq!(outcome(&keys, "old", 30 + CACHE_SECONDS).await, "unknown");
    assert_eq!(outcome(&keys, "new", 30 + CACHE_SECONDS).await, "found");
    assert_eq!(source.asked(), 3);
}

#[tokio::test]
async fn made_up_ids_do_not_make_us_ask_again_and_again() {
    let source = Published::new([Published::keys(&[Signer::ec().jwk("a")])]);
    let keys = keys(&source);
    for second in 0..60 {
        let id = format!("made-up-{second}");
        assert_eq!(outcome(&keys, &id, second).await, "unknown");
    }
    assert_eq!(source.asked(), 6);
}

#[tokio::test]
async fn without_the_issuer_nobody_is_let_in_and_with_it_again_everybody() {
    let up = Published::keys(&[Signer::ec().jwk("a")]);
    let source = Published::new([None, None, up.clone(), None, None, up]);
    let keys = keys(&source);
    assert_eq!(outcome(&keys, "a", 0).await, "unavailable");
    // Not asked again yet.
    assert_eq!(outcome(&keys, "a", 9).await, "unavailable");
    assert_eq!(source.asked(), 1);
    assert_eq!(outcome(&keys, "a", 10).await, "unavailable");
    assert_eq!(outcome(&keys, "a", 20).await, "found");
    // Down again: what is kept counts until it is too old.
    assert_eq!(outcome(&keys, "b", 40).await, "unknown");
    assert_eq!(outcome(&keys, "a", 20 + CACHE_SECONDS - 1).await, "found");
    assert_eq!(outcome(&keys, "a", 20 + CACHE_SECONDS).await, "unavailable");
    assert_eq!(source.asked(), 5);
    assert_eq!(outcome(&keys, "a", 30 + CACHE_SECONDS).await, "found");
}

#[tokio::test]
async fn the_setting_decides_how_long_keys_are_kept() {
    for seconds in [10, 1000] {
        let source = Published::new([Published::keys(&[Signer::ec().jwk("a")])]);
        let keys = Keys::new(source.clone(), seconds);
        for second in [0, seconds - 1, seconds] {
            assert_eq!(outcome(&keys, "a", second).await, "found");
        }
        assert_eq!(source.asked(), 2, "{seconds}");
    }
}

#[tokio::test]
async fn only_public_keys_for_signatures_of_the_right_kind_count() {
    let (ec, other, rsa) = (Signer::ec(), Signer::ec(), Signer::rsa());
    let mut encrypts = ec.jwk("encrypts");
    encrypts["use"] = "enc".into();
    let mut curve = ec.jwk("curve");
    curve["crv"] = "P-384".into();
    let mut claims_other = ec.jwk("claims-other");
    claims_other["alg"] = "RS256".into();
    let mut no_use = ec.jwk("no-use");
    for name in ["use", "alg"] {
        no_use.as_object_mut().expect("an object").remove(name);
    }
    let secret = json!({"kty": "oct", "kid": "secret", "k": encoded("secret"), "alg": "HS256"});
    let odd = json!({"kty": "odd", "kid": "odd"});
    let set = [
        encrypts,
        curve,
        claims_other,
        secret,
        odd,
        json!(1),
        rsa.jwk("rsa"),
        no_use,
    ];
    let source = Published::new([Published::keys(&set)]);
    let found = keys(&source);
    for id in [
        "encrypts",
        "curve",
        "claims-other",
        "secret",
        "odd",
        "rsa",
        "",
    ] {
        assert_eq!(outcome(&found, id, 0).await, "unknown", "{id}");
    }
    assert_eq!(outcome(&found, "no-use", 0).await, "found");
    let rs = found.find(Some("rsa"), Algorithm::RS256, at(0)).await;
    assert!(rs.is_ok());
    // Without an id the only one of its kind.
    assert!(found.find(None, Algorithm::ES256, at(0)).await.is_ok());
    let two = Published::new([Published::keys(&[ec.jwk("a"), other.jwk("b")])]);
    let none = keys(&two).find(None, Algorithm::ES256, at(0)).await;
    assert!(matches!(none, Err(NoKey::Unknown)));
    for odd in [json!({}), json!([]), json!({"keys": {}})] {
        let keys = keys(&Published::new([Some(odd)]));
        assert_eq!(outcome(&keys, "a", 0).await, "unavailable");
    }
}
