//! Following sessions and turns for one client (`subscriptions/listen`): what any instance writes
//! stands in the session's records, so looking at those is enough, and nothing is kept between two
//! subscriptions.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::sync::Arc;

use domain::ports::{Clock, Compute, Inbox, SessionDirectory, Unavailable};
use domain::use_cases::{TaskError, get_task};
use domain::{Deployment, SessionId, SessionKey, TaskId, limits};
use rmcp::ErrorData;
use rmcp::model::DetailedTask;
use serde_json::{Value, json};

use crate::asked::Asked;
use crate::subscription::{Accepted, Filter, Subscription};
use crate::task;
use crate::work::Work;

/// Between two looks after something happened, and the most that this grows to when nothing does.
const FIRST_LOOK_MS: u64 = 200;
const QUIET_LOOK_MS: u64 = 1000;

/// Sessions as resources, and turns as tasks, for clients that want to be told (`listen`).
#[derive(Clone, Debug)]
pub struct Watched<P> {
    ports: P,
    deployment: Arc<Deployment>,
}

impl<P> Watched<P> {
    /// Looks through these ports.
    pub fn new(ports: P, deployment: Deployment) -> Self {
        Self {
            ports,
            deployment: Arc::new(deployment),
        }
    }
}

/// One thing to look at, and how it looked last.
struct Sight {
    what: What,
    mark: u64,
    /// It has ended and will never look different.
    over: bool,
}

enum What {
    Session { uri: String, key: SessionKey },
    Task { id: String },
}

/// How something looks now.
struct Look {
    mark: u64,
    over: bool,
    /// The notification that says so.
    notice: (&'static str, Value),
}

/// The session that a resource shows; `None` when the resource is something else.
fn session_of(asked: &Asked, uri: &str) -> Option<SessionKey> {
    let id = uri.strip_prefix("shannon://sessions/")?;
    Some(SessionKey {
        owner: asked.principal.owner.clone(),
        session: SessionId::parse(id).ok()?,
    })
}

fn mark(of: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl<P> Watched<P>
where
    P: SessionDirectory + Inbox + Compute + Clock + 'static,
{
    /// What a filter names, less what has another form than what is served here.
    fn sights(&self, asked: &Asked, filter: &Filter) -> Vec<What> {
        let sessions = filter.resource_subscriptions.iter().filter_map(|uri| {
            let key = session_of(asked, uri)?;
            let uri = uri.clone();
            Some(What::Session { uri, key })
        });
        let tasks = filter
            .task_ids
            .iter()
            .map(|id| What::Task { id: id.clone() });
        sessions.chain(tasks).collect()
    }

    async fn turn(&self, asked: &Asked, id: &str) -> Result<Option<DetailedTask>, Unavailable> {
        let (Ok(id), Ok(reader)) = (TaskId::parse(id), asked.principal.authorize()) else {
            return Ok(None);
        };
        match get_task(&self.ports, &reader, &id).await {
            Ok((state, head, command)) => Ok(Some(
                task::shown(
                    &self.deployment,
                    &task::Viewer {
                        client: &asked.capabilities,
                        // A notification says that something waits; tasks/get says where.
                        pages: None,
                        approves: false,
                    },
                    &id,
                    state,
                    &head,
                    &command,
                )
                .task,
            )),
            Err(TaskError::NoSuchTask) => Ok(None),
            Err(TaskError::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    /// `None` when there is no such thing, or it is not this caller's.
    async fn look(&self, asked: &Asked, what: &What) -> Result<Option<Look>, Unavailable> {
        match what {
            What::Session { uri, key } => {
                let Some(head) = self.ports.head(key).await? else {
                    return Ok(None);
                };
                let seen = (
                    head.last_sequence.0,
                    head.state.as_str(),
                    head.commands_accepted,
                    head.commands_taken,
                );
                Ok(Some(Look {
                    mark: mark(seen),
                    over: head.state.is_ended(),
                    notice: ("notifications/resources/updated", json!({"uri": uri})),
                }))
            }
            What::Task { id } => {
                let Some(got) = self.turn(asked, id).await? else {
                    return Ok(None);
                };
                let status = got.status();
                let shown = serde_json::to_value(got).unwrap_or_default();
                let seen = (
                    shown["status"].as_str().map(str::to_owned),
                    shown["statusMessage"].as_str().map(str::to_owned),
                    shown["inputRequests"].to_string(),
                );
                Ok(Some(Look {
                    mark: mark(seen),
                    over: status.is_terminal(),
                    notice: ("notifications/tasks", shown),
                }))
            }
        }
    }
}

impl<P> Work for Watched<P>
where
    P: SessionDirectory + Inbox + Compute + Clock + 'static,
{
    /// Accepts sessions and tasks of the caller, at most [`limits::SUBSCRIPTIONS`]; the rest is left
    /// out of the acknowledged filter, which is how a client learns of it.
    async fn subscribe(
        &self,
        asked: &Asked,
        wanted: Filter,
    ) -> Result<Option<Accepted>, ErrorData> {
        asked
            .principal
            .authorize::<domain::authorization::ReadSessions>()
            .map_err(|missing| ErrorData::invalid_request(missing.to_string(), None))?;
        let mut accepted = Accepted::default();
        let declared = asked.wants_task();
        for what in self.sights(asked, &wanted) {
            if accepted.marks.len() == limits::SUBSCRIPTIONS
                || (matches!(what, What::Task { .. }) && !declared)
            {
                continue;
            }
            let look = self.look(asked, &what).await.map_err(|unavailable| {
                tracing::warn!(
                    error = &unavailable as &dyn std::error::Error,
                    "a subscription was not served"
                );
                ErrorData::internal_error(format!("{unavailable}; ask again"), None)
            })?;
            let Some(look) = look else { continue };
            let filter = &mut accepted.filter;
            let named = match what {
                What::Session { uri, .. } => (&mut filter.resource_subscriptions, uri),
                What::Task { id } => (&mut filter.task_ids, id),
            };
            // Sessions come first in a filter, so that marks have its order.
            if !named.0.contains(&named.1) {
                named.0.push(named.1);
                accepted.marks.push(look.mark);
            }
        }
        Ok(Some(accepted))
    }

    /// Looks again and again, and tells what looks different. Ends when nothing is left that can
    /// change. A look that fails is made again.
    async fn listen(&self, asked: Asked, accepted: Accepted, subscription: Subscription) {
        let mut sights: Vec<Sight> = self
            .sights(&asked, &accepted.filter)
            .into_iter()
            .zip(accepted.marks)
            .map(|(what, mark)| Sight {
                what,
                mark,
                over: false,
            })
            .collect();
        let mut pause = FIRST_LOOK_MS;
        while sights.iter().any(|sight| !sight.over) {
            let mut changed = false;
            for sight in sights.iter_mut().filter(|sight| !sight.over) {
                let look = match self.look(&asked, &sight.what).await {
                    Ok(Some(look)) => look,
                    // Removed meanwhile: nothing more will happen to it.
                    Ok(None) => {
                        sight.over = true;
                        continue;
                    }
                    Err(unavailable) => {
                        tracing::warn!(
                            error = &unavailable as &dyn std::error::Error,
                            "a subscription waits for the store"
                        );
                        continue;
                    }
                };
                sight.over = look.over;
                if look.mark != sight.mark {
                    sight.mark = look.mark;
                    changed = true;
                    let (method, params) = look.notice;
                    subscription.tell(method, params).await;
                }
            }
            pause = if changed {
                FIRST_LOOK_MS
            } else {
                (pause * 2).min(QUIET_LOOK_MS)
            };
            self.ports.sleep(pause).await;
        }
    }
}
