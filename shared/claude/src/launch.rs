//! The one way the CLI is started: arguments and environment, nothing inherited.
//!
//! What a cloned repository could use against its session is switched off here:
//! `--setting-sources user` (no hooks, `apiKeyHelper` or `env` block of the repository),
//! `--strict-mcp-config` (no `.mcp.json`); its `CLAUDE.md` is read through `--add-dir`.

/// What `claude` is started with. All paths are those the CLI itself sees.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Which conversation.
    pub start: Start,
    /// Base URL of the model relay.
    pub model_url: String,
    /// Secret of the model relay. It is good for this process only.
    pub model_key: String,
    /// Home directory.
    pub home: String,
    /// `CLAUDE_CONFIG_DIR`.
    pub config_directory: String,
    /// Directory for temporary files.
    pub temporary_directory: String,
    /// The settings file with the gate hook.
    pub settings_file: String,
    /// `PATH` of everything the session runs.
    pub search_path: String,
    /// Directories whose `CLAUDE.md` is read: the workspace and, if it is not the same, the
    /// directory the session works in.
    pub instruction_directories: Vec<String>,
    /// Model name or alias; the CLI's default when absent.
    pub model: Option<String>,
    /// Most model turns of one message.
    pub max_turns: Option<u32>,
    /// Most dollars of the whole session.
    pub max_budget_usd: Option<f64>,
    /// Text added to the system prompt.
    pub append_system_prompt: Option<String>,
}

/// Which conversation the CLI begins with. Ids are UUIDs, chosen by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A new one.
    New {
        /// Its id.
        id: String,
    },
    /// The one whose transcript lies in the config directory.
    Resume {
        /// Its id.
        id: String,
        /// A turn that its transcript leaves open is run again, before any message.
        replay: bool,
    },
    /// A new one that begins with what another one has.
    Fork {
        /// Of which; its transcript lies in the config directory.
        of: String,
        /// Its own id.
        id: String,
    },
}

/// Why a turn is run again, as its frames repeat it.
const RESUME_REASON: &str = "checkpoint_restore";

/// Tools that make no sense in a session that is alone in its sandbox: they reach for other
/// sessions or for a time when this process is gone.
pub const DISALLOWED_TOOLS: &str =
    "ListAgents,SendMessage,CronCreate,CronDelete,CronList,ScheduleWakeup";

impl Launch {
    /// The arguments after the program name.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "-p",
            "--input-format",
            "stream-json",
            "--output-format",
            "stream-json",
            "--verbose",
            "--include-partial-messages",
            "--session-mirror",
            "--permission-prompt-tool",
            "stdio",
            "--permission-mode",
            "default",
            "--setting-sources",
            "user",
            "--strict-mcp-config",
        ]
        .map(String::from)
        .to_vec();
        // The form with an equals sign: a value that starts with a dash stays a value.
        match &self.start {
            Start::New { id } => arguments.push(format!("--session-id={id}")),
            Start::Resume { id, .. } => arguments.push(format!("--resume={id}")),
            Start::Fork { of, id } => arguments.extend([
                format!("--resume={of}"),
                "--fork-session".to_owned(),
                format!("--session-id={id}"),
            ]),
        }
        arguments.push(format!("--settings={}", self.settings_file));
        arguments.push(format!("--disallowedTools={DISALLOWED_TOOLS}"));
        for directory in &self.instruction_directories {
            arguments.push(format!("--add-dir={directory}"));
        }
        if let Some(model) = &self.model {
            arguments.push(format!("--model={model}"));
        }
        if let Some(turns) = self.max_turns {
            arguments.push(format!("--max-turns={turns}"));
        }
        if let Some(budget) = self.max_budget_usd {
            arguments.push(format!("--max-budget-usd={budget}"));
        }
        if let Some(text) = &self.append_system_prompt {
            arguments.push(format!("--append-system-prompt={text}"));
        }
        arguments
    }

    /// What of it a command gets that runs beside the CLI: nothing of the CLI's own, and nothing secret.
    #[must_use]
    pub fn command_environment(&self) -> Vec<(String, String)> {
        const OF_COMMANDS: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LANG", "SHELL", "USER"];
        let of_commands = |name: &str| OF_COMMANDS.contains(&name) || name.starts_with("GIT_");
        let mut environment = self.environment();
        environment.retain(|(name, _)| of_commands(name));
        environment
    }

    /// The whole environment. Nothing else may be added from the runner's own.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut environment = vec![
            own("PATH", &self.search_path),
            own("HOME", &self.home),
            own("TMPDIR", &self.temporary_directory),
            own("CLAUDE_CODE_TMPDIR", &self.temporary_directory),
            own("CLAUDE_CONFIG_DIR", &self.config_directory),
            own("LANG", "C.UTF-8"),
            own("SHELL", "/bin/bash"),
            own("USER", "session"),
            own("ANTHROPIC_BASE_URL", &self.model_url),
            own("ANTHROPIC_API_KEY", &self.model_key),
            own("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            own("DISABLE_AUTOUPDATER", "1"),
            own("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
            own("CLAUDE_CODE_STARTUP_FAILURE_RESULTS", "1"),
            own("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1"),
            own("GIT_TERMINAL_PROMPT", "0"),
            // The CLI runs `git status` without asking. What a repository's own configuration
            // could make that execute is switched off; this outranks the repository's files.
            own("GIT_CONFIG_COUNT", "2"),
            own("GIT_CONFIG_KEY_0", "core.fsmonitor"),
            own("GIT_CONFIG_VALUE_0", "false"),
            own("GIT_CONFIG_KEY_1", "safe.bareRepository"),
            own("GIT_CONFIG_VALUE_1", "explicit"),
        ];
        if let Start::Resume { replay: true, .. } = self.start {
            environment.push(own("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1"));
            environment.push(own("CLAUDE_CODE_RESUME_REASON", RESUME_REASON));
        }
        environment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        Launch {
            start: Start::New {
                id: "6f1c9a52-8a53-4c5a-9d6e-3d1d6d0d8a11".into(),
            },
            model_url: "http://127.0.0.1:1".into(),
            model_key: "relay-secret".into(),
            home: "/home/session".into(),
            config_directory: "/claude".into(),
            temporary_directory: "/tmp".into(),
            settings_file: "/run/shannon/settings.json".into(),
            search_path: "/usr/bin:/bin".into(),
            instruction_directories: vec!["/workspace".into()],
            model: Some("--dangerously-skip-permissions".into()),
            max_turns: Some(3),
            max_budget_usd: Some(0.5),
            append_system_prompt: Some("-p".into()),
        }
    }

    #[test]
    fn a_command_gets_nothing_of_the_clis_own() {
        let environment = launch().command_environment();
        let names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
        for name in names {
            assert!(
                !name.contains("CLAUDE") && !name.contains("ANTHROPIC"),
                "{name}"
            );
        }
        assert!(environment.contains(&("HOME".to_owned(), "/home/session".to_owned())));
        assert!(environment.iter().all(|(_, value)| value != "relay-secret"));
    }

    #[test]
    fn values_that_look_like_flags_stay_values() {
        let arguments = launch().arguments();
        assert!(arguments.contains(&"--model=--dangerously-skip-permissions".to_owned()));
        assert!(arguments.contains(&"--append-system-prompt=-p".to_owned()));
        assert!(!arguments.contains(&"--dangerously-skip-permissions".to_owned()));
        assert!(arguments.contains(&"--max-budget-usd=0.5".to_owned()));
    }

    #[test]
    fn the_repository_has_no_say() {
        let arguments = launch().arguments();
        let sources = arguments
            .iter()
            .position(|a| a == "--setting-sources")
            .unwrap();
        assert_eq!(arguments[sources + 1], "user");
        assert!(arguments.contains(&"--strict-mcp-config".to_owned()));
    }

    #[test]
    fn a_conversation_is_new_or_goes_on_or_branches() {
        let mut launch = launch();
        let replays = |launch: &Launch| {
            launch
                .environment()
                .iter()
                .any(|(name, _)| name == "CLAUDE_CODE_RESUME_INTERRUPTED_TURN")
        };
        let ids = |launch: &Launch| -> Vec<String> {
            let arguments = launch.arguments().into_iter();
            arguments
                .filter(|argument| {
                    ["--session-id", "--resume", "--fork"]
                        .iter()
                        .any(|name| argument.starts_with(name))
                })
                .collect()
        };
        launch.start = Start::New { id: "a".into() };
        assert_eq!(ids(&launch), ["--session-id=a"]);
        assert!(!replays(&launch));
        launch.start = Start::Resume {
            id: "a".into(),
            replay: true,
        };
        assert_eq!(ids(&launch), ["--resume=a"]);
        assert!(replays(&launch));
        launch.start = Start::Fork {
            of: "a".into(),
            id: "b".into(),
        };
        assert_eq!(
            ids(&launch),
            ["--resume=a", "--fork-session", "--session-id=b"]
        );
        assert!(!replays(&launch));
    }

    #[test]
    fn names_in_the_environment_are_unique() {
        let mut launch = launch();
        launch.start = Start::Resume {
            id: "a".into(),
            replay: true,
        };
        let environment = launch.environment().into_iter();
        let mut names: Vec<_> = environment.map(|(name, _)| name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
