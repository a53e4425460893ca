//! A session with a runner, a scripted API on loopback, and the gateway between them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body as ScriptedBody;
use domain::event::TokenUsage;
use domain::ports::{
    Clock, ControlChange, ControlError, CreateError, Creation, ForkError, GitSecretError,
    GitSecrets, Lease, ListQuery, NewFork, NewSession, SessionDirectory, SessionLog, SessionPage,
    Unavailable,
};
use domain::workspace::GitUrl;
use domain::{FencingToken, GitCredential, Head, OwnerId, SessionKey, TreeKey, UnixMillis};
use http_body_util::BodyExt;
use testkit::Fake;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::super::*;
use crate::upstream::tests::upstream;

/// A token that is not there any more when it is asked for.
pub(super) const GONE: &str = "gone";

/// The fakes of the ports, and in memory what else the gateway needs.
#[derive(Clone)]
pub(super) struct Recorded {
    pub(super) fake: Fake,
    pub(super) objects: Arc<BTreeMap<String, Bytes>>,
    pub(super) usage: Arc<Mutex<Vec<(String, String, TokenUsage)>>>,
    /// Whether trees know their sessions.
    pub(super) in_tree: bool,
}

/// Makes credentials that say for whom they are.
pub(super) struct Tags;

impl crate::broker::Broker for Tags {
    async fn credentials(
        &self,
        key: &SessionKey,
        tree: &domain::TreeKey,
    ) -> Result<store::SessionCredentials, Unavailable> {
        Ok(store::SessionCredentials {
            access_key_id: format!("{} {}", key.owner, key.session),
            secret_access_key: tree.tree.to_string(),
            session_token: "token".to_owned(),
            expires_at: UnixMillis(7),
        })
    }
}

impl Clock for Recorded {
    fn now(&self) -> UnixMillis {
        self.fake.now()
    }
    async fn sleep(&self, milliseconds: u64) {
        self.fake.sleep(milliseconds).await;
    }
}

impl SessionDirectory for Recorded {
    async fn create(&self, new: NewSession) -> Result<Creation, CreateError> {
        self.fake.create(new).await
    }
    async fn head(&self, key: &SessionKey) -> Result<Option<Head>, Unavailable> {
        self.fake.head(key).await
    }
    async fn list(&self, owner: &OwnerId, query: &ListQuery) -> Result<SessionPage, Unavailable> {
        self.fake.list(owner, query).await
    }
    async fn control(&self, change: ControlChange) -> Result<Head, ControlError> {
        self.fake.control(change).await
    }
    async fn fork(&self, new: NewFork) -> Result<Creation, ForkError> {
        self.fake.fork(new).await
    }
    async fn postpone(&self, key: &SessionKey, now: UnixMillis) -> Result<(), Unavailable> {
        self.fake.postpone(key, now).await
    }
    async fn note_task(
        &self,
        key: &SessionKey,
        fence: FencingToken,
        task: &str,
    ) -> Result<(), Unavailable> {
        self.fake.note_task(key, fence, task).await
    }
    async fn overdue(&self, now: UnixMillis, limit: usize) -> Result<Vec<SessionKey>, Unavailable> {
        self.fake.overdue(now, limit).await
    }
}

impl GitSecrets for Recorded {
    async fn git_secret(
        &self,
        owner: &OwnerId,
        host: &GitHost,
    ) -> Result<Option<GitCredential>, GitSecretError> {
        let found = self.fake.git_secret(owner, host).await?;
        match found {
            Some(found) if found.expose_token() == GONE => Err(GitSecretError::Gone),
            found => Ok(found),
        }
    }
}

impl Records for Recorded {
    async fn object(&self, _key: &SessionKey, name: &str) -> Result<Option<Bytes>, Unavailable> {
        Ok(self.objects.get(name).cloned())
    }
    async fn is_in_tree(&self, _: &SessionKey, _: &TreeKey) -> Result<bool, Unavailable> {
        Ok(self.in_tree)
    }
    async fn record(
        &self,
        _key: &SessionKey,
        request_id: &str,
        model: &str,
        tokens: TokenUsage,
        _now: UnixMillis,
    ) -> Result<(), Unavailable> {
        self.usage.lock().expect("not poisoned").push((
            request_id.to_owned(),
            model.to_owned(),
            tokens,
        ));
        Ok(())
    }
}

/// A request as the API saw it.
pub(super) type Seen = (http::request::Parts, Bytes);

pub(super) struct Stage {
    pub(super) gateway: Gateway<Recorded, Tags>,
    pub(super) records: Recorded,
    pub(super) key: SessionKey,
    pub(super) token: String,
    pub(super) seen: mpsc::UnboundedReceiver<Seen>,
    pub(super) lease: Lease,
}

pub(super) fn signing_key() -> SigningKey {
    SigningKey::new(&[7; 32]).expect("long enough")
}

/// A session with a runner, and an API that answers everything with `answer`.
pub(super) async fn stage(
    longest: Duration,
    answer: impl Fn() -> Response<ScriptedBody> + Clone + Send + Sync + 'static,
) -> Stage {
    let fake = Fake::new(3);
    let owner = testkit::owner("me");
    let mut new = testkit::new_session(&fake, &owner);
    let url = GitUrl::parse("https://git.example.com/a.git", false).expect("a URL");
    new.spec.workspace.source = WorkspaceSource::Git {
        url,
        reference: None,
    };
    let key = new.key.clone();
    fake.create(new).await.expect("created");
    let now = fake.now();
    let (lease, head) = fake
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");

    let (sender, seen) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let app = Router::new().fallback(move |request: axum::extract::Request| {
        let (sender, answer) = (sender.clone(), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let _ = sender.send((parts, body));
            answer()
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });

    let object = (
        "model-requests/1.json".to_owned(),
        Bytes::from_static(b"{\"large\":true}"),
    );
    let records = Recorded {
        fake,
        objects: Arc::new(BTreeMap::from([object])),
        usage: Arc::default(),
        in_tree: true,
    };
    let base = format!("http://{address}");
    let token = sign(&key, head.fence, now.plus(60_000));
    Stage {
        gateway: Gateway::new(
            (records.clone(), Tags),
            signing_key(),
            900,
            upstream(&base, longest).into(),
        ),
        records,
        key,
        token,
        seen,
        lease,
    }
}

pub(super) fn sign(key: &SessionKey, fence: FencingToken, expires_at: UnixMillis) -> String {
    signing_key().sign(&SessionClaims {
        key: key.clone(),
        fence,
        expires_at,
    })
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn ok(content_type: &'static str, body: &'static str) -> Response<ScriptedBody> {
    Response::builder()
        .header("content-type", content_type)
        .header("request-id", "req_1")
        .header("anthropic-ratelimit-requests-remaining", "7")
        .header("set-cookie", "secret=1")
        .body(ScriptedBody::from(body))
        .expect("an answer")
}

impl Stage {
    pub(super) fn request(&self, path: &str, body: &'static str) -> Request<Bytes> {
        Request::post(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Bytes::from_static(body.as_bytes()))
            .expect("a request")
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> (StatusCode, HeaderMap, String) {
        let (parts, body) = self.gateway.handle(request).await.into_parts();
        let bytes = body.collect().await.expect("cannot fail").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        (parts.status, parts.headers, text)
    }

    pub(super) fn usage(&self) -> Vec<(String, String, TokenUsage)> {
        self.records.usage.lock().expect("not poisoned").clone()
    }
}
