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
    let whole = |value: &str| {
        json!({
            "value": value,
            "ttl": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"},
            "stream": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            "indexes": ["by_owner", "live"],
        })
    };
    assert_eq!(text(answer, "restore", "out"), "looked-at");
    assert_eq!(answer["restored"], whole("before"));
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
    assert_eq!(answer["replaced"], whole("before"));
    let replaced = text(answer, "replace", "out");
    assert!(replaced.contains("the table as it was: arn:"), "{replaced}");
    assert!(replaced.ends_with(table), "{replaced}");
    let mappings = |name: &str| answer[name].as_array().expect("a list").len();
    assert_eq!(mappings("mappings_before"), 1, "{answer}");
    assert_eq!(mappings("mappings_after"), 1, "{answer}");

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
