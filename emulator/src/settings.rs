//! The settings of the local stack: one table (`infra/settings.toml`), four places they come from,
//! checked once before anything starts.
//!
//! Order, later wins: default, file at `SHANNON_CONFIG_PATH`, environment, command line. The result
//! reaches the functions as parameters of the template, exactly as in a deployment.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

mod checks;
mod resolve;
mod table;

pub(crate) use checks::SAMPLES;
pub use resolve::{Inputs, resolve};
pub use table::{Kind, Setting, table};

/// Where an effective value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table.
    Default,
    /// The file at `SHANNON_CONFIG_PATH`.
    File(PathBuf),
    /// The environment.
    Environment,
    /// The file that `<name>_FILE` names.
    SecretFile(PathBuf),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Environment => formatter.write_str("environment"),
            Self::SecretFile(path) => write!(formatter, "secret file {}", path.display()),
            Self::CommandLine => formatter.write_str("command line"),
        }
    }
}

/// Why the settings cannot be used. The message names the variable and what is right; it never shows
/// the value of a secret.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The table itself is broken; only a change of it can cause this.
    #[error("infra/settings.toml cannot be used: {0}")]
    Table(String),
    /// No setting has this name.
    #[error("{name} ({place}) is not a setting{}", suggestion.as_ref().map_or(String::new(), |name| format!("; did you mean {name}?")))]
    Unknown {
        /// As it was given.
        name: String,
        /// Where it was given.
        place: String,
        /// The nearest name.
        suggestion: Option<String>,
    },
    /// The name belongs to the stack's own wiring.
    #[error("{name} ({place}) is filled in by the stack and cannot be set; remove it")]
    Wiring {
        /// The variable.
        name: String,
        /// Where it was given.
        place: String,
    },
    /// A value that is not right.
    #[error("{name} ({place}): {problem}; right is {right}")]
    Bad {
        /// The variable.
        name: String,
        /// Where the value comes from.
        place: String,
        /// What is wrong, without a secret's value.
        problem: String,
        /// What is allowed.
        right: String,
    },
    /// A file that was named cannot be read.
    #[error("{name}: cannot read {}", path.display())]
    Unreadable {
        /// The variable that names it.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings file is not TOML.
    #[error("{} is not TOML: {problem}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        problem: String,
    },
}

/// One effective value.
#[derive(Clone)]
pub struct Effective {
    /// As text; `None` when it is unset and has no default.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

/// All effective values of the local stack.
#[derive(Clone)]
pub struct Settings(BTreeMap<String, Effective>);

impl Settings {
    /// The value of a setting, or `None` when it is unset.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)?
            .value
            .as_deref()
            .filter(|value| !value.is_empty())
    }

    /// The value of a whole number (checked when the settings were read); `None` when unset.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Whether a switch is on.
    #[must_use]
    pub fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// A path, relative to the current directory when it is not absolute.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.text(name).map(Path::new)
    }

    /// The same settings with another default for one of them; what was given stays.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: &str) -> Self {
        if let Some(effective) = self.0.get_mut(name)
            && effective.source == Source::Default
        {
            effective.value = Some(value.to_owned());
        }
        self
    }

    /// Whether somebody has given it, in whatever place.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        let effective = self.0.get(name);
        effective.is_some_and(|effective| effective.source != Source::Default)
    }

    /// All names with their values and sources, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Effective)> {
        self.0
            .iter()
            .map(|(name, effective)| (name.as_str(), effective))
    }

    /// The values that the template takes, by parameter name.
    ///
    /// # Errors
    /// When the table is broken.
    pub fn parameters(&self) -> Result<BTreeMap<String, String>, SettingsError> {
        let mut parameters = BTreeMap::new();
        for setting in table()? {
            let effective = self.0.get(&setting.name);
            if let (Some(parameter), Some(value)) = (
                &setting.parameter,
                effective.and_then(|effective| effective.value.clone()),
            ) {
                parameters.insert(parameter.clone(), value);
            }
        }
        Ok(parameters)
    }

    /// The table that `emulator config check` prints: name, value, source. Secrets are `set` or
    /// `not set`.
    ///
    /// # Errors
    /// When the table is broken.
    pub fn report(&self) -> Result<String, SettingsError> {
        let mut rows = Vec::new();
        for setting in table()?
            .iter()
            .filter(|setting| setting.kind != Kind::Wiring)
        {
            let Some(effective) = self.0.get(&setting.name) else {
                continue;
            };
            let value = match (&effective.value, setting.kind) {
                (Some(_), Kind::Secret) => "set".to_owned(),
                (None, Kind::Secret) => "not set".to_owned(),
                (Some(value), _) if !value.is_empty() => value.clone(),
                _ => "(empty)".to_owned(),
            };
            rows.push((setting.name.as_str(), value, effective.source.to_string()));
        }
        let name_width = rows.iter().map(|row| row.0.len()).max().unwrap_or_default();
        let value_width = rows
            .iter()
            .map(|row| row.1.chars().count())
            .max()
            .unwrap_or_default();
        Ok(rows
            .iter()
            .map(|(name, value, source)| {
                let line = format!("{name:name_width$}  {value:value_width$}  {source}");
                line.trim_end().to_owned() + "\n"
            })
            .collect())
    }
}
