//! What a person reads when the stack is ready.

use std::fmt::Write as _;

use super::RunningStack;

/// What a session that is not isolated may leave behind.
const SURVIVORS: &str = if cfg!(target_os = "linux") {
    "what it started as another user (sudo) may outlive it"
} else {
    "a program that leaves its parent and its process group at once, and what it started as \
     another user (sudo), may outlive it"
};

impl RunningStack {
    /// The start message, with the access token in it: it is the person's own terminal.
    #[must_use]
    pub fn banner(&self) -> String {
        let about = &self.description;
        let (url, token) = (&about.mcp_url, &self.token);
        let desktop = serde_json::json!({"mcpServers": {"shannon": {
            "command": "npx",
            "args": ["-y", "mcp-remote", url, "--header", "Authorization:${AUTHORIZATION}"],
            "env": {"AUTHORIZATION": format!("Bearer {token}")},
        }}});
        let state = about.state.as_ref().map_or_else(
            || "none is kept (--ephemeral)".to_owned(),
            |state| state.display().to_string(),
        );
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // writing to a string cannot fail
            let _ = writeln!(text, "  {name:<10} {value}");
        };
        line("MCP", url);
        line("AWS", &format!("{}  (region us-east-1)", about.aws_url));
        line("state", &state);
        line("logs", &format!("{}/<function>.log", about.logs.display()));
        line(
            "claude",
            &format!(
                "{} {} ({})",
                about.claude_path.display(),
                about.claude_version,
                self.claude.source
            ),
        );
        line("model", &about.model);
        line("sessions", &isolation(self.isolation_problem.as_deref()));
        if !self.loopback {
            line(
                "network",
                "REACHABLE FROM OTHER MACHINES, without TLS: SHANNON_BIND is no loopback address",
            );
        }
        let login = if self.logs_in {
            format!(
                "or with a login instead of the token, in a browser:\n  claude mcp add --transport http shannon {url} && claude mcp login shannon\n"
            )
        } else {
            String::new()
        };
        let desktop = serde_json::to_string_pretty(&desktop).unwrap_or_default();
        format!(
            "Shannon is ready.\n\n{text}\n\
             Claude Code:\n  claude mcp add --transport http shannon {url} --header \"Authorization: Bearer {token}\"\n\
             {login}\n\
             Claude Desktop (claude_desktop_config.json):\n{}\n\n\
             boto3 and the AWS CLI:\n  export AWS_ENDPOINT_URL={} AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}\n\n\
             Try it in another terminal:\n  cargo run -p emulator -- try \"What is in this directory?\"\n\n\
             Ctrl-C stops everything.\n",
            indented(&desktop),
            about.aws_url,
            self.operator.id,
            self.operator.secret,
        )
    }
}

fn isolation(problem: Option<&str>) -> String {
    match problem {
        None => "isolated: user, mount and process namespaces of their own".to_owned(),
        Some(problem) => {
            format!(
                "NOT ISOLATED ({problem}): a session can read and change what you can; {SURVIVORS}"
            )
        }
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::isolation::problem;

    /// What a person reads where the probe of namespaces ends like this.
    async fn said(probe: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let [draft, emulator] = ["draft", "emulator"].map(|name| directory.path().join(name));
        fs::write(&draft, format!("#!/bin/sh\n{probe}\n")).unwrap();
        // By another process: what this one had open may still be open in a child of another test.
        let mut install = std::process::Command::new("install");
        install.args(["-m", "755"]).args([&draft, &emulator]);
        assert!(install.status().unwrap().success());
        super::isolation(problem(&emulator).await.as_deref())
    }

    #[tokio::test]
    async fn sessions_that_are_not_isolated_are_said_to_be_not_isolated() {
        let system = if cfg!(target_os = "linux") {
            "this machine gives users no namespaces: EPERM"
        } else {
            "namespaces need Linux"
        };
        let refused =
            said("echo 'this machine gives users no namespaces: EPERM' >&2; exit 1").await;
        assert_eq!(
            refused,
            format!(
                "NOT ISOLATED ({system}): a session can read and change what you can; {}",
                super::SURVIVORS
            )
        );
        assert!(refused.contains("what it started as another user (sudo)"));
        let allowed = said("test \"$1\" = probe-namespaces").await;
        assert_eq!(allowed.starts_with("isolated: "), cfg!(target_os = "linux"));
        let missing = problem(std::path::Path::new("/no/such/emulator")).await;
        assert!(super::isolation(missing.as_deref()).starts_with("NOT ISOLATED ("));
    }
}
