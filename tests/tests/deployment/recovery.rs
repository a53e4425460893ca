//! The scripts for backups, restoring and going back: what they did to a stack in an AWS emulator that we did
//! not write (`recovery.py` runs them), and the linter of shell scripts.

use std::process::Command;

use e2e::{checkout, installed};
use serde_json::{Value, json};

fn text<'a>(answer: &'a Value, name: &str, field: &str) -> &'a str {
    answer[name][field].as_str().unwrap_or_default()
}

fn succeeded(answer: &Value, name: &str) {
    assert_eq!(answer[name]["code"], 0, "{name}: {}", answer[name]);
}

/// What `recovery.py` saw.
pub(crate) fn check(answer: &Value) {
    let table = answer["table"].as_str().expect("a name");
    for name in [
        "dry_backup",
        "backup",
        "restore",
        "latest",
        "dry_replace",
        "replace",
        "list",
        "prune",
    ] {
        succeeded(answer, name);
    }
    assert!(text(answer, "dry_backup", "out").contains("would back up the table"));
    let backup = text(answer, "backup", "out");
    assert!(backup.contains("/backup/"), "{backup}");
    let whole = |value: &str, protected: bool| {
        json!({
            "value": value, "protected": protected, "point_in_time": "ENABLED",
            "ttl": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"},
            "stream": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            "indexes": ["by_owner", "live"],
        })
    };
    assert_eq!(text(answer, "restore", "out"), "looked-at");
    assert_eq!(answer["restored"], whole("before", false));
    assert_eq!(
        answer["untouched"], "after",
        "the stack's table is as it was"
    );
    assert_eq!(answer["latest_value"], "after");
    assert_ne!(answer["two_sources"]["code"], 0);
    assert!(text(answer, "two_sources", "errors").contains("say one of"));

    let dry = text(answer, "dry_replace", "out");
    assert!(
        dry.contains("would run: aws dynamodb delete-table"),
        "{dry}"
    );
    assert_eq!(answer["still"], "after", "a dry run changes nothing");
    // Cut after the deletion, after the new table's creation, after the new mapping's; then to its end.
    let cut = answer["cut"].as_array().expect("a list");
    let ended = |run: &Value| run["code"] == -9 || run["code"] == 137;
    assert!(cut.iter().all(ended), "{cut:?}");
    let said = |number: usize| cut[number]["out"].as_str().unwrap_or_default();
    assert!(said(0).contains("the table as it was: arn:"), "{cut:?}");
    assert!(said(1).contains("is not there: going on"), "{cut:?}");
    assert!(said(2).contains("another one than before"), "{cut:?}");
    assert_eq!(answer["half"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(answer["replaced"], whole("before", true));
    let replaced = text(answer, "replace", "out");
    assert!(replaced.contains("going on where"), "{replaced}");
    assert!(replaced.ends_with(table), "{replaced}");
    let mappings = answer["mappings_before"].as_array().expect("a list");
    assert_eq!(mappings.len(), 1, "{answer}");
    assert_eq!(mappings[0]["current"], true, "{answer}");
    assert!(mappings[0]["FilterCriteria"].is_object(), "{answer}");
    assert_eq!(
        answer["mappings_after"], answer["mappings_before"],
        "the same for the new stream, and only that"
    );

    let lines = |name: &str| text(answer, name, "out").lines().count();
    assert!(lines("list") >= 2, "{}", answer["list"]);
    assert_eq!(
        lines("list_after"),
        1,
        "the newest stays: {}",
        answer["list_after"]
    );

    let image = |number: &str| format!("example.com/session-runner@sha256:{}", number.repeat(64));
    assert_eq!(answer["before"], json!([["3"], image("2")]));
    succeeded(answer, "dry_rollback");
    assert_eq!(
        answer["meanwhile"],
        json!([["3"], image("2"), 0]),
        "a dry run changes nothing and asks nobody"
    );
    succeeded(answer, "rollback");
    assert_eq!(answer["rolled_back"], json!([["2"], image("1")]));
    let said = text(answer, "rollback", "out");
    assert!(
        said.contains("version 3 -> 2") && said.ends_with("/ready: well"),
        "{said}"
    );
    assert_ne!(answer["never_ready"]["code"], 0);
    let errors = text(answer, "never_ready", "errors");
    assert!(
        errors.contains("is not well after 1 s") || errors.contains("nothing to return to"),
        "{errors}"
    );
}

#[test]
fn shellcheck_has_nothing_to_say_of_the_scripts() {
    let scripts = ["infra/backup", "infra/restore", "infra/rollback"];
    let output = Command::new(installed::shellcheck())
        .args(scripts)
        .current_dir(checkout::root())
        .output()
        .expect("shellcheck runs");
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{found}");
}
