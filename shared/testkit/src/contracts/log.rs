//! Leases, appends, reading.

use domain::{
    CallDigest, CheckpointId, Decision, EventBody, FencingToken, QuestionId, RefName, Sequence,
    State, UnixMillis,
    approval::Way,
    checkpoint::{CheckpointTrigger, RestoreScope},
    event::{ChangeKind, FileChange, RunEnd, RunHow, TokenUsage, TurnEnd},
    history::AbandonedRange,
    ports::{AcquireError, AppendError, EnqueueError, LiveText},
};

use super::{Ports, acquired, assert_refused, created, head, kinds, log, text};
use crate::{builders, join_all};

/// `acquire` and `renew`.
pub async fn lease_contract<P: Ports>(ports: &P) {
    let requested = created(ports).await;
    let key = &requested.key;
    let now = ports.now();
    let until = now.plus(10_000);
    let (lease, acquired) = ports
        .acquire(key, "task-1", "uid", until, now)
        .await
        .expect("acquired");
    assert_eq!(lease.fence, FencingToken(1));
    assert_eq!(acquired, head(ports, key).await);
    assert_eq!(acquired.state, State::Provisioning);
    assert_eq!(acquired.task.as_deref(), Some("task-1"));
    assert_eq!(acquired.lease_until, until);
    let events = log(ports, key).await;
    assert_eq!(
        kinds(&events),
        ["session_created", "runner_started", "state_changed"]
    );
    assert_eq!(events[1].fence, lease.fence);

    // The same task again has it already; another one does not get it.
    let again = ports.acquire(key, "task-1", "uid", until, now).await;
    assert_eq!(again.expect("repeated"), (lease.clone(), acquired));
    assert_refused!(
        ports.acquire(key, "task-2", "uid", until, now).await,
        AcquireError::NotAvailable(_)
    );
    assert_eq!(log(ports, key).await.len(), 3);
    let mut nobody = key.clone();
    nobody.owner = super::new_owner(ports);
    assert_refused!(
        ports.acquire(&nobody, "task-1", "uid", until, now).await,
        AcquireError::NotAvailable(_)
    );

    // Renewing moves the lease and nothing else.
    let before = head(ports, key).await;
    ports
        .renew(&lease, until.plus(5_000))
        .await
        .expect("renewed");
    let mut expected = before;
    expected.lease_until = until.plus(5_000);
    assert_eq!(head(ports, key).await, expected);
    let mut stale = lease.clone();
    stale.fence = FencingToken(0);
    assert_refused!(ports.renew(&stale, until).await, AppendError::LeaseLost);

    // Of several tasks at once one gets it.
    let contested = created(ports).await;
    let results = join_all((0..5).map(|index| {
        let key = contested.key.clone();
        async move {
            let task = format!("task-{index}");
            ports.acquire(&key, &task, "uid", until, now).await.is_ok()
        }
    }))
    .await;
    assert_eq!(results.iter().filter(|got_it| **got_it).count(), 1);
}

/// `append`, without commands.
pub async fn append_contract<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    let first = base.last_sequence.next();
    let mut append = builders::append(ports, first, vec![text("a"), text("b")]);
    append.claude_session_id = Some("claude".to_owned());
    append.total_cost_usd = 0.125;
    append.turn = 3;
    let last = ports.append(&lease, &append).await.expect("appended");
    assert_eq!(last, Sequence(base.last_sequence.0 + 2));
    let now = head(ports, key).await;
    assert_eq!(now.last_sequence, last);
    assert_eq!((now.state, now.turn), (State::Running, 3));
    assert_eq!(now.claude_session_id.as_deref(), Some("claude"));
    assert_eq!(now.lease_until, append.lease_until);
    assert!((now.total_cost_usd - 0.125).abs() < f64::EPSILON);

    // The same append again, also later, changes nothing and says the same.
    assert_eq!(ports.append(&lease, &append).await.expect("again"), last);
    let mut later = append.clone();
    later.now = later.now.plus(700);
    later.lease_until = later.lease_until.plus(700);
    assert_eq!(ports.append(&lease, &later).await.expect("again"), last);
    assert_eq!(log(ports, key).await.len(), 5);

    // Another append of the same place, or one that leaves a gap, is told where the log ends.
    for wrong in [first, last, last.next().next()] {
        let other = builders::append(ports, wrong, vec![text("c")]);
        assert_refused!(
            ports.append(&lease, &other).await,
            AppendError::SequenceTaken { last_sequence } if last_sequence == last
        );
    }
    // An append without events moves only the head, and keeps what it does not name.
    let mut silent = builders::append(ports, last.next(), Vec::new());
    silent.state = State::Idle;
    assert_eq!(ports.append(&lease, &silent).await.expect("appended"), last);
    assert_eq!(ports.append(&lease, &silent).await.expect("again"), last);
    let now = head(ports, key).await;
    assert_eq!((now.state, now.last_sequence), (State::Idle, last));
    assert_eq!(now.claude_session_id.as_deref(), Some("claude"));

    let mut stale = lease.clone();
    stale.fence = FencingToken(0);
    let other = builders::append(ports, last.next(), vec![text("d")]);
    assert_refused!(ports.append(&stale, &other).await, AppendError::LeaseLost);

    // An end frees its slot, and nothing comes after it.
    let mut end = builders::append(ports, last.next(), vec![text("end")]);
    end.state = State::Completed;
    end.end_reason = Some("done".to_owned());
    assert_refused!(ports.append(&lease, &end).await, AppendError::CommandCame);
    end.take = ports.commands_after(key, 0, 10).await.expect("read");
    let end_sequence = ports.append(&lease, &end).await.expect("ended");
    assert_eq!(
        ports.append(&lease, &end).await.expect("again"),
        end_sequence
    );
    let ended = head(ports, key).await;
    assert_eq!(ended.state, State::Completed);
    assert_eq!(ended.end_reason.as_deref(), Some("done"));
    let other = builders::append(ports, end_sequence.next(), vec![text("e")]);
    assert_refused!(ports.append(&lease, &other).await, AppendError::LeaseLost);
    assert_refused!(
        ports
            .enqueue(
                key,
                builders::new_command(ports, "x", builders::message("x"))
            )
            .await,
        EnqueueError::Ended(State::Completed)
    );
    let mut new = builders::new_session(ports, &key.owner);
    new.max_sessions_per_owner = 1;
    ports.create(new).await.expect("the slot is free");
}

/// `read`: every kind of event as it was written, in order, from anywhere.
pub async fn reading_contract<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    let mut written = Vec::new();
    let mut last = base.last_sequence;
    for chunk in every_body().chunks(3) {
        let append = builders::append(ports, last.next(), chunk.to_vec());
        last = ports.append(&lease, &append).await.expect("appended");
        written.extend(append.events);
    }
    let before = base.last_sequence;
    let read = ports.read(key, before, 1 << 20).await.expect("read");
    assert_eq!(read.len(), written.len());
    for (index, (event, expected)) in read.iter().zip(&written).enumerate() {
        assert_eq!(event.sequence.0, before.0 + 1 + index as u64);
        assert_eq!(event.body, expected.body);
        assert_eq!((event.turn, event.time), (expected.turn, expected.time));
        assert_eq!(event.fence, lease.fence);
        assert_eq!(event.whole_body_bytes, None);
    }
    // From the middle of a batch, and in small pieces, it is the same log.
    for after in 0..=last.0 {
        let read = ports.read(key, Sequence(after), 1).await.expect("read");
        let expected = (after < last.0).then_some(Sequence(after + 1));
        assert_eq!(read.first().map(|event| event.sequence), expected);
        assert!(read.len() <= 1);
    }
    assert!(
        ports
            .read(key, last, 1 << 20)
            .await
            .expect("read")
            .is_empty()
    );

    // More batches than one answer of a database gives.
    for index in 0..45 {
        let append = builders::append(ports, last.next(), vec![text(&index.to_string())]);
        last = ports.append(&lease, &append).await.expect("appended");
    }
    let read = ports.read(key, Sequence(0), 1 << 20).await.expect("read");
    let sequences: Vec<u64> = read.iter().map(|event| event.sequence.0).collect();
    assert_eq!(sequences, (1..=last.0).collect::<Vec<_>>());
}

/// `set_live` and `live`.
pub async fn live_text_contract<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    assert_eq!(ports.live(key).await.expect("read"), None);
    let live = LiveText {
        after: base.last_sequence,
        fence: lease.fence,
        text: "so far".to_owned(),
        time: ports.now(),
    };
    ports
        .set_live(&lease, Some(live.clone()))
        .await
        .expect("set");
    ports
        .set_live(&lease, Some(live.clone()))
        .await
        .expect("set");
    assert_eq!(ports.live(key).await.expect("read"), Some(live.clone()));
    let mut stale = lease.clone();
    stale.fence = FencingToken(0);
    assert_refused!(
        ports.set_live(&stale, Some(live.clone())).await,
        AppendError::LeaseLost
    );
    assert_refused!(ports.set_live(&stale, None).await, AppendError::LeaseLost);
    ports.set_live(&lease, None).await.expect("cleared");
    assert_eq!(ports.live(key).await.expect("read"), None);
    assert_refused!(
        ports.set_live(&stale, Some(live)).await,
        AppendError::LeaseLost
    );
}

/// One body of every kind.
pub fn every_body() -> Vec<EventBody> {
    let owned = ToOwned::to_owned;
    let id = |text| domain::CommandId::parse(text).expect("a valid id");
    let checkpoint = CheckpointId::from_random([2; 17]);
    let question = QuestionId::parse("q-1").expect("a valid id");
    let abandoned = AbandonedRange {
        from: Sequence(5),
        to: Sequence(9),
    };
    vec![
        EventBody::SessionCreated,
        EventBody::RunnerStarted {
            task: owned("task"),
            isolation: owned("uid"),
        },
        EventBody::WorkspaceReady {
            source: owned("git"),
            files: 3,
            bytes: 4,
            commit: Some(owned("abc")),
        },
        EventBody::SessionReady {
            claude_version: owned("1"),
            claude_session_id: owned("c"),
        },
        EventBody::MessageTaken {
            text: owned("hé\n\""),
        },
        EventBody::MessageWithdrawn,
        EventBody::TurnStarted { model: None },
        EventBody::Text {
            text: owned("t"),
            agent: Some(owned("a")),
        },
        EventBody::Thinking { text: owned("") },
        EventBody::ToolCall {
            tool_use_id: owned("u"),
            tool: owned("Bash"),
            input: owned("{\"command\":\"ls\"}"),
            agent: None,
        },
        EventBody::ToolResult {
            tool_use_id: owned("u"),
            is_error: true,
            text: owned("no"),
        },
        EventBody::ToolAllowed {
            tool_use_id: owned("u"),
            tool: owned("Read"),
            policies: vec![owned("tiers/review/reads")],
        },
        EventBody::ToolDenied {
            tool_use_id: owned("u"),
            tool: owned("Write"),
            reason: owned("not here"),
            policies: vec![owned("denials/gate-files"), owned("owner/1")],
        },
        EventBody::Retry {
            attempt: 1,
            attempts: 10,
            delay_milliseconds: 500,
            status: Some(529),
            message: owned("overloaded"),
        },
        EventBody::TurnEnded(turn_end("done")),
        EventBody::FilesChanged {
            files: vec![FileChange {
                path: owned("a/b"),
                change: ChangeKind::Deleted,
                added_lines: None,
                removed_lines: Some(4),
            }],
            patch: owned("-x"),
        },
        EventBody::CommandStarted {
            command: owned("ls | cat"),
            timeout_seconds: 9,
        },
        EventBody::CommandEnded {
            end: RunEnd {
                how: RunHow::TimedOut,
                exit_code: Some(137),
                duration_milliseconds: 5,
                reason: Some(owned("too slow")),
            },
            stdout: owned("out"),
            stderr: owned(""),
            stdout_bytes: 3,
            stderr_bytes: 0,
        },
        EventBody::Notice {
            code: owned("cli_warning"),
            message: owned("careful"),
        },
        EventBody::SessionForked {
            parent: domain::SessionId::from_random([1; 17]),
            checkpoint: checkpoint.clone(),
            what: RestoreScope::Conversation,
        },
        EventBody::CheckpointCreated {
            checkpoint: checkpoint.clone(),
            ordinal: 3,
            trigger: CheckpointTrigger::Interval,
            files: 1,
            bytes: 2,
            new_bytes: 3,
            message: Some(owned("before it")),
            cut_sequence: Some(Sequence(4)),
        },
        EventBody::RunnerLost {
            reason: owned("gone"),
        },
        EventBody::SessionResumed {
            checkpoint: Some(checkpoint.clone()),
            cut_sequence: Sequence(4),
            abandoned: Some(abandoned),
            redone: vec![id("one")],
        },
        EventBody::Rewound {
            checkpoint,
            what: RestoreScope::Both,
            kept_as: RefName::parse("before-1").ok(),
            abandoned: None,
            not_done: vec![id("two")],
        },
        EventBody::QuestionAsked {
            question: question.clone(),
            tool_use_id: owned("tool-1"),
            input: owned("{}"),
        },
        EventBody::QuestionAnswered {
            question: question.clone(),
            answers: owned("{}"),
        },
        EventBody::ApprovalRequested {
            approval: question.clone(),
            tool_use_id: owned("tool-2"),
            input: owned("{\"command\":\"x\"}"),
            request: builders::approval_request(UnixMillis(7)),
        },
        EventBody::ApprovalDecided {
            approval: question.clone(),
            digest: CallDigest::of("Bash", "{}"),
            decision: Decision::AllowEdited { input: owned("{}") },
            way: Way::Page,
        },
        EventBody::ApprovalDecided {
            approval: question,
            digest: CallDigest::of("Bash", "{}"),
            decision: Decision::Expire,
            way: Way::Clock,
        },
        EventBody::StateChanged {
            from: State::Idle,
            to: State::Running,
        },
        EventBody::SessionEnded {
            state: State::TimedOut,
            reason: owned("too long"),
            unfinished: vec![id("one"), id("two")],
        },
    ]
}

/// The end of a successful turn.
pub(crate) fn turn_end(text: &str) -> TurnEnd {
    TurnEnd {
        subtype: "success".to_owned(),
        is_error: false,
        text: text.to_owned(),
        terminal_reason: Some("completed".to_owned()),
        total_cost_usd: 0.0625,
        duration_milliseconds: 1_234,
        model_turns: 2,
        usage: TokenUsage {
            input_tokens: 1,
            output_tokens: 2,
            cache_creation_input_tokens: 3,
            cache_read_input_tokens: 4,
        },
        messages: vec![domain::CommandId::parse("one").expect("a valid id")],
    }
}
