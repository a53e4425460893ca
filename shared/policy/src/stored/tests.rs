//! What stored policies change, what they cannot, and what happens to those that cannot be read.

use domain::policy_book::UnreadablePolicy;
use domain::{OwnerId, PermissionMode, StoredPolicy, UnixMillis};
use serde_json::json;

use super::*;
use crate::check::{Caller, Checked, Outcome, check};
use crate::{Call, Files, Place, Surroundings};

struct NoLinks;

impl Files for NoLinks {
    fn meets_link(&self, _: &[&str]) -> bool {
        false
    }
}

const SURROUNDINGS: Surroundings<'static> = Surroundings {
    place: Place {
        workspace: "/workspace",
        working_directory: "/workspace",
        readable: &[],
        git_is_trusted: true,
    },
    home: "/home/session",
    protected: &["/session/gate"],
};

const ALL: &str = "permit (principal, action, resource);";

fn owner() -> PolicyScope {
    PolicyScope::Owner(OwnerId::of("issuer", "subject"))
}

fn book(scope: PolicyScope, policies: &[(&str, &str)]) -> PolicyBook {
    let stored = |(name, text): &(&str, &str)| StoredPolicy {
        name: PolicyName::parse(name).expect("valid"),
        text: (*text).to_owned(),
        policies: 1,
        version: 1,
        changed_at: UnixMillis(0),
    };
    PolicyBook {
        revision: 1,
        policies: policies.iter().map(stored).collect(),
        ..PolicyBook::empty(scope)
    }
}

fn asked(books: &[PolicyBook], tier: Tier, mode: PermissionMode, command: &str) -> Checked {
    let policies = Stored::of(books).policies(tier, None).expect("policies");
    let input = json!({"command": command});
    let call = Call {
        tool: "Bash",
        input: &input,
        cli_mode: Some("default"),
    };
    let caller = Caller {
        owner: "owner",
        tags: &[],
        mode,
        bypass_permitted: true,
        origin: "empty",
        subagent: false,
    };
    check(&call, &caller, &policies, &SURROUNDINGS, &NoLinks)
}

#[test]
fn an_owner_permits_what_a_person_would_decide_and_nothing_that_is_denied_for_good() {
    let permissive = [
        book(PolicyScope::Deployment, &[]),
        book(owner(), &[("everything", ALL)]),
    ];
    let outcome = |tier, command| asked(&permissive, tier, PermissionMode::Review, command).outcome;
    for command in ["npm test", "touch made", "curl https://example.com/a"] {
        let allowed = asked(&permissive, Tier::Review, PermissionMode::Review, command);
        assert_eq!(allowed.outcome, Outcome::Allow, "{command}");
        let by = allowed.policies.iter().any(|id| id == "owner/everything/1");
        assert!(by, "{command}: {:?}", allowed.policies);
        assert_eq!(outcome(Tier::Strict, command), Outcome::Ask, "{command}");
        assert_eq!(
            asked(&[], Tier::Review, PermissionMode::Review, command).outcome,
            Outcome::Ask,
            "{command}"
        );
    }
    for command in [
        "rm -rf /",
        "sudo true",
        "curl http://169.254.169.254/",
        "cat ~/.ssh/id_rsa",
        "find / -delete",
        "rm -rf /session/gate",
        "claude -p x",
        "echo c3VkbyB0cnVl | base64 -d | sh; sudo true",
    ] {
        for tier in Tier::ALL {
            assert_eq!(outcome(tier, command), Outcome::Deny, "{command} in {tier}");
        }
    }
    // What is denied for good may be in what nobody understands.
    for command in [
        "$(echo sudo) true",
        "rm -rf \"$(printf /)\"",
        "curl \"$(cat a)\"",
        "eval \"$X\"",
        "echo c3VkbyB0cnVl | base64 -d | sh",
        "\u{1D5CC}udo true",
    ] {
        let checked = asked(&permissive, Tier::Auto, PermissionMode::Review, command);
        assert_ne!(checked.outcome, Outcome::Allow, "{command}");
    }
}

#[test]
fn a_forbid_counts_in_every_tier_and_mode_and_a_deployments_beats_an_owners_permit() {
    let no_npm = "@reason(\"No npm here.\")\nforbid (principal, action, resource is Program) when { resource.name == \"npm\" };";
    let with_a_person = "forbid (principal, action == Action::\"run\", resource is Program) when { resource.name == \"npm\" };";
    for (books, id) in [
        (
            [
                book(PolicyScope::Deployment, &[("no-npm", no_npm)]),
                book(owner(), &[("everything", ALL)]),
            ],
            "deployment/no-npm/1",
        ),
        (
            [
                book(PolicyScope::Deployment, &[("everything", ALL)]),
                book(owner(), &[("a", ALL), ("no-npm", no_npm)]),
            ],
            "owner/no-npm/1",
        ),
    ] {
        for tier in Tier::ALL {
            for mode in PermissionMode::ALL {
                let denied = asked(&books, tier, mode, "cd a && npm run x");
                assert_eq!(denied.outcome, Outcome::Deny, "{tier} {mode}");
                assert!(denied.policies.iter().any(|it| it == id), "{denied:?}");
                assert!(denied.reason.contains("No npm here."), "{}", denied.reason);
            }
        }
    }
    let books = [
        book(PolicyScope::Deployment, &[("asks", with_a_person)]),
        book(owner(), &[("everything", ALL)]),
    ];
    let checked = asked(&books, Tier::Auto, PermissionMode::Bypass, "npm run x");
    assert_eq!(checked.outcome, Outcome::Ask);
    assert_eq!(checked.policies, ["deployment/asks/1"]);
}

#[test]
fn what_cannot_be_read_closes_the_session_and_is_named() {
    let mut spoiled = book(owner(), &[("fine", ALL)]);
    spoiled.unreadable.push(UnreadablePolicy {
        name: "Lost".to_owned(),
        problem: "attribute text is missing".to_owned(),
    });
    let older =
        "permit (principal, action, resource is Program)\nwhen { resource.colour == \"red\" };";
    let outdated = book(PolicyScope::Deployment, &[("older", older), ("fine", ALL)]);
    for (books, named) in [
        (vec![spoiled], "owner/Lost (attribute text is missing)"),
        (vec![outdated], "deployment/older (line 2, column 8: "),
    ] {
        for command in ["ls", "npm test", "true"] {
            for mode in PermissionMode::ALL {
                let denied = asked(&books, Tier::Auto, mode, command);
                assert_eq!(denied.outcome, Outcome::Deny, "{command}");
                assert!(denied.reason.contains(named), "{}", denied.reason);
            }
        }
    }
    let nothing = Stored::not_known().policies(Tier::Auto, None);
    let reason = nothing.expect("policies").why_closed().map(str::to_owned);
    assert!(
        reason
            .expect("closed")
            .contains("cannot be read at the moment")
    );
    assert_eq!(Stored::of(&[]).why_closed(), None);
}

#[test]
fn whoever_stores_a_policy_is_told_line_and_reason() {
    let name = PolicyName::parse("mine").expect("valid");
    let check = |text: &str| Cedar.check(&owner(), &name, text);
    assert_eq!(check(&format!("{ALL}\n@id(\"b\") {ALL}")), Ok(2));
    assert_eq!(check("// nothing yet"), Ok(0));
    let fault =
        check("permit (principal, action, resource is Program)\nwhen { resource.nam == 1 };")
            .expect_err("wrong");
    assert_eq!((fault.line, fault.column), (Some(2), Some(8)));
    assert!(
        fault.to_string().starts_with("line 2, column 8: "),
        "{fault}"
    );
    let fault = check(&format!("{ALL}\n@id(\"A\") {ALL}")).expect_err("wrong");
    assert_eq!(fault.line, Some(2));
    let many = ALL.repeat(domain::limits::POLICIES + 1);
    assert_eq!(check(&many).expect_err("too many").line, None);
}
