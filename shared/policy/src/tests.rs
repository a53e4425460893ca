//! The modes as a table, and paths under random attack.

use std::path::{Component, Path, PathBuf};

use domain::PermissionMode::{self, AcceptEdits, Bypass, Review};
use proptest::prelude::*;
use serde_json::json;

use super::*;

struct NoLinks;
impl Files for NoLinks {
    fn meets_link(&self, _: &[&str]) -> bool {
        false
    }
}

struct LinkAt(&'static str);
impl Files for LinkAt {
    fn meets_link(&self, components: &[&str]) -> bool {
        components.contains(&self.0)
    }
}

const PLACE: Place<'static> = Place {
    workspace: "/workspace",
    working_directory: "/workspace/sub",
    readable: &["/claude/projects"],
    git_is_trusted: true,
};

fn decided(mode: PermissionMode, tool: &str, input: Value) -> Decision {
    let call = Call {
        tool,
        input: &input,
        cli_mode: Some("default"),
    };
    decide(mode, true, &call, &PLACE, &NoLinks)
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Judge => "judge",
        Decision::Deny { .. } => "deny",
    }
}

#[test]
fn the_modes() {
    let inside = json!({"file_path": "/workspace/a.rs"});
    let table = [
        ("Read", inside.clone(), ["allow", "allow", "allow"]),
        (
            "Read",
            json!({"file_path": "a.rs"}),
            ["allow", "allow", "allow"],
        ),
        (
            "Read",
            json!({"file_path": "/etc/passwd"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Read",
            json!({"file_path": "/claude/projects/x/tool-results/1.txt"}),
            ["allow", "allow", "allow"],
        ),
        (
            "Read",
            json!({"file_path": "/claude/settings.json"}),
            ["deny", "deny", "allow"],
        ),
        ("Read", json!({}), ["deny", "deny", "allow"]),
        (
            "Glob",
            json!({"pattern": "**/*.rs"}),
            ["allow", "allow", "allow"],
        ),
        (
            "Glob",
            json!({"pattern": "/etc/*"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Glob",
            json!({"pattern": "{.,x}{.,y}/*"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Grep",
            json!({"pattern": "x", "path": "/"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Grep",
            json!({"pattern": "../x"}),
            ["allow", "allow", "allow"],
        ),
        ("Write", inside.clone(), ["deny", "allow", "allow"]),
        (
            "Edit",
            json!({"file_path": "/workspace/../etc/passwd"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Edit",
            json!({"file_path": " /etc/passwd"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Write",
            json!({"file_path": "~/.bashrc"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Write",
            json!({"file_path": "/workspace"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Write",
            json!({"file_path": "/workspacex/a"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Write",
            json!({"file_path": "/workspace/.git/config"}),
            ["deny", "deny", "allow"],
        ),
        (
            "Write",
            json!({"file_path": "a/.GIT/hooks/x"}),
            ["deny", "deny", "allow"],
        ),
        (
            "NotebookEdit",
            json!({"notebook_path": "a.ipynb"}),
            ["deny", "allow", "allow"],
        ),
        ("NotebookEdit", inside, ["deny", "deny", "allow"]),
        (
            "Bash",
            json!({"command": "ls"}),
            ["judge", "judge", "allow"],
        ),
        ("Bash", json!({"command": 1}), ["deny", "deny", "allow"]),
        ("Task", json!({}), ["allow", "allow", "allow"]),
        (
            "WebFetch",
            json!({"url": "https://example.com"}),
            ["deny", "deny", "allow"],
        ),
        ("Skill", json!({}), ["deny", "deny", "allow"]),
        ("AskUserQuestion", json!({}), ["deny", "deny", "allow"]),
        ("mcp__x__y", json!({}), ["deny", "deny", "allow"]),
        ("BrandNew", json!({}), ["deny", "deny", "allow"]),
    ];
    for (tool, input, expected) in table {
        for (mode, expected) in [Review, AcceptEdits, Bypass].into_iter().zip(expected) {
            let decision = decided(mode, tool, input.clone());
            assert_eq!(word(&decision), expected, "{mode} {tool} {input}");
        }
    }
}

#[test]
fn bypass_needs_the_deployment() {
    let call = Call {
        tool: "Bash",
        input: &json!({"command": "ls"}),
        cli_mode: Some("default"),
    };
    assert_eq!(
        word(&decide(Bypass, false, &call, &PLACE, &NoLinks)),
        "deny"
    );
}

#[test]
fn a_prompt_is_never_left_to_judgement() {
    let call = Call {
        tool: "Bash",
        input: &json!({"command": "touch x"}),
        cli_mode: Some("default"),
    };
    let Decision::Deny { reason } = decide_prompt(Review, true, &call, &PLACE, &NoLinks) else {
        panic!("it ran")
    };
    assert!(reason.contains("approvals are not available"), "{reason}");
    assert!(reason.contains("accept_edits"), "{reason}");
}

#[test]
fn the_cli_judges_in_its_default_mode_only() {
    for cli_mode in [
        None,
        Some("acceptEdits"),
        Some("bypassPermissions"),
        Some("plan"),
    ] {
        let call = Call {
            tool: "Bash",
            input: &json!({"command": "ls"}),
            cli_mode,
        };
        assert_eq!(
            word(&decide(Review, true, &call, &PLACE, &NoLinks)),
            "deny",
            "{cli_mode:?}"
        );
    }
}

#[test]
fn git_with_foreign_configuration_does_not_run() {
    let place = Place {
        git_is_trusted: false,
        ..PLACE
    };
    for command in [
        "git status",
        "cd x && g\"i\"t log",
        "/usr/bin/\\git diff",
        "g\\\nit log",
    ] {
        let call = Call {
            tool: "Bash",
            input: &json!({"command": command}),
            cli_mode: Some("default"),
        };
        assert_eq!(
            word(&decide(Review, true, &call, &place, &NoLinks)),
            "deny",
            "{command}"
        );
        assert_eq!(
            word(&decide(Review, true, &call, &PLACE, &NoLinks)),
            "judge",
            "{command}"
        );
    }
}

#[test]
fn links_are_not_followed() {
    for (tool, mode) in [("Read", Review), ("Write", AcceptEdits)] {
        let call = Call {
            tool,
            input: &json!({"file_path": "/workspace/out/a"}),
            cli_mode: Some("default"),
        };
        assert_eq!(
            word(&decide(mode, true, &call, &PLACE, &LinkAt("out"))),
            "deny"
        );
        assert_eq!(
            word(&decide(mode, true, &call, &PLACE, &LinkAt("other"))),
            "allow"
        );
    }
}

fn resolved(text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in Path::new("/workspace/sub").join(text).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

proptest! {
    #[test]
    fn an_edit_that_runs_is_inside_for_everyone(text in "[/.~a ]{0,3}(workspace)?[/.a-b ~\\\\\n]{0,24}") {
        let decision = decided(AcceptEdits, "Write", json!({"file_path": text}));
        if decision == Decision::Allow {
            prop_assert!(resolved(&text).starts_with("/workspace"));
            prop_assert!(resolved(text.trim()).starts_with("/workspace"));
            prop_assert!(!text.trim().starts_with('~'));
        }
    }

    #[test]
    fn plain_names_are_always_editable(text in "[a-z]{1,8}(/[a-z]{1,8}){0,4}\\.rs") {
        prop_assert_eq!(decided(AcceptEdits, "Write", json!({"file_path": text})), Decision::Allow);
    }

    #[test]
    fn hostile_input_never_panics_and_never_edits_in_review(tool in "[A-Za-z_]{0,12}", text in any::<String>()) {
        for input in [json!(null), json!(text), json!([text]), json!({"file_path": text, "command": text, "path": text, "pattern": text})] {
            let decision = decided(Review, &tool, input.clone());
            if !READ_TOOLS.iter().any(|(name, _)| *name == tool) && !HARMLESS_TOOLS.contains(&&*tool) && tool != "Task" && tool != "Agent" {
                prop_assert_ne!(decision, Decision::Allow);
            }
            for (name, _) in EDIT_TOOLS {
                let refused = matches!(decided(Review, name, input.clone()), Decision::Deny { .. });
                prop_assert!(refused);
            }
        }
    }
}
