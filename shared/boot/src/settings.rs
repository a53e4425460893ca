//! Settings: environment variables `SHANNON_…`, read and checked once before the first request.
//!
//! Names, defaults and ranges stand in one table, `infra/settings.toml`; this file only reads it. A
//! variable that the table does not know, or whose value is outside its range, stops the start with
//! a message that names variable, problem and what is allowed, never a secret's value. Each secret
//! `X` may come from a file instead, named by `X_FILE`.

mod check;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use domain::{Deployment, Retention, Tier, ports::SlotLimits};
use serde_json::{Value, json};
use thiserror::Error;

use check::check;
use table::{Kind, Table};

/// Shortest secret that is accepted, in bytes.
pub const MINIMUM_SECRET_BYTES: usize = 32;

/// Why the settings are refused. The message is for the person who starts the program.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// No such setting: a misspelt name would otherwise be ignored.
    #[error("{0} is not a setting; infra/settings.toml lists them")]
    Unknown(String),
    /// The value does not parse or lies outside its range.
    #[error("{name}: {problem}; allowed: {allowed}")]
    Invalid {
        /// The variable.
        name: String,
        /// What is wrong with the value.
        problem: String,
        /// What is right.
        allowed: String,
    },
    /// Needed here and not set.
    #[error("{name} is not set; it is needed here: {description}")]
    Missing {
        /// The variable.
        name: String,
        /// What it is for.
        description: String,
    },
    /// A file with a secret cannot be read.
    #[error("{name}_FILE: cannot read {path}: {problem}")]
    File {
        /// The secret's variable.
        name: String,
        /// The file it names.
        path: String,
        /// Why not.
        problem: String,
    },
    /// The table itself cannot be read: the program was built from a broken checkout.
    #[error("infra/settings.toml: {0}")]
    Table(String),
}

/// A value that must not be shown. `Debug` says only that it is set.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(set)")
    }
}

/// The checked settings of this process.
#[derive(Clone)]
pub struct Settings {
    table: Table,
    values: BTreeMap<String, String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.values.keys().collect();
        formatter
            .debug_struct("Settings")
            .field("set", &names)
            .finish()
    }
}

impl Settings {
    /// Reads and checks every `SHANNON_…` variable of this process.
    ///
    /// # Errors
    /// [`SettingsError`] for the first variable that is wrong.
    pub fn from_environment() -> Result<Self, SettingsError> {
        Self::read(std::env::vars_os())
    }

    /// The same for the given variables; others than `SHANNON_…` are ignored.
    ///
    /// # Errors
    /// [`SettingsError`] for the first variable, by name, that is wrong.
    pub fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let table = Table::load()?;
        let mut values = BTreeMap::new();
        let mut files = BTreeMap::new();
        let ours: BTreeMap<String, OsString> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with("SHANNON_"))
            .collect();
        for (name, value) in ours {
            let value = value.into_string().map_err(|_| SettingsError::Invalid {
                name: name.clone(),
                problem: "the value is not UTF-8".to_owned(),
                allowed: "text".to_owned(),
            })?;
            if let Some(row) = table.row(&name) {
                check(row, &value)?;
                values.insert(name, value);
            } else if let Some(secret) = name
                .strip_suffix("_FILE")
                .filter(|secret| table.row(secret).is_some_and(table::Row::is_secret))
            {
                files.insert(secret.to_owned(), value);
            } else {
                return Err(SettingsError::Unknown(name));
            }
        }
        for (name, path) in files {
            let value = read_secret_file(&name, &path)?;
            if values.get(&name).is_some_and(|other| !other.is_empty()) {
                return Err(SettingsError::Invalid {
                    problem: format!("it is set, and so is {name}_FILE"),
                    allowed: "one of the two".to_owned(),
                    name,
                });
            }
            if let Some(row) = table.row(&name) {
                check(row, &value)?;
            }
            values.insert(name, value);
        }
        let settings = Self { table, values };
        settings.check_together()?;
        Ok(settings)
    }

    /// Rules that concern more than one setting.
    fn check_together(&self) -> Result<(), SettingsError> {
        let (lease, heartbeat) = (
            self.integer("SHANNON_LEASE_SECONDS")?,
            self.integer("SHANNON_HEARTBEAT_SECONDS")?,
        );
        if lease < 3 * heartbeat {
            return Err(SettingsError::Invalid {
                name: "SHANNON_LEASE_SECONDS".to_owned(),
                problem: format!("{lease} s is less than three heartbeats of {heartbeat} s"),
                allowed: "at least three times SHANNON_HEARTBEAT_SECONDS, at most 60".to_owned(),
            });
        }
        Ok(())
    }

    fn invalid(name: &str, problem: &str, allowed: &str) -> SettingsError {
        SettingsError::Invalid {
            name: name.to_owned(),
            problem: problem.to_owned(),
            allowed: allowed.to_owned(),
        }
    }

    /// The value or the default; `None` when it is unset without a default, or empty.
    ///
    /// # Errors
    /// [`SettingsError::Unknown`] when the table has no such name.
    pub fn optional(&self, name: &str) -> Result<Option<&str>, SettingsError> {
        let row = self
            .table
            .row(name)
            .ok_or_else(|| SettingsError::Unknown(name.to_owned()))?;
        let text = self.values.get(name).map(String::as_str);
        let text = text.or(row.default.as_deref());
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// The value or the default.
    ///
    /// # Errors
    /// [`SettingsError::Missing`] when there is neither, or it is empty.
    pub fn text(&self, name: &str) -> Result<&str, SettingsError> {
        self.optional(name)?.ok_or_else(|| SettingsError::Missing {
            name: name.to_owned(),
            description: self
                .table
                .row(name)
                .map(|row| row.description.clone())
                .unwrap_or_default(),
        })
    }

    /// A whole number in the unit that the name states.
    ///
    /// # Errors
    /// [`SettingsError`] when it is missing or no whole number.
    pub fn integer(&self, name: &str) -> Result<u64, SettingsError> {
        self.text(name)?
            .parse()
            .map_err(|_| Self::invalid(name, "not a whole number", "a whole number"))
    }

    /// The same for what is counted in 32 bits.
    ///
    /// # Errors
    /// [`SettingsError`] when it is missing or does not fit.
    pub fn count(&self, name: &str) -> Result<u32, SettingsError> {
        self.text(name)?
            .parse()
            .map_err(|_| Self::invalid(name, "not a whole number", "a whole number below 2^32"))
    }

    /// A decimal number in the unit that the name states.
    ///
    /// # Errors
    /// [`SettingsError`] when it is missing or no number.
    pub fn decimal(&self, name: &str) -> Result<f64, SettingsError> {
        self.text(name)?
            .parse()
            .map_err(|_| Self::invalid(name, "not a number", "a decimal number"))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`SettingsError`] when it is missing.
    pub fn boolean(&self, name: &str) -> Result<bool, SettingsError> {
        Ok(self.text(name)? == "true")
    }

    /// The parts of a list: separated by commas, or by colons for a list of paths. Empty when unset.
    ///
    /// # Errors
    /// [`SettingsError::Unknown`] when the table has no such name.
    pub fn list(&self, name: &str) -> Result<Vec<String>, SettingsError> {
        let separator = match self.table.row(name).map(|row| row.kind) {
            Some(Kind::PathList) => ':',
            _ => ',',
        };
        Ok(self
            .optional(name)?
            .unwrap_or_default()
            .split(separator)
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// A path, when set.
    ///
    /// # Errors
    /// [`SettingsError::Unknown`] when the table has no such name.
    pub fn path(&self, name: &str) -> Result<Option<PathBuf>, SettingsError> {
        Ok(self.optional(name)?.map(PathBuf::from))
    }

    /// A secret.
    ///
    /// # Errors
    /// [`SettingsError::Missing`] when it is not set.
    pub fn secret(&self, name: &str) -> Result<Secret, SettingsError> {
        self.text(name).map(|text| Secret(text.to_owned()))
    }

    /// Every setting for an administrator to look at: its value as `function` has it, where that
    /// comes from, and who else reads it. Of a secret it says only whether it is set; what
    /// `function` is not given has no value here.
    #[must_use]
    pub fn shown(&self, function: &str) -> Value {
        let settings: Vec<Value> = self
            .table
            .rows()
            .iter()
            .map(|row| {
                let given = self.values.get(&row.name).map(String::as_str);
                let mut shown = json!({"name": row.name});
                if row.is_secret() {
                    shown["set"] = given.is_some_and(|value| !value.is_empty()).into();
                } else if given.is_some() || row.handlers.iter().any(|it| it == function) {
                    shown["value"] = given.or(row.default.as_deref()).into();
                    let from = if given.is_some() {
                        "environment"
                    } else {
                        "default"
                    };
                    shown["from"] = from.into();
                }
                shown["default"] = row.default.as_deref().into();
                shown["unit"] = row.unit.as_deref().into();
                shown["read_by"] = json!(row.handlers);
                shown["description"] = row.description.as_str().into();
                shown
            })
            .collect();
        json!({"function": function, "settings": settings})
    }

    /// How many sessions may hold compute.
    ///
    /// # Errors
    /// [`SettingsError`]; the program does not start.
    pub fn slots(&self) -> Result<SlotLimits, SettingsError> {
        Ok(SlotLimits {
            deployment: self.count("SHANNON_MAX_SESSIONS")?,
            owner: self.count("SHANNON_MAX_SESSIONS_PER_OWNER")?,
        })
    }

    /// For how long checkpoints are kept.
    ///
    /// # Errors
    /// [`SettingsError`]; the program does not start.
    pub fn retention(&self) -> Result<Retention, SettingsError> {
        const HOUR_MILLISECONDS: u64 = 60 * 60 * 1000;
        let days = self.integer("SHANNON_CHECKPOINT_RETENTION_DAYS")?;
        Ok(Retention {
            max_checkpoints: self.integer("SHANNON_MAX_CHECKPOINTS")?,
            checkpoint_milliseconds: days * 24 * HOUR_MILLISECONDS,
            grace_milliseconds: self.integer("SHANNON_CHECKPOINT_GRACE_HOURS")? * HOUR_MILLISECONDS,
        })
    }

    /// The least strict tier that sessions can have.
    ///
    /// # Errors
    /// [`SettingsError`]; the program does not start.
    pub fn tier(&self) -> Result<Tier, SettingsError> {
        const NAME: &str = "SHANNON_SAFETY_TIER";
        let text = self.text(NAME)?;
        Tier::parse(text).ok_or_else(|| SettingsError::Invalid {
            name: NAME.to_owned(),
            problem: format!("{text:?} is not a tier"),
            allowed: "auto, review or strict".to_owned(),
        })
    }

    /// What the use cases need to know of this deployment.
    ///
    /// # Errors
    /// [`SettingsError`] when a part of it is missing.
    pub fn deployment(&self) -> Result<Deployment, SettingsError> {
        let budget = self.integer("SHANNON_RESPONSE_BUDGET_CHARACTERS")?;
        Ok(Deployment {
            max_sessions: self.count("SHANNON_MAX_SESSIONS")?,
            max_sessions_per_owner: self.count("SHANNON_MAX_SESSIONS_PER_OWNER")?,
            max_queued_messages: self.count("SHANNON_MAX_QUEUED_MESSAGES")?,
            max_turns: self.count("SHANNON_MAX_TURNS")?,
            max_budget_usd: self.decimal("SHANNON_MAX_BUDGET_USD")?,
            allow_bypass_permissions: self.boolean("SHANNON_ALLOW_BYPASS_PERMISSIONS")?,
            elicitation_approves: self.list("SHANNON_ELICITATION_APPROVES")?,
            tier: self.tier()?,
            workspace_roots: self.list("SHANNON_WORKSPACE_ROOTS")?,
            max_upload_bytes: self.integer("SHANNON_MAX_UPLOAD_BYTES")?,
            upload_url_seconds: self.integer("SHANNON_UPLOAD_URL_SECONDS")?,
            wait_default_seconds: self.integer("SHANNON_WAIT_DEFAULT_SECONDS")?,
            wait_max_seconds: self.integer("SHANNON_WAIT_MAX_SECONDS")?,
            // At most 100,000, which fits everywhere.
            response_budget_characters: usize::try_from(budget).unwrap_or(usize::MAX),
            lease_milliseconds: self.integer("SHANNON_LEASE_SECONDS")? * 1000,
            retention_days: self.integer("SHANNON_RETENTION_DAYS")?,
            audit_retention_days: self.integer("SHANNON_AUDIT_RETENTION_DAYS")?,
            session_token_seconds: self.integer("SHANNON_SESSION_TOKEN_SECONDS")?,
        })
    }
}

fn read_secret_file(name: &str, path: &str) -> Result<String, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::File {
        name: name.to_owned(),
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    // Every tool that writes such a file ends it with a line feed.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests;
