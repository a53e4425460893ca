//! What the policies say about a call that nobody makes.

use policy::check::{Caller, check};
use policy::rules::Policies;
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
    let policies = Policies::new(question.tier, &[]).map_err(|error| error.to_string())?;
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
    use domain::{OwnerId, PermissionMode, Tier};

    use super::*;

    fn asked(tier: Tier, command: &str) -> Value {
        let question = PolicyQuestion {
            owner: OwnerId::of("issuer", "subject"),
            tags: vec![],
            tier,
            mode: PermissionMode::Review,
            bypass_permitted: false,
            origin: "empty",
            subdirectory: Some("sub".to_owned()),
            tool: "Bash".to_owned(),
            input: json!({"command": command}),
        };
        answer(&question).expect("policies")
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
