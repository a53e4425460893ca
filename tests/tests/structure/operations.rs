//! The page for those who run a deployment names only what there is: commands, files, tests, settings,
//! alarms, and messages that we print.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use e2e::{checkout, stack};

use super::names::template;

const PAGE: &str = "infra/OPERATIONS.md";

/// Everything between backticks.
fn quoted(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

/// The text of all our own sources.
fn sources() -> String {
    let mut text = String::new();
    for directory in ["functions", "shared", "emulator/src", "infra/runner"] {
        gather(&checkout::root().join(directory), &mut text);
    }
    // As a person reads it who searches for a message: breaks in a literal are not there.
    let lines = text.split("\\\n").map(str::trim_start);
    lines.collect()
}

fn gather(directory: &Path, text: &mut String) {
    let entries = std::fs::read_dir(directory).expect("a readable directory");
    for entry in entries {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            gather(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("UTF-8"));
        }
    }
}

#[test]
fn every_alarm_has_an_entry_that_says_how_urgent_it_is() {
    let page = checkout::read(PAGE);
    let mut seen = 0;
    let template = template();
    let resources = template["Resources"].as_object().expect("resources");
    for (name, resource) in resources {
        if resource["Type"] != "AWS::CloudWatch::Alarm" {
            continue;
        }
        seen += 1;
        let (_, entry) = page
            .split_once(&format!("\n### {name}\n\n"))
            .unwrap_or_else(|| panic!("{PAGE} does not say what to do about {name}"));
        let topic = resource["Properties"]["AlarmActions"].to_string();
        let urgency = ["Critical", "Warning"].map(|word| (word, format!("{word}Topic")));
        let urgency = urgency.iter().find(|(_, name)| topic.contains(name));
        let (urgency, _) = urgency.unwrap_or_else(|| panic!("{name} tells nobody: {topic}"));
        assert!(entry.starts_with(&format!("{urgency}. ")), "{name}");
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn commands_files_and_settings_are_there() {
    let page = checkout::read(PAGE);
    let settings = checkout::read("infra/settings.toml");
    let mut commands = BTreeSet::new();
    let mut files = 0;
    for word in quoted(&page) {
        if let Some(command) = word.strip_prefix("emulator ") {
            let words = command.split(' ');
            let words = words.take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
            commands.insert(words.map(str::to_owned).collect::<Vec<_>>());
        } else if word.starts_with("SHANNON_") {
            let named = settings.contains(&format!("name = \"{word}\""));
            assert!(named, "{word} is no setting");
        } else if let Some(file) = word.split(' ').next().filter(|word| {
            ["infra/", "tests/", ".ci/"]
                .iter()
                .any(|place| word.starts_with(place))
        }) {
            files += 1;
            assert!(checkout::root().join(file).exists(), "{file} is not there");
        }
    }
    assert!(files > 5, "{files}");
    commands.retain(|command| !command.is_empty());
    assert!(commands.len() > 4, "{commands:?}");
    for command in commands {
        let output = Command::new(stack::emulator())
            .args(&command)
            .arg("--help")
            .output()
            .expect("the emulator runs");
        let help = String::from_utf8_lossy(&output.stdout);
        let usage = format!("emulator {}", command.join(" "));
        assert!(
            output.status.success() && help.contains(&usage),
            "there is no `{usage}`: {help}"
        );
    }
}

#[test]
fn messages_are_ours() {
    let page = checkout::read(PAGE);
    let (_, table) = page
        .split_once("## When something does not work\n")
        .expect("the table of symptoms");
    let sources = sources();
    let mut seen = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let message = row.split('`').nth(1).expect("a message");
        seen += 1;
        assert!(sources.contains(message), "nobody prints {message:?}");
    }
    assert!(seen > 8, "{seen}");
}
