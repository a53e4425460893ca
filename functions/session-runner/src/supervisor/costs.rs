//! What a session has cost, over all runs of the CLI.
//!
//! The CLI counts from where its transcript says that an earlier run ended, which that one wrote with
//! its very last words; mostly they come after the last cut, and it counts from nothing. What a run
//! spends after the last result that was heard of it is known only when it ended in order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use claude::transcript;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use crate::spilled::{DIRECTORY, names};

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

    /// A run of the CLI begins, which counts from there: from no more than was spent, whatever the
    /// session wrote.
    pub fn begin(&mut self, carried: f64) {
        (self.before, self.carried) = (self.spent, carried.min(self.spent));
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

/// Bytes of the end of a transcript in which the CLI's last word about costs is looked for. Own: it is
/// the last line when a run ended in order.
const TAIL_BYTES: u64 = 256 * 1024;
/// Directories that are looked into. Own: the CLI makes one for each place it works in.
const DIRECTORIES: usize = 100;

/// From where the CLI counts that goes on with this session, whose files lie in `projects`. The session
/// can write there: nothing but the end of a file is read, and no link is followed.
pub(crate) fn carried(projects: &Path, session: &str) -> f64 {
    let name = format!("{session}.jsonl");
    let Ok(root) = open(projects, DIRECTORY, Mode::empty()) else {
        return 0.0;
    };
    let directories = names(&root).into_iter().take(DIRECTORIES);
    let costs = directories.filter_map(|directory| {
        let directory = openat(&root, directory.as_str(), DIRECTORY, Mode::empty()).ok()?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&directory, name.as_str(), flags, Mode::empty()).ok()?;
        let tail = tail(File::from(file))?;
        let mut lines = tail.rsplit(|byte| *byte == b'\n');
        lines.find_map(|line| transcript::cost(std::str::from_utf8(line).ok()?))
    });
    costs.fold(0.0, f64::max)
}

fn tail(mut file: File) -> Option<Vec<u8>> {
    let data = file.metadata().ok()?;
    if !data.is_file() {
        return None;
    }
    let begin = data.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(begin)).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    Some(tail)
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
        // What the session itself wrote buys it nothing.
        costs.begin(1_000.0);
        assert_eq!(costs.limit(3.0), 3.0);
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
        // Whatever the session puts there instead.
        for name in ["pipe", "link", "large"] {
            std::fs::create_dir(projects.path().join(name)).unwrap();
        }
        let at = |name: &str| projects.path().join(name).join("s.jsonl");
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        let large = File::create(at("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink(projects.path(), projects.path().join("round")).unwrap();
        assert_eq!(carried(projects.path(), "s"), 0.5);
    }
}
