//! The conversation as a table: what each line does in each state.

use claude::message::parse;
use domain::event::EventBody;
use domain::{CommandBody, CommandId, CommandOutcome, CommandState, limits};

use super::*;

const NOW: UnixMillis = UnixMillis(1);

fn command(id: &str, ordinal: u64) -> Command {
    Command {
        id: CommandId::parse(id).unwrap(),
        ordinal,
        accepted_at: NOW,
        body: CommandBody::Message {
            text: id.to_owned(),
            attachments: vec![],
        },
        state: CommandState::Queued,
        outcome: None,
    }
}

fn ready() -> Conversation {
    let mut conversation = Conversation::new(0, Redactor::new(["relay-secret".to_owned()]));
    assert_eq!(conversation.change_to(State::Idle, NOW).events.len(), 1);
    conversation
}

fn take(conversation: &mut Conversation, id: &str, ordinal: u64) -> Vec<String> {
    let command = command(id, ordinal);
    let (entry, state, turn) = conversation.take_message(&command, id, false, NOW);
    conversation.handed_over(format!("uuid-{id}"), command, state, turn);
    told(&[Effect::Note(entry)])
}

fn told(effects: &[Effect]) -> Vec<String> {
    let mut told = Vec::new();
    for effect in effects {
        let (mark, entry) = match effect {
            Effect::Note(entry) => ("", entry),
            Effect::TurnEnded(entry) => ("end ", entry),
            other => {
                told.push(format!("{other:?}"));
                continue;
            }
        };
        for event in &entry.events {
            let body = match &event.body {
                EventBody::StateChanged { to, .. } => format!("now {to}"),
                other => other.kind().to_owned(),
            };
            told.push(format!("{mark}{} turn {}", body, event.turn));
        }
        for (command, outcome) in &entry.finish {
            let outcome = if matches!(outcome, CommandOutcome::Turn(_)) {
                "answered"
            } else {
                "refused"
            };
            told.push(format!("{} {outcome}", command.id));
        }
    }
    told
}

fn hear(conversation: &mut Conversation, line: &str) -> Vec<String> {
    let effects = conversation.read(parse(line.as_bytes()).unwrap(), NOW);
    told(&effects)
}

const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s","model":"m"}"#;
const RUNNING: &str = r#"{"type":"system","subtype":"session_state_changed","state":"running"}"#;
const IDLE: &str = r#"{"type":"system","subtype":"session_state_changed","state":"idle"}"#;

fn result(uuids: &[&str]) -> String {
    let uuids: Vec<String> = uuids.iter().map(|uuid| format!("{uuid:?}")).collect();
    format!(
        r#"{{"type":"result","subtype":"success","result":"ok","total_cost_usd":0.5,"user_message_uuids":[{}]}}"#,
        uuids.join(",")
    )
}

#[test]
fn a_turn_from_message_to_idle() {
    let mut conversation = ready();
    assert_eq!(
        take(&mut conversation, "m1", 1),
        ["now running turn 1", "message_taken turn 1"]
    );
    assert_eq!(hear(&mut conversation, RUNNING), [""; 0]);
    assert_eq!(hear(&mut conversation, INIT), ["turn_started turn 1"]);
    assert_eq!(
        hear(&mut conversation, &result(&["uuid-m1"])),
        ["end turn_ended turn 1", "m1 answered"]
    );
    assert_eq!(
        hear(&mut conversation, IDLE),
        ["Show(None)", "WentIdle", "now idle turn 1"]
    );
    assert_eq!(
        take(&mut conversation, "m2", 2),
        ["now running turn 2", "message_taken turn 2"]
    );
}

#[test]
fn a_message_folded_into_a_running_turn_belongs_to_it() {
    let mut conversation = ready();
    take(&mut conversation, "m1", 1);
    hear(&mut conversation, INIT);
    assert_eq!(take(&mut conversation, "m2", 2), ["message_taken turn 1"]);
    assert_eq!(
        hear(&mut conversation, &result(&["uuid-m1", "uuid-m2"])),
        ["end turn_ended turn 1", "m1 answered", "m2 answered"]
    );
}

#[test]
fn idle_is_not_believed_while_a_message_waits_to_be_read() {
    let mut conversation = ready();
    take(&mut conversation, "m1", 1);
    hear(&mut conversation, INIT);
    hear(&mut conversation, &result(&["uuid-m1"]));
    // Taken and written while the CLI was saying that it is idle.
    take(&mut conversation, "m2", 2);
    assert_eq!(hear(&mut conversation, IDLE), [""; 0]);
    assert_eq!(conversation.state, State::Running);
    assert_eq!(hear(&mut conversation, INIT), ["turn_started turn 2"]);
    hear(&mut conversation, &result(&["uuid-m2"]));
    assert_eq!(
        hear(&mut conversation, IDLE),
        ["Show(None)", "WentIdle", "now idle turn 2"]
    );
}

#[test]
fn while_a_callers_command_is_under_way_the_session_is_not_idle() {
    let mut conversation = ready();
    take(&mut conversation, "m1", 1);
    assert!(!conversation.cli_rests());
    hear(&mut conversation, INIT);
    hear(&mut conversation, &result(&["uuid-m1"]));
    assert!(!conversation.cli_rests());
    conversation.caller_runs = true;
    assert_eq!(hear(&mut conversation, IDLE), ["Show(None)", "WentIdle"]);
    assert!(conversation.cli_rests());
    // A background task wakes the CLI while a person is asked about the command.
    assert_eq!(hear(&mut conversation, RUNNING), [""; 0]);
    assert!(!conversation.cli_rests());
    conversation.state = State::Waiting;
    assert_eq!(hear(&mut conversation, IDLE), ["Show(None)", "WentIdle"]);
    assert!(conversation.cli_rests());
    assert_eq!(conversation.state, State::Waiting);
}

#[test]
fn work_that_nobody_asked_for_is_a_turn_too() {
    let mut conversation = ready();
    assert_eq!(hear(&mut conversation, RUNNING), ["now running turn 0"]);
    assert_eq!(
        hear(&mut conversation, INIT),
        ["TurnBegan", "turn_started turn 1"]
    );
    assert_eq!(
        hear(&mut conversation, &result(&[])),
        ["end turn_ended turn 1"]
    );
    assert_eq!(
        hear(&mut conversation, IDLE),
        ["Show(None)", "WentIdle", "now idle turn 1"]
    );
}

#[test]
fn a_message_that_the_cli_dropped_is_refused() {
    let mut conversation = ready();
    take(&mut conversation, "m1", 1);
    let dropped = r#"{"type":"command_lifecycle","command_uuid":"uuid-m1","state":"cancelled"}"#;
    assert_eq!(hear(&mut conversation, dropped), ["m1 refused"]);
    assert_eq!(conversation.outstanding().count(), 0);
    assert_eq!(hear(&mut conversation, dropped), [""; 0]);
}

#[test]
fn live_text_is_kept_short_and_ends_with_its_block() {
    let mut conversation = ready();
    let delta = |text: &str, index: u32| {
        format!(
            r#"{{"type":"stream_event","api_message_id":"a","event":{{"type":"content_block_delta","index":{index},"delta":{{"type":"text_delta","text":{text:?}}}}}}}"#
        )
    };
    let shown = |effects: Vec<Effect>| match &effects[..] {
        [Effect::Show(Some(text))] => text.clone(),
        other => panic!("{other:?}"),
    };
    let mut read = |line: String| shown(conversation.read(parse(line.as_bytes()).unwrap(), NOW));
    assert_eq!(read(delta("a relay-", 0)), "a ");
    assert_eq!(
        read(delta("secret!", 0)),
        "a [redacted: session credential]!"
    );
    assert_eq!(read(delta("z", 1)), "z");
    let long = "é".repeat(limits::LIVE_TEXT_BYTES);
    assert!(read(delta(&long, 1)).len() <= limits::LIVE_TEXT_BYTES);
    let block = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"whole"}]}}"#;
    assert_eq!(hear(&mut conversation, block), ["text turn 0"]);
    assert!(conversation.live.is_empty());
}

#[test]
fn a_refusal_is_told_once() {
    let mut conversation = ready();
    let refusal = Refusal {
        tool_use_id: "t".to_owned(),
        tool: "Bash".to_owned(),
        reason: "no".to_owned(),
        policies: Vec::new(),
    };
    assert_eq!(
        told(&[Effect::Note(conversation.refusal(refusal, NOW))]),
        ["tool_denied turn 0"]
    );
    let line =
        r#"{"type":"system","subtype":"permission_denied","tool_name":"Bash","tool_use_id":"t"}"#;
    assert_eq!(hear(&mut conversation, line), [""; 0]);
}

#[test]
fn secrets_stay_out_of_every_text() {
    let mut conversation = ready();
    let lines = [
        r#"{"type":"assistant","message":{"content":[{"type":"text","text":"relay-secret"},{"type":"tool_use","id":"t","name":"Bash","input":{"command":"relay-secret"}}]}}"#,
        concat!(
            r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t","#,
            r#""content":"relay-secret sk-"#,
            r#"ant-api03-abcdefgh"}]}}"#
        ),
        r#"{"type":"result","subtype":"error_during_execution","errors":["relay-secret"]}"#,
        r#"{"type":"system","subtype":"api_retry","attempt":1,"error":"relay-secret"}"#,
    ];
    for line in lines {
        let effects = conversation.read(parse(line.as_bytes()).unwrap(), NOW);
        let text = format!("{effects:?}");
        assert!(
            text.contains("[redacted: session credential]")
                && !text.contains("relay-secret")
                && !text.contains("sk-ant"),
            "{text}"
        );
    }
}

#[test]
fn notices_end_before_they_fill_the_log() {
    let mut conversation = ready();
    let written = (0..200)
        .filter(|_| !conversation.notice("x", "y", NOW).events.is_empty())
        .count();
    assert_eq!(written, NOTICES);
    // Another kind still has all of its own.
    assert_eq!(
        told(&[Effect::Note(conversation.notice("z", "y", NOW))]),
        ["notice turn 0"]
    );
}

#[test]
fn long_text_is_cut_at_a_character() {
    assert_eq!(shorten("aéb", 2), "a… [3 more bytes]");
    assert_eq!(shorten("ab", 2), "ab");
}

fn lifecycle(uuid: &str, state: &str) -> String {
    format!(r#"{{"type":"command_lifecycle","command_uuid":"{uuid}","state":"{state}"}}"#)
}

#[test]
fn a_message_that_the_transcript_knows_is_answered_by_the_turn_that_is_run_again() {
    let mut conversation = ready();
    take(&mut conversation, "m1", 1);
    hear(&mut conversation, RUNNING);
    // Dropped: it was neither queued nor begun.
    hear(&mut conversation, &lifecycle("uuid-m1", "completed"));
    assert!(!conversation.has_queued());
    hear(&mut conversation, INIT);
    assert_eq!(
        hear(&mut conversation, &result(&[])),
        ["end turn_ended turn 1", "m1 answered"]
    );
}

#[test]
fn a_message_whose_turn_had_ended_already_is_not_waited_for() {
    let mut conversation = ready();
    take(&mut conversation, "m1", 1);
    hear(&mut conversation, &lifecycle("uuid-m1", "completed"));
    assert_eq!(
        hear(&mut conversation, IDLE),
        ["m1 refused", "Show(None)", "WentIdle", "now idle turn 1"]
    );
}

#[test]
fn a_deferred_call_ends_no_turn() {
    let mut conversation = ready();
    take(&mut conversation, "m1", 1);
    hear(&mut conversation, &lifecycle("uuid-m1", "queued"));
    assert!(conversation.has_queued());
    hear(&mut conversation, &lifecycle("uuid-m1", "started"));
    assert!(!conversation.has_queued());
    hear(&mut conversation, INIT);
    let deferred = r#"{"type":"result","subtype":"success","result":"","terminal_reason":"tool_deferred","user_message_uuids":["uuid-m1"]}"#;
    assert_eq!(hear(&mut conversation, deferred), ["TurnDeferred"]);
    // A run of the CLI that began at a deferred call names no reason when it is deferred again.
    let again = r#"{"type":"result","subtype":"success","result":"","stop_reason":"tool_deferred","deferred_tool_use":{"id":"t","name":"Bash","input":{}},"user_message_uuids":["uuid-m1"]}"#;
    assert_eq!(hear(&mut conversation, again), ["TurnDeferred"]);
    assert_eq!(conversation.outstanding().count(), 1);
}
