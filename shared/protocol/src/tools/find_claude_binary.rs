//! `find_claude_binary`: which `claude` this deployment runs, on the machine of the function and as
//! the newest runner reported it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use domain::authorization::{Authorized, ReadSessions};
use domain::ports::Unavailable;
use domain::{Principal, Subagent, UnixMillis};
use serde_json::{Value, json};

use super::{ASK_AGAIN, Definition, Done, Effect, Refused};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "find_claude_binary",
    title: "Find the claude binary",
    description: "Shows which claude binary runs the sessions and whether its version is the supported one: what is \
        installed on the server's machine (selected, candidates) and what the newest session runner reported (runner). \
        Call it when sessions fail to start; you need not call it before create_session.",
    effect: Effect::Reads,
    input,
    output,
};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundClaude {
    /// The first supported binary of this machine: an object with `path`, `version`, `source` and
    /// `supported`; null when there is none.
    pub selected: Value,
    /// All binaries of this machine, in order of preference: objects of the same form.
    pub candidates: Vec<Value>,
    /// The version that is supported.
    pub supported_version: String,
    /// What the newest runner reported.
    pub runner: Option<RunnerReport>,
}

/// What a runner found on its own machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerReport {
    /// Version of its `claude`.
    pub claude_version: String,
    /// Where that is, on the runner's machine.
    pub claude_path: String,
    /// The kinds of subagents that it has.
    pub agents: Vec<Subagent>,
    /// When it said so, on its clock.
    pub noted_at: UnixMillis,
}

/// Looks for `claude`. Reads only; may take a second, because it runs what it finds.
pub trait ClaudeFinder: Send + Sync + 'static {
    /// Looks everywhere.
    fn find(&self) -> impl Future<Output = Result<FoundClaude, Unavailable>> + Send;

    /// Only what the newest runner reported.
    fn runner(&self) -> impl Future<Output = Result<Option<RunnerReport>, Unavailable>> + Send;
}

/// What was found the last time; a cache, so that it may be lost.
pub(crate) struct Kept {
    longest: Duration,
    found: Mutex<Option<(Instant, FoundClaude)>>,
}

impl Kept {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            longest,
            found: Mutex::new(None),
        }
    }

    fn get(&self) -> Option<FoundClaude> {
        let kept = self.found.lock().ok()?;
        let (when, found) = kept.as_ref()?;
        (when.elapsed() < self.longest).then(|| found.clone())
    }

    fn keep(&self, found: &FoundClaude) {
        // Nothing found is not kept: someone is about to install it.
        if let Ok(mut kept) = self.found.lock()
            && (!found.selected.is_null() || found.runner.is_some())
        {
            *kept = Some((Instant::now(), found.clone()));
        }
    }
}

fn input() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["selected", "candidates", "supported_version"],
        "properties": {
            "selected": {"type": ["object", "null"], "description": "The supported binary on the server's machine: path, version, source, supported."},
            "candidates": {"type": "array", "items": {"type": "object"}, "description": "Every binary on the server's machine, in order of preference."},
            "supported_version": {"type": "string"},
            "runner": {
                "type": "object",
                "additionalProperties": false,
                "required": ["claude_version", "claude_path", "noted_at_unix_ms", "supported"],
                "description": "What the newest session runner found on its own machine.",
                "properties": {
                    "claude_version": {"type": "string"},
                    "claude_path": {"type": "string"},
                    "noted_at_unix_ms": {"type": "integer"},
                    "supported": {"type": "boolean"}
                }
            }
        }
    })
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
) -> Result<Done, Refused> {
    let _reader: Authorized<ReadSessions> = principal.authorize().map_err(Refused::because)?;
    let found = match work.found.get() {
        Some(found) => found,
        None => {
            let found = work
                .finder
                .find()
                .await
                .map_err(|unavailable| Refused::unavailable(&unavailable, ASK_AGAIN))?;
            work.found.keep(&found);
            found
        }
    };
    let mut structured = json!({
        "selected": found.selected,
        "candidates": found.candidates,
        "supported_version": found.supported_version,
    });
    if let Some(runner) = &found.runner {
        structured["runner"] = json!({
            "claude_version": runner.claude_version,
            "claude_path": runner.claude_path,
            "noted_at_unix_ms": runner.noted_at.0,
            "supported": runner.claude_version == found.supported_version,
        });
    }
    let here = match found.selected["path"].as_str() {
        Some(path) => format!("claude {} at {path} is used here", found.supported_version),
        None => format!(
            "no claude {} on the server's own machine ({} other candidates)",
            found.supported_version,
            found.candidates.len()
        ),
    };
    let runner = match &found.runner {
        Some(runner) => format!("the newest runner used claude {}", runner.claude_version),
        None => "no runner has reported yet".to_owned(),
    };
    Ok(Done::new(structured, format!("{here}; {runner}")))
}
