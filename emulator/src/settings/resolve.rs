//! From the four places to one effective value of each setting.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Effective, Kind, Setting, Settings, SettingsError, Source, checks, table};

const PREFIX: &str = "SHANNON_";
const CONFIG_PATH: &str = "SHANNON_CONFIG_PATH";
const WORKSPACE_ROOTS: &str = "SHANNON_WORKSPACE_ROOTS";
/// What follows from the size of one machine, whoever uses it: a service keeps the local default.
const OF_THE_MACHINE: [&str; 1] = ["SHANNON_MAX_SESSIONS"];

/// The places. Only names that start with `SHANNON_` are looked at.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The environment of the emulator.
    pub environment: Vec<(OsString, OsString)>,
    /// From the command line: name (with or without prefix, any case) and value.
    pub command_line: Vec<(String, String)>,
    /// Relative paths are relative to it.
    pub current_directory: PathBuf,
    /// What is not given is as in a deployment, not as for a person who tries things.
    pub deployed: bool,
}

/// Reads and checks all settings; touches nothing but the files that are named.
///
/// # Errors
/// The first thing that is wrong, in the order command line, environment, file, so that the message
/// is about what the person changed last.
pub fn resolve(inputs: &Inputs) -> Result<Settings, SettingsError> {
    let settings = table()?;
    let command_line = given(settings, &inputs.command_line, &Source::CommandLine)?;
    let (environment, secret_files) = environment(settings, inputs)?;
    let config_path = [&command_line, &environment]
        .into_iter()
        .find_map(|place| place.get(CONFIG_PATH))
        .filter(|effective| {
            effective
                .value
                .as_ref()
                .is_some_and(|path| !path.is_empty())
        })
        .and_then(|effective| effective.value.as_ref())
        .map(|path| inputs.current_directory.join(path));
    let file = match config_path {
        Some(path) => file(settings, &path)?,
        None => BTreeMap::new(),
    };
    let mut values = BTreeMap::new();
    for setting in settings
        .iter()
        .filter(|setting| setting.kind != Kind::Wiring)
    {
        let mut effective = [&command_line, &environment, &secret_files, &file]
            .into_iter()
            .find_map(|place| place.get(&setting.name).cloned())
            .unwrap_or_else(|| Effective {
                value: default_of(setting, inputs.deployed),
                source: Source::Default,
            });
        if let Some(value) = &mut effective.value
            && setting.name == WORKSPACE_ROOTS
        {
            *value = checks::absolute_roots(value, &inputs.current_directory)
                .map_err(|problem| bad(setting, &effective.source, problem))?;
        }
        values.insert(setting.name.clone(), effective);
    }
    checks::across(&values)?;
    Ok(Settings(values))
}

fn default_of(setting: &Setting, deployed: bool) -> Option<String> {
    let local = !deployed || OF_THE_MACHINE.contains(&setting.name.as_str());
    let local = setting.emulator_default.as_ref().filter(|_| local);
    local.or(setting.default.as_ref()).cloned()
}

type Given = BTreeMap<String, Effective>;

/// Names and values of one place, each checked by itself.
fn given(
    settings: &[Setting],
    pairs: &[(String, String)],
    source: &Source,
) -> Result<Given, SettingsError> {
    let mut values = Given::new();
    for (name, value) in pairs {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with(PREFIX) {
            upper
        } else {
            format!("{PREFIX}{upper}")
        };
        let setting = known(settings, &full, name, source)?;
        accept(setting, value, source)?;
        values.insert(
            full,
            Effective {
                value: Some(value.clone()),
                source: source.clone(),
            },
        );
    }
    Ok(values)
}

fn environment(settings: &[Setting], inputs: &Inputs) -> Result<(Given, Given), SettingsError> {
    let mut values = Given::new();
    let mut secrets = Given::new();
    for (name, value) in &inputs.environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let secret = settings.iter().find(|setting| {
            setting.kind == Kind::Secret && name.strip_suffix("_FILE") == Some(&setting.name)
        });
        if let Some(setting) = secret {
            let path = inputs.current_directory.join(value);
            let text =
                std::fs::read_to_string(&path).map_err(|source| SettingsError::Unreadable {
                    name: name.to_owned(),
                    path: path.clone(),
                    source,
                })?;
            let source = Source::SecretFile(path);
            let text = text.trim_end_matches(['\n', '\r']).to_owned();
            accept(setting, &text, &source)?;
            let effective = Effective {
                value: Some(text),
                source,
            };
            secrets.insert(setting.name.clone(), effective);
            continue;
        }
        let setting = known(settings, name, name, &Source::Environment)?;
        let Some(value) = value.to_str() else {
            return Err(bad(
                setting,
                &Source::Environment,
                "it is not UTF-8".to_owned(),
            ));
        };
        accept(setting, value, &Source::Environment)?;
        values.insert(
            name.to_owned(),
            Effective {
                value: Some(value.to_owned()),
                source: Source::Environment,
            },
        );
    }
    if let Some((name, secret)) = secrets.iter().find(|(name, _)| values.contains_key(*name)) {
        return Err(SettingsError::Bad {
            name: name.clone(),
            place: secret.source.to_string(),
            problem: format!("{name} and {name}_FILE are both set"),
            right: "one of the two".to_owned(),
        });
    }
    Ok((values, secrets))
}

fn file(settings: &[Setting], path: &Path) -> Result<Given, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
        name: CONFIG_PATH.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| SettingsError::NotToml {
        path: path.to_owned(),
        // the parser's long form would quote the line, which may hold a secret
        problem: error.message().to_owned(),
    })?;
    let source = Source::File(path.to_owned());
    let mut pairs = Vec::new();
    for (key, value) in table {
        let full = format!("{PREFIX}{}", key.to_ascii_uppercase());
        let setting = known(settings, &full, &key, &source)?;
        if key != key.to_ascii_lowercase() || full == CONFIG_PATH {
            return Err(SettingsError::Unknown {
                name: key,
                place: source.to_string(),
                suggestion: (full != CONFIG_PATH)
                    .then(|| full[PREFIX.len()..].to_ascii_lowercase()),
            });
        }
        pairs.push((full, as_text(setting, value, &source)?));
    }
    given(settings, &pairs, &source)
}

/// A TOML value in the form the environment would have.
fn as_text(
    setting: &Setting,
    value: toml::Value,
    source: &Source,
) -> Result<String, SettingsError> {
    let not_that = |kind: &str| {
        bad(
            setting,
            source,
            format!("a TOML {kind} is not such a value"),
        )
    };
    Ok(match (value, setting.kind) {
        (toml::Value::String(text), _) => text,
        (toml::Value::Integer(number), _) => number.to_string(),
        (toml::Value::Float(number), _) => number.to_string(),
        (toml::Value::Boolean(truth), _) => truth.to_string(),
        (toml::Value::Array(items), Kind::List | Kind::PathList) => {
            let separator = if setting.kind == Kind::List { "," } else { ":" };
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items
                .ok_or_else(|| not_that("array of other things than text"))?
                .join(separator)
        }
        (other, _) => return Err(not_that(other.type_str())),
    })
}

fn known<'table>(
    settings: &'table [Setting],
    full: &str,
    shown: &str,
    source: &Source,
) -> Result<&'table Setting, SettingsError> {
    match settings.iter().find(|setting| setting.name == full) {
        Some(setting) if setting.kind == Kind::Wiring => Err(SettingsError::Wiring {
            name: full.to_owned(),
            place: source.to_string(),
        }),
        Some(setting) => Ok(setting),
        None => {
            let names: Vec<&str> = settings
                .iter()
                .filter(|setting| setting.kind != Kind::Wiring)
                .map(|setting| setting.name.as_str())
                .collect();
            let nearest = similar::get_close_matches(full, &names, 1, 0.7);
            Err(SettingsError::Unknown {
                name: shown.to_owned(),
                place: source.to_string(),
                suggestion: nearest.first().map(|name| (*name).to_owned()),
            })
        }
    }
}

fn accept(setting: &Setting, value: &str, source: &Source) -> Result<(), SettingsError> {
    match checks::problem(setting, value) {
        Some(problem) => Err(bad(setting, source, problem)),
        None => Ok(()),
    }
}

fn bad(setting: &Setting, source: &Source, problem: String) -> SettingsError {
    SettingsError::Bad {
        name: setting.name.clone(),
        place: source.to_string(),
        problem,
        right: checks::right(setting),
    }
}
