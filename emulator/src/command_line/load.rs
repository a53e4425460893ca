//! `emulator load`: many callers at once, for a while; then where the limit of the machine lies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    FAILED, SUCCESS, StartArguments, arguments::LoadArguments, in_one_line, out, place, say,
};
use crate::settings::Settings;

/// How long each step takes that looks for the limit.
const STEP: Duration = Duration::from_secs(3);
/// A request that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(30);
/// A step with so much of the best throughput has reached the limit.
const REACHED: f64 = 0.95;
/// Kinds of failures that are told apart.
const KINDS: usize = 20;

const VERSION: &str = "2026-07-28";
/// What callers ask in turn: nothing stored, static lists, and a query of the table.
const REQUESTS: [(&str, Option<&str>); 3] = [
    ("server/discover", None),
    ("tools/list", None),
    ("tools/call", Some("list_sessions")),
];

/// What came of some requests.
#[derive(Debug, Default)]
struct Tally {
    /// Of those that were answered, in microseconds.
    latencies: Vec<u64>,
    /// Told to come later (429).
    throttled: u64,
    /// How often, by what is wrong.
    failures: BTreeMap<String, u64>,
    elapsed: Duration,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.throttled += other.throttled;
        for (kind, count) in other.failures {
            self.fail(kind, count);
        }
    }

    fn fail(&mut self, kind: String, count: u64) {
        let known = self.failures.contains_key(&kind) || self.failures.len() < KINDS;
        let kind = if known { kind } else { "others".to_owned() };
        *self.failures.entry(kind).or_default() += count;
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    /// In milliseconds; 0 when nothing was answered.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted
            .get(place)
            .map_or(0.0, |micros| *micros as f64 / 1000.0)
    }

    fn json(&self, callers: usize) -> Value {
        json!({
            "callers": callers,
            "seconds": self.elapsed.as_secs_f64(),
            "answered": self.latencies.len(),
            "per_second": self.per_second(),
            "p50_ms": self.percentile(50),
            "p95_ms": self.percentile(95),
            "p99_ms": self.percentile(99),
            "throttled": self.throttled,
            "failures": self.failures,
        })
    }

    fn line(&self, callers: usize) -> String {
        format!(
            "{callers:>5} callers  {:>8.0} requests/s  p50 {:>6.0} ms  p95 {:>6.0} ms  p99 {:>6.0} ms  {} failed, {} throttled\n",
            self.per_second(),
            self.percentile(50),
            self.percentile(95),
            self.percentile(99),
            self.failed(),
            self.throttled,
        )
    }
}

/// Whom to call, and how.
struct Target {
    http: reqwest::Client,
    url: String,
    token: String,
    /// Of the next request.
    next: AtomicUsize,
}

/// What came of one request.
enum Outcome {
    Answered,
    Throttled(Duration),
    Failed(String),
}

impl Target {
    async fn ask(&self) -> Outcome {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (method, tool) = REQUESTS[number % REQUESTS.len()];
        let mut params = json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "shannon-load", "version": env!("CARGO_PKG_VERSION")},
        }});
        let mut request = self
            .http
            .post(&self.url)
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .header("mcp-method", method);
        if let Some(tool) = tool {
            params["name"] = tool.into();
            params["arguments"] = json!({"limit": 10});
            request = request.header("mcp-name", tool);
        }
        let body = json!({"jsonrpc": "2.0", "id": number, "method": method, "params": params});
        let answer = match request.body(body.to_string()).send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failed(in_one_line(&error.without_url())),
        };
        let status = answer.status().as_u16();
        if status == 429 {
            let after = answer.headers().get("retry-after");
            let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
            return Outcome::Throttled(Duration::from_secs(after.unwrap_or(1)));
        }
        let text = match answer.text().await {
            Ok(text) => text,
            Err(error) => return Outcome::Failed(in_one_line(&error.without_url())),
        };
        let message: Value = serde_json::from_str(&text).unwrap_or_default();
        let result = &message["result"];
        if status != 200 || !result.is_object() || result["isError"] == true {
            let beginning: String = text.chars().take(200).collect();
            return Outcome::Failed(format!("{method}: HTTP {status}: {beginning}"));
        }
        Outcome::Answered
    }

    /// One caller, until then: the next request when the last one was answered.
    async fn call_until(&self, end: Instant) -> Tally {
        let mut tally = Tally::default();
        while Instant::now() < end {
            let begun = Instant::now();
            match self.ask().await {
                Outcome::Answered => {
                    let micros = begun.elapsed().as_micros();
                    tally
                        .latencies
                        .push(u64::try_from(micros).unwrap_or(u64::MAX));
                }
                Outcome::Throttled(after) => {
                    tally.throttled += 1;
                    let left = end.saturating_duration_since(Instant::now());
                    tokio::time::sleep(after.min(left)).await;
                }
                Outcome::Failed(kind) => tally.fail(kind, 1),
            }
        }
        tally
    }
}

/// So many callers at once, for so long.
async fn phase(target: &Arc<Target>, callers: usize, duration: Duration) -> Tally {
    let begun = Instant::now();
    let end = begun + duration;
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let target = Arc::clone(target);
        running.spawn(async move { target.call_until(end).await });
    }
    let mut tally = Tally::default();
    while let Some(done) = running.join_next().await {
        match done {
            Ok(one) => tally.add(one),
            Err(error) => tally.fail(format!("a caller ended: {error}"), 1),
        }
    }
    tally.elapsed = begun.elapsed();
    tally
}

/// Doubled from one caller on, up to `most`.
fn steps(most: usize) -> Vec<usize> {
    let doubled = std::iter::successors(Some(1_usize), |callers| callers.checked_mul(2));
    doubled
        .take_while(|callers| *callers < most)
        .chain([most])
        .collect()
}

pub(super) async fn run(
    asked: LoadArguments,
    arguments: &StartArguments,
    settings: Settings,
) -> u8 {
    let place = match place::asked_for(asked.url.as_deref(), arguments, settings).await {
        Ok(place) => place,
        Err(code) => return code,
    };
    // As the bridge of stdio does: one is there already when it fails.
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::builder()
        .timeout(DEADLINE)
        .pool_max_idle_per_host(asked.callers)
        .build();
    let code = match http {
        Ok(http) => {
            let target = Target {
                http,
                url: place.mcp_url,
                token: place.token,
                next: AtomicUsize::new(0),
            };
            measure(&asked, &Arc::new(target)).await
        }
        Err(error) => {
            say(&in_one_line(&error));
            FAILED
        }
    };
    if let Some(stack) = place.own {
        stack.shutdown(&|_| {}).await;
    }
    code
}

async fn measure(asked: &LoadArguments, target: &Arc<Target>) -> u8 {
    // What starts with the first request is not what is measured.
    for _ in REQUESTS {
        if let Outcome::Failed(problem) = target.ask().await {
            say(&format!("the stack does not answer: {problem}"));
            return FAILED;
        }
    }
    let duration = Duration::from_secs(asked.seconds);
    say(&format!(
        "{} callers for {} s",
        asked.callers, asked.seconds
    ));
    let main = phase(target, asked.callers, duration).await;
    let mut ladder = Vec::new();
    if !asked.no_limit {
        say(&format!(
            "looking for the limit, {} s a step",
            STEP.as_secs()
        ));
        for callers in steps(asked.callers) {
            ladder.push((callers, phase(target, callers, STEP).await));
        }
    }
    let within = main.percentile(95) <= asked.p95_milliseconds as f64;
    let good = main.failed() == 0 && main.throttled == 0 && within && !main.latencies.is_empty();
    if asked.json {
        let ladder: Vec<Value> = ladder
            .iter()
            .map(|(callers, tally)| tally.json(*callers))
            .collect();
        let shown = json!({"good": good, "load": main.json(asked.callers), "limit": ladder});
        out(&format!("{shown}\n"));
    } else {
        out(&text(asked, &main, &ladder));
    }
    if good { SUCCESS } else { FAILED }
}

fn text(asked: &LoadArguments, main: &Tally, ladder: &[(usize, Tally)]) -> String {
    let mut text = main.line(asked.callers);
    for (kind, count) in &main.failures {
        text.push_str(&format!("  {count} times: {kind}\n"));
    }
    if main.percentile(95) > asked.p95_milliseconds as f64 {
        let aim = asked.p95_milliseconds;
        text.push_str(&format!("  p95 is above {aim} ms\n"));
    }
    if main.throttled > 0 {
        text.push_str(
            "  what was throttled says nothing of the machine: all callers are one principal; raise \
             SHANNON_RATE_LIMIT_PER_SECOND and SHANNON_RATE_LIMIT_BURST for the time of the test\n",
        );
    }
    if ladder.is_empty() {
        return text;
    }
    text.push_str("the limit:\n");
    for (callers, tally) in ladder {
        text.push_str(&tally.line(*callers));
    }
    let best = ladder.iter().map(|(_, tally)| tally.per_second());
    let best = best.fold(0.0, f64::max);
    let reached = ladder
        .iter()
        .find(|(_, tally)| tally.per_second() >= best * REACHED);
    if let Some((callers, _)) = reached {
        text.push_str(&format!(
            "about {best:.0} requests a second, reached with {callers} callers; more callers wait longer\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(latencies: Vec<u64>) -> Tally {
        Tally {
            latencies,
            elapsed: Duration::from_secs(2),
            ..Tally::default()
        }
    }

    #[test]
    fn percentiles_are_of_what_was_answered() {
        let hundred = tally((1..=100).rev().map(|it| it * 1000).collect());
        assert_eq!(
            [50, 95, 99, 100].map(|percent| hundred.percentile(percent)),
            [50.0, 95.0, 99.0, 100.0]
        );
        assert!((hundred.per_second() - 50.0).abs() < f64::EPSILON);
        assert_eq!(tally(vec![7000]).percentile(50), 7.0);
        assert_eq!(tally(vec![]).percentile(95), 0.0);
    }

    #[test]
    fn callers_are_doubled_up_to_the_most() {
        assert_eq!(steps(1), [1]);
        assert_eq!(steps(8), [1, 2, 4, 8]);
        assert_eq!(steps(100), [1, 2, 4, 8, 16, 32, 64, 100]);
    }

    #[test]
    fn kinds_of_failures_are_counted_and_not_without_end() {
        let mut all = Tally::default();
        for number in 0..100 {
            let mut one = Tally::default();
            one.fail(format!("kind {}", number % 50), 1);
            all.add(one);
        }
        assert_eq!(all.failed(), 100);
        assert_eq!(all.failures.len(), KINDS + 1);
        assert_eq!(all.failures["kind 0"], 2);
    }

    #[test]
    fn the_limit_is_where_more_callers_bring_nothing() {
        let asked = LoadArguments {
            url: None,
            callers: 4,
            seconds: 1,
            p95_milliseconds: 500,
            no_limit: false,
            json: false,
        };
        let step = |requests: usize| tally(vec![600_000; requests]);
        let ladder = [(1, step(100)), (2, step(195)), (4, step(200))];
        let text = text(&asked, &step(200), &ladder);
        assert!(text.contains("p95 is above 500 ms"), "{text}");
        let said = "about 100 requests a second, reached with 2 callers";
        assert!(text.contains(said), "{text}");
    }
}
