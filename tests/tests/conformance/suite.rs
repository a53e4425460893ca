//! Running the suite, and what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use e2e::installed;
use serde_json::Value;

/// A scenario that the suite itself skips: it was not rewritten for this revision yet.
const SKIPPED_UPSTREAM: [&str; 1] = ["tasks-status-notifications"];

/// What came of one run.
pub(crate) struct Report {
    succeeded: bool,
    said: String,
    /// Scenarios by name: passed checks, failed checks.
    scenarios: BTreeMap<String, (u32, u32)>,
    /// Checks that did not succeed, in words.
    complaints: Vec<String>,
    required: BTreeSet<String>,
}

/// Runs what a revision of the specification requires (frozen when it came out) and all else that
/// the suite has for it, with a list of expected failures that is empty.
pub(crate) fn run(url: &str, revision: &str) -> Report {
    let directory = tempfile::tempdir().expect("a directory");
    let expected = directory.path().join("expected-failures.yml");
    std::fs::write(&expected, "server: []\n").expect("a file");
    let results = directory.path().join("results");
    let program = installed::conformance();
    let requirements = program
        .ancestors()
        .nth(2)
        .expect("it lies in a package")
        .join(format!("requirements/{revision}.yaml"));
    let output = Command::new(installed::node())
        .arg(&program)
        .args(["server", "--url", url, "--requirements", revision])
        .arg("--expected-failures")
        .arg(&expected)
        .arg("-o")
        .arg(&results)
        .output()
        .expect("node starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Report {
        succeeded: output.status.success(),
        scenarios: scenarios(&said),
        complaints: complaints(&results),
        required: required(&requirements),
        said,
    }
}

/// Lines of the summary: `✓ name: 3 passed, 0 failed`.
fn scenarios(said: &str) -> BTreeMap<String, (u32, u32)> {
    let summary = said.split("=== SUMMARY ===").nth(1).unwrap_or_default();
    summary
        .lines()
        .filter_map(|line| {
            let (name, counts) = line.get(line.find(' ')? + 1..)?.split_once(": ")?;
            let mut numbers = counts
                .split(|it: char| !it.is_ascii_digit())
                .filter_map(|number| number.parse().ok());
            Some((name.to_owned(), (numbers.next()?, numbers.next()?)))
        })
        .collect()
}

/// The scenarios that count, from the suite's own list.
fn required(list: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(list).unwrap_or_else(|error| panic!("{list:?}: {error}"));
    text.lines()
        .skip_while(|line| *line != "server:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  - "))
        .map(str::to_owned)
        .collect()
}

/// Every check that failed, or warned of a SHOULD.
fn complaints(results: &Path) -> Vec<String> {
    let directories = std::fs::read_dir(results).expect("there are results");
    directories
        .flat_map(|directory| {
            let directory = directory.expect("readable").path();
            let checks = std::fs::read_to_string(directory.join("checks.json"));
            let checks: Vec<Value> =
                serde_json::from_str(&checks.unwrap_or_else(|_| "[]".to_owned()))
                    .expect("the suite writes JSON");
            let scenario = directory
                .file_name()
                .map(|it| it.to_string_lossy().into_owned());
            checks.into_iter().filter_map(move |check| {
                let status = check["status"].as_str()?;
                ["FAILURE", "WARNING"].contains(&status).then(|| {
                    format!(
                        "{} {status} {}: {}",
                        scenario.as_deref().unwrap_or_default(),
                        check["id"],
                        check["errorMessage"]
                    )
                })
            })
        })
        .collect()
}

impl Report {
    /// Every required scenario passed, and there are as many as there should be; so did all others,
    /// and no check warned of a SHOULD.
    pub(crate) fn must_pass(&self, required: usize) {
        let said = format!("{}\n{}", self.complaints.join("\n"), self.said);
        assert!(self.succeeded, "{said}");
        assert_eq!(self.required.len(), required, "another suite: {said}");
        for name in &self.required {
            assert!(
                self.scenarios.contains_key(name),
                "{name} was not run: {said}"
            );
        }
        for (name, (passed, failed)) in &self.scenarios {
            let skipped = SKIPPED_UPSTREAM.contains(&name.as_str());
            assert!(*failed == 0 && (*passed > 0) != skipped, "{name}: {said}");
        }
        assert!(self.complaints.is_empty(), "{said}");
        let passed: u32 = self.scenarios.values().map(|(passed, _)| passed).sum();
        eprintln!(
            "{required} of {required} required scenarios, {} in all, {passed} checks",
            self.scenarios.len()
        );
    }
}
