//! What a person reads when the stack is ready.

use std::fmt::Write as _;

use super::RunningStack;

/// What a session that is not isolated may leave behind: on Linux nothing.
const SURVIVORS: &str = if cfg!(target_os = "linux") {
    ""
} else {
    "; a program that leaves its parent and its process group at once may outlive it"
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
        match &self.isolation_problem {
            None => line(
                "sessions",
                "isolated: user, mount and process namespaces of their own",
            ),
            Some(problem) => line(
                "sessions",
                &format!(
                    "NOT ISOLATED ({problem}): a session can read and change what you can{SURVIVORS}"
                ),
            ),
        }
        if !self.loopback {
            line(
                "network",
                "REACHABLE FROM OTHER MACHINES, without TLS: SHANNON_BIND is no loopback address",
            );
        }
        let desktop = serde_json::to_string_pretty(&desktop).unwrap_or_default();
        format!(
            "Shannon is ready.\n\n{text}\n\
             Claude Code:\n  claude mcp add --transport http shannon {url} --header \"Authorization: Bearer {token}\"\n\n\
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

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
