//! What the policies say about a call that nobody makes.

use policy::check::{Caller, check};
use policy::stored::Stored;
use policy::{Call, Files, Place, Surroundings};
use protocol::{PolicyChecker, PolicyQuestion};
use serde_json::{Value, json};

use super::Finder;

/// A session that does not run has no files to look at.
struct NoFiles;

impl Files for NoFiles {
    fn meets_link(&self, _: &[&str]) -> bool {
        false
    }
}

/// Where a session finds its directories wherever it is isolated (`session-runner`).
const WORKSPACE: &str = "/workspace";

impl PolicyChecker for Finder {
    fn check_policy(&self, question: &PolicyQuestion) -> Result<Value, String> {
        answer(question)
    }
}

fn answer(question: &PolicyQuestion) -> Result<Value, String> {
    let stored = Stored::of(&question.stored);
    let policies = stored.policies(question.tier, None);
    let policies = policies.map_err(|error| error.to_string())?;
    let working_directory = question.subdirectory.as_ref().map_or_else(
        || WORKSPACE.to_owned(),
        |directory| format!("{WORKSPACE}/{directory}"),
    );
    let tags: Vec<&str> = question.tags.iter().map(String::as_str).collect();
    let call = Call {
        tool: &question.tool,
        input: &question.input,
        cli_mode: Some("default"),
    };
    let caller = Caller {
        owner: question.owner.as_str(),
        tags: &tags,
        mode: question.mode,
        bypass_permitted: question.bypass_permitted,
        origin: question.origin,
        subagent: false,
    };
    let surroundings = Surroundings {
        place: Place {
            workspace: WORKSPACE,
            working_directory: &working_directory,
            readable: &["/claude/projects", "/tmp"],
            // As where the runner does not know the configuration: what others wrote may name programs.
            git_is_trusted: !matches!(question.origin, "directory" | "upload"),
        },
        home: "/home/session",
        protected: &["/run/shannon"],
    };
    let checked = check(&call, &caller, &policies, &surroundings, &NoFiles);
    let texts: Vec<Value> = checked
        .policies
        .iter()
        .map(|id| json!({"policy_id": id, "text": policies.text_of(id).unwrap_or_default()}))
        .collect();
    let mut shown = serde_json::to_value(&checked).map_err(|error| error.to_string())?;
    shown["policies"] = texts.into();
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use domain::{
        OwnerId, PermissionMode, PolicyBook, PolicyName, PolicyScope, StoredPolicy, Tier,
        UnixMillis,
    };

    use super::*;

    fn asked(tier: Tier, command: &str) -> Value {
        answer(&question(tier, command)).expect("policies")
    }

    fn question(tier: Tier, command: &str) -> PolicyQuestion {
        PolicyQuestion {
            owner: OwnerId::of("issuer", "subject"),
            tags: vec![],
            tier,
            mode: PermissionMode::Review,
            bypass_permitted: false,
            origin: "empty",
            subdirectory: Some("sub".to_owned()),
            stored: vec![],
            tool: "Bash".to_owned(),
            input: json!({"command": command}),
        }
    }

    fn stored(scope: PolicyScope, name: &str, text: &str) -> PolicyBook {
        let policy = StoredPolicy {
            name: PolicyName::parse(name).expect("a name"),
            text: text.to_owned(),
            policies: 1,
            version: 1,
            changed_at: UnixMillis(0),
        };
        PolicyBook {
            revision: 1,
            policies: vec![policy],
            ..PolicyBook::empty(scope)
        }
    }

    #[test]
    fn stored_policies_count_and_are_named() {
        let npm = "permit (principal, action == Action::\"run\", resource is Program) when { resource.name == \"npm\" };";
        let owner = PolicyScope::Owner(OwnerId::of("issuer", "subject"));
        let mut npm_test = question(Tier::Review, "npm test");
        npm_test.stored = vec![stored(owner, "npm", npm)];
        let allowed = answer(&npm_test).expect("policies");
        assert_eq!(allowed["outcome"], "allow", "{allowed}");
        let policies = allowed["policies"].to_string();
        assert!(policies.contains("owner/npm/1"), "{policies}");
        let never = "forbid (principal, action, resource);";
        let no = stored(PolicyScope::Deployment, "nothing", never);
        npm_test.stored.push(no);
        let denied = answer(&npm_test).expect("policies");
        assert_eq!(denied["outcome"], "deny");
        assert_eq!(denied["policies"][0]["policy_id"], "deployment/nothing/1");
        assert_eq!(denied["policies"][0]["text"], never);
        let broken = stored(PolicyScope::Deployment, "older", "permit (principal);");
        npm_test.stored.push(broken);
        let closed = answer(&npm_test).expect("policies");
        assert_eq!(closed["outcome"], "deny");
        let reason = closed["reason"].as_str().expect("a reason");
        assert!(reason.contains("deployment/older (line 1, "), "{reason}");
    }

    #[test]
    fn the_policies_that_decide_are_shown_as_they_are_written() {
        let denied = asked(Tier::Auto, "rm -fr /");
        assert_eq!(denied["outcome"], "deny");
        assert_eq!(
            denied["policies"][0]["policy_id"],
            "denials/destroying-roots"
        );
        let text = denied["policies"][0]["text"].as_str().expect("text");
        assert!(text.contains("forbid"), "{text}");
        assert!(denied["parsed"].is_object(), "{denied}");
        for (tier, outcome) in [(Tier::Auto, "allow"), (Tier::Review, "ask")] {
            assert_eq!(asked(tier, "npm run format")["outcome"], outcome);
        }
        let read = asked(Tier::Strict, "cat ../notes");
        assert_eq!(read["outcome"], "allow", "{read}");
    }
}
