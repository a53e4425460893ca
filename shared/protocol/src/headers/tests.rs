//! Header values of every kind, and what may not pass.

use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        headers.append(*name, value);
    }
    headers
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("no object: {other}"),
    }
}

fn encoded(text: &str) -> String {
    format!("=?base64?{}?=", BASE64_STANDARD.encode(text))
}

#[test]
fn a_name_may_be_written_in_base64() {
    let params = object(json!({"name": "größe"}));
    for (value, right) in [
        (encoded("größe"), true),
        ("größe".to_owned(), true),
        (encoded("größen"), false),
        ("=?base64?!?=".to_owned(), false),
        ("=?base64?".to_owned(), false),
        (String::new(), false),
    ] {
        let headers = headers(&[
            ("mcp-method", b"tools/call"),
            ("mcp-name", value.as_bytes()),
        ]);
        let checked = check_names(&headers, "tools/call", &params);
        assert_eq!(checked.is_ok(), right, "{value}: {checked:?}");
    }
    // Bytes that are no text, plain or inside.
    assert_eq!(decode(b"\xff\xfe"), None);
    let inside = format!("=?base64?{}?=", BASE64_STANDARD.encode([0xff, 0xfe]));
    assert_eq!(decode(inside.as_bytes()), None);
}

#[test]
fn what_comes_twice_is_refused_even_when_it_agrees() {
    let params = object(json!({"name": "a"}));
    let twice = headers(&[
        ("mcp-method", b"tools/call"),
        ("mcp-name", b"a"),
        ("mcp-name", b"a"),
    ]);
    assert!(check_names(&twice, "tools/call", &params).is_err());
    let twice = headers(&[("mcp-method", b"tools/list"), ("mcp-method", b"tools/list")]);
    assert!(check_names(&twice, "tools/list", &JsonObject::new()).is_err());
    let twice = headers(&[
        ("mcp-protocol-version", b"2026-07-28"),
        ("mcp-protocol-version", b"2025-11-25"),
    ]);
    assert!(version(&twice).is_err());
    // A method in Base64 would be routed as something else.
    let hidden = headers(&[("mcp-method", encoded("tools/list").as_bytes())]);
    assert!(check_names(&hidden, "tools/list", &JsonObject::new()).is_err());
}

#[test]
fn arguments_that_a_schema_wants_in_headers_are_compared() {
    let schema = object(json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
        "odd": {"type": "string", "x-mcp-header": "not a token"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"x-mcp-header": "Never"}}}}
    }}));
    let check = |pairs: &[(&'static str, &[u8])], arguments: Value| -> Result<(), String> {
        check_parameters(&headers(pairs), &schema, Some(&object(arguments)))
    };
    let region = |value: &'static [u8]| ("mcp-param-region", value);
    assert_eq!(check(&[], json!({})), Ok(()));
    assert_eq!(check(&[region(b"eu")], json!({"region": "eu"})), Ok(()));
    let hidden = encoded(" eu");
    assert_eq!(
        check_parameters(
            &headers(&[("mcp-param-region", hidden.as_bytes())]),
            &schema,
            Some(&object(json!({"region": " eu"})))
        ),
        Ok(())
    );
    assert_eq!(
        check(&[("mcp-param-count", b"3")], json!({"deep": {"count": 3}})),
        Ok(())
    );
    for (pairs, arguments) in [
        (vec![], json!({"region": "eu"})),
        (vec![region(b"us")], json!({"region": "eu"})),
        (vec![region(b"eu")], json!({})),
        (vec![region(b"eu")], json!({"region": null})),
        (vec![region(b"eu"), region(b"eu")], json!({"region": "eu"})),
        (
            vec![("mcp-param-count", b"4" as &[u8])],
            json!({"deep": {"count": 3}}),
        ),
    ] {
        assert!(
            check(&pairs, arguments.clone()).is_err(),
            "{pairs:?} {arguments}"
        );
    }
    assert!(check_parameters(&headers(&[region(b"eu")]), &schema, None).is_err());
}

proptest! {
    /// Whatever text it is, its Base64 form stands for it and nothing else.
    #[test]
    fn base64_round_trips(text in any::<String>()) {
        prop_assert_eq!(decode(encoded(&text).as_bytes()), Some(text));
    }

    /// Decoding takes any bytes, and plain text only as itself.
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Some(text) = decode(&bytes)
            && !bytes.starts_with(b"=?base64?")
        {
            prop_assert_eq!(text.as_bytes(), &bytes[..]);
        }
    }

    /// Only the value of the body passes.
    #[test]
    fn only_the_same_name_passes(name in "\\PC{0,12}", claimed in "\\PC{0,12}") {
        let params = object(json!({"uri": name}));
        let written = encoded(&claimed);
        let headers = headers(&[("mcp-method", b"resources/read"), ("mcp-name", written.as_bytes())]);
        prop_assert_eq!(check_names(&headers, "resources/read", &params).is_ok(), name == claimed);
    }
}
