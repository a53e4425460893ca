//! Every row of the table: what is understood, and what the tiers decide.
//!
//! A row is `[decisions, command, understood]`; the decisions are those of the tiers auto, review and
//! strict. Harmless rows are those that run by themselves in the tier auto.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use policy::check::{Checked, Outcome};
use policy::rules::Policies;
use policy::shell;
use serde::Deserialize;

use crate::session::{CALLER, POLICIES, checked};

/// How many rows the table must have.
const ENOUGH: usize = 900;

#[derive(Debug, Deserialize)]
struct File {
    title: String,
    rows: Vec<(String, String, String)>,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) decisions: String,
    pub(crate) command: String,
    pub(crate) understood: String,
}

/// All rows, in the order of their files.
pub(crate) static ROWS: LazyLock<Vec<Row>> = LazyLock::new(rows);

fn rows() -> Vec<Row> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a file");
        let file: File =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!file.title.is_empty(), "{} has no title", path.display());
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        rows.extend(
            file.rows
                .into_iter()
                .map(|(decisions, command, understood)| Row {
                    file: name.clone(),
                    decisions,
                    command,
                    understood,
                }),
        );
    }
    rows
}

#[test]
fn every_row_is_understood_and_decided_as_it_says() {
    let mut wrong = Vec::new();
    for row in ROWS.iter() {
        let understood = shell::parse(&row.command).summary();
        let mut decisions = Vec::new();
        for policies in POLICIES.iter() {
            let checked = checked(&row.command, &CALLER, policies);
            explains_itself(&row.command, &checked, policies);
            decisions.push(checked.outcome.as_str());
        }
        let decisions = decisions.join(" ");
        if understood != row.understood || decisions != row.decisions {
            wrong.push(format!(
                "{}: {:?}\n  {:?}, {:?}\n  instead of {:?}, {:?}",
                row.file, row.command, decisions, understood, row.decisions, row.understood
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn explains_itself(command: &str, checked: &Checked, policies: &Policies) {
    assert!(!checked.policies.is_empty(), "{command}");
    let runs = checked.outcome == Outcome::Allow;
    assert_eq!(checked.reason.is_empty(), runs, "{command}");
    for id in &checked.policies {
        assert!(policies.text_of(id).is_some(), "{id} is not there");
    }
    let shown = serde_json::to_value(checked).expect("JSON");
    assert_eq!(shown["outcome"], checked.outcome.as_str(), "{command}");
}

#[test]
fn the_table_is_large_varied_and_half_of_it_harmless() {
    let rows = &*ROWS;
    assert!(rows.len() >= ENOUGH, "{} rows", rows.len());
    let harmless = rows
        .iter()
        .filter(|row| row.decisions.starts_with("allow"))
        .count();
    let denied = rows
        .iter()
        .filter(|row| row.decisions.starts_with("deny"))
        .count();
    assert!(
        harmless * 2 >= rows.len(),
        "{harmless} of {} are harmless",
        rows.len()
    );
    assert!(denied >= 200, "{denied} are denied");
    let commands: BTreeSet<&str> = rows.iter().map(|row| row.command.as_str()).collect();
    assert_eq!(commands.len(), rows.len(), "a command is there twice");
}
