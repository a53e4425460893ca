//! How long decisions take, with as many policies as can be added, without any, and how much of that
//! is reading the command: median and 99th percentile of a few calls.
//! `cargo run --release -p policy --example decide`
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::time::{Duration, Instant};

use domain::PermissionMode;
use policy::check::{Caller, check};
use policy::rules::{Added, Author, Policies, Tier};
use policy::{Call, Files, Place, Surroundings, shell};
use serde_json::{Value, json};

const ROUNDS: usize = 2000;

struct NoLinks;

impl Files for NoLinks {
    fn meets_link(&self, _: &[&str]) -> bool {
        false
    }
}

/// Policies as owners write them, all different.
fn added(count: usize) -> String {
    (0..count)
        .map(|number| match number % 4 {
            0 => format!(
                "permit (principal, action == Action::\"run\", resource is Program) when {{ resource.name == \"tool{number}\" && resource.command == \"build\" }};\n"
            ),
            1 => format!(
                "forbid (principal, action == Action::\"run\", resource is File) when {{ resource.path like \"/workspace/generated{number}/*\" && resource.access == \"write\" }};\n"
            ),
            2 => format!(
                "permit (principal, action == Action::\"run\", resource is Host) when {{ resource.name == \"host{number}.example.com\" }};\n"
            ),
            _ => format!(
                "forbid (principal, action, resource is Program) when {{ context.session.tags.contains(\"tag{number}\") && resource.line like \"*deploy*\" }};\n"
            ),
        })
        .collect()
}

fn calls() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "reading a file",
            "Read",
            json!({"file_path": "/workspace/src/lib.rs"}),
        ),
        (
            "one program",
            "Bash",
            json!({"command": "cargo test --workspace"}),
        ),
        (
            "a denied program",
            "Bash",
            json!({"command": "sudo rm -rf /"}),
        ),
        (
            "a pipeline",
            "Bash",
            json!({"command": "git log --oneline -n 50 | grep -v merge | head -20 > out.txt"}),
        ),
        (
            "a script",
            "Bash",
            json!({"command": "cd web && npm ci && for f in src/*.ts; do npx eslint \"$f\" || exit 1; done && git add -A && git commit -m \"$(cat <<'EOF'\nLint\nEOF\n)\""}),
        ),
    ]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let surroundings = Surroundings {
        place: Place {
            workspace: "/workspace",
            working_directory: "/workspace",
            readable: &[],
            git_is_trusted: true,
        },
        home: "/home/session",
        protected: &["/session/gate"],
    };
    let caller = Caller {
        owner: "owner",
        tags: &["a", "b"],
        mode: PermissionMode::Review,
        bypass_permitted: false,
        origin: "git",
        subagent: false,
    };
    for count in [0, 200] {
        let added = Added::parse(Author::Owner, &added(count))?;
        let policies = Policies::new(Tier::Auto, &[&added])?;
        for (name, tool, input) in calls() {
            let call = Call {
                tool,
                input: &input,
                cli_mode: Some("default"),
            };
            let mut parts = 0;
            let (median, p99) = times(|| {
                parts = check(&call, &caller, &policies, &surroundings, &NoLinks)
                    .parts
                    .len();
            });
            println!(
                "{count:>3} added policies, {name:<16} {parts:>2} parts: median {median:.3} ms, p99 {p99:.3} ms"
            );
        }
    }
    for (name, _, input) in calls() {
        let Some(command) = input["command"].as_str() else {
            continue;
        };
        let (median, p99) = times(|| {
            std::hint::black_box(shell::parse(std::hint::black_box(command)));
        });
        println!("reading alone, {name:<16}: median {median:.3} ms, p99 {p99:.3} ms");
    }
    Ok(())
}

/// Median and 99th percentile of many rounds, in milliseconds.
fn times(mut round: impl FnMut()) -> (f64, f64) {
    let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        round();
        times.push(started.elapsed());
    }
    times.sort();
    let at = |share: usize| times[ROUNDS * share / 100].as_secs_f64() * 1000.0;
    (at(50), at(99))
}
