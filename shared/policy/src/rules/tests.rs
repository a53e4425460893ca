//! The policy files fit the schema, and what people add is checked and explained.

use super::*;

#[test]
fn the_files_of_this_crate_fit_together() {
    for tier in Tier::ALL {
        let policies = Policies::new(tier, &[]).expect("policies");
        assert!(policies.set.num_of_policies() > 15);
        for policy in policies.set.policies() {
            let id = policy.id().to_string();
            assert!(policy.annotation("id").is_some(), "{id} has no id");
            let explains = policy.annotation("reason").is_some();
            let is_permit = policy.effect() == cedar_policy::Effect::Permit;
            assert!(explains || is_permit, "{id} says no reason");
        }
    }
}

fn error(text: &str) -> String {
    Added::parse(Author::Owner, text)
        .expect_err("it is wrong")
        .to_string()
}

#[test]
fn mistakes_are_named_with_their_place() {
    let complaints = [
        (
            "permit (principal, action, resource)",
            "line 1, column 37: ",
        ),
        (
            "permit (principal, action, resource);\n\nforbit (principal, action, resource);",
            "line 3, column 1: ",
        ),
        (
            "permit (principal, action, resource is Program)\nwhen { resource.nam == \"git\" };",
            "line 2, column 8: ",
        ),
        (
            "permit (principal, action, resource is File)\n  when { resource.path == 1 };",
            "line 2, column 10: ",
        ),
        (
            "permit (principal, action == Action::\"rum\", resource);",
            "line 1, ",
        ),
        (
            "permit (principal == Persom::\"x\", action, resource);",
            "line 1, ",
        ),
        (
            "permit (principal == ?principal, action, resource);",
            "template",
        ),
        (
            "@id(\"A b\") permit (principal, action, resource);",
            "line 1, column 1: the id",
        ),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
            "there are two policies owner/a",
        ),
        ("\"", "line 1, column 1: "),
    ];
    for (text, start) in complaints {
        let error = error(text);
        assert!(
            error.contains(start),
            "{text:?}: {error:?} without {start:?}"
        );
    }
    assert!(
        error("permit (principal, action, resource is Program)\nwhen { resource.nam == \"git\" };")
            .contains("nam")
    );
}

#[test]
fn policies_are_bounded() {
    let one = "permit (principal, action, resource is Host);\n";
    assert_eq!(
        Added::parse(Author::Owner, &one.repeat(POLICIES))
            .expect("as many as may be")
            .len(),
        POLICIES
    );
    assert_eq!(
        Added::parse(Author::Owner, &one.repeat(POLICIES + 1)).expect_err("one more"),
        PolicyError::TooMany {
            actual: POLICIES + 1
        }
    );
    let long = format!("// {}\n", "a".repeat(POLICIES_BYTES));
    assert_eq!(
        Added::parse(Author::Owner, &long).expect_err("too long"),
        PolicyError::TooLong { actual: long.len() }
    );
    assert!(
        Added::parse(Author::Deployment, "")
            .expect("none")
            .is_empty()
    );
}

#[test]
fn names_say_where_a_policy_comes_from() {
    let owner = Added::parse(Author::Owner, "@id(\"mine\") permit (principal, action, resource);\npermit (principal, action, resource);").expect("policies");
    let deployment = Added::parse(
        Author::Deployment,
        "@id(\"mine\") forbid (principal, action, resource);",
    )
    .expect("policies");
    let policies = Policies::new(Tier::Review, &[&deployment, &owner]).expect("policies");
    for id in [
        "owner/mine",
        "owner/2",
        "deployment/mine",
        "denials/privilege",
        "tiers/review/a-person-decides",
    ] {
        assert!(policies.text_of(id).is_some(), "{id}");
    }
}

#[test]
fn tiers_have_their_names() {
    for tier in Tier::ALL {
        assert_eq!(Tier::parse(tier.as_str()), Some(tier));
    }
    assert_eq!(Tier::parse("AUTO"), None);
    assert_eq!(Tier::default(), Tier::Review);
}
