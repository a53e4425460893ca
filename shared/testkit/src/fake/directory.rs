//! Sessions as records, in memory.

use domain::{
    Command, CommandState, EventBody, FencingToken, Head, OwnerId, Sequence, SessionKey, State,
    UnixMillis,
    event::NewEvent,
    ports::{
        ControlChange, ControlError, CreateError, Creation, ListPosition, ListQuery, NewSession,
        SessionDirectory, SessionPage, Unavailable,
    },
    state::after,
};

use super::{
    Fake,
    world::{Session, World},
};

impl SessionDirectory for Fake {
    async fn create(&self, new: NewSession) -> Result<Creation, CreateError> {
        self.call("create", |world| world.create(new)).await
    }

    async fn head(&self, key: &SessionKey) -> Result<Option<Head>, Unavailable> {
        self.call("head", |world| {
            Ok(world.sessions.get(key).map(|session| session.head.clone()))
        })
        .await
    }

    async fn list(&self, owner: &OwnerId, query: &ListQuery) -> Result<SessionPage, Unavailable> {
        self.call("list", |world| Ok(world.list(owner, query)))
            .await
    }

    async fn control(&self, change: ControlChange) -> Result<Head, ControlError> {
        self.call("control", |world| world.control(change)).await
    }

    async fn note_task(&self, key: &SessionKey, task: &str) -> Result<(), Unavailable> {
        self.call("note_task", |world| {
            if let Some(session) = world.sessions.get_mut(key)
                && session.head.state == State::Requested
            {
                session.head.task = Some(task.to_owned());
            }
            Ok(())
        })
        .await
    }

    async fn overdue(&self, now: UnixMillis, limit: usize) -> Result<Vec<SessionKey>, Unavailable> {
        self.call("overdue", |world| {
            let mut found: Vec<(UnixMillis, SessionKey)> = world
                .sessions
                .values()
                .filter_map(|session| Some((session.head.look_at()?, session.head.key.clone())))
                .filter(|(look_at, _)| *look_at < now)
                .collect();
            found.sort();
            found.truncate(limit);
            Ok(found.into_iter().map(|(_, key)| key).collect())
        })
        .await
    }
}

impl World {
    fn create(&mut self, new: NewSession) -> Result<Creation, CreateError> {
        let owner = new.key.owner.clone();
        let found = match &new.client_token {
            Some(token) => {
                let remembered = self.creations.get(&(owner.clone(), token.token.clone()));
                match remembered {
                    Some((_, digest)) if *digest != token.request_digest => {
                        return Err(CreateError::ClientTokenReused);
                    }
                    Some((session, _)) => self.sessions.get(&SessionKey {
                        owner: owner.clone(),
                        session: session.clone(),
                    }),
                    None => self.sessions.get(&new.key),
                }
            }
            None => self.sessions.get(&new.key),
        };
        if let Some(session) = found {
            return Ok(Creation {
                head: session.head.clone(),
                repeated: true,
            });
        }
        let used = self.owner_slots.get(&owner).copied().unwrap_or_default();
        if self.deployment_slots >= new.max_sessions {
            return Err(CreateError::DeploymentFull);
        }
        if used >= new.max_sessions_per_owner {
            return Err(CreateError::OwnerFull);
        }
        self.deployment_slots += 1;
        self.owner_slots.insert(owner.clone(), used + 1);
        if let Some(token) = &new.client_token {
            self.creations.insert(
                (owner, token.token.clone()),
                (new.key.session.clone(), token.request_digest.clone()),
            );
        }
        let session = first(&new);
        let head = session.head.clone();
        self.sessions.insert(new.key, session);
        Ok(Creation {
            head,
            repeated: false,
        })
    }

    fn list(&self, owner: &OwnerId, query: &ListQuery) -> SessionPage {
        let mut heads: Vec<&Head> = self
            .sessions
            .values()
            .map(|session| &session.head)
            .filter(|head| {
                head.key.owner == *owner
                    && (query.states.is_empty() || query.states.contains(&head.state))
                    && query.tags.iter().all(|tag| head.spec.tags.contains(tag))
                    && query
                        .created_from
                        .is_none_or(|from| head.created_at >= from)
                    && query.created_before.is_none_or(|to| head.created_at < to)
                    && query
                        .after
                        .as_ref()
                        .is_none_or(|after| place(head) < (after.created_at, &after.session))
            })
            .collect();
        heads.sort_by(|one, other| place(other).cmp(&place(one)));
        let more = heads.len() > query.limit;
        heads.truncate(query.limit);
        let next = heads.last().filter(|_| more).map(|head| ListPosition {
            created_at: head.created_at,
            session: head.key.session.clone(),
        });
        SessionPage {
            heads: heads.into_iter().cloned().collect(),
            next,
        }
    }

    fn control(&mut self, change: ControlChange) -> Result<Head, ControlError> {
        let based_on = &change.based_on;
        let session = self
            .sessions
            .get_mut(&based_on.key)
            .ok_or(ControlError::Changed)?;
        let state = after(based_on.state, change.transition).map_err(|_| ControlError::Changed)?;
        if counts(&session.head) != counts(based_on) {
            return Err(ControlError::Changed);
        }
        session.log(based_on.fence, &change.events);
        session.head.state = state;
        session.head.fence = based_on.fence.next();
        session.head.updated_at = change.now;
        if state.is_ended() {
            session.head.end_reason = Some(change.reason);
        }
        let head = session.head.clone();
        if state.is_ended() {
            self.free_slots(&head.key.owner);
        }
        Ok(head)
    }
}

/// What a change from outside is based on.
fn counts(head: &Head) -> (State, Sequence, FencingToken, u64, u64) {
    (
        head.state,
        head.last_sequence,
        head.fence,
        head.commands_accepted,
        head.commands_taken,
    )
}

fn place(head: &Head) -> (UnixMillis, &domain::SessionId) {
    (head.created_at, &head.key.session)
}

fn first(new: &NewSession) -> Session {
    let (id, body) = new.first_message.clone();
    let mut session = Session {
        head: Head {
            key: new.key.clone(),
            spec: new.spec.clone(),
            title: new.title.clone(),
            state: State::Requested,
            end_reason: None,
            created_at: new.now,
            updated_at: new.now,
            last_sequence: Sequence(0),
            fence: FencingToken(0),
            lease_until: UnixMillis(0),
            turn: 0,
            commands_accepted: 1,
            commands_taken: 0,
            task: None,
            claude_session_id: None,
            total_cost_usd: 0.0,
        },
        events: Vec::new(),
        commands: vec![Command {
            id,
            ordinal: 1,
            accepted_at: new.now,
            body,
            state: CommandState::Queued,
            outcome: None,
        }],
        live: None,
        live_fence: FencingToken(0),
        append_token: None,
    };
    session.log(
        FencingToken(0),
        &[NewEvent {
            turn: 0,
            time: new.now,
            cause: None,
            body: EventBody::SessionCreated,
        }],
    );
    session
}
