//! What the command line says of itself, of what is wrong with it, and of the settings.

use std::{fs, process::Command};

use super::{Place, said};

#[test]
fn help_names_what_there_is() {
    let place = Place::new();
    let flags = [
        "--port",
        "--state",
        "--ephemeral",
        "--release",
        "--functions",
        "--watch",
        "--offline",
        "--logs",
        "--set",
        "--help",
    ];
    let start = [
        flags.as_slice(),
        &[
            "try",
            "stdio",
            "config",
            "calls",
            "serve",
            "drain",
            "connect",
            "ANTHROPIC_API_KEY",
        ],
    ]
    .concat();
    let tried = [
        flags.as_slice(),
        &[
            "[PROMPT]",
            "--workspace",
            "--permission-mode",
            "--model",
            "--keep",
            "--json",
            "--replay",
            "--speed",
            "Exit code",
        ],
    ]
    .concat();
    for (arguments, parts) in [(["--help"].as_slice(), start), (&["try", "--help"], tried)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
        let output = command
            .args(arguments)
            .current_dir(place.path("."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        for part in parts {
            assert!(
                text.contains(part),
                "{arguments:?} does not name {part}:\n{text}"
            );
        }
        assert!(!text.contains("--test-hooks"), "{text}");
    }
}

#[test]
fn wrong_usage_is_said() {
    let place = Place::new();
    for (arguments, code, part) in [
        (["--no-such-flag"].as_slice(), 2, "--no-such-flag"),
        (&["try"], 2, "<PROMPT>"),
        (&["try", "  "], 2, "the prompt is empty"),
        (
            &["try", "x", "--workspace", "no/such"],
            2,
            "neither a directory nor a git URL",
        ),
        (
            &["try", "x", "--permission-mode", "yolo"],
            2,
            "accept_edits",
        ),
        (&["--set", "max_turns"], 2, "name=value"),
        (
            &["--set", "max_turns=1000"],
            2,
            "SHANNON_MAX_TURNS (command line): 1000 is out of range",
        ),
        (
            &["config", "check", "--set", "nope=1"],
            1,
            "nope (command line) is not a setting",
        ),
        (&["calls"], 3, "no stack runs"),
        (&["messages"], 3, "no stack runs"),
        (&["policy", "list"], 3, "no stack runs"),
        (&["key", "list"], 3, "no stack runs"),
        (&["key", "create", "ci"], 3, "no stack runs"),
        (&["key", "revoke", "ci"], 2, "key_"),
        (
            &[
                "key", "create", "ci", "--scope", "approve", "--role", "admin",
            ],
            2,
            "cannot be used with",
        ),
        (&["policy", "show", "no-npm"], 3, "no stack runs"),
        (
            &["policy", "remove", "no-npm", "--deployment"],
            3,
            "no stack runs",
        ),
        (&["policy", "remove", "No"], 2, "a-z, 0-9 and '-'"),
        (&["policy", "put", "no-npm"], 2, "<FILE>"),
        (
            &["policy", "put", "no-npm", "no/such"],
            2,
            "no/such cannot be read",
        ),
    ] {
        let output = place.run(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    fs::remove_file(place.path("functions/call")).unwrap();
    let output = place.run(&["try", "x"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let elsewhere = place.command(&[]).current_dir("/").output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(2));
    assert!(
        said(&elsewhere).contains("no template.yaml"),
        "{}",
        said(&elsewhere)
    );
}

#[test]
fn settings_are_shown_with_their_sources() {
    let place = Place::new();
    let output = place
        .command(&["config", "check", "--set", "max_turns=7"])
        .env("SHANNON_DEBUG", "true")
        .env(
            "SHANNON_DEV_TOKEN",
            "given-token-0123456789-abcdefghijklmnop",
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("SHANNON_MAX_TURNS"), "7 command line");
    assert_eq!(line("SHANNON_DEBUG"), "true environment");
    assert_eq!(line("SHANNON_DEV_TOKEN"), "set environment");
    assert_eq!(line("SHANNON_STAGE"), "local default");
    assert!(!text.contains("given-token"));
}
