//! Sessions as records, in memory.

use std::collections::BTreeMap;

use domain::{
    Command, CommandState, EventBody, FencingToken, Head, OwnerId, Sequence, SessionKey,
    SessionSpec, State, TreeId, UnixMillis,
    checkpoint::CheckpointRef,
    event::NewEvent,
    ports::{
        ClientToken, ControlChange, ControlError, CreateError, Creation, ForkError, ListPosition,
        ListQuery, NewFork, NewSession, SessionDirectory, SessionPage, Slots, Unavailable,
    },
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
        let now = self.clock.now();
        self.call("head", |world| {
            let session = world.sessions.get(key);
            let head = session.map(|session| session.head.clone());
            Ok(head.filter(|head| !head.is_over(now)))
        })
        .await
    }

    async fn list(&self, owner: &OwnerId, query: &ListQuery) -> Result<SessionPage, Unavailable> {
        let now = self.clock.now();
        self.call("list", |world| Ok(world.list(owner, query, now)))
            .await
    }

    async fn control(&self, change: ControlChange) -> Result<Head, ControlError> {
        self.call("control", |world| world.control(change)).await
    }

    async fn fork(&self, new: NewFork) -> Result<Creation, ForkError> {
        self.call("fork", |world| world.fork(&new)).await
    }

    async fn postpone(&self, key: &SessionKey, now: UnixMillis) -> Result<(), Unavailable> {
        self.call("postpone", |world| {
            if let Some(session) = world.sessions.get_mut(key)
                && session.head.state == State::Suspended
                && session.head.has_queued()
            {
                session.head.runner_asked_at = now;
            }
            Ok(())
        })
        .await
    }

    async fn note_task(
        &self,
        key: &SessionKey,
        fence: FencingToken,
        task: &str,
    ) -> Result<(), Unavailable> {
        self.call("note_task", |world| {
            if let Some(session) = world.sessions.get_mut(key)
                && session.head.state.awaits_runner()
                && session.head.fence == fence
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
                .chain(
                    world
                        .tombstones
                        .iter()
                        .map(|(key, it)| (it.until, key.clone())),
                )
                .filter(|(look_at, _)| *look_at < now)
                .collect();
            found.sort();
            found.truncate(limit);
            Ok(found.into_iter().map(|(_, key)| key).collect())
        })
        .await
    }
}

impl Slots for Fake {
    async fn slots_in_use(&self) -> Result<u32, Unavailable> {
        self.call("slots_in_use", |world| Ok(world.deployment_slots))
            .await
    }
}

impl World {
    fn create(&mut self, new: NewSession) -> Result<Creation, CreateError> {
        let owner = new.key.owner.clone();
        match self.found(&new.key, new.client_token.as_ref()) {
            Some((_, false)) => return Err(CreateError::ClientTokenReused),
            Some((head, true)) => {
                return Ok(Creation {
                    head,
                    repeated: true,
                });
            }
            None => {}
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
        self.remember(&new.key, new.client_token.as_ref());
        let session = first(&new);
        let head = session.head.clone();
        self.sessions.insert(new.key, session);
        Ok(Creation {
            head,
            repeated: false,
        })
    }

    /// The session that the token stands for, or that this very call made, and whether the request
    /// is the same.
    fn found(&self, new: &SessionKey, token: Option<&ClientToken>) -> Option<(Head, bool)> {
        let remembered = token.and_then(|token| {
            let name = (new.owner.clone(), token.token.clone());
            let (session, digest) = self.creations.get(&name)?;
            let key = SessionKey {
                owner: new.owner.clone(),
                session: session.clone(),
            };
            Some((key, *digest == token.request_digest))
        });
        let (key, same_request) = remembered.unwrap_or((new.clone(), true));
        let session = self.sessions.get(&key)?;
        Some((session.head.clone(), same_request))
    }

    fn remember(&mut self, key: &SessionKey, token: Option<&ClientToken>) {
        if let Some(token) = token {
            self.creations.insert(
                (key.owner.clone(), token.token.clone()),
                (key.session.clone(), token.request_digest.clone()),
            );
        }
    }

    fn fork(&mut self, new: &NewFork) -> Result<Creation, ForkError> {
        match self.found(&new.key, new.client_token.as_ref()) {
            Some((_, false)) => return Err(ForkError::ClientTokenReused),
            Some((head, true)) => {
                return Ok(Creation {
                    head,
                    repeated: true,
                });
            }
            None => {}
        }
        let parent = self.sessions.get(&new.parent.key);
        let has_all = |parent: &Session| {
            let mut relies_on = new.relies_on.iter();
            relies_on.all(|ordinal| parent.has_checkpoint(*ordinal))
        };
        if !parent.is_some_and(has_all) {
            return Err(ForkError::CheckpointGone);
        }
        self.remember(&new.key, new.client_token.as_ref());
        let session = first_of_fork(new);
        let head = session.head.clone();
        let tree = self.trees.entry(head.tree_key()).or_default();
        // Not its root, which may be gone.
        tree.members.insert(new.parent.key.session.clone());
        tree.members.insert(new.key.session.clone());
        self.sessions.insert(new.key.clone(), session);
        Ok(Creation {
            head,
            repeated: false,
        })
    }

    fn list(&self, owner: &OwnerId, query: &ListQuery, now: UnixMillis) -> SessionPage {
        let mut heads: Vec<&Head> = self
            .sessions
            .values()
            .map(|session| &session.head)
            .filter(|head| {
                head.key.owner == *owner
                    && !head.is_over(now)
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
        let after = change
            .head_after(super::RETENTION_MILLISECONDS)
            .ok_or(ControlError::Changed)?;
        let owner = based_on.key.owner.clone();
        let session = self
            .sessions
            .get(&based_on.key)
            .ok_or(ControlError::Changed)?;
        if counts(&session.head) != counts(based_on) {
            return Err(ControlError::Changed);
        }
        if let Some(rewind) = &change.rewind
            && !session.has_checkpoint(rewind.target_ordinal)
        {
            return Err(ControlError::Changed);
        }
        if !based_on.state.holds_slot() && after.state.holds_slot() {
            let used = self.owner_slots.get(&owner).copied().unwrap_or_default();
            if self.deployment_slots >= change.slots.deployment {
                return Err(ControlError::DeploymentFull);
            }
            if used >= change.slots.owner {
                return Err(ControlError::OwnerFull);
            }
            self.deployment_slots += 1;
            self.owner_slots.insert(owner, used + 1);
        } else if based_on.state.holds_slot() && !after.state.holds_slot() {
            self.free_slots(&owner);
        }
        let session = self
            .sessions
            .get_mut(&based_on.key)
            .ok_or(ControlError::Changed)?;
        session.log(based_on.fence, &change.events);
        // What others may have changed meanwhile without being in the way stays.
        let stored = session.head.clone();
        session.head = Head {
            lease_until: stored.lease_until,
            task: if after.task == based_on.task {
                stored.task
            } else {
                after.task.clone()
            },
            ..after
        };
        if let Some(rewind) = &change.rewind {
            if let Some((name, checkpoint)) = &rewind.keep
                && session.checkpoint(checkpoint).is_some()
            {
                let named = CheckpointRef {
                    name: name.clone(),
                    checkpoint: checkpoint.clone(),
                    set_at: change.now,
                };
                session.refs.insert(name.clone(), named);
            }
            let record = rewind.record.clone();
            session.checkpoints.extend(
                record.map(|it| it.record(based_on.fence, rewind.cut_sequence, change.now)),
            );
        }
        Ok(session.head.clone())
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

fn first_of_fork(new: &NewFork) -> Session {
    let last = Sequence(new.events.len() as u64);
    let record = new
        .checkpoint
        .clone()
        .record(FencingToken(0), last, new.now);
    let head = Head {
        tree: new.parent.tree.clone(),
        parent: Some(new.begins_at.clone()),
        spec: new.spec.clone(),
        title: new.title.clone(),
        state: State::Suspended,
        last_sequence: Sequence(0),
        checkpoint: Some(record.id.clone()),
        cut_sequence: last,
        checkpoints: 1,
        question: record.question.clone(),
        turn: record.turn,
        commands_accepted: 0,
        kept_until: Some(new.now.plus(super::RETENTION_MILLISECONDS)),
        claude_session_id: record.claude_session_id.clone(),
        ..empty_head(&new.key, &new.spec, &new.title, new.now)
    };
    let mut session = empty(head);
    session.checkpoints.push(record);
    session.log(FencingToken(0), &new.events);
    session
}

fn empty(head: Head) -> Session {
    Session {
        head,
        events: Vec::new(),
        commands: Vec::new(),
        checkpoints: Vec::new(),
        refs: BTreeMap::new(),
        live: None,
        live_fence: FencingToken(0),
        append_token: None,
    }
}

fn empty_head(key: &SessionKey, spec: &SessionSpec, title: &str, now: UnixMillis) -> Head {
    Head {
        key: key.clone(),
        tree: TreeId::of(key.session.clone()),
        parent: None,
        spec: spec.clone(),
        title: title.to_owned(),
        state: State::Requested,
        end_reason: None,
        created_at: now,
        updated_at: now,
        last_sequence: Sequence(0),
        checkpoint: None,
        cut_sequence: Sequence(0),
        checkpoints: 0,
        rewinds: 0,
        question: None,
        grants: Vec::new(),
        fence: FencingToken(0),
        lease_until: UnixMillis(0),
        turn: 0,
        commands_accepted: 1,
        commands_taken: 0,
        commands_settled: 0,
        runner_asked_at: now,
        recoveries: 0,
        kept_until: None,
        task: None,
        claude_session_id: None,
        total_cost_usd: 0.0,
    }
}

fn first(new: &NewSession) -> Session {
    let (id, body) = new.first_message.clone();
    let mut session = empty(empty_head(&new.key, &new.spec, &new.title, new.now));
    session.commands.push(Command {
        id,
        ordinal: 1,
        accepted_at: new.now,
        body,
        state: CommandState::Queued,
        outcome: None,
    });
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
