//! Values that tests start from and change where it matters.

use domain::{
    ApprovalRequest, Authorized, CallDigest, CheckpointId, CommandBody, CommandId, Deployment,
    EventBody, Head, NewCheckpoint, OwnerId, PermissionMode, Principal, Sequence, SessionId,
    SessionKey, SessionSpec, State, Tier, UnixMillis,
    authorization::{Approve, ReadSessions, Scope, WriteSessions},
    checkpoint::{CheckpointSize, CheckpointTrigger},
    event::NewEvent,
    ports::{Append, Clock, IdSource, NewCommand, NewFork, NewSession},
    session::Parent,
    workspace::{Workspace, WorkspaceSource},
};

/// The owner of that name.
#[must_use]
pub fn owner(name: &str) -> OwnerId {
    OwnerId::of("testkit", name)
}

/// A caller who may do everything with the owner's sessions, as proof of scope `S`.
///
/// # Panics
/// When `S` is a scope that this builder does not grant.
#[must_use]
pub fn caller<S: Scope>(owner: &OwnerId) -> Authorized<S> {
    let principal = Principal {
        owner: owner.clone(),
        scopes: [ReadSessions::NAME, WriteSessions::NAME, Approve::NAME]
            .map(ToOwned::to_owned)
            .to_vec(),
    };
    match principal.authorize() {
        Ok(authorized) => authorized,
        Err(missing) => panic!("{missing}"),
    }
}

/// The default limits.
#[must_use]
pub fn deployment() -> Deployment {
    Deployment {
        max_sessions: 100,
        max_sessions_per_owner: 20,
        max_queued_messages: 100,
        max_turns: 100,
        max_budget_usd: 10.0,
        allow_bypass_permissions: false,
        elicitation_approves: Vec::new(),
        tier: Tier::Review,
        workspace_roots: Vec::new(),
        max_upload_bytes: 100 << 20,
        upload_url_seconds: 900,
        wait_default_seconds: 25,
        wait_max_seconds: 50,
        response_budget_characters: 8_000,
        lease_milliseconds: 10_000,
        retention_days: 90,
        audit_retention_days: 2557,
        session_token_seconds: 900,
    }
}

/// An empty workspace in review mode.
#[must_use]
pub fn spec() -> SessionSpec {
    SessionSpec {
        workspace: Workspace {
            source: WorkspaceSource::Empty,
            subdirectory: None,
        },
        model: None,
        permission_mode: PermissionMode::Review,
        tier: Tier::Review,
        max_turns: 100,
        max_budget_usd: 10.0,
        system_prompt_addition: None,
        tags: Vec::new(),
        checkpoint_strategy: None,
        checkpoint_ignore: None,
    }
}

/// A message without attachments.
#[must_use]
pub fn message(text: &str) -> CommandBody {
    CommandBody::Message {
        text: text.to_owned(),
        attachments: Vec::new(),
    }
}

/// A new session of that owner with the first message `first`, now.
pub fn new_session<P: Clock + IdSource>(ports: &P, owner: &OwnerId) -> NewSession {
    NewSession {
        key: SessionKey {
            owner: owner.clone(),
            session: SessionId::from_random(ports.random()),
        },
        spec: spec(),
        title: "first".to_owned(),
        first_message: (CommandId::from_random(ports.random()), message("first")),
        client_token: None,
        now: ports.now(),
        max_sessions: 1_000_000,
        max_sessions_per_owner: 1_000,
    }
}

/// A fork of that session at its newest checkpoint, now.
///
/// # Panics
/// When it has no checkpoint.
pub fn new_fork<P: Clock + IdSource>(ports: &P, parent: &Head) -> NewFork {
    let Some(at) = parent.checkpoint.clone() else {
        panic!("{} has no checkpoint", parent.key.session)
    };
    NewFork {
        key: SessionKey {
            owner: parent.key.owner.clone(),
            session: SessionId::from_random(ports.random()),
        },
        parent: parent.clone(),
        begins_at: Parent {
            session: parent.key.session.clone(),
            checkpoint: at.clone(),
        },
        relies_on: vec![parent.checkpoints],
        checkpoint: NewCheckpoint {
            trigger: CheckpointTrigger::Fork,
            files: at.clone(),
            conversation: at,
            ..checkpoint(ports, 1, Some(parent))
        },
        spec: parent.spec.clone(),
        title: "fork".to_owned(),
        events: vec![event(ports.now(), EventBody::SessionCreated)],
        client_token: None,
        now: ports.now(),
    }
}

/// A message to accept, now.
///
/// # Panics
/// When `id` is no command id.
pub fn new_command<P: Clock>(ports: &P, id: &str, body: CommandBody) -> NewCommand {
    let id = match CommandId::parse(id) {
        Ok(id) => id,
        Err(error) => panic!("{error}"),
    };
    NewCommand {
        id,
        body,
        now: ports.now(),
        max_queued: 1_000,
    }
}

/// A checkpoint of that ordinal after `parent`, with a manifest of its own.
pub fn checkpoint<P: IdSource>(ports: &P, ordinal: u64, parent: Option<&Head>) -> NewCheckpoint {
    let id = CheckpointId::from_random(ports.random());
    NewCheckpoint {
        files: id.clone(),
        conversation: id.clone(),
        id,
        ordinal,
        trigger: CheckpointTrigger::Turn,
        parent: parent.and_then(|head| head.checkpoint.clone()),
        sequence: None,
        commands_settled: parent.map_or(0, |head| head.commands_taken),
        turn: parent.map_or(0, |head| head.turn),
        claude_session_id: Some("claude".to_owned()),
        question: None,
        message: None,
        tags: Vec::new(),
        pinned: false,
        size: CheckpointSize {
            files: 1,
            bytes: 2,
            new_bytes: 3,
        },
        generation: 0,
    }
}

/// What a person must know about a call of `Bash`.
#[must_use]
pub fn approval_request(expires_at: UnixMillis) -> ApprovalRequest {
    ApprovalRequest {
        tool: "Bash".to_owned(),
        digest: CallDigest::of("Bash", "{}"),
        reason: "it talks to others".to_owned(),
        policies: vec!["tiers/review/a-person-decides".to_owned()],
        parts: vec!["runs `curl`".to_owned()],
        pattern: Some("permit (principal, action, resource);".to_owned()),
        preview: None,
        agent: None,
        visible: true,
        editable: true,
        expires_at,
    }
}

/// An event of turn 1.
#[must_use]
pub fn event(time: UnixMillis, body: EventBody) -> NewEvent {
    NewEvent {
        turn: 1,
        time,
        cause: None,
        body,
    }
}

/// An append of `bodies` from `first` on, with a new request token, that leaves the session
/// running and renews the lease for 10 s.
pub fn append<P: Clock + IdSource>(ports: &P, first: Sequence, bodies: Vec<EventBody>) -> Append {
    let now = ports.now();
    Append {
        request_token: CommandId::from_random(ports.random()).to_string(),
        first,
        events: bodies.into_iter().map(|body| event(now, body)).collect(),
        state: State::Running,
        turn: 1,
        lease_until: now.plus(10_000),
        take: Vec::new(),
        finish: Vec::new(),
        total_cost_usd: 0.0,
        claude_session_id: None,
        end_reason: None,
        only_if_inbox_empty: false,
        question: None,
        grants: None,
        checkpoint: None,
        now,
    }
}
