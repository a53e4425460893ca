//! The addresses of policies as clients get them, over a fake store.

use domain::{OwnerId, limits};
use http_body_util::BodyExt;
use testkit::{Fake, FaultTime};

use super::*;

const NO_NPM: &str =
    "forbid (principal, action, resource is Program)\nwhen { resource.name == \"npm\" };";

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

struct Caller<'a> {
    fake: &'a Fake,
    principal: Option<Principal>,
}

fn owner() -> OwnerId {
    OwnerId::of("issuer", "subject")
}

fn caller<'a>(fake: &'a Fake, scopes: &[&str]) -> Caller<'a> {
    Caller {
        fake,
        principal: Some(Principal {
            owner: owner(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }),
    }
}

fn person(fake: &Fake) -> Caller<'_> {
    caller(fake, &["sessions:read", "sessions:write", "approve"])
}

impl Caller<'_> {
    async fn send(&self, method: Method, path: &str, seen: Option<&str>, body: &str) -> Got {
        let mut request = Request::new(Bytes::from(body.to_owned()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        if let Some(seen) = seen {
            let seen = HeaderValue::from_str(seen).expect("a header");
            request.headers_mut().insert(header::IF_MATCH, seen);
        }
        let answer = answer(self.fake, &request, self.principal.as_ref()).await;
        let (parts, body) = answer.expect("it is about policies").into_parts();
        let bytes = body.collect().await.expect("cannot fail").to_bytes();
        Got {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, None, "").await
    }

    async fn put(&self, path: &str, seen: Option<&str>, text: &str) -> Got {
        let body = json!({"text": text}).to_string();
        self.send(Method::PUT, path, seen, &body).await
    }

    async fn delete(&self, path: &str, seen: Option<&str>) -> Got {
        self.send(Method::DELETE, path, seen, "").await
    }
}

fn code(got: &Got) -> (u16, &str) {
    let code = got.body["error"]["code"].as_str().unwrap_or_default();
    (got.status.as_u16(), code)
}

const MINE: &str = "/policies/owner/no-npm";

#[tokio::test]
async fn a_person_stores_reads_replaces_and_removes_a_policy() {
    let fake = Fake::new(1);
    let person = person(&fake);
    assert_eq!(person.get("/policies").await.body, json!({"policies": []}));
    assert_eq!(code(&person.get(MINE).await), (404, "no_such_policy"));
    let stored = person.put(MINE, None, NO_NPM).await;
    assert_eq!(stored.status, StatusCode::OK, "{}", stored.body);
    assert_eq!(stored.headers["etag"], "\"1\"");
    assert_eq!(stored.body["changed"], true);
    assert_eq!(
        (&stored.body["scope"], &stored.body["policies"]),
        (&json!("owner"), &json!(1))
    );
    // Again is no change, whatever was seen.
    for seen in [None, Some("\"1\""), Some("\"7\"")] {
        let again = person.put(MINE, seen, NO_NPM).await;
        assert_eq!(again.status, StatusCode::OK);
        assert_eq!(
            (&again.body["changed"], &again.body["version"]),
            (&json!(false), &json!(1))
        );
    }
    let read = person.get(MINE).await;
    assert_eq!(read.body["text"], NO_NPM);
    assert_eq!(read.body["digest"].as_str().map(str::len), Some(64));
    let listed = person.get("/policies").await.body;
    assert_eq!(listed["policies"][0]["name"], "no-npm");
    assert!(listed["policies"][0].get("text").is_none());
    let more = format!("{NO_NPM}\n{NO_NPM}");
    let replaced = person.put(MINE, Some("\"1\""), &more).await;
    assert_eq!(replaced.body["version"], 2, "{}", replaced.body);
    assert_eq!(person.delete(MINE, None).await.status.as_u16(), 204);
    assert_eq!(
        code(&person.delete(MINE, None).await),
        (404, "no_such_policy")
    );
    assert_eq!(person.get("/policies").await.body, json!({"policies": []}));
}

#[tokio::test]
async fn of_two_writers_one_is_told() {
    let fake = Fake::new(1);
    let person = person(&fake);
    person.put(MINE, None, NO_NPM).await;
    let (one, other) = ("permit (principal, action, resource);", "// x\n");
    let other = format!("{other}{one}");
    let first = person.put(MINE, Some("\"1\""), one).await;
    assert_eq!(first.status, StatusCode::OK);
    for seen in [Some("\"1\""), None] {
        let second = person.put(MINE, seen, &other).await;
        assert_eq!(code(&second), (412, "conflict"), "{}", second.body);
        assert_eq!(second.body["error"]["version"], 2);
        let words = second.body["error"]["message"].to_string();
        assert!(words.contains("version 2"), "{words}");
    }
    let late = person.delete(MINE, Some("\"1\"")).await;
    assert_eq!(code(&late), (412, "conflict"));
    assert_eq!(person.get(MINE).await.body["text"], one);
    let gone = person.put("/policies/owner/gone", Some("\"1\""), one).await;
    assert_eq!(code(&gone), (412, "conflict"));
    // Somebody changes another policy at the same moment: that is no conflict.
    let names = ["a", "b", "c", "d"].map(|name| format!("/policies/owner/{name}"));
    let puts = names.iter().map(|path| person.put(path, None, one));
    for got in testkit::join_all(puts).await {
        assert_eq!(got.status, StatusCode::OK, "{}", got.body);
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_with_line_and_reason() {
    let fake = Fake::new(1);
    let person = person(&fake);
    let wrong = person
        .put(
            MINE,
            None,
            "forbid (principal, action, resource is Program)\nwhen { resource.nam == \"npm\" };",
        )
        .await;
    assert_eq!(code(&wrong), (422, "wrong_policy"), "{}", wrong.body);
    let error = &wrong.body["error"];
    assert_eq!(
        (&error["line"], &error["policy"]),
        (&json!(2), &json!("no-npm"))
    );
    let words = error["message"].as_str().expect("words");
    for part in ["no-npm", "line 2, column 8", "nam"] {
        assert!(words.contains(part), "{words}");
    }
    for (text, line) in [("forbit;", 1), ("\n\npermit (principal", 3), ("", 0)] {
        let wrong = person.put(MINE, None, text).await;
        assert_eq!(code(&wrong), (422, "wrong_policy"), "{text:?}");
        let at = wrong.body["error"]["line"].as_u64().unwrap_or_default();
        assert_eq!(at, line, "{text:?}: {}", wrong.body);
    }
    let long = format!("// {}\n{NO_NPM}", "x".repeat(limits::STORED_POLICY_BYTES));
    assert_eq!(
        code(&person.put(MINE, None, &long).await),
        (413, "too_long")
    );
    for body in [
        "",
        "{",
        "[]",
        "\"x\"",
        "{}",
        r#"{"text": 1}"#,
        r#"{"text": "x", "more": 1}"#,
        "\u{0}",
    ] {
        let wrong = person.send(Method::PUT, MINE, None, body).await;
        assert_eq!(code(&wrong), (400, "wrong_body"), "{body:?}");
    }
    let long_name = format!("/policies/owner/{}", "a".repeat(65));
    for path in [
        "/policies/owner/No",
        "/policies/owner/",
        "/policies/owner/a_b",
        "/policies/owner/%2e%2e",
        &long_name,
    ] {
        let wrong = person.put(path, None, NO_NPM).await;
        assert_eq!(code(&wrong), (400, "wrong_name"), "{path}");
    }
    let path = "/policies/everybody/a";
    assert_eq!(code(&person.get(path).await), (404, "unknown_scope"));
    for seen in ["1", "\"x\"", "\"-1\"", ""] {
        let wrong = person.put(MINE, Some(seen), NO_NPM).await;
        assert_eq!(code(&wrong), (400, "wrong_version"), "{seen:?}");
    }
    let posted = person.send(Method::POST, MINE, None, "").await;
    assert_eq!(posted.headers["allow"], "GET, HEAD, PUT, DELETE");
    let posted = person.send(Method::POST, "/policies", None, "").await;
    assert_eq!(code(&posted), (405, "wrong_method"));
    assert_eq!(person.get("/policies").await.body, json!({"policies": []}));
}

#[tokio::test]
async fn a_scope_holds_no_more_than_can_be_decided_on() {
    let fake = Fake::new(1);
    let person = person(&fake);
    let put = async |number: usize, text: &str| {
        let path = format!("/policies/owner/p{number}");
        person.put(&path, None, text).await
    };
    for number in 0..limits::STORED_POLICIES {
        assert_eq!(put(number, NO_NPM).await.status, StatusCode::OK);
    }
    let full = put(limits::STORED_POLICIES, NO_NPM).await;
    assert_eq!(code(&full), (409, "full"), "{}", full.body);
    let many = NO_NPM.repeat(limits::POLICIES);
    let full = person.put("/policies/owner/p0", Some("\"1\""), &many).await;
    assert!(
        full.body["error"]["message"]
            .to_string()
            .contains("249 policies")
    );
    assert_eq!(person.delete("/policies/owner/p9", None).await.status, 204);
    assert_eq!(
        put(limits::STORED_POLICIES, NO_NPM).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn nobody_reads_or_changes_what_they_may_not() {
    let fake = Fake::new(1);
    let administrator = caller(&fake, &["admin"]);
    let theirs = "/policies/deployment/no-npm";
    let stored = administrator.put(theirs, None, NO_NPM).await;
    assert_eq!(stored.body["scope"], "deployment", "{}", stored.body);
    person(&fake).put(MINE, None, NO_NPM).await;
    // Those who only approve read the deployment's, and do not change it.
    assert_eq!(person(&fake).get(theirs).await.status, StatusCode::OK);
    let listed = person(&fake).get("/policies").await.body;
    let scopes: Vec<&Value> = listed["policies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|policy| &policy["scope"])
        .collect();
    assert_eq!(scopes, ["deployment", "owner"]);
    for got in [
        person(&fake).put(theirs, Some("\"1\""), "").await,
        person(&fake).delete(theirs, None).await,
    ] {
        assert_eq!(code(&got), (403, "insufficient_scope"));
        assert_eq!(got.body["error"]["scope"], "admin");
    }
    // Those who only administer have nothing of the owner's.
    assert_eq!(
        administrator.get(MINE).await.body["error"]["scope"],
        "approve"
    );
    let listed = administrator.get("/policies").await.body;
    assert_eq!(listed["policies"].as_array().map(Vec::len), Some(1));
    for scopes in [&["sessions:read", "sessions:write"][..], &[]] {
        let model = caller(&fake, scopes);
        for got in [
            model.get("/policies").await,
            model.get(MINE).await,
            model.put(MINE, None, NO_NPM).await,
            model.delete(MINE, None).await,
            model.put(theirs, None, NO_NPM).await,
        ] {
            assert_eq!(code(&got), (403, "insufficient_scope"), "{}", got.body);
        }
    }
    let without = Caller {
        fake: &fake,
        principal: None,
    };
    for got in [
        without.get("/policies").await,
        without.put(MINE, None, NO_NPM).await,
        without.delete(theirs, None).await,
    ] {
        assert_eq!(code(&got), (401, "no_token"));
        assert_eq!(got.headers["www-authenticate"], "Bearer");
    }
    // Another owner's are not there.
    let mut other = person(&fake);
    other.principal = other.principal.map(|it| Principal {
        owner: OwnerId::of("issuer", "other"),
        ..it
    });
    assert_eq!(code(&other.get(MINE).await), (404, "no_such_policy"));
    assert_eq!(
        code(&other.delete(MINE, None).await),
        (404, "no_such_policy")
    );
    let listed = other.get("/policies").await.body;
    assert_eq!(listed["policies"].as_array().map(Vec::len), Some(1));
    assert_eq!(person(&fake).get(MINE).await.body["text"], NO_NPM);
}

#[tokio::test]
async fn what_cannot_be_read_is_shown_and_can_be_put_right() {
    let fake = Fake::new(1);
    let person = person(&fake);
    let scope = PolicyScope::Owner(owner());
    fake.spoil_policy(&scope, "no-npm", "it is damaged");
    let shown = person.get(MINE).await.body;
    assert_eq!(shown, unreadable(&scope, "no-npm", "it is damaged"));
    assert_eq!(
        person.get("/policies").await.body["policies"],
        json!([shown])
    );
    let stored = person.put(MINE, None, NO_NPM).await;
    assert_eq!(stored.status, StatusCode::OK, "{}", stored.body);
    fake.spoil_policy(&scope, "no-npm", "it is damaged");
    assert_eq!(person.delete(MINE, None).await.status, 204);
    assert_eq!(code(&person.get(MINE).await), (404, "no_such_policy"));
}

#[tokio::test]
async fn whatever_call_fails_the_same_request_again_comes_to_the_same_end() {
    for (call, time) in [
        ("policy_book", FaultTime::Before),
        ("change_policy_book", FaultTime::Before),
        ("change_policy_book", FaultTime::After),
    ] {
        let fake = Fake::new(1);
        let person = person(&fake);
        fake.fail_call_of(call, 1, time);
        let failed = person.put(MINE, None, NO_NPM).await;
        assert_eq!(code(&failed), (503, "unavailable"), "{call} {time:?}");
        let again = person.put(MINE, None, NO_NPM).await;
        assert_eq!(again.body["version"], 1, "{}", again.body);
        fake.fail_call_of(call, 1, time);
        let failed = person.delete(MINE, Some("\"1\"")).await;
        assert_eq!(code(&failed), (503, "unavailable"));
        let again = person.delete(MINE, Some("\"1\"")).await.status.as_u16();
        assert!([204, 404].contains(&again), "{again}");
        assert_eq!(code(&person.get(MINE).await), (404, "no_such_policy"));
    }
}
