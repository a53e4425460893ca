//! `GET /ready`: whether everything that a session needs answers right now.
//!
//! This function serves it, and not `discover` with the other public addresses: that one is linked
//! without the AWS SDK, so that it answers when everything else is down (`/health`), and the model's
//! key, without which nobody can say whether the model would answer, is here and nowhere else. What
//! this function's role may do for it reads descriptions only.
//!
//! Anybody may ask. So an answer holds for a second, in which nothing is probed again; the stage
//! throttles the route (`template.yaml`); no probe writes, or costs tokens; and the answer names
//! what failed by its kind only: the reason is in the log.

use std::sync::Arc;
use std::time::Duration;

use boot::http::{Body, json_response};
use boot::{Settings, SettingsError};
use bytes::Bytes;
use domain::ports::{Releases, Unavailable};
use domain::release::{NoVersion, Version};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use store::{Store, Topic};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::upstream::Upstream;

/// How long an answer holds. Own: shorter than any prober's interval.
const HOLDS: Duration = Duration::from_secs(1);
/// The percentages of a limit from which on there is a warning.
const WARNINGS: [u64; 2] = [90, 80];

/// Whether a request is for this.
pub(crate) fn is_asked(request: &Request<Bytes>) -> bool {
    request.method() == Method::GET && request.uri().path() == "/ready"
}

/// What a deployment stands on; each method is one cheap question.
pub(crate) trait Dependencies: Send + Sync + 'static {
    /// The table: how many sessions hold compute.
    fn table(&self) -> impl Future<Output = Result<u64, Unavailable>> + Send;
    /// The bucket.
    fn bucket(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;
    /// The cluster and the task definition of runners.
    fn compute(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;
    /// The Messages API and our key for it.
    fn model(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;
    /// The topic of notices.
    fn notifications(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;
    /// The newest release of the CLI that is known. Nothing depends on it.
    fn newest_release(&self) -> impl Future<Output = Result<Option<Version>, Unavailable>> + Send;
}

/// The real ones.
pub(crate) struct Deployed {
    pub(crate) store: Store,
    pub(crate) topic: Topic,
    pub(crate) cluster: String,
    pub(crate) task_definition: String,
    pub(crate) upstream: Arc<Upstream>,
}

impl Deployed {
    /// # Errors
    /// A setting is missing.
    pub(crate) async fn from_settings(
        settings: &Settings,
        store: Store,
        upstream: Arc<Upstream>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            store,
            topic: Topic::connect(settings.text("SHANNON_NOTICE_TOPIC")?).await,
            cluster: settings.text("SHANNON_CLUSTER")?.to_owned(),
            task_definition: settings.text("SHANNON_TASK_DEFINITION")?.to_owned(),
            upstream,
        })
    }
}

impl Dependencies for Deployed {
    async fn table(&self) -> Result<u64, Unavailable> {
        self.store.probe_table().await
    }
    async fn bucket(&self) -> Result<(), Unavailable> {
        self.store.probe_bucket().await
    }
    async fn compute(&self) -> Result<(), Unavailable> {
        self.store
            .probe_compute(&self.cluster, &self.task_definition)
            .await
    }
    async fn model(&self) -> Result<(), Unavailable> {
        self.upstream.probe().await
    }
    async fn notifications(&self) -> Result<(), Unavailable> {
        self.topic.probe().await
    }
    async fn newest_release(&self) -> Result<Option<Version>, Unavailable> {
        let release = self.store.release().await?;
        Ok(release.map(|release| release.newest))
    }
}

/// Answers `GET /ready`. One per process.
pub(crate) struct Readiness<D> {
    dependencies: D,
    /// For each dependency, all side by side.
    deadline: Duration,
    max_sessions: u64,
    supported: Version,
    /// Locked while it is asked anew, so that those who come together ask once.
    last: Mutex<Option<(Instant, StatusCode, Value)>>,
}

impl<D: Dependencies> Readiness<D> {
    /// # Errors
    /// A setting is missing.
    pub(crate) fn new(settings: &Settings, dependencies: D) -> Result<Self, SettingsError> {
        const SUPPORTED: &str = "SHANNON_CLAUDE_VERSION";
        let deadline = settings.integer("SHANNON_READY_DEADLINE_MILLISECONDS")?;
        let supported = settings.text(SUPPORTED)?.parse();
        Ok(Self {
            dependencies,
            deadline: Duration::from_millis(deadline),
            max_sessions: settings.integer("SHANNON_MAX_SESSIONS")?,
            supported: supported.map_err(|error: NoVersion| SettingsError::Invalid {
                name: SUPPORTED.to_owned(),
                problem: error.to_string(),
                allowed: "an exact version".to_owned(),
            })?,
            last: Mutex::default(),
        })
    }

    /// 200 when everything answers, 503 when something does not; at the latest after the deadline.
    /// It changes nothing; stopped in between, the next one asks again.
    pub(crate) async fn answer(&self) -> Response<Body> {
        let mut last = self.last.lock().await;
        let (at, status, value) = match last.take_if(|(at, ..)| at.elapsed() < HOLDS) {
            Some(known) => known,
            None => {
                let (status, value) = self.probe().await;
                (Instant::now(), status, value)
            }
        };
        let mut response = json_response(status, &value);
        *last = Some((at, status, value));
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn probe(&self) -> (StatusCode, Value) {
        let these = &self.dependencies;
        let (table, bucket, compute, model, notifications, newest) = tokio::join!(
            self.check("table", these.table()),
            self.check("bucket", these.bucket()),
            self.check("compute", these.compute()),
            self.check("model", these.model()),
            self.check("notifications", these.notifications()),
            self.newer_release(),
        );
        let sessions = table.answer;
        let mut checks = Map::new();
        checks.insert("table".to_owned(), table.shown);
        for (name, check) in [
            ("bucket", bucket),
            ("compute", compute),
            ("model", model),
            ("notifications", notifications),
        ] {
            checks.insert(name.to_owned(), check.shown);
        }
        let ready = checks.values().all(|check| check["status"] == "ok");
        let full = sessions
            .and_then(|used| warning(used, self.max_sessions))
            .map(|percent| json!({"limit": "sessions", "reached_percent": percent}));
        let newer = newest.map(|newest| {
            let supported = self.supported.to_string();
            json!({"update": "claude_code", "supported": supported, "newest": newest.to_string()})
        });
        let warnings: Vec<Value> = full.into_iter().chain(newer).collect();
        let (status, word) = if ready {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
        };
        let value = json!({
            "status": word,
            "version": env!("CARGO_PKG_VERSION"),
            "checks": checks,
            "warnings": warnings,
        });
        (status, value)
    }

    /// A release of the CLI that is newer than the supported one, when that is known.
    async fn newer_release(&self) -> Option<Version> {
        let known = timeout(self.deadline, self.dependencies.newest_release()).await;
        match known {
            Ok(Ok(newest)) => newest.filter(|newest| *newest > self.supported),
            Ok(Err(unavailable)) => {
                tracing::warn!(
                    error = &unavailable as &dyn std::error::Error,
                    "the newest release is not known"
                );
                None
            }
            // What the table does not answer its own check says.
            Err(_) => None,
        }
    }

    /// One dependency, within the deadline.
    async fn check<T>(
        &self,
        name: &'static str,
        question: impl Future<Output = Result<T, Unavailable>>,
    ) -> Check<T> {
        let started = Instant::now();
        let (answer, status) = match timeout(self.deadline, question).await {
            Ok(Ok(answer)) => (Some(answer), "ok"),
            Ok(Err(unavailable)) => {
                tracing::error!(
                    error = &unavailable as &dyn std::error::Error,
                    dependency = name,
                    "not ready"
                );
                (None, "failed")
            }
            Err(_) => {
                tracing::error!(dependency = name, "not ready: no answer in time");
                (None, "timed_out")
            }
        };
        let duration = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let shown = json!({"status": status, "duration_ms": duration});
        Check { answer, shown }
    }
}

struct Check<T> {
    answer: Option<T>,
    shown: Value,
}

/// The highest of [`WARNINGS`] that `used` of `most` has reached.
fn warning(used: u64, most: u64) -> Option<u64> {
    let reached = |percent: &u64| u128::from(used) * 100 >= u128::from(most) * u128::from(*percent);
    WARNINGS.into_iter().find(reached)
}

#[cfg(test)]
mod tests;
