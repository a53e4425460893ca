//! `connect` and `drain`: what clients are told of a running stack, and how that is stopped.

use std::fs;

use serde_json::Value;

use super::{Place, said};

#[test]
fn the_running_stack_is_what_clients_are_told_of() {
    let place = Place::new();
    let none = place.run(&["connect", "desktop"]);
    assert_eq!(none.status.code(), Some(3), "{}", said(&none));
    let running = place.start(&[]);
    let about = fs::read(place.state().join("emulator.json")).unwrap();
    let about: Value = serde_json::from_slice(&about).unwrap();
    let url = about["mcp_url"].as_str().unwrap();
    let token = fs::read_to_string(place.state().join("token")).unwrap();

    let shown = place.run(&["connect", "desktop", "--platform", "macos"]);
    let entry: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let entry = &entry["mcpServers"]["shannon"];
    assert_eq!(entry["args"], serde_json::json!(["stdio", "--url", url]));
    assert_eq!(entry["env"]["SHANNON_ACCESS_TOKEN"], *token);
    assert!(said(&shown).contains("Library/Application Support/Claude"));
    let windows = place.run(&[
        "connect",
        "mcp-remote",
        "--platform",
        "windows",
        "--name",
        "mine",
    ]);
    let entry: Value = serde_json::from_slice(&windows.stdout).unwrap();
    assert_eq!(entry["mcpServers"]["mine"]["command"], "cmd");
    assert!(
        said(&windows).contains("%APPDATA%\\Claude"),
        "{}",
        said(&windows)
    );
    let code = place.run(&["connect", "code", "--platform", "linux"]);
    assert!(!said(&code).contains(&*token), "{}", said(&code));
    assert!(
        said(&code).contains("read -rs SHANNON_ACCESS_TOKEN"),
        "{}",
        said(&code)
    );
    let line = String::from_utf8(code.stdout).unwrap();
    assert!(!line.contains(&*token), "{line}");
    assert!(
        line.starts_with(&format!(
            "claude mcp add --transport http shannon {url} --header "
        )),
        "{line}"
    );
    // Pasted into a shell in which the token is set, it is what Claude Code takes.
    fs::create_dir(place.path("pasted")).unwrap();
    place.program("pasted/claude", "#!/bin/sh\nprintf '%s|' \"$@\"\n");
    let pasted = std::process::Command::new("/bin/sh")
        .args(["-c", &line])
        .env("PATH", place.path("pasted"))
        .env("SHANNON_ACCESS_TOKEN", &token)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&pasted.stdout),
        format!("mcp|add|--transport|http|shannon|{url}|--header|Authorization: Bearer {token}|")
    );

    // Into the file of the client, and once only.
    let file = place.path("home/.config/Claude/claude_desktop_config.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "{\"globalShortcut\": \"Ctrl+Space\"}").unwrap();
    for (what, backups) in [("added in", 1), ("has the entry already", 1)] {
        let written = place.run(&["connect", "desktop", "--write", "--platform", "linux"]);
        assert!(written.status.success(), "{}", said(&written));
        assert!(said(&written).contains(what), "{}", said(&written));
        assert!(
            !said(&written).contains(&*token),
            "the token is in the file only"
        );
        let found = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(found, 1 + backups);
    }
    let text = fs::read_to_string(&file).unwrap();
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["globalShortcut"], "Ctrl+Space");
    assert_eq!(
        read["mcpServers"]["shannon"]["env"]["SHANNON_ACCESS_TOKEN"],
        *token
    );
    // A damaged one is named and left alone.
    fs::write(&file, "{\"globalShortcut\": ").unwrap();
    let refused = place.run(&["connect", "desktop", "--write", "--platform", "linux"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains(file.to_str().unwrap())
            && said(&refused).contains("no JSON object"),
        "{}",
        said(&refused)
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"globalShortcut\": ");

    // Another machine's, and one whose token nobody has said.
    let far = place.run(&[
        "connect",
        "code",
        "--url",
        "https://shannon.example.com/mcp",
    ]);
    let line = String::from_utf8(far.stdout).unwrap();
    assert!(line.contains("Bearer $"), "{line}");
    let project = place.path("home/.mcp.json");
    let project = project.to_str().unwrap();
    let far = place.run(&[
        "connect",
        "code",
        "--url",
        "https://shannon.example.com/mcp",
        "--write",
        "--file",
        project,
    ]);
    assert!(far.status.success(), "{}", said(&far));
    let text = fs::read_to_string(project).unwrap();
    assert!(text.contains("Bearer ${SHANNON_ACCESS_TOKEN}"), "{text}");
    let unknown = [
        "connect",
        "desktop",
        "--url",
        "https://x.example.com/mcp",
        "--write",
    ];
    assert_eq!(place.run(&unknown).status.code(), Some(2));
    let ssh = place.run(&["connect", "code", "--ssh", "me@there"]);
    assert_eq!(
        String::from_utf8(ssh.stdout).unwrap(),
        "claude mcp add shannon -- ssh -T me@there emulator stdio\n"
    );
    let option = place.run(&["connect", "code", "--ssh=-oProxyCommand=x"]);
    assert_eq!(option.status.code(), Some(2));

    // Asked to stop, and waited for.
    let drained = place.run(&["drain"]);
    assert_eq!(drained.status.code(), Some(0), "{}", said(&drained));
    drop(running);
    assert_eq!(place.start(&[]).stop().0, Some(0));
    assert_eq!(place.run(&["drain"]).status.code(), Some(3));
}
