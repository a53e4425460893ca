//! Who called what: every AWS call is counted by principal, service, operation and, where it can be
//! told, session. A task's calls belong to the session it was started for (`startedBy`). A function's
//! belong to the session whose `startedBy` value occurs in the request; calls that come before the task
//! of their session exists are remembered and counted for it once it does.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use crate::credentials::Principal;

/// Calls without a session that are kept in case their session appears.
const REMEMBERED: usize = 256;
/// Longest request part that is kept of each.
const REMEMBERED_BYTES: usize = 16 * 1024;
/// Sessions that are looked for in requests; the oldest are forgotten.
const KNOWN: usize = 1000;

/// One call, as it arrives.
pub(super) struct Call<'a> {
    pub(super) principal: Principal,
    pub(super) service: &'static str,
    pub(super) operation: &'a str,
    /// Where a session id may occur: the body, or the path.
    pub(super) content: &'a [u8],
}

/// How often one principal made one call for one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// `function:call`, `task:<id>`, `session:<name>` of who took on a role, or `operator`.
    pub principal: String,
    /// `startedBy` of the session's task or the tag `session` of who took on a role, if the call could
    /// be attributed.
    pub session: Option<String>,
    /// `dynamodb`, `s3`, `ecs`, `sns`, `sts`, `ssm` or `lambda`.
    pub service: String,
    /// Name of the API operation.
    pub operation: String,
    /// Calls since the emulator started, refused ones included.
    pub count: u64,
}

type Key = (String, Option<String>, &'static str, String);

#[derive(Default)]
struct State {
    counts: BTreeMap<Key, u64>,
    known: BTreeSet<String>,
    order: VecDeque<String>,
    unattributed: VecDeque<(Key, String)>,
}

/// The counts of one emulator. Cheap to clone; they start at zero with the process.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<State>>);

impl Calls {
    /// Counts one call.
    pub(super) fn count(&self, call: Call<'_>) {
        let mut state = self.lock();
        let (principal, owner) = match call.principal {
            Principal::Function(name) => (format!("function:{name}"), None),
            Principal::Operator => ("operator".to_owned(), None),
            Principal::Session { name, mut tags, .. } => {
                (format!("session:{name}"), tags.remove("session"))
            }
            Principal::Task { id, started_by, .. } => (
                format!("task:{id}"),
                Some(started_by).filter(|it| !it.is_empty()),
            ),
        };
        let content = String::from_utf8_lossy(call.content);
        let session = owner.or_else(|| state.find(&content));
        let attributed = session.is_some();
        let key = (principal, session, call.service, call.operation.to_owned());
        if !attributed {
            if state.unattributed.len() == REMEMBERED {
                state.unattributed.pop_front();
            }
            let end = content.floor_char_boundary(REMEMBERED_BYTES);
            state
                .unattributed
                .push_back((key.clone(), content[..end].to_owned()));
        }
        *state.counts.entry(key).or_default() += 1;
    }

    /// A task was started for this session: from now on, and for the calls just before, its id is
    /// looked for.
    pub(super) fn learn(&self, started_by: &str) {
        if started_by.is_empty() {
            return;
        }
        let mut state = self.lock();
        if !state.known.insert(started_by.to_owned()) {
            return;
        }
        state.order.push_back(started_by.to_owned());
        if state.order.len() > KNOWN
            && let Some(oldest) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
        let mut kept = VecDeque::new();
        for (key, content) in std::mem::take(&mut state.unattributed) {
            if !content.contains(started_by) {
                kept.push_back((key, content));
                continue;
            }
            if let Some(count) = state.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    state.counts.remove(&key);
                }
            }
            let (principal, _, service, operation) = key;
            *state
                .counts
                .entry((principal, Some(started_by.to_owned()), service, operation))
                .or_default() += 1;
        }
        state.unattributed = kept;
    }

    /// All counts, by principal, session, service and operation.
    pub(super) fn all(&self) -> Vec<CallCount> {
        self.lock()
            .counts
            .iter()
            .map(
                |((principal, session, service, operation), count)| CallCount {
                    principal: principal.clone(),
                    session: session.clone(),
                    service: (*service).to_owned(),
                    operation: operation.clone(),
                    count: *count,
                },
            )
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The session that a request names, if it names exactly one.
    fn find(&self, content: &str) -> Option<String> {
        let mut found = self.known.iter().filter(|id| content.contains(id.as_str()));
        let first = found.next()?;
        found.next().is_none().then(|| first.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(principal: Principal, operation: &'a str, content: &'a str) -> Call<'a> {
        Call {
            principal,
            service: "dynamodb",
            operation,
            content: content.as_bytes(),
        }
    }

    #[test]
    fn a_function_call_belongs_to_the_session_it_names_even_if_it_came_first() {
        let calls = Calls::default();
        let function = || Principal::Function("call".to_owned());
        calls.count(call(function(), "PutItem", r#"{"pk":"owner#s-1"}"#));
        calls.count(call(function(), "PutItem", r#"{"pk":"owner#s-2"}"#));
        calls.learn("s-1");
        calls.learn("s-1");
        calls.count(call(function(), "PutItem", r#"{"pk":"owner#s-1"}"#));
        let counts = calls.all();
        let of = |session: Option<&str>| {
            counts
                .iter()
                .filter(|count| count.session.as_deref() == session)
                .map(|count| count.count)
                .sum::<u64>()
        };
        assert_eq!((of(Some("s-1")), of(None)), (2, 1), "{counts:?}");
    }

    #[test]
    fn a_task_call_belongs_to_its_session_and_two_named_sessions_to_none() {
        let calls = Calls::default();
        calls.learn("s-1");
        calls.learn("s-2");
        let task = Principal::Task {
            id: "t".to_owned(),
            started_by: "s-1".to_owned(),
            role: String::new(),
        };
        calls.count(call(task, "Query", "s-2"));
        calls.count(call(Principal::Operator, "Scan", "s-1 s-2"));
        let sessions: Vec<_> = calls
            .all()
            .into_iter()
            .map(|count| (count.principal, count.session))
            .collect();
        assert_eq!(
            sessions,
            [
                ("operator".to_owned(), None),
                ("task:t".to_owned(), Some("s-1".to_owned())),
            ]
        );
    }
}
