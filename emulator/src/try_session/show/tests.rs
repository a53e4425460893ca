//! What each event looks like.

use serde_json::json;

use super::*;

fn event(kind: &str, body: Value) -> Value {
    json!({"sequence": 1, "kind": kind, "body": body})
}

fn plain() -> Show {
    Show::new(Style::Plain, "s1".to_owned())
}

#[test]
fn streamed_text_is_not_repeated() {
    let mut show = Show::new(Style::Colours, "s1".to_owned());
    assert_eq!(show.live("Hel"), "Hel");
    assert_eq!(show.live("Hello"), "lo");
    assert_eq!(
        show.event(&event("text", json!({"text": "Hello you"}))),
        " you\n"
    );
    assert_eq!(
        show.event(&event("text", json!({"text": "Next"}))),
        "Next\n"
    );
    show.live("cut of");
    assert_eq!(plain().live("unfinished"), "");
    let call = event(
        "tool_call",
        json!({"tool": "Bash", "input": "{\"command\":\"ls\\n-l\"}"}),
    );
    assert_eq!(show.event(&call), "\n\u{1b}[1m> Bash\u{1b}[0m ls -l\n");
}

#[test]
fn what_happens_is_said() {
    let mut show = plain();
    for (kind, body, expected) in [
        (
            "tool_call",
            json!({"tool": "Write", "input": {"file_path": "a.txt", "content": "x"}}),
            "> Write a.txt\n",
        ),
        (
            "tool_call",
            json!({"tool": "mcp", "input": "{\"x\":1}"}),
            "> mcp {\"x\":1}\n",
        ),
        (
            "tool_result",
            json!({"is_error": false, "text": "1\n2\n3\n4\n5\n6\n7\n"}),
            "  1\n  2\n  3\n  4\n  5\n  6 ... (2 more characters)\n",
        ),
        (
            "tool_denied",
            json!({"tool": "Bash", "reason": "review mode"}),
            "  denied: Bash: review mode\n",
        ),
        (
            "retry",
            json!({"attempt": 2, "attempts": 10, "delay_ms": 1500, "status": 529, "message": "overloaded"}),
            "  the model failed (HTTP 529, overloaded), attempt 2 of 10, again in 1.5 s\n",
        ),
        (
            "state_changed",
            json!({"from": "running", "to": "idle"}),
            "",
        ),
        (
            "something_new",
            json!({"a": 1}),
            "something_new: {\"a\":1}\n",
        ),
        ("text", json!({"text": "ok\u{1b}[31m!"}), "ok[31m!\n"),
    ] {
        assert_eq!(show.event(&event(kind, body)), expected, "{kind}");
    }
}

#[test]
fn the_end_shows_diff_cost_and_outcome() {
    let mut show = plain();
    assert!(
        !show.state("idle"),
        "idle before the first turn is not the end"
    );
    show.event(&event("files_changed", json!({
        "files": [{"path": "a.txt", "change": "added"}], "patch": "--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1 @@\n+hi\n"
    })));
    for id in ["chk_1", "chk_2"] {
        let taken = json!({"checkpoint_id": id, "trigger": "turn", "files": 1, "new_bytes": 3});
        let live = show.event(&event("checkpoint_created", taken));
        assert!(
            live.starts_with(&format!("checkpoint {id} (turn)")),
            "{live}"
        );
    }
    let end = json!({"is_error": false, "subtype": "success", "total_cost_usd": 0.0123, "duration_ms": 2500});
    show.event(&event("turn_ended", end));
    assert!(show.state("idle") && show.succeeded());
    let text = show.finish(false, true);
    for part in [
        "1 changed files",
        "added a.txt",
        "\n+hi\n",
        "done: $0.0123, 2.5 s",
        "s1 is kept",
        "get_timeline (session_id s1)",
        "diff_checkpoints (from chk_2)",
        "restore_checkpoint (checkpoint chk_2)",
        "fork_session (checkpoint chk_2)",
        "export_workspace (checkpoint chk_2)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!show.finish(false, false).contains("get_timeline"));
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn failures_are_failures() {
    let mut show = plain();
    let shown = show.event(&event(
        "turn_ended",
        json!({"is_error": true, "subtype": "success", "text": "API Error: 400"}),
    ));
    assert!(shown.contains("API Error: 400"));
    assert!(show.state("idle") && !show.succeeded());
    let mut show = plain();
    show.event(&event(
        "session_ended",
        json!({"state": "failed", "reason": "the CLI is missing"}),
    ));
    assert!(show.state("failed") && !show.succeeded());
    assert!(show.finish(true, false).contains("interrupted"));
}

#[test]
fn styles() {
    let mut show = Show::new(Style::Colours, "s".to_owned());
    let shown = show.event(&event("tool_call", json!({"tool": "Read", "input": {}})));
    assert!(shown.starts_with("\u{1b}[1m> Read\u{1b}[0m"));
    let mut show = Show::new(Style::Json, "s".to_owned());
    let one = event("text", json!({"text": "x"}));
    assert_eq!(show.event(&one), format!("{one}\n"));
    assert_eq!(
        show.begin() + &show.live("x") + &show.finish(false, false),
        ""
    );
}

#[test]
fn nothing_is_said_twice() {
    let mut show = plain();
    let denied = json!({"tool_use_id": "t1", "tool": "Bash", "reason": "review mode"});
    assert!(
        show.event(&event("tool_denied", denied))
            .contains("review mode")
    );
    let result = |id: &str| json!({"tool_use_id": id, "is_error": true, "text": "refused"});
    assert_eq!(show.event(&event("tool_result", result("t1"))), "");
    assert_eq!(
        show.event(&event("tool_result", result("t2"))),
        "  refused\n"
    );
    show.event(&event("text", json!({"text": "API Error: 400"})));
    let end = json!({
        "is_error": true, "subtype": "success", "terminal_reason": "api_error", "text": "API Error: 400",
    });
    assert_eq!(
        show.event(&event("turn_ended", end)),
        "the turn failed (api_error)\n"
    );
}
