//! Which policies have a say in which question.
//!
//! The head of a policy names an action and a kind of part. Cedar looks at the head of every policy
//! each time, which took most of a decision with two hundred of them; here they are sorted once.

use cedar_policy::{ActionConstraint, Policy, PolicySet, PolicySetError, ResourceConstraint};

use crate::meaning::Part;

/// The policies that can match a question, for each kind of part.
#[derive(Debug, Clone)]
pub(super) struct Say {
    tool: PolicySet,
    program: PolicySet,
    file: PolicySet,
    host: PolicySet,
}

impl Say {
    /// Of all policies, those with a say in questions about `action`.
    pub(super) fn about(action: &str, all: &PolicySet) -> Result<Self, Box<PolicySetError>> {
        let of = |kind: &str| {
            let have = all.policies().filter(|policy| has(policy, action, kind));
            PolicySet::from_policies(have.cloned()).map_err(Box::new)
        };
        Ok(Self {
            tool: of("Tool")?,
            program: of("Program")?,
            file: of("File")?,
            host: of("Host")?,
        })
    }

    /// Those with a say in the question about this part.
    pub(super) fn on(&self, part: &Part) -> &PolicySet {
        match part {
            Part::Tool(_) => &self.tool,
            Part::Program(_) => &self.program,
            Part::File { .. } => &self.file,
            Part::Host(_) => &self.host,
        }
    }
}

/// Whether the head can match. Whatever is not certain can: Cedar itself decides then.
fn has(policy: &Policy, action: &str, kind: &str) -> bool {
    let asks = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(actions) => actions.iter().any(|it| it.id().unescaped() == action),
        ActionConstraint::Eq(only) => only.id().unescaped() == action,
    };
    let fits = match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::In(_) => true,
        ResourceConstraint::Eq(only) => only.type_name().basename() == kind,
        ResourceConstraint::Is(only) | ResourceConstraint::IsIn(only, _) => only.basename() == kind,
    };
    asks && fits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rules::{Added, Author, Policies, Tier};

    fn ids(set: &PolicySet) -> BTreeSet<String> {
        set.policies().map(|it| it.id().to_string()).collect()
    }

    #[test]
    fn every_policy_has_its_say_and_no_other() {
        let added = "permit (principal, action, resource);
            forbid (principal, action == Action::\"run\", resource is File);
            permit (principal, action in [Action::\"ask\"], resource == Program::\"make\");
            permit (principal, action == Action::\"run\", resource == Host::\"example.com\");";
        let added = Added::parse(Author::Owner, added).expect("policies");
        for tier in Tier::ALL {
            let policies = Policies::new(tier, &[&added]).expect("policies");
            let mut heard = BTreeSet::new();
            for (say, action) in [(&policies.run, "run"), (&policies.ask, "ask")] {
                for (set, kind) in [
                    (&say.tool, "Tool"),
                    (&say.program, "Program"),
                    (&say.file, "File"),
                    (&say.host, "Host"),
                ] {
                    let set = ids(set);
                    assert!(set.contains("owner/1"));
                    let expected = |id: &str, of: (&str, &str)| {
                        assert_eq!(
                            set.contains(id),
                            (action, kind) == of,
                            "{id}: {action} {kind}"
                        );
                    };
                    expected("owner/2", ("run", "File"));
                    expected("owner/3", ("ask", "Program"));
                    expected("owner/4", ("run", "Host"));
                    heard.extend(set);
                }
            }
            assert_eq!(heard, ids(&policies.set));
        }
    }
}
