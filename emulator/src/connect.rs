//! The entry of this stack in the configuration of an MCP client.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub mod file;

/// What stands where a token belongs that is not known here.
pub const TOKEN_BELONGS_HERE: &str = "<access token>";

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Claude Desktop, with this program as the bridge.
    Desktop,
    /// Claude Code.
    Code,
    /// Any client that starts servers as programs, with `mcp-remote` (npm) as the bridge.
    McpRemote,
}

/// On which system the client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// macOS.
    Macos,
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

impl Platform {
    /// The one that this program runs on.
    #[must_use]
    pub const fn here() -> Self {
        if cfg!(target_os = "macos") {
            Self::Macos
        } else if cfg!(target_os = "windows") {
            Self::Windows
        } else {
            Self::Linux
        }
    }
}

/// How the client reaches the stack.
#[derive(Clone, Debug)]
pub enum Way {
    /// Over HTTP.
    Url {
        /// The MCP endpoint.
        url: String,
        /// The bearer token, when it is known.
        token: Option<String>,
    },
    /// Through `ssh -T`, to the stack that runs on that machine.
    Ssh {
        /// As ssh takes it.
        host: String,
        /// This program on that machine.
        program: String,
    },
}

/// What the client gets to know.
#[derive(Clone, Debug)]
pub struct Entry {
    /// For whom.
    pub client: Client,
    /// Where it runs.
    pub platform: Platform,
    /// How it gets here.
    pub way: Way,
    /// This program, for a client that starts it.
    pub program: PathBuf,
}

impl Entry {
    /// The object below `mcpServers.<name>`.
    #[must_use]
    pub fn json(&self) -> Value {
        match &self.way {
            // This program keeps what a shell there prints out of the messages.
            Way::Ssh { host, program } if self.client == Client::Desktop => json!({
                "command": self.program.display().to_string(),
                "args": ["stdio", "--ssh", host, "--remote-program", program],
            }),
            Way::Ssh { host, program } => json!({
                "command": "ssh",
                "args": ["-T", host, program, "stdio"],
            }),
            Way::Url { url, token } => {
                let token = token.as_deref().unwrap_or(TOKEN_BELONGS_HERE);
                match self.client {
                    Client::Desktop => json!({
                        "command": self.program.display().to_string(),
                        "args": ["stdio", "--url", url],
                        "env": {"SHANNON_ACCESS_TOKEN": token},
                    }),
                    // Such a file is shared with everybody who has the project.
                    Client::Code => json!({
                        "type": "http",
                        "url": url,
                        "headers": {"Authorization": "Bearer ${SHANNON_ACCESS_TOKEN}"},
                    }),
                    Client::McpRemote => self.mcp_remote(url, token),
                }
            }
        }
    }

    fn mcp_remote(&self, url: &str, token: &str) -> Value {
        // No blank in an argument: hosts on Windows do not escape it.
        let mut arguments = vec![
            "-y",
            "mcp-remote",
            url,
            "--header",
            "Authorization:${AUTHORIZATION}",
        ];
        let command = if self.platform == Platform::Windows {
            // There, npx is a script that only the shell starts.
            arguments.splice(0..0, ["/c", "npx"]);
            "cmd"
        } else {
            "npx"
        };
        json!({
            "command": command,
            "args": arguments,
            "env": {"AUTHORIZATION": format!("Bearer {token}")},
        })
    }

    /// What a person types for Claude Code. The token is not in it: what is typed is kept, and the shell
    /// puts in what [`Entry::set_token`] has set.
    #[must_use]
    pub fn claude_mcp_add(&self, name: &str) -> String {
        match &self.way {
            Way::Ssh { host, program } => {
                format!(
                    "claude mcp add {name} -- ssh -T {} {} stdio",
                    quoted(host),
                    quoted(program)
                )
            }
            Way::Url { url, .. } => {
                let variable = match self.platform {
                    Platform::Windows => "$env:SHANNON_ACCESS_TOKEN",
                    Platform::Macos | Platform::Linux => "$SHANNON_ACCESS_TOKEN",
                };
                format!(
                    "claude mcp add --transport http {name} {} --header \"Authorization: Bearer {variable}\"",
                    quoted(url),
                )
            }
        }
    }

    /// What sets the token in that shell without showing it; it waits for the token to be pasted.
    #[must_use]
    pub const fn set_token(&self) -> &'static str {
        match self.platform {
            Platform::Windows => "$env:SHANNON_ACCESS_TOKEN = Read-Host -MaskInput",
            Platform::Macos | Platform::Linux => {
                "read -rs SHANNON_ACCESS_TOKEN && export SHANNON_ACCESS_TOKEN"
            }
        }
    }
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The file of Claude Desktop as a person would name it, and where it is on this machine.
#[must_use]
pub fn desktop_file(
    platform: Platform,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> (String, Option<PathBuf>) {
    const NAME: &str = "claude_desktop_config.json";
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    match platform {
        Platform::Macos => (
            format!("~/Library/Application Support/Claude/{NAME}"),
            absolute("HOME").map(|home| home.join("Library/Application Support/Claude").join(NAME)),
        ),
        Platform::Linux => (
            format!("~/.config/Claude/{NAME}"),
            absolute("XDG_CONFIG_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".config")))
                .map(|base| base.join("Claude").join(NAME)),
        ),
        Platform::Windows => (
            format!("%APPDATA%\\Claude\\{NAME}"),
            absolute("APPDATA").map(|base| base.join("Claude").join(NAME)),
        ),
    }
}

/// The file of Claude Code in a project.
#[must_use]
pub fn project_file(directory: &Path) -> PathBuf {
    directory.join(".mcp.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(client: Client, platform: Platform, way: Way) -> Entry {
        Entry {
            client,
            platform,
            way,
            program: "/opt/shannon/emulator".into(),
        }
    }

    fn url(token: Option<&str>) -> Way {
        Way::Url {
            url: "https://shannon.example.com/mcp".to_owned(),
            token: token.map(str::to_owned),
        }
    }

    #[test]
    fn every_client_gets_what_it_takes() {
        let desktop = entry(Client::Desktop, Platform::Macos, url(Some("t0ken"))).json();
        assert_eq!(
            desktop,
            json!({
                "command": "/opt/shannon/emulator",
                "args": ["stdio", "--url", "https://shannon.example.com/mcp"],
                "env": {"SHANNON_ACCESS_TOKEN": "t0ken"},
            })
        );
        let code = entry(Client::Code, Platform::Linux, url(Some("t0ken")));
        assert!(!code.json().to_string().contains("t0ken"), "a shared file");
        assert_eq!(
            code.claude_mcp_add("shannon"),
            "claude mcp add --transport http shannon https://shannon.example.com/mcp --header \"Authorization: Bearer $SHANNON_ACCESS_TOKEN\""
        );
        let code = entry(Client::Code, Platform::Windows, url(Some("t0ken")));
        let line = code.claude_mcp_add("shannon");
        assert!(
            line.ends_with("Bearer $env:SHANNON_ACCESS_TOKEN\""),
            "{line}"
        );
        assert!(code.set_token().starts_with("$env:SHANNON_ACCESS_TOKEN = "));
        let remote = |platform| entry(Client::McpRemote, platform, url(Some("t0ken"))).json();
        assert_eq!(remote(Platform::Linux)["command"], "npx");
        let windows = remote(Platform::Windows);
        assert_eq!(windows["command"], "cmd");
        assert_eq!(windows["args"][0], "/c");
        assert_eq!(windows["env"]["AUTHORIZATION"], "Bearer t0ken");
        let arguments = windows["args"].as_array().unwrap();
        assert!(
            arguments
                .iter()
                .all(|word| !word.as_str().unwrap().contains(' '))
        );
        let unknown = entry(Client::Desktop, Platform::Linux, url(None)).json();
        assert_eq!(unknown["env"]["SHANNON_ACCESS_TOKEN"], TOKEN_BELONGS_HERE);
    }

    #[test]
    fn ssh_is_the_way_to_a_machine_without_a_port() {
        let way = Way::Ssh {
            host: "me@host".to_owned(),
            program: "/opt/it's here/emulator".to_owned(),
        };
        let entry = entry(Client::Code, Platform::Linux, way);
        assert_eq!(
            entry.json()["args"],
            json!(["-T", "me@host", "/opt/it's here/emulator", "stdio"])
        );
        assert_eq!(
            entry.claude_mcp_add("x"),
            r"claude mcp add x -- ssh -T me@host '/opt/it'\''s here/emulator' stdio"
        );
        let desktop = Entry {
            client: Client::Desktop,
            ..entry
        };
        assert_eq!(desktop.json()["command"], "/opt/shannon/emulator");
        assert_eq!(desktop.json()["args"][1], "--ssh");
    }

    #[test]
    fn the_file_of_each_system_is_where_the_client_looks() {
        let variable = |name: &str| match name {
            "HOME" => Some(PathBuf::from("/home/p")),
            "APPDATA" => Some(PathBuf::from("/c/Users/p/AppData/Roaming")),
            _ => None,
        };
        let file = |platform| desktop_file(platform, variable).1.unwrap();
        assert_eq!(
            file(Platform::Macos),
            Path::new("/home/p/Library/Application Support/Claude/claude_desktop_config.json")
        );
        assert_eq!(
            file(Platform::Linux),
            Path::new("/home/p/.config/Claude/claude_desktop_config.json")
        );
        assert_eq!(
            file(Platform::Windows),
            Path::new("/c/Users/p/AppData/Roaming/Claude/claude_desktop_config.json")
        );
        let other = |name: &str| (name == "XDG_CONFIG_HOME").then(|| PathBuf::from("/xdg"));
        assert_eq!(
            desktop_file(Platform::Linux, other).1.unwrap(),
            Path::new("/xdg/Claude/claude_desktop_config.json")
        );
        let relative = |name: &str| (name == "HOME").then(|| PathBuf::from("p"));
        assert_eq!(desktop_file(Platform::Macos, relative).1, None);
    }
}
