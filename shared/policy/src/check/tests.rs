//! Calls of all tools, modes and added policies; what is asked fits the schema.

use domain::PermissionMode::{AcceptEdits, Bypass, Review};
use serde_json::{Value as Json, json};

use super::*;
use crate::Place;
use crate::rules::{Added, Author, Tier, schema};

struct Links(&'static str);

impl Files for Links {
    fn meets_link(&self, components: &[&str]) -> bool {
        components.contains(&self.0)
    }
}

const SURROUNDINGS: Surroundings<'static> = Surroundings {
    place: Place {
        workspace: "/workspace",
        working_directory: "/workspace/sub",
        readable: &["/session/results"],
        git_is_trusted: true,
    },
    home: "/home/session",
    protected: &["/session/gate"],
};

const CALLER: Caller<'static> = Caller {
    owner: "owner",
    tags: &["prod"],
    mode: Review,
    bypass_permitted: true,
    origin: "git",
    subagent: false,
};

fn decided(tool: &str, input: &Json, caller: &Caller<'_>, policies: &Policies) -> Checked {
    let call = Call {
        tool,
        input,
        cli_mode: Some("default"),
    };
    check(&call, caller, policies, &SURROUNDINGS, &Links("link"))
}

fn policies(tier: Tier, added: &str) -> Policies {
    let added = Added::parse(Author::Owner, added).expect("policies");
    Policies::new(tier, &[&added]).expect("policies")
}

#[test]
fn the_tools_in_every_tier_and_mode() {
    // Each: review, accept_edits, bypass in the tier review; then review in auto, bypass in strict.
    let table = [
        (
            "Read",
            json!({"file_path": "/workspace/a.rs"}),
            "allow allow allow allow allow",
        ),
        (
            "Read",
            json!({"file_path": "a.rs"}),
            "allow allow allow allow allow",
        ),
        (
            "Read",
            json!({"file_path": "/session/results/1.txt"}),
            "allow allow allow allow allow",
        ),
        (
            "Read",
            json!({"file_path": "/usr/include/stdio.h"}),
            "ask ask allow allow ask",
        ),
        (
            "Read",
            json!({"file_path": "/home/session/notes"}),
            "ask ask allow ask ask",
        ),
        (
            "Read",
            json!({"file_path": "/home/session/.ssh/id_rsa"}),
            "deny deny deny deny deny",
        ),
        (
            "Read",
            json!({"file_path": "/workspace/link/a"}),
            "ask ask allow ask deny",
        ),
        (
            "Read",
            json!({"file_path": "../x"}),
            "deny deny deny deny deny",
        ),
        (
            "Read",
            json!({"file_path": "~/x"}),
            "deny deny deny deny deny",
        ),
        ("Read", json!({}), "deny deny deny deny deny"),
        (
            "Glob",
            json!({"pattern": "**/*.rs"}),
            "allow allow allow allow allow",
        ),
        (
            "Glob",
            json!({"pattern": "/etc/*"}),
            "deny deny deny deny deny",
        ),
        (
            "Grep",
            json!({"pattern": "../x"}),
            "allow allow allow allow allow",
        ),
        (
            "Grep",
            json!({"pattern": "x", "path": "/"}),
            "ask ask allow allow ask",
        ),
        (
            "Write",
            json!({"file_path": "a.rs"}),
            "ask allow allow allow ask",
        ),
        (
            "Edit",
            json!({"file_path": "/workspace/.git/config"}),
            "ask ask allow ask ask",
        ),
        (
            "Write",
            json!({"file_path": "/session/gate/settings.json"}),
            "deny deny deny deny deny",
        ),
        (
            "Write",
            json!({"file_path": "/dev/sda"}),
            "deny deny deny deny deny",
        ),
        (
            "Write",
            json!({"file_path": "/etc/hosts"}),
            "ask ask allow ask ask",
        ),
        (
            "NotebookEdit",
            json!({"notebook_path": "a.ipynb"}),
            "ask allow allow allow ask",
        ),
        (
            "WebFetch",
            json!({"url": "https://example.com/"}),
            "ask ask allow allow ask",
        ),
        (
            "WebFetch",
            json!({"url": "http://2852039166/"}),
            "deny deny deny deny deny",
        ),
        (
            "WebFetch",
            json!({"url": "http://10.0.0.1/"}),
            "ask ask allow ask ask",
        ),
        ("WebFetch", json!({"url": 7}), "deny deny deny deny deny"),
        (
            "WebSearch",
            json!({"query": "x"}),
            "ask ask allow allow ask",
        ),
        (
            "Bash",
            json!({"command": "ls"}),
            "allow allow allow allow allow",
        ),
        (
            "Bash",
            json!({"command": "ls", "description": "x", "timeout": 5}),
            "allow allow allow allow allow",
        ),
        (
            "Bash",
            json!({"command": "ls", "dangerouslyDisableSandbox": true}),
            "ask ask allow ask ask",
        ),
        (
            "Bash",
            json!({"command": "cargo test"}),
            "ask ask allow allow ask",
        ),
        (
            "Bash",
            json!({"command": "echo x > a"}),
            "ask ask allow allow ask",
        ),
        (
            "Bash",
            json!({"command": "sudo ls"}),
            "deny deny deny deny deny",
        ),
        (
            "Bash",
            json!({"command": ""}),
            "allow allow allow allow allow",
        ),
        ("Bash", json!({"command": 1}), "deny deny deny deny deny"),
        (
            "Task",
            json!({"prompt": "x", "subagent_type": "y"}),
            "allow allow allow allow allow",
        ),
        (
            "Task",
            json!({"prompt": "x", "isolation": "worktree"}),
            "ask ask allow ask ask",
        ),
        ("TodoWrite", json!({}), "allow allow allow allow allow"),
        ("mcp__x__y", json!({}), "ask ask allow ask ask"),
        ("BrandNew", json!({}), "ask ask allow ask ask"),
    ];
    let (auto, review, strict) = (
        policies(Tier::Auto, ""),
        policies(Tier::Review, ""),
        policies(Tier::Strict, ""),
    );
    for (tool, input, expected) in table {
        let in_mode = |mode, policies: &Policies| {
            let caller = Caller { mode, ..CALLER };
            decided(tool, &input, &caller, policies).outcome.as_str()
        };
        let found = [
            in_mode(Review, &review),
            in_mode(AcceptEdits, &review),
            in_mode(Bypass, &review),
            in_mode(Review, &auto),
            in_mode(Bypass, &strict),
        ];
        assert_eq!(found.join(" "), expected, "{tool} {input}");
    }
}

#[test]
fn bypass_needs_the_deployment() {
    let caller = Caller {
        mode: Bypass,
        bypass_permitted: false,
        ..CALLER
    };
    let checked = decided(
        "Bash",
        &json!({"command": "ls"}),
        &caller,
        &policies(Tier::Auto, ""),
    );
    assert_eq!(checked.outcome, Outcome::Deny);
}

#[test]
fn a_subagent_with_a_mode_of_its_own_is_asked_about() {
    let input = json!({"command": "ls"});
    for (cli_mode, expected) in [
        (Some("default"), Outcome::Allow),
        (Some("acceptEdits"), Outcome::Ask),
        (Some("bypassPermissions"), Outcome::Ask),
    ] {
        let call = Call {
            tool: "Bash",
            input: &input,
            cli_mode,
        };
        let checked = check(
            &call,
            &CALLER,
            &policies(Tier::Auto, ""),
            &SURROUNDINGS,
            &Links(""),
        );
        assert_eq!(checked.outcome, expected, "{cli_mode:?}");
    }
}

#[test]
fn added_policies_decide_and_are_named() {
    let input = json!({"command": "deploy now"});
    let permits = "@id(\"deploys\") permit (principal, action == Action::\"run\", resource == Program::\"deploy\");";
    let checked = decided("Bash", &input, &CALLER, &policies(Tier::Review, permits));
    assert_eq!(checked.outcome, Outcome::Allow);
    assert!(
        checked.policies.contains(&"owner/deploys".to_owned()),
        "{:?}",
        checked.policies
    );

    let never = "@id(\"no-deploys\") @reason(\"Deploy on Mondays.\") forbid (principal, action, resource is Program) when { resource.line like \"deploy *\" && context.session.tags.contains(\"prod\") };";
    let checked = decided("Bash", &input, &CALLER, &policies(Tier::Auto, never));
    assert_eq!(checked.outcome, Outcome::Deny);
    assert_eq!(checked.policies, ["owner/no-deploys"]);
    assert!(
        checked.reason.contains("`deploy now`: Deploy on Mondays."),
        "{}",
        checked.reason
    );

    let asks = "@id(\"careful\") forbid (principal, action == Action::\"run\", resource is File) when { resource.path like \"/workspace/sub/gen/*\" };";
    let checked = decided(
        "Write",
        &json!({"file_path": "gen/a"}),
        &CALLER,
        &policies(Tier::Auto, asks),
    );
    assert_eq!(checked.outcome, Outcome::Ask);
    assert_eq!(checked.policies, ["owner/careful"]);
}

#[test]
fn a_policy_that_fails_denies() {
    // Adding up overflows, which the schema cannot see.
    let fails =
        "permit (principal, action, resource is Tool) when { 9223372036854775807 + 1 > 0 };";
    let checked = decided(
        "TodoWrite",
        &json!({}),
        &CALLER,
        &policies(Tier::Auto, fails),
    );
    assert_eq!(checked.outcome, Outcome::Deny);
    assert!(
        checked.reason.contains("could not be asked"),
        "{}",
        checked.reason
    );
}

#[test]
fn git_with_foreign_configuration_is_asked_about() {
    let surroundings = Surroundings {
        place: Place {
            git_is_trusted: false,
            ..SURROUNDINGS.place
        },
        ..SURROUNDINGS
    };
    let policies = policies(Tier::Auto, "");
    for command in [
        "git status",
        "cd x && g\"i\"t log",
        "/usr/bin/\\git diff",
        "g\\\nit log",
    ] {
        let input = json!({ "command": command });
        let call = Call {
            tool: "Bash",
            input: &input,
            cli_mode: Some("default"),
        };
        let outcome =
            |surroundings| check(&call, &CALLER, &policies, surroundings, &Links("")).outcome;
        assert_eq!(outcome(&surroundings), Outcome::Ask, "{command}");
        assert_eq!(outcome(&SURROUNDINGS), Outcome::Allow, "{command}");
    }
}

#[test]
fn what_is_asked_fits_the_schema() {
    let policies = policies(Tier::Auto, "");
    let commands = [
        "git -C x log > out < in",
        "curl http://example.com $X",
        "$X | sudo sh",
        "f() { f & f; }; f",
    ];
    for command in commands {
        let input = json!({ "command": command });
        let checked = decided("Bash", &input, &CALLER, &policies);
        let call = Call {
            tool: "Bash",
            input: &input,
            cli_mode: None,
        };
        for judged in checked.parts {
            let (uid, attributes) = resource(&judged.part).expect("attributes");
            let entity = Entity::new(uid.clone(), attributes, HashSet::new()).expect("an entity");
            Entities::from_entities([entity], Some(schema())).expect("it fits the schema");
            let person = super::uid(&TYPES.person, "owner");
            let context = context(&call, &CALLER, &policies).expect("a context");
            for action in [&TYPES.run, &TYPES.ask] {
                Request::new(
                    person.clone(),
                    action.clone(),
                    uid.clone(),
                    context.clone(),
                    Some(schema()),
                )
                .expect("it fits the schema");
            }
        }
    }
}

#[test]
fn the_result_can_be_shown() {
    let checked = decided(
        "Bash",
        &json!({"command": "sudo rm -rf /"}),
        &CALLER,
        &policies(Tier::Auto, ""),
    );
    let shown = serde_json::to_value(&checked).expect("JSON");
    assert_eq!(shown["outcome"], "deny");
    assert_eq!(
        shown["policies"],
        json!(["denials/destroying-roots", "denials/privilege"])
    );
    assert_eq!(shown["parsed"]["programs"][1]["through"], json!(["sudo"]));
    assert_eq!(shown["parts"][0]["part"]["kind"], "program");
    assert!(
        shown["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("`sudo rm -rf /`")),
        "{shown}"
    );
}
