//! Who may know whom: every arrow between our crates, and every outside crate with one home.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package};
use e2e::checkout;

/// The product crates that functions are made of, in the order of the map.
const SHARED: [&str; 6] = [
    "boot",
    "protocol",
    "store",
    "claude",
    "checkpoint",
    "policy",
];

/// What knows nothing of ours, and everything but the emulator may stand on: pure, without I/O.
const GROUND: [&str; 1] = ["redact"];

/// Outside crates that only some packages may name, by the start of their name.
const HOMES: [(&str, &[&str]); 8] = [
    ("rmcp", &["protocol"]),
    ("aws-", &["store", "emulator", "e2e"]),
    ("dynoxide", &["emulator"]),
    ("s3s", &["emulator"]),
    ("boa_engine", &["emulator", "e2e"]),
    ("lambda_", &["boot", "FUNCTIONS"]),
    ("cedar-", &["policy"]),
    ("brush-", &["policy"]),
];

/// The outside crates that the domain may stand on: small, pure, without I/O, clock or randomness.
const DOMAIN_STANDS_ON: [&str; 6] = ["base64", "hmac", "sha2", "subtle", "thiserror", "url"];

/// And what that may stand on.
const GROUND_STANDS_ON: [&str; 2] = ["aho-corasick", "base64"];

/// An arrow as cargo sees it: from, to, and whether only tests need it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    only_tests: bool,
}

fn arrows(metadata: &Metadata) -> Vec<Arrow> {
    let mut arrows: Vec<Arrow> = metadata
        .packages
        .iter()
        .flat_map(|package| {
            package.dependencies.iter().map(move |dependency| Arrow {
                from: package.name.to_string(),
                to: dependency.name.clone(),
                only_tests: dependency.kind == DependencyKind::Development,
            })
        })
        .collect();
    arrows.sort();
    arrows.dedup();
    arrows
}

/// The crates of ours that `from` may name.
fn may_know(from: &str, functions: &BTreeSet<String>, only_tests: bool) -> BTreeSet<&'static str> {
    let mut allowed: BTreeSet<&'static str> = BTreeSet::new();
    if functions.contains(from) {
        allowed.extend(SHARED);
        allowed.extend(GROUND);
        allowed.insert("domain");
    } else if SHARED.contains(&from) || from == "testkit" {
        allowed.extend(GROUND);
        allowed.insert("domain");
    } else if from == "domain" {
        allowed.extend(GROUND);
    }
    // A test of a crate may use the fakes; the tests of `store` run its contracts on the emulator,
    // and see checkpoints erased there; those of the runner kill the real program beside it.
    if only_tests && from != "emulator" {
        allowed.insert("testkit");
        if from == "store" {
            allowed.extend(["emulator", "checkpoint"]);
        }
        if from == "session-runner" {
            allowed.insert("emulator");
        }
    }
    allowed
}

/// Every arrow that is not in the tables, in words.
fn violations(
    arrows: &[Arrow],
    ours: &BTreeSet<String>,
    functions: &BTreeSet<String>,
) -> Vec<String> {
    let mut violations = Vec::new();
    for Arrow {
        from,
        to,
        only_tests,
    } in arrows
    {
        let kind = if *only_tests { " (in tests)" } else { "" };
        if ours.contains(to) {
            let allowed = from == "e2e" || may_know(from, functions, *only_tests).contains(&**to);
            if !allowed {
                violations.push(format!("{from} must not know {to}{kind}"));
            }
            continue;
        }
        for (prefix, homes) in HOMES {
            let at_home = homes.contains(&from.as_str())
                || (homes.contains(&"FUNCTIONS") && functions.contains(from))
                || (*only_tests && from == "e2e");
            // The emulator is judged by the real runtime and SDK, so its tests may name them.
            let judge = *only_tests && from == "emulator";
            if to.starts_with(prefix) && !at_home && !judge {
                violations.push(format!("{from} must not name {to}{kind}"));
            }
        }
        if GROUND.contains(&&**from) && !only_tests && !GROUND_STANDS_ON.contains(&to.as_str()) {
            violations.push(format!("{from} must not stand on {to}"));
        }
        if from == "domain" && !only_tests && !DOMAIN_STANDS_ON.contains(&to.as_str()) {
            violations.push(format!("domain must not stand on {to}"));
        }
    }
    violations
}

fn workspace() -> (Metadata, BTreeSet<String>, BTreeSet<String>) {
    let metadata = checkout::metadata();
    let ours = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    (metadata, ours, checkout::directories("functions"))
}

#[test]
fn no_arrow_outside_the_table() {
    let (metadata, ours, functions) = workspace();
    let violations = violations(&arrows(&metadata), &ours, &functions);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_table_names_only_packages_that_exist() {
    let (_, ours, _) = workspace();
    for name in SHARED
        .iter()
        .chain(&GROUND)
        .chain(&["domain", "testkit", "emulator", "e2e"])
    {
        assert!(ours.contains(*name), "there is no package {name}");
    }
}

#[test]
fn the_check_finds_forbidden_arrows() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let ours = names(&[
        "boot",
        "call",
        "checkpoint",
        "claude",
        "domain",
        "e2e",
        "emulator",
        "policy",
        "protocol",
        "redact",
        "session-runner",
        "store",
        "testkit",
    ]);
    let functions = names(&["call", "session-runner"]);
    let forbidden = [
        ("domain", "serde", false),
        ("domain", "store", false),
        ("redact", "domain", false),
        ("redact", "serde", false),
        ("redact", "testkit", false),
        ("emulator", "redact", false),
        ("claude", "store", false),
        ("checkpoint", "store", false),
        ("policy", "claude", true),
        ("call", "testkit", false),
        ("call", "rmcp", false),
        ("call", "aws-sdk-s3", false),
        ("boot", "aws-config", false),
        ("protocol", "lambda_http", false),
        ("emulator", "domain", false),
        ("emulator", "testkit", true),
        ("store", "emulator", false),
        ("store", "checkpoint", false),
        ("session-runner", "emulator", false),
        ("call", "emulator", true),
        ("store", "call", true),
    ];
    for (from, to, only_tests) in forbidden {
        let arrow = Arrow {
            from: from.to_owned(),
            to: to.to_owned(),
            only_tests,
        };
        assert_eq!(
            violations(std::slice::from_ref(&arrow), &ours, &functions).len(),
            1,
            "{arrow:?}"
        );
    }
    let allowed = [
        ("call", "protocol", false),
        ("call", "domain", false),
        ("store", "aws-sdk-dynamodb", false),
        ("store", "emulator", true),
        ("store", "checkpoint", true),
        ("session-runner", "emulator", true),
        ("claude", "testkit", true),
        ("call", "checkpoint", false),
        ("testkit", "domain", false),
        ("domain", "thiserror", false),
        ("domain", "redact", false),
        ("boot", "redact", false),
        ("session-runner", "redact", false),
        ("domain", "proptest", true),
        ("e2e", "protocol", true),
    ];
    for (from, to, only_tests) in allowed {
        let arrow = Arrow {
            from: from.to_owned(),
            to: to.to_owned(),
            only_tests,
        };
        assert_eq!(
            violations(std::slice::from_ref(&arrow), &ours, &functions),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_package_has_the_name_of_its_directory() {
    let (metadata, _, _) = workspace();
    for package in &metadata.packages {
        let directory = package
            .manifest_path
            .parent()
            .and_then(|directory| directory.file_name());
        // The directory is called what a reader looks for, the package what `cargo test -p` reads well.
        let expected = if package.name.as_str() == "e2e" {
            "tests"
        } else {
            &package.name
        };
        assert_eq!(directory, Some(expected), "{}", package.manifest_path);
    }
}

#[test]
fn one_version_of_each_outside_crate() {
    let (metadata, _, _) = workspace();
    let mut requirements: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for dependency in metadata.packages.iter().flat_map(|p| &p.dependencies) {
        requirements
            .entry(&dependency.name)
            .or_default()
            .insert(dependency.req.to_string());
    }
    requirements.retain(|_, versions| versions.len() > 1);
    assert!(
        requirements.is_empty(),
        "different requirements for the same crate: {requirements:?}"
    );
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let (metadata, _, _) = workspace();
    let manifest_says = |package: &Package| {
        let text = std::fs::read_to_string(&package.manifest_path).expect("a manifest is readable");
        text.split("\n[lints]\n")
            .nth(1)
            .is_some_and(|section| section.trim_start().starts_with("workspace = true"))
    };
    let without: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| !manifest_says(package))
        .map(|package| &package.name)
        .collect();
    assert!(
        without.is_empty(),
        "no `[lints] workspace = true`: {without:?}"
    );
}

#[test]
fn what_is_pure_reads_no_clock_no_environment_and_no_disk() {
    const OUTSIDE: [&str; 8] = [
        "std::env",
        "std::fs",
        "std::io",
        "std::net",
        "std::process",
        "std::thread",
        "SystemTime::now",
        "Instant::now",
    ];
    let mut seen = 0;
    for file in checkout::files() {
        if !file.starts_with("shared/domain/src") && !file.starts_with("shared/redact/src") {
            continue;
        }
        seen += 1;
        let text = checkout::read(&file);
        for outside in OUTSIDE {
            assert!(
                !text.contains(outside),
                "{} names {outside}",
                file.display()
            );
        }
    }
    assert!(seen > 0, "shared/domain/src has no files");
}
