//! What a session has cost, over all runs of the CLI.
//!
//! The CLI counts from where its transcript says that an earlier run ended, which that one wrote with
//! its very last words; mostly they come after the last cut, and it counts from nothing. What a run
//! spends after the last result that was heard of it is known only when it ended in order.

use std::path::Path;

use claude::transcript;

/// Dollars.
#[derive(Debug, Clone, Copy, Default)]
pub struct Costs {
    spent: f64,
    /// Before this run of the CLI.
    before: f64,
    /// Where this run began to count.
    carried: f64,
}

impl Costs {
    /// Of a session that has cost so much.
    #[must_use]
    pub fn after(spent: f64) -> Self {
        Costs {
            spent,
            ..Self::default()
        }
    }

    /// A run of the CLI begins, which counts from there.
    pub fn begin(&mut self, carried: f64) {
        (self.before, self.carried) = (self.spent, carried);
    }

    /// The CLI says what it has counted; gives what the session has cost.
    pub fn hear(&mut self, counted: f64) -> f64 {
        self.spent = self.spent.max(self.before + counted - self.carried);
        self.spent
    }

    /// What the session has cost.
    #[must_use]
    pub fn spent(&self) -> f64 {
        self.spent
    }

    /// Up to where this run may count when the session may cost so much.
    #[must_use]
    pub fn limit(&self, budget: f64) -> f64 {
        /// The CLI wants one above nothing.
        const LEAST: f64 = 0.000_001;
        self.carried + (budget - self.before).max(LEAST)
    }
}

/// From where the CLI counts that goes on with this session, whose files lie in `projects`.
pub(crate) fn carried(projects: &Path, session: &str) -> f64 {
    let Ok(directories) = std::fs::read_dir(projects) else {
        return 0.0;
    };
    let name = format!("{session}.jsonl");
    let files = directories.flatten().map(|it| it.path().join(&name));
    let texts = files.filter_map(|file| std::fs::read(file).ok());
    let costs = texts.filter_map(|text| {
        let mut lines = text.rsplit(|byte| *byte == b'\n');
        lines.find_map(|line| transcript::cost(std::str::from_utf8(line).ok()?))
    });
    costs.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_adds_what_it_counts() {
        let mut costs = Costs::after(1.0);
        // A run that knows nothing of the earlier ones.
        costs.begin(0.0);
        assert_eq!(costs.limit(3.0), 2.0);
        assert_eq!(costs.hear(0.5), 1.5);
        assert_eq!(costs.hear(0.75), 1.75);
        // One that goes on counting where that one ended.
        costs.begin(0.75);
        assert_eq!(costs.limit(3.0), 2.0);
        assert_eq!(costs.hear(1.0), 2.0);
        // Nothing is taken back.
        assert_eq!(costs.hear(0.0), 2.0);
        costs.begin(0.0);
        assert!(costs.limit(2.0) > 0.0);
        assert_eq!(costs.spent(), 2.0);
    }

    #[test]
    fn the_last_word_about_costs_counts() {
        let projects = tempfile::tempdir().unwrap();
        assert_eq!(carried(projects.path(), "s"), 0.0);
        let directory = projects.path().join("-workspace");
        std::fs::create_dir(&directory).unwrap();
        let text = concat!(
            "{\"type\":\"cost-state\",\"totalCostUSD\":0.25}\n",
            "{\"type\":\"cost-state\",\"totalCostUSD\":0.5}\n",
            "{\"type\":\"user\",\"message\":{\"content\":\"cost-state\"}}\n",
            "\u{e9}\n",
        );
        std::fs::write(directory.join("s.jsonl"), text).unwrap();
        std::fs::write(directory.join("other.jsonl"), text.replace("0.5", "7")).unwrap();
        assert_eq!(carried(projects.path(), "s"), 0.5);
    }
}
