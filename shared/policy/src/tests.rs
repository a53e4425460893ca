//! Tool calls under random attack.

use std::path::{Component, Path, PathBuf};

use domain::PermissionMode::{self, AcceptEdits, Review};
use domain::Tier;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::check::{Caller, Outcome, check};
use crate::rules::Policies;

struct NoLinks;
impl Files for NoLinks {
    fn meets_link(&self, _: &[&str]) -> bool {
        false
    }
}

const SURROUNDINGS: Surroundings<'static> = Surroundings {
    place: Place {
        workspace: "/workspace",
        working_directory: "/workspace/sub",
        readable: &["/claude/projects"],
        git_is_trusted: true,
    },
    home: "/home/session",
    protected: &["/run/session"],
};

fn decided(mode: PermissionMode, policies: &Policies, tool: &str, input: &Value) -> Outcome {
    let call = Call {
        tool,
        input,
        cli_mode: Some("default"),
    };
    let caller = Caller {
        owner: "owner",
        tags: &[],
        mode,
        bypass_permitted: false,
        origin: "empty",
        subagent: false,
    };
    check(&call, &caller, policies, &SURROUNDINGS, &NoLinks).outcome
}

fn review() -> Policies {
    Policies::new(Tier::Review, &[]).expect("policies")
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
        if decided(AcceptEdits, &review(), "Write", &json!({"file_path": text})) == Outcome::Allow {
            prop_assert!(resolved(&text).starts_with("/workspace"));
            prop_assert!(resolved(text.trim()).starts_with("/workspace"));
            prop_assert!(!text.trim().starts_with('~'));
        }
    }

    #[test]
    fn plain_names_are_always_editable(text in "[a-z]{1,8}(/[a-z]{1,8}){0,4}\\.rs") {
        let decided = decided(AcceptEdits, &review(), "Write", &json!({"file_path": text}));
        prop_assert_eq!(decided, Outcome::Allow);
    }

    #[test]
    fn hostile_input_never_panics_and_never_edits_in_review(tool in "[A-Za-z_]{0,12}", text in any::<String>()) {
        let policies = review();
        for input in [json!(null), json!(text), json!([text]), json!({"file_path": text, "command": text, "path": text, "pattern": text})] {
            decided(Review, &policies, &tool, &input);
            for (name, _) in EDIT_TOOLS {
                prop_assert_ne!(decided(Review, &policies, name, &input), Outcome::Allow);
            }
        }
    }
}
