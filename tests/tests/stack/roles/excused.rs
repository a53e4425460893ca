//! What roles permit although the life of a stack in these tests does not ask for it.

use emulator::iam::{Grant, Role};

use super::roles;

/// What roles permit although nothing below asks for it: the roles (of functions by their name, and
/// `session`), action, a part of the resource or of the condition, and why. Each of the roles has to
/// permit it.
const UNUSED: &[(&[&str], &str, &str, &str)] = &[
    (
        &[
            "call",
            "read",
            "legacy",
            "approvals",
            "model-gateway",
            "reconciler",
            "projector",
            "session",
        ],
        "s3:listbucket",
        "",
        "S3 looks at it when an object is missing, without a request of its own",
    ),
    (
        &["call", "read", "tasks", "legacy", "approvals", "reconciler"],
        "ecs:stoptask",
        "",
        "whoever looks first at a session without a sign of life stops its task",
    ),
    (
        &["read"],
        "ecs:runtask",
        "",
        "the same asks for another runner",
    ),
    (&["read"], "ecs:tagresource", "", "the same"),
    (
        &["read"],
        "dynamodb:putitem",
        "rate#*",
        "an answer that takes long is a stream, which has a place",
    ),
    (&["read"], "dynamodb:query", "rate#*", "the same"),
    (&["read"], "dynamodb:deleteitem", "rate#*", "the same"),
    (&["read"], "iam:passrole", "", "the same"),
    (
        &["read"],
        "dynamodb:updateitem",
        "slots#*",
        "the same, when there were too many: the session ends",
    ),
    (
        &["reconciler"],
        "dynamodb:updateitem",
        "slots#*",
        "a session that ends without a runner",
    ),
    (
        &[
            "call",
            "read",
            "legacy",
            "approvals",
            "model-gateway",
            "reconciler",
            "projector",
        ],
        "s3:getobject",
        "ses_*",
        "logs with a body over 8 KiB, and model requests over 4 MiB",
    ),
    (
        &["call"],
        "dynamodb:updateitem",
        "????",
        "a round of questions to a modern client is over",
    ),
    (
        &["legacy"],
        "dynamodb:updateitem",
        "????",
        "the same, of one that came by /mcp",
    ),
    (
        &["call"],
        "s3:getobjectversion",
        "audit/*",
        "chains are sealed 15 minutes after they moved",
    ),
    (&["legacy"], "s3:getobjectversion", "audit/*", "the same"),
    (&["reconciler"], "s3:putobject", "audit/*", "the same"),
    (
        &["reconciler"],
        "s3:putobjectretention",
        "audit/*",
        "the same",
    ),
    (
        &["reconciler"],
        "dynamodb:conditioncheckitem",
        "ses_*",
        "checkpoints go after days",
    ),
    (
        &["listen"],
        "dynamodb:putitem",
        "ses_*",
        "it says that a runner is gone, when nobody else did",
    ),
    (&["listen"], "dynamodb:updateitem", "", "the same"),
    (
        &["listen"],
        "dynamodb:deleteitem",
        "rate#*",
        "the place of a stream that ends before its client goes",
    ),
    (
        &["reconciler"],
        "dynamodb:deleteitem",
        "refused",
        "counts of a minute that is over",
    ),
    (
        &["reconciler"],
        "ecs:runtask",
        "",
        "a lost runner is replaced by whoever looks first",
    ),
    (&["reconciler"], "ecs:tagresource", "", "the same"),
    (&["reconciler"], "iam:passrole", "", "the same"),
];

/// The name of a role in the table above.
fn role_name(of: &str) -> String {
    match of {
        "session" => "shannon-runnersessionrole".to_owned(),
        function => format!("shannon-{}functionrole", function.replace('-', "")),
    }
}

fn is_about(action: &str, part: &str, grant: &Grant) -> bool {
    grant.action == action && (grant.resource.contains(part) || grant.condition.contains(part))
}

/// Whether the table names it.
pub(super) fn excused(role: &Role, grant: &Grant) -> bool {
    UNUSED.iter().any(|(roles, action, part, _)| {
        roles.iter().any(|name| role_name(name) == role.name) && is_about(action, part, grant)
    })
}

/// What is excused and not permitted any more.
#[test]
fn every_excuse_is_about_something_that_a_role_permits() {
    let roles = roles();
    for (names, action, part, _) in UNUSED {
        assert!(!names.is_empty(), "{action} {part} is excused for nobody");
        for name in *names {
            let role = roles.iter().find(|role| role.name == role_name(name));
            let role = role.unwrap_or_else(|| panic!("there is no role of {name}"));
            let written = role.policies.iter().filter(|policy| policy.written_here);
            let mut grants = written.flat_map(|policy| policy.grants());
            assert!(
                grants.any(|grant| is_about(action, part, &grant)),
                "{name} does not permit {action} {part} any more"
            );
        }
    }
}
