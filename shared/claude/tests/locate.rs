//! Finding the CLI: every layout people install it in, and files that only pretend to be it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use claude::locate::{Search, Source, VersionError, find, version_of};

fn script(path: &Path, body: &str) {
    fs::create_dir_all(path.parent().expect("a fixture")).expect("a fixture");
    testkit::executable(path, &format!("#!/bin/sh\n{body}\n"));
}

fn fake(path: &Path, version: &str) {
    script(
        path,
        &format!("[ \"$1\" = --version ] && echo '{version} (Claude Code)'"),
    );
}

fn search(home: &Path) -> Search {
    Search {
        home: Some(home.to_owned()),
        nvm_check: true,
        supported_version: "2.1.328".to_owned(),
        ..Search::default()
    }
}

async fn sources(search: &Search, root: &Path) -> Vec<(Source, Option<String>)> {
    let found = find(search).await;
    let inside = found
        .candidates
        .into_iter()
        .filter(|candidate| candidate.path.starts_with(root));
    inside
        .map(|candidate| (candidate.source, candidate.version))
        .collect()
}

#[tokio::test]
async fn every_layout_is_found_once() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path();
    let package = "node_modules/@anthropic-ai/claude-code-linux-x64/claude";
    fake(&home.join("state/claude/2.1.328").join(package), "2.1.328");
    fake(&home.join("path/claude"), "2.1.1");
    fake(&home.join("more/claude"), "2.1.2");
    fake(&home.join(".nvm/versions/node/v20.1.0/bin/claude"), "2.1.3");
    fake(
        &home
            .join(".nvm/versions/node/v22.0.0/lib/node_modules/@anthropic-ai/claude-code")
            .join(package),
        "2.1.4",
    );
    fake(&home.join("prefix/bin/claude"), "2.1.5");
    script(
        &home.join("path/npm"),
        &format!(
            "[ \"$*\" = 'root -g' ] && echo {}",
            home.join("prefix/lib/node_modules").display()
        ),
    );
    // The same file in two places is one candidate.
    fs::create_dir_all(home.join("again")).unwrap();
    std::os::unix::fs::symlink(home.join("path/claude"), home.join("again/claude")).unwrap();
    let path = std::env::join_paths([home.join("path"), home.join("again")]).unwrap();
    let search = Search {
        managed: Some(home.join("state")),
        path: Some(path),
        search_paths: Some("~/more:/nonexistent".to_owned()),
        ..search(home)
    };
    let version = |text: &str| Some(text.to_owned());
    assert_eq!(
        sources(&search, home).await,
        [
            (Source::Managed, version("2.1.328")),
            (Source::Path, version("2.1.1")),
            (Source::SearchPath, version("2.1.2")),
            (Source::NpmGlobal, version("2.1.5")),
            (Source::Nvm, version("2.1.4")),
            (Source::Nvm, version("2.1.3")),
        ]
    );
    let selected = find(&search).await.selected.unwrap();
    assert_eq!(
        (selected.source, selected.supported),
        (Source::Managed, true)
    );
    let without = Search {
        nvm_check: false,
        ..search
    };
    assert!(
        sources(&without, home)
            .await
            .iter()
            .all(|(source, _)| *source != Source::Nvm)
    );
}

#[tokio::test]
async fn a_function_finds_what_the_machine_of_a_person_has() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let managed = at("state/claude/2.1.328/node_modules/@anthropic-ai/claude-code-linux-x64");
    fake(&managed.join("claude"), "2.1.328");
    fake(&at("home/.local/bin/claude"), "2.1.1");
    fake(&at("bin/claude"), "2.1.2");
    fake(&at("nvm/versions/node/v22.0.0/bin/claude"), "2.1.3");
    let places = ["managed=/state", "home=/home", "nvm=/nvm", "path=/bin"]
        .map(|place| place.replace('/', &format!("{}/", root.path().display())))
        .join(":");
    let named = Search {
        explicit: Some(managed.join("claude")),
        path: Some("/nonexistent".into()),
        search_paths: Some("~/.local/bin".to_owned()),
        home: None,
        ..search(root.path())
    };
    let named = named.with_places(&places).unwrap();
    let version = |text: &str| Some(text.to_owned());
    assert_eq!(
        sources(&named, root.path()).await,
        [
            // Named by the deployment, which had found it here.
            (Source::Managed, version("2.1.328")),
            (Source::Path, version("2.1.2")),
            (Source::SearchPath, version("2.1.1")),
            (Source::Nvm, version("2.1.3")),
        ]
    );
    let without = Search {
        nvm_check: false,
        ..named.clone()
    };
    assert_eq!(sources(&without, root.path()).await.len(), 3);
    // A deployment has no such places.
    assert!(search(root.path()).with_places("").is_ok());
    for wrong in ["/bin", "home=/a:which=/b"] {
        let refused = search(root.path()).with_places(wrong).unwrap_err();
        assert!(refused.to_string().contains("is no place"), "{refused}");
    }
}

#[tokio::test]
async fn only_the_supported_version_is_selected() {
    let root = tempfile::tempdir().unwrap();
    fake(&root.path().join("claude"), "2.1.329");
    let explicit = Search {
        explicit: Some(root.path().join("claude")),
        ..search(root.path())
    };
    let found = find(&explicit).await;
    assert_eq!(found.candidates[0].version.as_deref(), Some("2.1.329"));
    assert!(
        found
            .selected
            .is_none_or(|selected| selected.source != Source::Explicit)
    );
    let other = Search {
        supported_version: "2.1.329".to_owned(),
        ..explicit
    };
    assert_eq!(
        find(&other).await.selected.unwrap().source,
        Source::Explicit
    );
}

#[tokio::test]
async fn pretenders_have_no_version() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    script(&at("garbage"), "echo hello");
    script(&at("failing"), "echo '2.1.328 (Claude Code)'; exit 3");
    fs::write(at("data"), "no program").unwrap();
    fs::set_permissions(at("data"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(
        version_of(&at("garbage")).await,
        Err(VersionError::Strange)
    ));
    assert!(matches!(
        version_of(&at("failing")).await,
        Err(VersionError::Strange)
    ));
    assert!(matches!(
        version_of(&at("data")).await,
        Err(VersionError::NotStartable(_))
    ));
    assert!(matches!(
        version_of(&at("absent")).await,
        Err(VersionError::Missing)
    ));
    let missing = Search {
        explicit: Some(at("absent")),
        ..search(root.path())
    };
    let found = find(&missing).await;
    assert_eq!(
        found.candidates[0].problem.as_deref(),
        Some("there is no such file")
    );
}

#[tokio::test]
async fn a_binary_that_hangs_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("claude");
    script(&path, "read line < /dev/zero; exec tail -f /dev/null");
    assert!(matches!(version_of(&path).await, Err(VersionError::Silent)));
}
