//! The session that all commands are checked for.

use std::sync::LazyLock;

use domain::PermissionMode;
use policy::check::{self, Caller, Checked};
use policy::rules::{Policies, Tier};
use policy::{Call, Files, Place, Surroundings};
use serde_json::json;

pub(crate) struct NoLinks;

impl Files for NoLinks {
    fn meets_link(&self, _: &[&str]) -> bool {
        false
    }
}

pub(crate) const SURROUNDINGS: Surroundings<'static> = Surroundings {
    place: Place {
        workspace: "/workspace",
        working_directory: "/workspace",
        readable: &["/session/results"],
        git_is_trusted: true,
    },
    home: "/home/session",
    protected: &["/session/gate"],
};

pub(crate) const CALLER: Caller<'static> = Caller {
    owner: "owner",
    tags: &["a"],
    mode: PermissionMode::Review,
    bypass_permitted: false,
    origin: "git",
    subagent: false,
};

/// The policies of the tiers auto, review and strict.
pub(crate) static POLICIES: LazyLock<[Policies; 3]> = LazyLock::new(|| {
    Tier::ALL.map(|tier| Policies::new(tier, &[]).expect("policies of this crate"))
});

pub(crate) fn checked(command: &str, caller: &Caller<'_>, policies: &Policies) -> Checked {
    let call = Call {
        tool: "Bash",
        input: &json!({ "command": command }),
        cli_mode: Some("default"),
    };
    check::check(&call, caller, policies, &SURROUNDINGS, &NoLinks)
}
