//! Every case of the corpus: alone, in a context, in pieces, within JSON, and twice.

mod corpus;

use corpus::{Case, cases};
use proptest::prelude::*;
use redact::Redactor;

fn secrets() -> Vec<Case> {
    cases()
        .into_iter()
        .filter(|case| case.kind.is_some())
        .collect()
}

/// What of a secret still stands in a text beside the replacements: any eight bytes of it.
fn left(text: &str, secret: &str) -> Option<String> {
    let mut parts = text.split("[redacted");
    let first = parts.next().into_iter();
    let rest: Vec<&str> = first
        .chain(parts.map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)))
        .collect();
    let characters: Vec<char> = secret.chars().collect();
    let size = characters.len().min(8);
    let mut windows = characters
        .windows(size)
        .map(|part| part.iter().collect::<String>());
    windows.find(|window| rest.iter().any(|rest| rest.contains(window.as_str())))
}

#[test]
fn the_corpus_is_large_enough() {
    let (bad, good): (Vec<_>, Vec<_>) = cases().into_iter().partition(|case| case.kind.is_some());
    assert!(
        bad.len() >= 120 && good.len() >= 80,
        "{} {}",
        bad.len(),
        good.len()
    );
    assert!(bad.iter().all(|case| !case.secrets.is_empty()));
}

#[test]
fn every_secret_goes_and_its_kind_is_named() {
    let redactor = Redactor::default();
    let mut wrong = Vec::new();
    for case in secrets() {
        let clean = redactor.clean(&case.text);
        let mut expected = case.text.clone();
        let mask = format!("[redacted: {}]", case.kind.as_deref().unwrap_or_default());
        for secret in &case.secrets {
            expected = expected.replace(secret.as_str(), &mask);
        }
        if clean != expected {
            wrong.push(format!(
                "line {}: {}\n     not {}",
                case.line, clean, expected
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} wrong",
        wrong.join("\n"),
        wrong.len()
    );
}

#[test]
fn what_looks_alike_stays() {
    let redactor = Redactor::default();
    let harmless = cases().into_iter().filter(|case| case.kind.is_none());
    let wrong: Vec<String> = harmless
        .filter(|case| redactor.clean(&case.text) != case.text)
        .map(|case| format!("line {}: {}", case.line, redactor.clean(&case.text)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_cut_gives_the_same() {
    let redactor = Redactor::default();
    for case in cases() {
        for text in [case.text.clone(), format!("before {} after", case.text)] {
            let whole = redactor.clean(&text);
            for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
                let mut stream = redactor.stream();
                let first = stream.push(&text[..cut]);
                for secret in &case.secrets {
                    assert_eq!(
                        left(&first, secret),
                        None,
                        "line {} cut at {cut}",
                        case.line
                    );
                }
                let given = first + &stream.push(&text[cut..]) + &stream.finish();
                assert_eq!(given, whole, "line {} cut at {cut}", case.line);
            }
        }
    }
}

#[test]
fn every_byte_alone_gives_the_same() {
    let redactor = Redactor::default();
    for case in cases() {
        let mut stream = redactor.stream();
        let mut given = String::new();
        for character in case.text.chars() {
            given.push_str(&stream.push(character.encode_utf8(&mut [0; 4])));
            for secret in &case.secrets {
                assert_eq!(left(&given, secret), None, "line {}", case.line);
            }
        }
        given.push_str(&stream.finish());
        assert_eq!(given, redactor.clean(&case.text), "line {}", case.line);
    }
}

#[test]
fn a_beginning_that_was_cut_shows_no_part_of_a_secret() {
    let redactor = Redactor::default();
    for case in secrets() {
        for cut in (0..=case.text.len()).filter(|cut| case.text.is_char_boundary(*cut)) {
            let clean = redactor.clean_beginning(&case.text[..cut]);
            for secret in &case.secrets {
                assert_eq!(
                    left(&clean, secret),
                    None,
                    "line {} cut at {cut}",
                    case.line
                );
            }
        }
    }
}

#[test]
fn cleaning_twice_changes_nothing_more() {
    let redactor = Redactor::default();
    for case in cases() {
        let once = redactor.clean(&case.text);
        assert_eq!(redactor.clean(&once), once, "line {}", case.line);
        assert!(redactor.is_clean(&once), "line {}", case.line);
    }
}

#[test]
fn within_json_they_go_and_it_stays_json() {
    let redactor = Redactor::default();
    for case in cases() {
        let inner = serde_json::json!({"content": case.text}).to_string();
        for value in [
            serde_json::json!({"command": case.text, "n": [1, null, {"deep": [case.text]}]}),
            serde_json::json!({"content": inner}),
        ] {
            for text in [
                value.to_string(),
                serde_json::to_string_pretty(&value).expect("JSON"),
            ] {
                let clean = redactor.clean_json(&text);
                let read: serde_json::Value = serde_json::from_str(&clean)
                    .unwrap_or_else(|error| panic!("line {}: {error}: {clean}", case.line));
                for secret in &case.secrets {
                    assert_eq!(left(&clean, secret), None, "line {}: {clean}", case.line);
                    let read = read["command"].as_str().unwrap_or_default();
                    assert_eq!(left(read, secret), None, "line {}: {clean}", case.line);
                }
                if case.kind.is_none() {
                    assert_eq!(clean, text, "line {}", case.line);
                }
                assert_eq!(redactor.clean_json(&clean), clean, "line {}", case.line);
            }
        }
    }
}

#[test]
fn lines_and_offsets_can_be_kept() {
    let redactor = Redactor::default();
    for case in secrets() {
        let lines = redactor.clean_lines(&case.text);
        assert_eq!(
            lines.lines().count(),
            case.text.lines().count(),
            "line {}",
            case.line
        );
        let blank = redactor.blank(case.text.as_bytes());
        assert_eq!(blank.len(), case.text.len(), "line {}", case.line);
        let blank = String::from_utf8(blank).expect("UTF-8");
        for secret in &case.secrets {
            assert_eq!(left(&lines, secret), None, "line {}: {lines}", case.line);
            assert_eq!(left(&blank, secret), None, "line {}: {blank}", case.line);
        }
    }
}

#[test]
fn what_is_held_back_is_bounded() {
    let redactor = Redactor::default();
    let begins = [
        concat!("-----BEGIN", " RSA PRIVATE KEY-----\n").to_owned(),
        concat!("gh", "p_").to_owned(),
        "password=\"".to_owned(),
        "https://user:".to_owned(),
    ];
    for begin in begins {
        let mut stream = redactor.stream();
        let mut given = stream.push(&begin);
        for _ in 0..2000 {
            given.push_str(&stream.push("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"));
            assert!(stream.held() < 40 * 1024, "{begin}: {}", stream.held());
        }
        let whole =
            begin.clone() + &"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP".repeat(2000);
        assert_eq!(given + &stream.finish(), redactor.clean(&whole), "{begin}");
    }
    let mut stream = redactor.stream();
    assert_eq!(
        stream.push("Ordinary words are shown at once, a "),
        "Ordinary words are shown at once, a "
    );
}

/// Pieces of the corpus and of other text, in any order.
fn texts() -> impl Strategy<Value = String> {
    let corpus: Vec<String> = cases().into_iter().map(|case| case.text).collect();
    let piece = prop_oneof![
        4 => proptest::sample::select(corpus),
        2 => "\\PC{0,12}",
        2 => "[ \n\"'\\\\=:@/,.a-z0-9-]{0,6}",
        1 => proptest::sample::select(vec![
            "password=", "token", "\"secret\":", "sk-", "eyJ", "://", "Bearer ", " = ", "own-credential-1",
            "-----BEGIN ", "-----END ", "[redacted: token]", "AKIA", "\\n", "\\\"", "--", "<",
        ]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn knowing() -> Redactor {
    Redactor::new([
        "own-credential-1".to_owned(),
        "own-credential-12/é\"".to_owned(),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunks_give_the_same(text in texts(), sizes in proptest::collection::vec(1_usize..40, 1..60)) {
        let redactor = knowing();
        let mut stream = redactor.stream();
        let mut given = String::new();
        let (mut at, mut sizes) = (0, sizes.into_iter().cycle());
        while at < text.len() {
            let end = text.ceil_char_boundary((at + sizes.next().unwrap_or(1)).min(text.len()));
            given.push_str(&stream.push(&text[at..end]));
            at = end;
        }
        given.push_str(&stream.finish());
        prop_assert_eq!(given, redactor.clean(&text));
    }

    #[test]
    fn any_text_is_clean_after_once(text in texts()) {
        let redactor = knowing();
        let once = redactor.clean(&text);
        prop_assert_eq!(redactor.clean(&once), once.clone());
        prop_assert!(!once.contains("own-credential-1"));
    }

    #[test]
    fn what_follows_a_replacement_is_judged_by_itself(tail in "[ =:\"'\\]]{0,6}[0-9a-f]{64}") {
        let once = knowing().clean(&format!("Authorization: Bearer {}{tail}", "aQSbUa9S3yOUdBnAEfiPnkyx77KOwkXXsWH79"));
        prop_assert_eq!(knowing().clean(&once), once);
    }

    #[test]
    fn any_json_stays_json(text in texts(), other in texts()) {
        let redactor = knowing();
        let value = serde_json::json!({text.as_str(): [other, {"password": text, "a": 1}], "b": text});
        let clean = redactor.clean_json(&value.to_string());
        let read: serde_json::Value = serde_json::from_str(&clean).expect("JSON");
        prop_assert_eq!(read.as_object().map(serde_json::Map::len), value.as_object().map(serde_json::Map::len));
        prop_assert!(!clean.contains("own-credential-1"));
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
        let redactor = knowing();
        prop_assert_eq!(redactor.blank(&bytes).len(), bytes.len());
        let _ = redactor.clean_json(&text);
        let _ = redactor.clean_lines(&text);
        prop_assert!(redactor.clean_beginning(&text).len() <= text.len() + "…".len() || !redactor.is_clean(&text));
    }

    #[test]
    fn no_known_credential_survives(before in "\\PC{0,20}", after in "\\PC{0,20}", secret in "[a-zA-Z0-9._/+=-]{8,40}") {
        use base64::Engine as _;
        let redactor = Redactor::new([secret.clone()]);
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{before}:{secret}{after}"));
        let text = format!("{before}{secret}{after}{secret} {basic}");
        let clean = redactor.clean(&text);
        let within = "[redacted: session credential]".contains(&secret);
        prop_assert!(within || !clean.contains(&secret), "{clean}");
        prop_assert!(within || !clean.contains(&basic), "{clean}");
    }
}
