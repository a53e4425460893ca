//! `emulator connect`: the entry of a stack for an MCP client, printed or put into its file.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    FAILED, NO_STACK, SUCCESS, StartArguments, USAGE, in_one_line, out, place, say,
    service_arguments::{ConnectArguments, ConnectClient, ConnectPlatform},
};
use crate::{
    connect::{
        Client, Entry, Platform, TOKEN_BELONGS_HERE, Way, desktop_file,
        file::{self, Written},
        project_file,
    },
    settings::Settings,
};

pub(super) fn run(asked: ConnectArguments, start: &StartArguments, settings: &Settings) -> u8 {
    let way = match way(&asked, start, settings) {
        Ok(way) => way,
        Err((problem, code)) => {
            say(&problem);
            return code;
        }
    };
    let entry = Entry {
        client: match asked.client {
            ConnectClient::Desktop => Client::Desktop,
            ConnectClient::Code => Client::Code,
            ConnectClient::McpRemote => Client::McpRemote,
        },
        platform: match asked.platform {
            Some(ConnectPlatform::Macos) => Platform::Macos,
            Some(ConnectPlatform::Linux) => Platform::Linux,
            Some(ConnectPlatform::Windows) => Platform::Windows,
            None => Platform::here(),
        },
        way,
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("emulator")),
    };
    if asked.write {
        write(&asked, &entry)
    } else {
        print(&asked, &entry)
    }
}

fn way(
    asked: &ConnectArguments,
    start: &StartArguments,
    settings: &Settings,
) -> Result<Way, (String, u8)> {
    if let Some(host) = &asked.ssh {
        return Ok(Way::Ssh {
            host: host.clone(),
            program: asked.remote_program.clone(),
        });
    }
    if let Some(url) = &asked.url {
        let parsed = url.parse::<url::Url>();
        if !parsed.is_ok_and(|url| ["http", "https"].contains(&url.scheme())) {
            return Err((format!("{url:?} is no http:// or https:// address"), USAGE));
        }
        return Ok(Way::Url {
            url: url.clone(),
            token: settings.text("SHANNON_ACCESS_TOKEN").map(str::to_owned),
        });
    }
    match place::running(start, settings) {
        Ok(Some(place)) => Ok(Way::Url {
            url: place.mcp_url,
            token: Some(place.token),
        }),
        Ok(None) => Err((
            "no stack runs here; start one, or name one with --url or --ssh".to_owned(),
            NO_STACK,
        )),
        Err(problem) => Err((problem, NO_STACK)),
    }
}

fn print(asked: &ConnectArguments, entry: &Entry) -> u8 {
    let servers = json!({"mcpServers": {&*asked.name: entry.json()}});
    let text = serde_json::to_string_pretty(&servers).unwrap_or_default();
    match asked.client {
        ConnectClient::Code => {
            out(&format!("{}\n", entry.claude_mcp_add(&asked.name)));
            if matches!(entry.way, Way::Url { .. }) {
                say(&format!(
                    "the token is not in it, so that no history keeps it; set it before, and paste it then:\n  {}",
                    entry.set_token()
                ));
            }
            say("or put this into .mcp.json of a project (--write does):");
            eprintln!("{text}");
        }
        ConnectClient::Desktop | ConnectClient::McpRemote => {
            out(&format!("{text}\n"));
            let (shown, _) = desktop_file(entry.platform, variable);
            say(&format!(
                "this belongs into {shown} of Claude Desktop; start that again then"
            ));
        }
    }
    if text.contains(TOKEN_BELONGS_HERE) {
        say(&format!(
            "put the token in place of {TOKEN_BELONGS_HERE}, or set SHANNON_ACCESS_TOKEN"
        ));
    }
    SUCCESS
}

fn write(asked: &ConnectArguments, entry: &Entry) -> u8 {
    let unknown = matches!(&entry.way, Way::Url { token: None, .. });
    if unknown && asked.client != ConnectClient::Code {
        say("SHANNON_ACCESS_TOKEN is not set: the token of the stack at that address");
        return USAGE;
    }
    let target = match (&asked.file, asked.client) {
        (Some(file), _) => Some(file.clone()),
        (None, ConnectClient::Code) => Some(project_file(Path::new("."))),
        (None, _) => desktop_file(entry.platform, variable).1,
    };
    let Some(target) = target else {
        say("where the client's file is on this machine is not known; name it with --file");
        return USAGE;
    };
    match file::write(&target, &asked.name, &entry.json()) {
        Ok(Written::Unchanged) => {
            say(&format!("{} has the entry already", target.display()));
            SUCCESS
        }
        Ok(Written::Entry { replaced, backup }) => {
            let what = if replaced { "replaced" } else { "added" };
            say(&format!("{} {what} in {}", asked.name, target.display()));
            if let Some(backup) = backup {
                say(&format!("what it was: {}", backup.display()));
            }
            if entry.client == Client::Code && matches!(entry.way, Way::Url { .. }) {
                say("the token is not in it: Claude Code takes it from SHANNON_ACCESS_TOKEN");
            }
            SUCCESS
        }
        Err(error) => {
            say(&in_one_line(&error));
            FAILED
        }
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}
