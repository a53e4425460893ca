//! The settings: the table fits template.yaml, the order of the places, and that everything wrong is
//! refused with a message that helps and never shows a secret.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use emulator::{
    settings::{Inputs, Kind, Setting, Settings, SettingsError, resolve, table},
    template::{self, Stack},
};

const TEMPLATE: &str = include_str!("../../template.yaml");
const SECRET: &str = "a-secret-of-more-than-32-bytes-0123456789";

fn inputs(environment: &[(&str, &str)]) -> Inputs {
    Inputs {
        environment: environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        command_line: Vec::new(),
        current_directory: std::env::current_dir().unwrap(),
        deployed: false,
    }
}

fn with_command_line(mut inputs: Inputs, pairs: &[(&str, &str)]) -> Inputs {
    inputs.command_line = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    inputs
}

fn refusal(environment: &[(&str, &str)]) -> String {
    resolve(&inputs(environment))
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

fn stack(overrides: &[(&str, &str)]) -> Result<Stack, template::TemplateError> {
    let mut parameters = BTreeMap::from(
        [
            ("AccessTokenSha256", "0".repeat(64)),
            ("SigningKey", "k".repeat(32)),
            ("AnthropicApiKey", "a".repeat(32)),
            ("RunnerImage", "none".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    for (name, value) in overrides {
        parameters.insert((*name).to_owned(), (*value).to_owned());
    }
    template::parse(TEMPLATE, &parameters, "test")
}

fn settable() -> impl Iterator<Item = &'static Setting> {
    table()
        .unwrap()
        .iter()
        .filter(|setting| setting.kind != Kind::Wiring)
}

#[test]
fn defaults_are_those_of_the_template() {
    let ours: Vec<(&str, &str)> = settable()
        .filter_map(|setting| Some((setting.parameter.as_deref()?, setting.default.as_deref()?)))
        .collect();
    assert!(ours.len() > 40);
    assert_eq!(
        format!("{:?}", stack(&ours).unwrap()),
        format!("{:?}", stack(&[]).unwrap())
    );
}

#[test]
fn bounds_are_those_of_the_template() {
    for setting in settable() {
        let Some(parameter) = setting.parameter.as_deref() else {
            continue;
        };
        // Bounds of a secret are its bytes, and a deployment may have none.
        if setting.kind == Kind::Secret {
            continue;
        }
        let accepted = |value: &str| stack(&[(parameter, value)]).is_ok();
        for choice in &setting.choices {
            assert!(accepted(choice), "{parameter}={choice}");
        }
        if !setting.choices.is_empty() {
            assert!(!accepted("8"), "{parameter} takes more than our choices");
        }
        if setting.kind == Kind::Boolean {
            assert!(
                accepted("true") && accepted("false") && !accepted("yes"),
                "{parameter}"
            );
        }
        let step = if setting.kind == Kind::Decimal {
            0.001
        } else {
            1.0
        };
        for (bound, beyond) in [(setting.minimum, -step), (setting.maximum, step)] {
            let Some(bound) = bound else { continue };
            assert!(accepted(&bound.to_string()), "{parameter}={bound}");
            assert!(
                !accepted(&(bound + beyond).to_string()),
                "{parameter}={}",
                bound + beyond
            );
            let environment =
                |value: f64| resolve(&inputs(&[(setting.name.as_str(), &value.to_string())]));
            assert!(
                matches!(environment(bound + beyond), Err(SettingsError::Bad { .. })),
                "{}={}",
                setting.name,
                bound + beyond
            );
        }
    }
}

/// Which functions and tasks the template gives each variable, and that ours says the same.
#[test]
fn handlers_are_those_of_the_template() {
    let stack = stack(&[]).unwrap();
    let mut readers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for function in &stack.functions {
        for name in function.environment.keys() {
            readers
                .entry(name.clone())
                .or_default()
                .push(function.name.clone());
        }
    }
    for definition in &stack.task_definitions {
        for container in definition["containerDefinitions"].as_array().unwrap() {
            for variable in container["environment"].as_array().unwrap() {
                let name = variable["name"].as_str().unwrap().to_owned();
                let container = container["name"].as_str().unwrap().to_owned();
                readers.entry(name).or_default().push(container);
            }
        }
    }
    for setting in table().unwrap() {
        let mut found = readers.remove(&setting.name).unwrap_or_default();
        found.sort();
        let mut ours: Vec<String> = setting
            .handlers
            .iter()
            .filter(|handler| !["emulator", "template"].contains(&handler.as_str()))
            .cloned()
            .collect();
        ours.sort();
        let given_with_run_task = [
            "SHANNON_OWNER",
            "SHANNON_SESSION",
            "SHANNON_FENCE",
            "SHANNON_SESSION_TOKEN",
        ];
        if !given_with_run_task.contains(&setting.name.as_str()) {
            assert_eq!(ours, found, "{}", setting.name);
        }
    }
    readers.retain(|name, _| name.starts_with("SHANNON_"));
    assert!(
        readers.is_empty(),
        "the template names what the table does not: {readers:?}"
    );
}

#[test]
fn every_default_is_right_and_every_name_is_used_once() {
    let settings = resolve(&inputs(&[])).unwrap();
    assert_eq!(settings.text("SHANNON_STAGE"), Some("local"));
    assert_eq!(settings.integer("SHANNON_MAX_SESSIONS"), Some(10));
    assert_eq!(settings.integer("SHANNON_PORT"), Some(8080));
    assert!(!settings.on("SHANNON_DEBUG"));
    for setting in settable() {
        for default in [&setting.default, &setting.emulator_default]
            .into_iter()
            .flatten()
        {
            if !default.is_empty() {
                resolve(&inputs(&[(setting.name.as_str(), default.as_str())])).unwrap();
            }
        }
    }
    let mut names: Vec<&str> = table()
        .unwrap()
        .iter()
        .map(|setting| setting.name.as_str())
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn later_places_win() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shannon.toml");
    fs::write(&path, "max_sessions = 3\nmax_turns = 4\nallowed_origins = [\"https://a\", \"https://b\"]\ndebug = true\n").unwrap();
    let path = path.to_str().unwrap();
    let from = |environment: &[(&str, &str)], line: &[(&str, &str)]| -> Settings {
        resolve(&with_command_line(inputs(environment), line)).unwrap()
    };
    let file = ("SHANNON_CONFIG_PATH", path);
    let turns = ("SHANNON_MAX_TURNS", "5");
    assert_eq!(from(&[], &[]).integer("SHANNON_MAX_TURNS"), Some(100));
    let with_file = from(&[file], &[]);
    assert_eq!(with_file.integer("SHANNON_MAX_TURNS"), Some(4));
    assert_eq!(
        with_file.text("SHANNON_ALLOWED_ORIGINS"),
        Some("https://a,https://b")
    );
    assert!(with_file.on("SHANNON_DEBUG"));
    assert_eq!(
        from(&[file, turns], &[]).integer("SHANNON_MAX_TURNS"),
        Some(5)
    );
    let all = from(&[file, turns], &[("max_turns", "6")]);
    assert_eq!(all.integer("SHANNON_MAX_TURNS"), Some(6));
    let parameters = all.parameters().unwrap();
    assert_eq!(parameters["MaxTurns"], "6");
    assert_eq!(parameters["MaxSessions"], "3");
    assert_eq!(parameters["Debug"], "true");
    let parameters: Vec<(&str, &str)> = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    stack(&parameters).expect("the template takes all our values");
    let report = all.report().unwrap();
    let source = |name: &str| {
        let line = report.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once("  ").unwrap().1.trim().to_owned()
    };
    assert!(source("SHANNON_MAX_TURNS").ends_with("command line"));
    assert!(source("SHANNON_MAX_SESSIONS ").ends_with(path));
    assert!(source("SHANNON_PORT").ends_with("default"));
}

#[test]
fn wrong_values_are_refused_with_what_is_right() {
    for (name, value, problem, right) in [
        (
            "SHANNON_MAX_TURNS",
            "0",
            "0 is out of range",
            "from 1 to 500 (turns per message)",
        ),
        (
            "SHANNON_MAX_TURNS",
            "many",
            "`many` is not a whole number",
            "from 1 to 500",
        ),
        (
            "SHANNON_MAX_TURNS",
            "",
            "`` is not a whole number",
            "from 1 to 500",
        ),
        (
            "SHANNON_MAX_BUDGET_USD",
            "NaN",
            "`NaN` is not a number",
            "from 0.01 to 10000",
        ),
        (
            "SHANNON_DEBUG",
            "yes",
            "`yes` is not true or false",
            "true or false",
        ),
        (
            "SHANNON_LOG_FORMAT",
            "xml",
            "`xml` is not one of its values",
            "one of json, text",
        ),
        (
            "SHANNON_LOG_LEVEL",
            "info,loud",
            "`loud` is not a level",
            "trace, debug, info",
        ),
        (
            "SHANNON_STAGE",
            "My Stage",
            "is not such a name",
            "1 to 32 of a-z",
        ),
        (
            "SHANNON_BIND",
            "localhost",
            "is not an IP address",
            "127.0.0.1",
        ),
        (
            "SHANNON_CLAUDE_VERSION",
            "latest",
            "is not a version",
            "2.1.328",
        ),
        (
            "SHANNON_WORKSPACE_ROOTS",
            "/no/such/directory",
            "cannot be opened",
            "existing directories",
        ),
        (
            "SHANNON_LEASE_SECONDS",
            "8",
            "less than three times SHANNON_HEARTBEAT_SECONDS",
            "at least 9",
        ),
        (
            "SHANNON_WAIT_MAX_SECONDS",
            "20",
            "is more than SHANNON_WAIT_MAX_SECONDS",
            "at most 20",
        ),
        (
            "SHANNON_RUNNER_MEMORY_MIB",
            "1000",
            "ECS has no task with 1024 CPU units and 1000 MiB",
            "2048 to 8192",
        ),
        (
            "SHANNON_RUNNER_CPU_UNITS",
            "1000",
            "not one of its values",
            "one of 256, 512",
        ),
    ] {
        let message = refusal(&[(name, value)]);
        for part in ["SHANNON_", problem, right] {
            assert!(message.contains(part), "{name}={value}: {message}");
        }
    }
    resolve(&inputs(&[("SHANNON_LOG_LEVEL", "info,hyper=warn")])).unwrap();
}

#[test]
fn unknown_names_and_wiring_are_refused() {
    let message = refusal(&[("SHANNON_MAX_TURN", "5")]);
    assert!(
        message.contains("SHANNON_MAX_TURN (environment) is not a setting"),
        "{message}"
    );
    assert!(
        message.contains("did you mean SHANNON_MAX_TURNS?"),
        "{message}"
    );
    let message = refusal(&[("SHANNON_TABLE", "x")]);
    assert!(
        message.contains("SHANNON_TABLE") && message.contains("cannot be set"),
        "{message}"
    );
    let message = refusal(&[("SHANNON_MAX_TURNS_FILE", "x")]);
    assert!(message.contains("is not a setting"), "{message}");
    resolve(&inputs(&[("MAX_TURN", "5"), ("PATH", "/bin")])).unwrap();
}

#[test]
fn secrets_are_checked_and_never_shown() {
    let settings = resolve(&inputs(&[("SHANNON_DEV_TOKEN", SECRET)])).unwrap();
    assert_eq!(settings.text("SHANNON_DEV_TOKEN"), Some(SECRET));
    let report = settings.report().unwrap();
    assert!(!report.contains(SECRET) && report.contains(" set "));
    let report = resolve(&inputs(&[])).unwrap().report().unwrap();
    assert!(report.contains(" not set "), "{report}");
    for (value, problem) in [
        ("short-secret", "it has 12 bytes, which is too short"),
        ("", "it has 0 bytes"),
        (&"ab".repeat(30), "looks like a sample"),
        (
            "Change-me-0123456789-abcdefghijklmnopq",
            "looks like a sample",
        ),
        (
            "secret-0123456789-abcdefghijklmnopqrst",
            "looks like a sample",
        ),
        (
            "with spaces in it 0123456789 0123456789",
            "a header cannot carry",
        ),
    ] {
        let message = refusal(&[("SHANNON_DEV_TOKEN", value)]);
        assert!(
            message.contains("SHANNON_DEV_TOKEN") && message.contains(problem),
            "{message}"
        );
        assert!(value.is_empty() || !message.contains(value), "{message}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    let file = ("SHANNON_DEV_TOKEN_FILE", path.to_str().unwrap());
    let settings = resolve(&inputs(&[file])).unwrap();
    assert_eq!(settings.text("SHANNON_DEV_TOKEN"), Some(SECRET));
    let message = refusal(&[file, ("SHANNON_DEV_TOKEN", SECRET)]);
    assert!(message.contains("both set"), "{message}");
    let message = refusal(&[("SHANNON_DEV_TOKEN_FILE", "/no/such/file")]);
    assert!(message.contains("cannot read /no/such/file"), "{message}");
}

#[test]
fn wrong_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str| -> String {
        let path = directory.path().join("shannon.toml");
        fs::write(&path, text).unwrap();
        refusal(&[("SHANNON_CONFIG_PATH", path.to_str().unwrap())])
    };
    for (text, expected) in [
        ("max_turn = 5", "did you mean SHANNON_MAX_TURNS?"),
        ("MAX_TURNS = 5", "MAX_TURNS"),
        ("table = \"x\"", "SHANNON_TABLE"),
        ("config_path = \"x\"", "config_path"),
        ("max_turns = 0", "0 is out of range"),
        ("max_turns = [1]", "a TOML array"),
        ("dev_token = \"hidden-value", "is not TOML"),
    ] {
        let message = check(text);
        assert!(message.contains(expected), "{text}: {message}");
        assert!(!message.contains("hidden-value"), "{message}");
    }
    let message = refusal(&[("SHANNON_CONFIG_PATH", "/no/such.toml")]);
    assert!(message.contains("cannot read /no/such.toml"), "{message}");
}

#[test]
fn workspace_roots_become_absolute() {
    let settings = resolve(&inputs(&[("SHANNON_WORKSPACE_ROOTS", "src:tests")])).unwrap();
    let roots: Vec<&str> = settings
        .text("SHANNON_WORKSPACE_ROOTS")
        .unwrap()
        .split(':')
        .collect();
    assert_eq!(roots.len(), 2);
    assert!(roots.iter().all(|root| Path::new(root).is_absolute()));
}

/// A value that the setting allows and that is not its default.
fn another(setting: &Setting) -> String {
    let default = setting.default.as_deref().unwrap_or_default();
    let candidates = setting.choices.iter().cloned().chain(
        [setting.minimum, setting.maximum]
            .into_iter()
            .flatten()
            .map(|bound| bound.to_string()),
    );
    let of_kind = match setting.kind {
        Kind::Boolean => ["true", "false"].map(str::to_owned).to_vec(),
        Kind::Version => vec!["9.8.7".to_owned()],
        _ if default.starts_with("https://") || setting.name.ends_with("_URL") => {
            vec!["https://example.com".to_owned()]
        }
        _ => vec!["debug".to_owned()],
    };
    candidates
        .chain(of_kind)
        .find(|value| value != default)
        .unwrap()
}

/// What a person sets reaches the functions and the tasks: each parameter changes the stack, or at
/// least a resource that the emulator has nothing for.
#[test]
fn every_parameter_changes_the_stack() {
    let default = format!("{:?}", stack(&[]).unwrap());
    for setting in settable() {
        let Some(parameter) = setting.parameter.as_deref() else {
            continue;
        };
        let value = another(setting);
        let changed = format!("{:?}", stack(&[(parameter, &value)]).unwrap());
        if parameter == "LogRetentionDays" {
            assert!(TEMPLATE.contains("RetentionInDays: !Ref LogRetentionDays"));
            continue;
        }
        assert_ne!(changed, default, "{parameter}={value}");
        let in_environment = format!("{:?}: {value:?}", setting.name);
        let for_programs = setting.handlers.iter().any(|handler| handler != "template");
        assert!(
            !for_programs || changed.contains(&in_environment) || changed.contains(&value),
            "{parameter}={value}"
        );
    }
}
