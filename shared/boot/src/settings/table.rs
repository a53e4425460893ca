//! The table of all settings, `infra/settings.toml`, as this crate reads it.

use serde::Deserialize;

use super::SettingsError;

const TEXT: &str = include_str!("../../../../infra/settings.toml");

/// Wiring that is secret: the table's `kind` says who sets a value, this says how it is treated.
const SECRET_WIRING: [&str; 3] = [
    "SHANNON_SIGNING_KEY",
    "SHANNON_ANTHROPIC_API_KEY",
    "SHANNON_SESSION_TOKEN",
];

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Integer,
    Decimal,
    Boolean,
    Choice,
    Filter,
    Text,
    Label,
    Version,
    Path,
    PathList,
    List,
    Address,
    Secret,
    Wiring,
}

/// One setting.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) default: Option<String>,
    pub(super) kind: Kind,
    pub(super) unit: Option<String>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    #[serde(default)]
    pub(super) choices: Vec<String>,
    pub(super) parameter: Option<String>,
    pub(super) handlers: Vec<String>,
    pub(super) description: String,
}

impl Row {
    pub(super) fn is_secret(&self) -> bool {
        self.kind == Kind::Secret || SECRET_WIRING.contains(&self.name.as_str())
    }
}

/// All settings.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Table {
    setting: Vec<Row>,
}

impl Table {
    pub(super) fn load() -> Result<Self, SettingsError> {
        toml::from_str(TEXT).map_err(|error| SettingsError::Table(error.to_string()))
    }

    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.setting.iter().find(|row| row.name == name)
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.setting
    }
}
