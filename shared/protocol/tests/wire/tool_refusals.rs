//! What tools refuse: unknown ones, arguments that miss the schema, sessions that are not there, and
//! services that fail. Each says what to do, and nothing is recorded.

use domain::State;
use http::StatusCode;
use proptest::prelude::*;
use protocol::Class;
use serde_json::json;
use testkit::FaultTime;

use crate::client::Client;

#[tokio::test]
async fn tools_and_arguments_are_named() {
    let client = Client::new(Class::Call);
    let unknown = client.tool("no_such_tool", json!({})).await;
    assert_eq!(unknown.code(), -32602);
    assert!(unknown.text.contains("no_such_tool"));
    let id = "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let mut seen = Vec::new();
    for (tool, arguments, named) in [
        ("create_session", json!({}), "prompt"),
        ("create_session", json!({"prompt": 3}), "prompt"),
        ("create_session", json!({"prompt": null}), "prompt"),
        ("create_session", json!({"prompt": ""}), "prompt"),
        ("create_session", json!({"prompt": " \n"}), "prompt"),
        ("create_session", json!({"prompt": "a\0b"}), "prompt"),
        (
            "create_session",
            json!({"prompt": "x", "surprise": 1}),
            "surprise",
        ),
        (
            "create_session",
            json!({"prompt": "x", "permission_mode": "yolo"}),
            "permission_mode",
        ),
        (
            "create_session",
            json!({"prompt": "x", "permission_mode": "bypass"}),
            "SHANNON_ALLOW_BYPASS_PERMISSIONS",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 0}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 101}),
            "SHANNON_MAX_TURNS",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 1.5}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 99_999_999_999_u64}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_budget_usd": -1}),
            "max_budget_usd",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_budget_usd": 11}),
            "SHANNON_MAX_BUDGET_USD",
        ),
        (
            "create_session",
            json!({"prompt": "x", "model": "--help"}),
            "model",
        ),
        (
            "create_session",
            json!({"prompt": "x", "tags": ["a\nb"]}),
            "tags",
        ),
        (
            "create_session",
            json!({"prompt": "x", "client_token": "has space"}),
            "client_token",
        ),
        (
            "create_session",
            json!({"prompt": "x", "message_id": "a b"}),
            "message_id",
        ),
        (
            "create_session",
            json!({"prompt": "x", "attachments": [{"upload_id": "u", "name": "n"}]}),
            "upload_id",
        ),
        (
            "create_session",
            json!({"prompt": "x", "attachments": [{"upload_id": "upl_aaaaaaaaaaaaaaaaaaaaaaaaaa", "name": "n"}]}),
            "create_upload",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"git_url": "https://e.com/a", "directory": "/a"}}),
            "one of",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"git_ref": "main"}}),
            "git_url",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"upload_id": "upl_x"}}),
            "upload_id",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"subdirectory": "a"}}),
            "subdirectory",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"directory": "/etc"}}),
            "directories",
        ),
        (
            "wait_session",
            json!({"session_id": id, "wait_seconds": 51}),
            "wait_seconds",
        ),
        (
            "wait_session",
            json!({"session_id": id, "wait_seconds": -1}),
            "wait_seconds",
        ),
        (
            "wait_session",
            json!({"session_id": id, "response_budget_characters": 1}),
            "response_budget_characters",
        ),
        (
            "wait_session",
            json!({"session_id": id, "cursor": "mine"}),
            "cursor",
        ),
        (
            "wait_session",
            json!({"session_id": id, "until": "later"}),
            "until",
        ),
        ("send_message", json!({"session_id": id}), "message"),
        (
            "send_message",
            json!({"session_id": id, "message": "x", "message_id": "a b"}),
            "message_id",
        ),
        ("run_command", json!({"session_id": id}), "command"),
        (
            "run_command",
            json!({"session_id": id, "command": ""}),
            "command",
        ),
        (
            "run_command",
            json!({"session_id": id, "command": " \n"}),
            "command",
        ),
        (
            "run_command",
            json!({"session_id": id, "command": "a\0b"}),
            "NUL",
        ),
        (
            "run_command",
            json!({"session_id": id, "command": "ls", "timeout_seconds": 0}),
            "timeout_seconds",
        ),
        (
            "run_command",
            json!({"session_id": id, "command": "ls", "timeout_seconds": 601}),
            "timeout_seconds",
        ),
        (
            "run_command",
            json!({"session_id": id, "command": "ls", "message_id": "a b"}),
            "message_id",
        ),
        (
            "run_command",
            json!({"session_id": "x", "command": "ls"}),
            "session_id",
        ),
        (
            "read_file",
            json!({"session_id": id, "path": "../x"}),
            "path",
        ),
        (
            "read_file",
            json!({"session_id": id, "path": "/etc/passwd"}),
            "path",
        ),
        ("read_file", json!({"session_id": id, "path": ""}), "path"),
        (
            "read_file",
            json!({"session_id": id, "path": "a", "length": 0}),
            "length",
        ),
        (
            "get_session",
            json!({"session_id": "../../etc"}),
            "session_id",
        ),
        ("get_session", json!({"session_id": 7}), "session_id"),
        ("list_sessions", json!({"limit": 0}), "limit"),
        ("list_sessions", json!({"limit": 51}), "limit"),
        ("list_sessions", json!({"cursor": "made-up"}), "cursor"),
        ("list_sessions", json!({"states": ["sleeping"]}), "states"),
        (
            "list_sessions",
            json!({"created_from": "yesterday"}),
            "created_from",
        ),
        (
            "read_file",
            json!({"session_id": id, "path": "a", "checkpoint": "a b"}),
            "ref",
        ),
        (
            "answer_question",
            json!({"session_id": id, "question_id": "q"}),
            "answers",
        ),
        (
            "answer_question",
            json!({"session_id": id, "question_id": "q", "answers": {}}),
            "answers",
        ),
        (
            "answer_question",
            json!({"session_id": id, "question_id": "q", "answers": {"Which?": 1}}),
            "answers",
        ),
        (
            "answer_question",
            json!({"session_id": id, "question_id": "a b", "answers": {"Which?": "x"}}),
            "question_id",
        ),
        ("suspend_session", json!({"session_id": "x"}), "session_id"),
        (
            "create_checkpoint",
            json!({"session_id": id, "message": "x".repeat(4097)}),
            "message",
        ),
        (
            "create_checkpoint",
            json!({"session_id": id, "message": "é".repeat(4000)}),
            "message",
        ),
        (
            "create_checkpoint",
            json!({"session_id": id, "tags": ["a\nb"]}),
            "tags",
        ),
        (
            "list_checkpoints",
            json!({"session_id": id, "limit": 101}),
            "limit",
        ),
        (
            "list_checkpoints",
            json!({"session_id": id, "before": 0}),
            "before",
        ),
        ("diff_checkpoints", json!({"session_id": id}), "from"),
        (
            "diff_checkpoints",
            json!({"session_id": id, "from": "chk_1"}),
            "checkpoint_id",
        ),
        (
            "export_workspace",
            json!({"session_id": id, "since": "a b"}),
            "ref",
        ),
        ("pin_checkpoint", json!({"session_id": id}), "checkpoint"),
        ("name_checkpoint", json!({"session_id": id}), "name"),
        (
            "name_checkpoint",
            json!({"session_id": id, "name": "a b"}),
            "name",
        ),
        (
            "name_checkpoint",
            json!({"session_id": id, "name": "latest"}),
            "name",
        ),
        (
            "create_session",
            json!({"prompt": "x", "checkpoint_strategy": "sometimes"}),
            "checkpoint_strategy",
        ),
        (
            "create_session",
            json!({"prompt": "x", "checkpoint_ignore": ["a\nb"]}),
            "checkpoint_ignore",
        ),
        (
            "create_session",
            json!({"prompt": "x", "checkpoint_ignore": ["é".repeat(200)]}),
            "checkpoint_ignore",
        ),
        (
            "create_session",
            json!({"prompt": "x", "checkpoint_ignore": vec!["x"; 101]}),
            "checkpoint_ignore",
        ),
        (
            "restore_checkpoint",
            json!({"session_id": id, "checkpoint": "latest", "what": "files"}),
            "what",
        ),
        (
            "fork_session",
            json!({"session_id": id, "client_token": "a b"}),
            "client_token",
        ),
        (
            "fork_session",
            json!({"session_id": id, "prompt": " "}),
            "prompt",
        ),
        (
            "get_timeline",
            json!({"session_id": id, "checkpoints": 0}),
            "checkpoints",
        ),
        (
            "delete_session",
            json!({"session_id": id, "erase": "yes"}),
            "erase",
        ),
        ("create_upload", json!({"bytes": 0}), "bytes"),
        ("create_upload", json!({"bytes": "many"}), "bytes"),
        (
            "create_upload",
            json!({"bytes": 104_857_601}),
            "SHANNON_MAX_UPLOAD_BYTES",
        ),
    ] {
        let said = client.refusal(tool, arguments.clone()).await;
        assert!(
            said.contains(named),
            "{tool} {arguments} must name {named}: {said}"
        );
        seen.push(format!("{tool} {arguments}\n  {said}"));
    }
    insta::assert_snapshot!("arguments", seen.join("\n"));
    assert_eq!(client.fake.session_keys(), []);
}

#[tokio::test]
async fn git_sources_are_refused_without_repeating_secrets() {
    let client = Client::new(Class::Call);
    for url in [
        "file:///etc",
        "ext::sh -c id",
        "--upload-pack=id",
        "https://user:hunter2@example.com/a.git",
        "https://hunter2@example.com/a.git",
        "http://example.com/a.git",
        "",
    ] {
        let workspace = json!({"git_url": url});
        let said = client
            .refusal(
                "create_session",
                json!({"prompt": "x", "workspace": workspace}),
            )
            .await;
        assert!(said.contains("workspace.git_url"), "{url}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for reference in ["--upload-pack=id", "a..b", "a b", ""] {
        let workspace = json!({"git_url": "https://example.com/a.git", "git_ref": reference});
        let said = client
            .refusal(
                "create_session",
                json!({"prompt": "x", "workspace": workspace}),
            )
            .await;
        assert!(said.contains("workspace.git_ref"), "{reference}: {said}");
    }
}

#[tokio::test]
async fn unknown_and_foreign_sessions_get_the_same_answer() {
    let client = Client::new(Class::Call);
    let created = client
        .call("create_session", json!({"prompt": "mine"}))
        .await;
    let mine = created["session_id"].as_str().expect("an id");
    let stranger = Client::of(Class::Call, client.fake.clone()).caller("stranger");
    let mut answers = Vec::new();
    for id in [mine, "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        for (tool, arguments) in [
            ("get_session", json!({"session_id": id})),
            ("wait_session", json!({"session_id": id, "wait_seconds": 0})),
            ("send_message", json!({"session_id": id, "message": "x"})),
            ("run_command", json!({"session_id": id, "command": "x"})),
            ("interrupt_session", json!({"session_id": id})),
            (
                "interrupt_session",
                json!({"session_id": id, "message_id": "m"}),
            ),
            ("cancel_session", json!({"session_id": id})),
            ("read_file", json!({"session_id": id, "path": "a"})),
            (
                "read_file",
                json!({"session_id": id, "path": "a", "checkpoint": "latest"}),
            ),
            (
                "answer_question",
                json!({"session_id": id, "question_id": "q", "answers": {"a": "b"}}),
            ),
            ("suspend_session", json!({"session_id": id})),
            ("create_checkpoint", json!({"session_id": id})),
            ("list_checkpoints", json!({"session_id": id})),
            (
                "diff_checkpoints",
                json!({"session_id": id, "from": "latest"}),
            ),
            ("export_workspace", json!({"session_id": id})),
            (
                "pin_checkpoint",
                json!({"session_id": id, "checkpoint": "latest"}),
            ),
            ("name_checkpoint", json!({"session_id": id, "name": "good"})),
            (
                "name_checkpoint",
                json!({"session_id": id, "name": "good", "remove": true}),
            ),
            (
                "restore_checkpoint",
                json!({"session_id": id, "checkpoint": "latest"}),
            ),
            ("fork_session", json!({"session_id": id})),
            ("get_timeline", json!({"session_id": id})),
            ("delete_session", json!({"session_id": id})),
            ("delete_session", json!({"session_id": id, "erase": true})),
        ] {
            answers.push(stranger.refusal(tool, arguments).await);
        }
    }
    answers.dedup();
    assert_eq!(
        answers,
        ["no session with this id; list_sessions shows yours"]
    );
    let head = client.fake.peek_head(&client.key(mine)).expect("untouched");
    assert_eq!(head.state, State::Requested);
}

#[tokio::test]
async fn an_ended_session_says_so() {
    let client = Client::new(Class::Call);
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let id = created["session_id"].as_str().expect("an id");
    let ended = client
        .call(
            "cancel_session",
            json!({"session_id": id, "reason": "enough"}),
        )
        .await;
    assert_eq!(
        (&ended["state"], &ended["end_reason"]),
        (&json!("cancelled"), &json!("enough"))
    );
    for (tool, arguments) in [
        ("send_message", json!({"session_id": id, "message": "x"})),
        ("run_command", json!({"session_id": id, "command": "x"})),
        ("interrupt_session", json!({"session_id": id})),
        ("read_file", json!({"session_id": id, "path": "a"})),
        (
            "answer_question",
            json!({"session_id": id, "question_id": "q", "answers": {"a": "b"}}),
        ),
        ("suspend_session", json!({"session_id": id})),
        ("create_checkpoint", json!({"session_id": id})),
        (
            "restore_checkpoint",
            json!({"session_id": id, "checkpoint": "latest"}),
        ),
    ] {
        let said = client.refusal(tool, arguments).await;
        assert!(said.contains("cancelled"), "{tool}: {said}");
    }
    let foreign_cursor = client
        .refusal(
            "wait_session",
            json!({"session_id": id, "cursor": "c1-99", "wait_seconds": 0}),
        )
        .await;
    assert!(foreign_cursor.contains("cursor"), "{foreign_cursor}");
}

#[tokio::test]
async fn a_failing_service_is_no_protocol_error_and_repeating_is_safe() {
    let request = json!({"prompt": "x", "client_token": "t", "message_id": "first"});
    for time in [FaultTime::Before, FaultTime::After] {
        for call in 1..4 {
            let client = Client::new(Class::Call);
            client.fake.fail_call(call, time);
            let answer = client.tool("create_session", request.clone()).await;
            let result = answer.result();
            if result["isError"] == true {
                let said = result["content"][0]["text"].as_str().expect("text");
                assert!(said.contains("client_token"), "{said}");
                assert!(!said.contains("injected"), "causes are for the log: {said}");
            }
            client.fake.no_more_faults();
            client.call("create_session", request.clone()).await;
            assert_eq!(client.fake.session_keys().len(), 1, "{call} {time:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_arguments_are_answered(id in "\\PC{0,40}", text in "\\PC{0,40}", number in any::<i64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = Client::new(Class::Call);
            for (tool, arguments) in [
                ("wait_session", json!({"session_id": id, "cursor": text, "wait_seconds": number})),
                ("send_message", json!({"session_id": id, "message": text, "message_id": text})),
                ("read_file", json!({"session_id": id, "path": text, "offset": number})),
                ("run_command", json!({"session_id": id, "command": text, "timeout_seconds": number})),
                ("list_sessions", json!({"cursor": text, "tags": [text], "created_from": number})),
                ("create_session", json!({"prompt": "x", "workspace": {"git_url": text, "subdirectory": id}})),
            ] {
                let answer = client.tool(tool, arguments).await;
                assert_eq!(answer.status, StatusCode::OK);
                answer.result();
            }
        });
    }
}
