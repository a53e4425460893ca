//! `find-claude`: tells as JSON which `claude` binaries this machine has, for the emulator and for
//! people.

use std::ffi::OsString;
use std::path::PathBuf;

use claude::locate::{Found, Search, find};

/// What is looked for: the process environment and the arguments after the subcommand.
///
/// # Errors
/// A text that says how the subcommand is used.
pub fn search(
    arguments: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Search, String> {
    let text = |name: &str| {
        variable(name)
            .and_then(|value| value.into_string().ok())
            .filter(|value| !value.is_empty())
    };
    let mut search = Search {
        explicit: text("SHANNON_CLAUDE_PATH").map(PathBuf::from),
        managed: None,
        path: variable("PATH"),
        search_paths: Some(
            text("SHANNON_CLAUDE_SEARCH_PATHS").unwrap_or_else(|| DEFAULT_SEARCH_PATHS.to_owned()),
        ),
        home: variable("HOME").map(PathBuf::from),
        nvm_directory: variable("NVM_DIR").map(PathBuf::from),
        nvm_check: match text("SHANNON_CLAUDE_NVM_CHECK").as_deref() {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err("SHANNON_CLAUDE_NVM_CHECK: use true or false".to_owned()),
        },
        supported_version: text("SHANNON_CLAUDE_VERSION")
            .unwrap_or_else(|| claude::SUPPORTED_VERSION.to_owned()),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            // The only format there is; named so that another can follow.
            Some("--json") => {}
            Some("--managed") => match arguments.next() {
                Some(directory) => search.managed = Some(PathBuf::from(directory)),
                None => return Err("--managed needs the state directory".to_owned()),
            },
            _ => {
                return Err(
                    "use: session-runner find-claude --json [--managed DIRECTORY]".to_owned(),
                );
            }
        }
    }
    Ok(search)
}

/// `SHANNON_CLAUDE_SEARCH_PATHS` when it is not set.
const DEFAULT_SEARCH_PATHS: &str = "/usr/local/bin:/usr/bin:~/.local/bin";

/// Looks, and gives one line of JSON.
///
/// # Errors
/// A text for stderr.
pub async fn report(search: &Search) -> Result<String, String> {
    let found: Found = find(search).await;
    serde_json::to_string(&found).map_err(|error| format!("cannot write the result: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_settings() {
        let arguments = ["--json", "--managed", "/state"].map(OsString::from);
        let set = |name: &str| (name == "SHANNON_CLAUDE_VERSION").then(|| OsString::from("9.9.9"));
        let search = search(&arguments, set).unwrap();
        assert_eq!(search.managed, Some(PathBuf::from("/state")));
        assert_eq!(search.supported_version, "9.9.9");
        assert!(search.nvm_check);
        assert!(super::search(&["--xml".into()], |_| None).is_err());
        assert!(super::search(&["--managed".into()], |_| None).is_err());
        let wrong =
            |name: &str| (name == "SHANNON_CLAUDE_NVM_CHECK").then(|| OsString::from("yes"));
        assert!(super::search(&[], wrong).is_err());
    }
}
