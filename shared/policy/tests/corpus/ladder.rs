//! Tiers and added policies: nothing lowers what a session may not do.

use domain::PermissionMode;
use policy::check::{Caller, Outcome};
use policy::rules::{Added, Author, Policies, Tier};
use proptest::prelude::*;

use crate::session::{CALLER, POLICIES, checked};
use crate::table::ROWS;

#[test]
fn a_higher_tier_is_never_more_lenient() {
    let modes = [
        PermissionMode::Review,
        PermissionMode::AcceptEdits,
        PermissionMode::Bypass,
    ];
    for row in ROWS.iter() {
        for mode in modes {
            let caller = Caller {
                mode,
                bypass_permitted: true,
                ..CALLER
            };
            let [auto, review, strict] = POLICIES
                .each_ref()
                .map(|policies| checked(&row.command, &caller, policies).outcome);
            assert!(auto <= review && review <= strict, "{mode} {}", row.command);
        }
    }
}

/// An owner who permits everything.
const EVERYTHING: &str = "
    @id(\"all\") permit (principal, action, resource);
";

#[test]
fn an_owner_cannot_permit_what_is_denied() {
    let added = Added::parse(Author::Owner, EVERYTHING).expect("policies");
    let mut denied = 0;
    for tier in Tier::ALL {
        let policies = Policies::new(tier, &[&added]).expect("policies");
        let caller = Caller {
            mode: PermissionMode::Bypass,
            bypass_permitted: true,
            ..CALLER
        };
        for row in ROWS.iter().filter(|row| row.decisions.starts_with("deny")) {
            let outcome = checked(&row.command, &caller, &policies).outcome;
            assert_eq!(outcome, Outcome::Deny, "{tier} {}", row.command);
            denied += 1;
        }
    }
    assert!(denied > 500, "{denied}");
}

/// Unreadable texts: what can be told of them is put to the denials, and then they run in the mode
/// `bypass`. Where nobody looked at all of it, a person decides.
#[test]
fn bypass_runs_what_was_looked_at() {
    let caller = Caller {
        mode: PermissionMode::Bypass,
        bypass_permitted: true,
        ..CALLER
    };
    let nested = "nice ".repeat(40) + "ls";
    let long = format!("echo {}", "a".repeat(domain::limits::SHELL_COMMAND_BYTES));
    let many = "a; ".repeat(300);
    for (command, expected) in [
        ("echo $[1]", Outcome::Allow),
        ("cargo test ${x:-\"a\"}", Outcome::Allow),
        ("echo $[1]; rm -rf target", Outcome::Allow),
        ("echo $[1]; rm -rf /", Outcome::Deny),
        ("echo $[1] | tee /etc/shadow", Outcome::Deny),
        ("ls \u{202e}; sudo id", Outcome::Deny),
        (&nested, Outcome::Ask),
        (&long, Outcome::Ask),
        (&many, Outcome::Ask),
    ] {
        let start: String = command.chars().take(40).collect();
        let checked = checked(command, &caller, &POLICIES[0]);
        assert_eq!(checked.outcome, expected, "{start}: {}", checked.reason);
    }
}

proptest! {
    #[test]
    fn a_tier_is_raised_and_never_lowered(now in 0_usize..3, wanted in 0_usize..3) {
        let (now, wanted) = (Tier::ALL[now], Tier::ALL[wanted]);
        prop_assert!(now.raised_to(wanted) >= now);
        prop_assert!(now.raised_to(wanted) >= wanted);
    }
}
