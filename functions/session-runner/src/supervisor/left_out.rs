//! What checkpoints leave out though no rule says so, in words for the log.

use checkpoint::{IgnoreRules, SkipReason, Statistics};

use crate::spilled::Spilled;

/// What is named; more is counted. Own.
const NAMED: usize = 10;

/// What a checkpoint left out, and rules that say nothing. Equal when a person would hear the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    files: u64,
    named: Vec<String>,
    rules: Vec<String>,
}

impl LeftOut {
    pub(crate) fn of(statistics: &Statistics, spilled: &Spilled, refused: &[String]) -> Self {
        let files = statistics.skipped + spilled.left_out;
        let mut named = Vec::new();
        let mut rules = Vec::new();
        for skipped in &statistics.skipped_named {
            let (path, why) = (&skipped.path, skipped.why);
            match why {
                // It is there, and is read again next time.
                SkipReason::Changing => {}
                SkipReason::RulesUnread | SkipReason::RuleNotUnderstood => {
                    rules.push(format!("{path}: {}", why.as_str()));
                }
                _ => named.push(format!("{path} ({})", why.as_str())),
            }
        }
        named.extend(spilled.named.iter().cloned());
        named.truncate(NAMED);
        rules.truncate(NAMED);
        if !refused.is_empty() {
            let lines = refused.iter().take(NAMED).map(|line| format!("{line:?}"));
            let lines = lines.collect::<Vec<_>>().join(", ");
            rules.push(format!(
                "checkpoint_ignore: {} of its lines cannot be understood and match nothing: {lines}",
                refused.len()
            ));
        }
        Self {
            files,
            named,
            rules,
        }
    }

    /// What to say about the files, if there are any.
    pub(crate) fn files(&self) -> Option<String> {
        (self.files > 0).then(|| {
            let more = self.files.saturating_sub(self.named.len() as u64);
            let more = if more > 0 {
                format!(", and {more} more")
            } else {
                String::new()
            };
            format!(
                "checkpoints leave out {} of the session's files, which are lost when it moves to \
                 another machine: {}{more}",
                self.files,
                self.named.join(", ")
            )
        })
    }

    /// What to say about rules.
    pub(crate) fn rules(&self) -> Option<String> {
        let said = self.rules.join("; ");
        (!said.is_empty())
            .then(|| format!("rules of what checkpoints leave out are not used: {said}"))
    }
}

/// What the session asked to leave out of its files, and the lines of it that mean nothing.
pub(crate) fn rules(asked: Option<&[String]>) -> (IgnoreRules, Vec<String>) {
    asked.map_or_else(|| (IgnoreRules::default(), Vec::new()), IgnoreRules::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::Skipped;

    #[test]
    fn a_session_says_what_is_left_out() {
        assert_eq!(rules(None).0.lines(), IgnoreRules::default().lines());
        let asked = ["out/".to_owned(), "a{".to_owned()];
        let (used, refused) = rules(Some(&asked));
        assert_eq!((used.lines(), &refused[..]), (&asked[..1], &asked[1..]));
        assert!(rules(Some(&[])).0.lines().is_empty());
    }

    #[test]
    fn what_is_left_out_is_counted_and_the_first_are_named() {
        let skipped = |number: usize, why| Skipped {
            path: format!("workspace/{number}"),
            why,
        };
        let mut named: Vec<_> = (0..12).map(|it| skipped(it, SkipReason::Special)).collect();
        named.push(skipped(12, SkipReason::Changing));
        named.push(skipped(13, SkipReason::RulesUnread));
        let statistics = Statistics {
            skipped: 18,
            skipped_named: named,
            ..Statistics::default()
        };
        let spilled = Spilled::default();
        let found = LeftOut::of(&statistics, &spilled, &["a{".to_owned()]);
        let files = found.files().unwrap();
        assert!(files.contains("leave out 18 of") && files.contains("workspace/9 (a device"));
        assert!(files.ends_with(", and 8 more"), "{files}");
        let said = found.rules().unwrap();
        assert!(
            said.contains("workspace/13: ") && said.contains("\"a{\""),
            "{said}"
        );
        // Of what changed while it was read only the first are named, and none is left out.
        let changing = Statistics {
            skipped_named: (0..50)
                .map(|it| skipped(it, SkipReason::Changing))
                .collect(),
            ..Statistics::default()
        };
        assert_eq!(LeftOut::of(&changing, &spilled, &[]).files(), None);
        let nothing = LeftOut::of(&Statistics::default(), &spilled, &[]);
        assert_eq!((nothing.files(), nothing.rules()), (None, None));
    }
}
