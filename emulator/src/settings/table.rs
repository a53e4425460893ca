//! The table of settings, read from `infra/settings.toml` at build time.

use std::sync::LazyLock;

use serde::Deserialize;

use super::SettingsError;

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A whole number.
    Integer,
    /// A number that may have a fraction.
    Decimal,
    /// `true` or `false`.
    Boolean,
    /// One of the listed values.
    Choice,
    /// A log level or a list of `target=level`.
    Filter,
    /// Anything.
    Text,
    /// 1 to 32 of a-z, 0-9 and -.
    Label,
    /// Three numbers with points.
    Version,
    /// A path.
    Path,
    /// Paths with colons between them.
    PathList,
    /// Items with commas between them.
    List,
    /// An IP address.
    Address,
    /// A secret; its bounds are bytes.
    Secret,
    /// Filled in by the template or by the caller of RunTask; not a person's to set.
    Wiring,
}

/// One row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Name of the environment variable, with its prefix.
    pub name: String,
    /// Default of a deployment.
    pub default: Option<String>,
    /// Default of the local stack where it differs.
    pub emulator_default: Option<String>,
    /// What a value has to be.
    pub kind: Kind,
    /// Unit of the value, for messages.
    pub unit: Option<String>,
    /// Least value.
    pub minimum: Option<f64>,
    /// Greatest value.
    pub maximum: Option<f64>,
    /// The only values, when not empty.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Parameter of the template that carries it.
    pub parameter: Option<String>,
    /// Directories of `functions/`, `emulator`, `template`.
    pub handlers: Vec<String>,
    /// Where the value comes from.
    pub source: String,
    /// One sentence.
    pub description: String,
}

#[derive(Deserialize)]
struct File {
    setting: Vec<Setting>,
}

/// All settings, in the order of the file.
///
/// # Errors
/// When the file that was built in is broken.
pub fn table() -> Result<&'static [Setting], SettingsError> {
    static TABLE: LazyLock<Result<Vec<Setting>, String>> = LazyLock::new(|| {
        let file: File = toml::from_str(include_str!("../../../infra/settings.toml"))
            .map_err(|error| error.to_string())?;
        Ok(file.setting)
    });
    match &*TABLE {
        Ok(settings) => Ok(settings),
        Err(problem) => Err(SettingsError::Table(problem.clone())),
    }
}
