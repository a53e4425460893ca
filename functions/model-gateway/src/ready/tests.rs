//! Readiness over dependencies that fail and hang as told.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::BodyExt;

use super::*;

const NAMES: [&str; 5] = ["table", "bucket", "compute", "model", "notifications"];

#[derive(Default)]
struct Told {
    fails: Option<&'static str>,
    hangs: Option<&'static str>,
    sessions: u64,
    newest: Option<&'static str>,
    asked: AtomicU64,
}

impl Told {
    async fn say<T>(&self, name: &str, answer: T) -> Result<T, Unavailable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs == Some(name) {
            std::future::pending::<()>().await;
        }
        // Each takes as long, so that one after the other would take five times that.
        tokio::time::sleep(Duration::from_millis(30)).await;
        if self.fails == Some(name) {
            return Err(Unavailable {
                attempted: "ask",
                outcome_unknown: false,
                source: "a secret of ours".into(),
            });
        }
        Ok(answer)
    }
}

impl Dependencies for Arc<Told> {
    async fn table(&self) -> Result<u64, Unavailable> {
        self.say("table", self.sessions).await
    }
    async fn bucket(&self) -> Result<(), Unavailable> {
        self.say("bucket", ()).await
    }
    async fn compute(&self) -> Result<(), Unavailable> {
        self.say("compute", ()).await
    }
    async fn model(&self) -> Result<(), Unavailable> {
        self.say("model", ()).await
    }
    async fn notifications(&self) -> Result<(), Unavailable> {
        self.say("notifications", ()).await
    }
    async fn newest_release(&self) -> Result<Option<Version>, Unavailable> {
        let newest = self.newest.map(|newest| newest.parse().expect("a version"));
        self.say("newest_release", newest).await
    }
}

fn readiness(told: Told) -> (Arc<Told>, Readiness<Arc<Told>>) {
    let told = Arc::new(told);
    let variables = [
        ("SHANNON_READY_DEADLINE_MILLISECONDS", "700"),
        ("SHANNON_MAX_SESSIONS", "40"),
        ("SHANNON_CLAUDE_VERSION", "2.1.328"),
    ];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let settings = Settings::read(variables).expect("good settings");
    let readiness = Readiness::new(&settings, Arc::clone(&told)).expect("all set");
    (told, readiness)
}

async fn ask(readiness: &Readiness<Arc<Told>>) -> (StatusCode, Value, String) {
    let (parts, body) = readiness.answer().await.into_parts();
    assert_eq!(parts.headers[CACHE_CONTROL], "no-store");
    let bytes = body.collect().await.expect("cannot fail").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let value = serde_json::from_str(&text).expect("JSON");
    (parts.status, value, text)
}

#[tokio::test(start_paused = true)]
async fn all_are_asked_side_by_side_and_an_answer_holds_for_a_second() {
    let (told, readiness) = readiness(Told::default());
    let begun = Instant::now();
    let (first, second) = tokio::join!(ask(&readiness), ask(&readiness));
    assert_eq!(begun.elapsed(), Duration::from_millis(30));
    assert_eq!(first, second);
    let (status, value, _) = first;
    assert_eq!(
        (status, &value["status"]),
        (StatusCode::OK, &json!("ready"))
    );
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["warnings"], json!([]));
    for name in NAMES {
        let expected = json!({"status": "ok", "duration_ms": 30});
        assert_eq!(value["checks"][name], expected, "{name}");
    }
    assert_eq!(told.asked.load(Ordering::Relaxed), 6);
    tokio::time::advance(HOLDS).await;
    ask(&readiness).await;
    assert_eq!(told.asked.load(Ordering::Relaxed), 12);
}

#[tokio::test(start_paused = true)]
async fn each_that_fails_or_is_silent_turns_it_red_within_the_deadline() {
    for name in NAMES {
        let fails = readiness(Told {
            fails: Some(name),
            ..Told::default()
        })
        .1;
        let hangs = readiness(Told {
            hangs: Some(name),
            ..Told::default()
        })
        .1;
        for (readiness, word, milliseconds) in [(fails, "failed", 30), (hangs, "timed_out", 700)] {
            let (status, value, text) = ask(&readiness).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{name} {word}");
            assert_eq!(value["status"], "not_ready");
            for other in NAMES {
                let (word, milliseconds) = if other == name {
                    (word, milliseconds)
                } else {
                    ("ok", 30)
                };
                let expected = json!({"status": word, "duration_ms": milliseconds});
                assert_eq!(value["checks"][other], expected, "{name}: {other}");
            }
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_nearly_reached_are_warned_of() {
    for (sessions, expected) in [
        (31, json!([])),
        (32, json!([{"limit": "sessions", "reached_percent": 80}])),
        (35, json!([{"limit": "sessions", "reached_percent": 80}])),
        (36, json!([{"limit": "sessions", "reached_percent": 90}])),
        (41, json!([{"limit": "sessions", "reached_percent": 90}])),
    ] {
        let (_, readiness) = readiness(Told {
            sessions,
            ..Told::default()
        });
        let (status, value, _) = ask(&readiness).await;
        assert_eq!(
            (status, &value["warnings"]),
            (StatusCode::OK, &expected),
            "{sessions}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_release_is_a_warning_and_nothing_more() {
    let warnings = async |told| {
        let (status, value, _) = ask(&readiness(told).1).await;
        (status, value["warnings"].clone())
    };
    let newest = |newest| Told {
        newest: Some(newest),
        ..Told::default()
    };
    let newer = json!([{"update": "claude_code", "supported": "2.1.328", "newest": "2.1.400"}]);
    assert_eq!(warnings(newest("2.1.400")).await, (StatusCode::OK, newer));
    for same in ["2.1.328", "2.1.99"] {
        assert_eq!(warnings(newest(same)).await, (StatusCode::OK, json!([])));
    }
    for told in [
        Told {
            fails: Some("newest_release"),
            ..Told::default()
        },
        Told {
            hangs: Some("newest_release"),
            ..Told::default()
        },
    ] {
        assert_eq!(warnings(told).await, (StatusCode::OK, json!([])));
    }
}
