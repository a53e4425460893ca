//! The pages as browsers get them, over a fake store.

use domain::checkpoint::PendingQuestion;
use domain::ports::{ApiKeys, Clock, IdSource, Inbox, KeyRing, NewKey, RevokedKey, SessionLog};
use domain::{ApprovalRequest, CommandBody, EventBody, QuestionId, SessionKey, State, UnixMillis};
use http_body_util::BodyExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::Fake;

use super::*;

const TOKEN: &str = "the-access-token-of-this-deployment";
const COMMAND: &str = "curl https://example.com/?a=<b>&c=1 | tee out";

struct Site {
    pages: Pages<Fake>,
    key: SessionKey,
    /// The cookie of a login.
    cookie: Option<String>,
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

fn request(fake: &Fake, expires_in: u64) -> ApprovalRequest {
    testkit::approval_request(fake.now().plus(expires_in))
}

impl Site {
    /// A session of the token's owner, in which a call waits.
    async fn new(input: &str, change: impl FnOnce(&mut ApprovalRequest)) -> Self {
        let fake = Fake::new(7);
        let hash: String = Sha256::digest(TOKEN)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let token = AccessToken::from_sha256_hex(&hash).expect("a hash");
        let owner = token
            .check(Some(&format!("Bearer {TOKEN}")))
            .expect("the token")
            .owner;
        let head =
            domain::ports::SessionDirectory::create(&fake, testkit::new_session(&fake, &owner))
                .await
                .expect("a session")
                .head;
        let until = fake.now().plus(600_000);
        let (lease, _) = fake
            .acquire(&head.key, "task-1", "uid", until, fake.now())
            .await
            .expect("acquired");
        let mut asked = request(&fake, 60_000);
        change(&mut asked);
        let shown: String = input.chars().take(limits()).collect();
        let pending = PendingQuestion {
            id: QuestionId::parse("apr_one").expect("an id"),
            tool_use_id: "toolu_1".to_owned(),
            input: shown,
            asked_at: fake.now(),
            approval: Some(asked.clone()),
        };
        let head = fake.peek_head(&head.key).expect("a session");
        let events = vec![
            EventBody::Text {
                text: "I will look that up".to_owned(),
                agent: None,
            },
            EventBody::ApprovalRequested {
                approval: pending.id.clone(),
                tool_use_id: "toolu_1".to_owned(),
                input: input.to_owned(),
                request: asked,
            },
        ];
        let mut append = testkit::append(&fake, head.last_sequence.next(), events);
        append.state = State::Waiting;
        append.lease_until = until;
        append.question = Some(pending);
        fake.append(&lease, &append).await.expect("appended");
        Self {
            key: head.key,
            pages: Pages {
                ports: fake,
                deployment: testkit::deployment(),
                key: SigningKey::new(&[7; 32]).expect("long enough"),
                token,
                credential: hash,
                public_url: "https://shannon.example/production".to_owned(),
            },
            cookie: None,
        }
    }

    async fn usual() -> Self {
        let input = json!({"command": COMMAND, "description": "look"}).to_string();
        Self::new(&input, |_| {}).await
    }

    fn path(&self) -> String {
        let link = ApprovalLink {
            key: self.key.clone(),
            approval: QuestionId::parse("apr_one").expect("an id"),
            expires_at: self.pages.ports.now().plus(60_000),
        };
        format!("/approvals/{}", link.sign(&self.pages.key))
    }

    async fn send(&self, method: Method, path: &str, body: &str, more: &[(&str, &str)]) -> Got {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "abc.execute-api.example");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("other=1; {cookie}"));
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Bytes::from(body.to_owned()))
            .expect("a request");
        let response = self.pages.handle(request, None).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("cannot fail").to_bytes();
        Got {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        }
    }

    async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, "", &[]).await
    }

    async fn post(&self, fields: &[(&str, &str)]) -> Got {
        let same = [("sec-fetch-site", "same-origin")];
        self.send(Method::POST, &self.path(), &form(fields), &same)
            .await
    }

    async fn logged_in() -> Self {
        Self::usual().await.log_in().await
    }

    async fn log_in(self) -> Self {
        self.log_in_with(TOKEN).await
    }

    async fn log_in_with(mut self, token: &str) -> Self {
        let got = self.post(&[("action", "login"), ("token", token)]).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
        let cookie = got.headers["set-cookie"].to_str().expect("text").to_owned();
        for part in [
            "Path=/production/approvals/",
            "HttpOnly",
            "SameSite=Lax",
            "Secure",
        ] {
            assert!(cookie.contains(part), "{cookie}");
        }
        self.cookie = cookie.split(';').next().map(str::to_owned);
        self
    }

    /// The fields of the page's forms that decide.
    async fn fields(&self) -> (String, String) {
        let page = self.get(&self.path()).await.text;
        let value = |name: &str| {
            let at = format!("name=\"{name}\" value=\"");
            let rest = page
                .split(&at)
                .nth(1)
                .unwrap_or_else(|| panic!("no {name} in {page}"));
            rest.split('"').next().expect("a value").to_owned()
        };
        (value("form_token"), value("digest"))
    }

    async fn decide(&self, more: &[(&str, &str)]) -> Got {
        let (token, digest) = self.fields().await;
        let mut fields = vec![
            ("action", "decide"),
            ("form_token", &token),
            ("digest", &digest),
        ];
        fields.extend(more);
        self.post(&fields).await
    }

    async fn decided(&self) -> Vec<Decision> {
        let commands = self.pages.ports.commands_after(&self.key, 1, 10).await;
        commands
            .expect("read")
            .into_iter()
            .filter_map(|command| match command.body {
                CommandBody::Decide { decision, .. } => Some(decision),
                _ => None,
            })
            .collect()
    }
}

fn limits() -> usize {
    domain::limits::APPROVAL_SHOWN_BYTES
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

#[tokio::test]
async fn without_a_login_the_page_shows_nothing_and_no_other_site_may_frame_it() {
    let site = Site::usual().await;
    let got = site.get(&site.path()).await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    assert!(!got.text.contains("curl") && !got.text.contains("apr_one"));
    assert!(got.text.contains("name=\"token\""));
    let policy = got.headers["content-security-policy"]
        .to_str()
        .expect("text");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(got.headers["x-frame-options"], "DENY");
    assert_eq!(got.headers["cache-control"], "no-store");
    assert!(got.headers.contains_key("strict-transport-security"));
    // No script, and nothing from elsewhere.
    assert!(!got.text.contains("<script") && !got.text.contains("src="));
    let wrong = site.post(&[("action", "login"), ("token", "wrong")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key("set-cookie"));
    // It is counted for the audit.
    let later = site.pages.ports.now().plus(60_000);
    let counted = site.pages.ports.refusals(later, 10).await.expect("read");
    let counted: Vec<_> = counted.iter().map(|it| (&*it.source, it.count)).collect();
    assert_eq!(counted, [("approvals", 1)]);
    let without = site
        .post(&[("action", "decide"), ("decision", "allow_once")])
        .await;
    assert_eq!(without.status, StatusCode::UNAUTHORIZED);
    assert_eq!(site.decided().await, []);
}

#[tokio::test]
async fn a_person_sees_the_call_and_decides_once() {
    let site = Site::logged_in().await;
    let page = site.get(&site.path()).await;
    assert_eq!(page.status, StatusCode::OK);
    for shown in [
        "curl https://example.com/?a=&lt;b&gt;&amp;c=1 | tee out",
        "it talks to others",
        "I will look that up",
        "Allow once",
        "permit (principal, action, resource);",
    ] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    for _ in 0..2 {
        // Looking decides nothing.
        site.get(&site.path()).await;
    }
    assert_eq!(site.decided().await, []);
    let fields = site.fields().await;
    let got = site.decide(&[("decision", "allow_once")]).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let back = got.headers["location"].to_str().expect("text");
    assert!(site.path().ends_with(back), "{back}");
    assert_eq!(site.decided().await, [Decision::AllowOnce]);
    let page = site.get(&site.path()).await;
    assert!(page.text.contains("Allowed once"), "{}", page.text);
    assert!(page.text.contains("as soon as it goes on"), "{}", page.text);
    // The second approver, with a page from before, is told.
    let late = [
        ("action", "decide"),
        ("form_token", &fields.0),
        ("digest", &fields.1),
        ("decision", "deny"),
    ];
    let got = site.post(&late).await;
    assert_eq!(got.status, StatusCode::CONFLICT, "{}", got.text);
    assert!(got.text.contains("decided before"), "{}", got.text);
    assert_eq!(site.decided().await, [Decision::AllowOnce]);
}

#[tokio::test]
async fn each_button_is_its_decision() {
    let deny = Decision::Deny {
        reason: "not now".to_owned(),
    };
    let edited = Decision::AllowEdited {
        input: json!({"command": "ls\nls -l", "description": "look"}).to_string(),
    };
    for (fields, expected) in [
        (vec![("decision", "allow_call")], Decision::AllowCall),
        (vec![("decision", "allow_pattern")], Decision::AllowPattern),
        (vec![("decision", "deny"), ("reason", " not now ")], deny),
        (
            vec![("decision", "allow_edited"), ("command", "ls\r\nls -l")],
            edited,
        ),
    ] {
        let site = Site::logged_in().await;
        let got = site.decide(&fields).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER, "{fields:?} {}", got.text);
        let decided = site.decided().await;
        match (&decided[..], &expected) {
            ([Decision::AllowEdited { input }], Decision::AllowEdited { input: wanted }) => {
                let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
                assert_eq!(read(input), read(wanted));
            }
            (decided, expected) => assert_eq!(decided, std::slice::from_ref(expected)),
        }
    }
}

#[tokio::test]
async fn other_sites_forms_and_forged_ones_decide_nothing() {
    let site = Site::logged_in().await;
    let (token, digest) = site.fields().await;
    let other_digest = domain::CallDigest::of("Bash", "other");
    let fields = [
        ("action", "decide"),
        ("decision", "allow_once"),
        ("form_token", token.as_str()),
        ("digest", digest.as_str()),
    ];
    let good = form(&fields);
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.example")],
        [("origin", "null")],
    ] {
        let got = site.send(Method::POST, &site.path(), &good, &headers).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    for (bad, at) in [("", 2), ("AAAA", 2), (other_digest.as_str(), 3), ("x", 3)] {
        let mut fields = fields;
        fields[at].1 = bad;
        let got = site.post(&fields).await;
        assert!(got.status.is_client_error(), "{} {bad}", got.status);
    }
    // The token of another login.
    let mut elsewhere = Site::usual().await.log_in().await;
    elsewhere.pages.ports.clock().advance(1000);
    elsewhere = elsewhere.log_in().await;
    let mut stolen = fields;
    let (theirs, _) = elsewhere.fields().await;
    stolen[2].1 = &theirs;
    let got = site.post(&stolen).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
    assert_eq!(site.decided().await, []);
    // Our own, named by the browser in either way, does.
    let own = [("origin", "https://shannon.example")];
    let got = site.send(Method::POST, &site.path(), &good, &own).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
}

#[tokio::test]
async fn addresses_and_logins_of_others_open_nothing() {
    let mut site = Site::logged_in().await;
    let path = site.path();
    for bad in [
        "/approvals/",
        "/approvals/x",
        "/approvals",
        "/",
        &path.replace("apr_one", "apr_two"),
        &path[..path.len() - 2],
    ] {
        let got = site.get(bad).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{bad}");
    }
    let foreign = ApprovalLink {
        key: SessionKey {
            owner: testkit::owner("somebody"),
            session: site.key.session.clone(),
        },
        approval: QuestionId::parse("apr_one").expect("an id"),
        expires_at: UnixMillis(u64::MAX),
    };
    let foreign = format!("/approvals/{}", foreign.sign(&site.pages.key));
    assert_eq!(site.get(&foreign).await.status, StatusCode::FORBIDDEN);
    let put = site.send(Method::PUT, &path, "", &[]).await;
    assert_eq!(put.status, StatusCode::METHOD_NOT_ALLOWED);
    // Another access token ends the logins of the one before.
    site.pages.credential = "another".to_owned();
    assert_eq!(site.get(&path).await.status, StatusCode::UNAUTHORIZED);
}

/// A key of the session's owner with these scopes, good for a minute.
async fn key(site: &Site, scopes: &[&str]) -> domain::ApiKey {
    let ports = &site.pages.ports;
    let key = domain::ApiKey::from_random(ports.random(), [ports.random(), ports.random()]);
    let new = NewKey {
        record: domain::KeyRecord {
            id: key.id().clone(),
            owner: site.key.owner.clone(),
            name: domain::KeyName::parse("phone").expect("valid"),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            digest: key.digest(),
            created_at: ports.now(),
            expires_at: ports.now().plus(30_000),
            revoked_at: None,
            used_at: None,
        },
        by: testkit::owner("administrator"),
    };
    ports.add_key(&new).await.expect("added");
    key
}

#[tokio::test]
async fn who_has_a_key_that_may_approve_logs_in_with_it() {
    let site = Site::usual().await;
    let weak = key(&site, &["sessions:read", "sessions:write", "admin"]).await;
    let login = [("action", "login"), ("token", weak.expose())];
    assert_eq!(site.post(&login).await.status, StatusCode::UNAUTHORIZED);
    let strong = key(&site, &["approve"]).await;
    let site = site.log_in_with(strong.expose()).await;
    let got = site.decide(&[("decision", "allow_once")]).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    assert_eq!(site.decided().await, [Decision::AllowOnce]);
    // The login ends with the key, whichever way that ends.
    let path = site.path();
    assert_eq!(site.get(&path).await.status, StatusCode::OK);
    let ports = &site.pages.ports;
    let record = ports.api_key(strong.id()).await.expect("read");
    let revoked = RevokedKey {
        record: record.expect("there"),
        by: testkit::owner("administrator"),
        now: ports.now(),
    };
    assert!(ports.revoke_key(&revoked).await.expect("revoked"));
    assert_eq!(site.get(&path).await.status, StatusCode::UNAUTHORIZED);

    let site = Site::usual().await;
    let short = key(&site, &["approve"]).await;
    let site = site.log_in_with(short.expose()).await;
    site.pages.ports.clock().advance(29_999);
    assert_eq!(site.get(&site.path()).await.status, StatusCode::OK);
    site.pages.ports.clock().advance(1);
    assert_eq!(
        site.get(&site.path()).await.status,
        StatusCode::UNAUTHORIZED
    );
    // Another key than the one that the login says.
    let other = key(&site, &["approve"]).await;
    let cookie = site.cookie.clone().expect("a cookie");
    let forged = cookie.replace(short.id().as_str(), other.id().as_str());
    assert_ne!(forged, cookie);
    let site = Site {
        cookie: Some(forged),
        ..site
    };
    assert_eq!(
        site.get(&site.path()).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn when_time_is_up_nobody_decides() {
    let site = Site::logged_in().await;
    let (token, digest) = site.fields().await;
    let path = {
        let link = ApprovalLink {
            key: site.key.clone(),
            approval: QuestionId::parse("apr_one").expect("an id"),
            expires_at: UnixMillis(u64::MAX),
        };
        format!("/approvals/{}", link.sign(&site.pages.key))
    };
    site.pages.ports.clock().advance(60_001);
    assert_eq!(site.get(&path).await.status, StatusCode::GONE);
    let fields = form(&[
        ("action", "decide"),
        ("decision", "allow_once"),
        ("form_token", &token),
        ("digest", &digest),
    ]);
    let same = [("sec-fetch-site", "same-origin")];
    let got = site.send(Method::POST, &path, &fields, &same).await;
    assert!(!got.status.is_success() && got.status != StatusCode::SEE_OTHER);
    assert_eq!(site.decided().await, []);
}

#[tokio::test]
async fn what_cannot_be_shown_whole_cannot_be_allowed() {
    let content = "x".repeat(limits() * 2);
    let input = json!({"file_path": "/workspace/a", "content": content}).to_string();
    // The log has it.
    let site = Site::new(&input, |request| request.editable = false)
        .await
        .log_in()
        .await;
    let page = site.get(&site.path()).await.text;
    assert!(page.contains(&content) && !page.contains("Edit and allow"));
    let (token, digest) = site.fields().await;
    // It has not any more: so much was written since that the call is not found.
    let head = site.pages.ports.peek_head(&site.key).expect("a session");
    let lease = head.lease();
    let mut next = head.last_sequence.next();
    for _ in 0..2 {
        let events = (0..300)
            .map(|_| EventBody::Text {
                text: "more".to_owned(),
                agent: Some("a".to_owned()),
            })
            .collect();
        let mut append = testkit::append(&site.pages.ports, next, events);
        append.state = State::Waiting;
        append.question = head.question.clone();
        next = site
            .pages
            .ports
            .append(&lease, &append)
            .await
            .expect("appended")
            .next();
    }
    let page = site.get(&site.path()).await.text;
    assert!(page.contains("cannot be allowed here") && !page.contains("Allow once"));
    let allow = [
        ("action", "decide"),
        ("decision", "allow_once"),
        ("form_token", &token),
        ("digest", &digest),
    ];
    assert_eq!(site.post(&allow).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(site.decided().await, []);
    let got = site.decide(&[("decision", "deny")]).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn what_is_hidden_as_a_secret_and_is_none_cannot_be_allowed() {
    let input = json!({"command": "echo [redacted: private key]"}).to_string();
    let site = Site::new(&input, |request| {
        request.editable = false;
        request.visible = false;
    })
    .await
    .log_in()
    .await;
    let page = site.get(&site.path()).await.text;
    assert!(page.contains("look like secrets are hidden"), "{page}");
    assert!(!page.contains("Allow once"), "{page}");
    for decision in ["allow_once", "allow_call", "allow_pattern"] {
        let got = site.decide(&[("decision", decision)]).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{decision}");
    }
    assert_eq!(site.decided().await, []);
}

#[tokio::test]
async fn hostile_text_is_shown_and_does_nothing() {
    let command = "echo '<script>alert(1)</script>' \u{202e}moc.live\u{200b}";
    let input = json!({"command": command}).to_string();
    let site = Site::new(&input, |request| {
        request.reason = "<img src=x onerror=alert(1)>".to_owned();
        request.parts = vec!["</ul><script>".to_owned()];
        request.preview = Some("+<b>\n-</pre>".to_owned());
        request.pattern = Some("\"><script>".to_owned());
        request.agent = Some("<i>".to_owned());
        request.policies = vec!["<u>".to_owned()];
    })
    .await
    .log_in()
    .await;
    let page = site.get(&site.path()).await.text;
    for raw in ["<script", "<img", "<b>", "</pre>\n", "<i>", "<u>"] {
        assert!(!page.contains(raw) || raw == "</pre>\n", "{raw} in {page}");
    }
    assert!(page.contains("U+202E") && page.contains("U+200B"), "{page}");
    assert!(page.contains("cannot be seen"), "{page}");
    // What would look otherwise in a field is not edited there.
    assert!(!page.contains("<textarea"), "{page}");
}
