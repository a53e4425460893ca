//! `emulator backup`, `restore`, `state-key`, the backups of a running stack, and its key.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Place, Running, said};

fn backups(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.display().to_string().contains("/backup-"))
        .collect();
    found.sort();
    found
}

/// Waits until there are so many; fails when it takes too long.
fn wait_for(directory: &Path, count: usize) -> Vec<PathBuf> {
    let start = Instant::now();
    loop {
        let found = backups(directory);
        if found.len() >= count {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a backup say another time, version or format, as one that was taken so.
fn change(backup: &Path, what: impl FnOnce(&mut Value)) {
    let path = backup.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    what(&mut manifest);
    let text = serde_json::to_vec(&manifest).unwrap();
    let hash: String = Sha256::digest(&text)
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    fs::write(&path, text).unwrap();
    fs::write(
        backup.join("manifest.sha256"),
        format!("{hash}  manifest.json\n"),
    )
    .unwrap();
}

fn older_by(backup: &Path, hours: i64) {
    change(backup, |manifest| {
        let taken = manifest["taken_at_ms"].as_i64().unwrap();
        manifest["taken_at_ms"] = (taken - hours * 60 * 60 * 1000).into();
    });
}

#[test]
fn a_running_and_a_stopped_stack_are_backed_up_and_restored() {
    let place = Place::new();
    let to = place.path("copies");
    let to_text = to.to_str().unwrap();
    let none = place.run(&["backup", "--to", to_text]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        said(&none).contains("is no state directory"),
        "{}",
        said(&none)
    );
    let running = place.start(&[]);
    let taken = place.run(&["backup", "--to", to_text, "--json"]);
    assert!(taken.status.success(), "{}", said(&taken));
    let taken: Value = serde_json::from_slice(&taken.stdout).unwrap();
    assert_eq!(taken["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(running.stop().0, Some(0));
    let stopped = place.run(&["backup", "--to", to_text]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    let verified = place.run(&["backup", "verify", backups(&to)[0].to_str().unwrap()]);
    assert!(verified.status.success(), "{}", said(&verified));
    let listed = place.run(&["backup", "list", to_text, "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2, "{listed}");

    // Into the directory that is in use: no. Into an empty one: a stack starts with the same token.
    let newest = backups(&to).pop().unwrap();
    let refused = place.run(&["restore", newest.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("is not empty"),
        "{}",
        said(&refused)
    );
    let token = fs::read_to_string(place.state().join("token")).unwrap();
    let away = place.path("away");
    fs::rename(place.state(), &away).unwrap();
    let restored = place.run(&["restore", newest.to_str().unwrap()]);
    assert!(restored.status.success(), "{}", said(&restored));
    let again = place.start(&[]);
    assert!(again.banner.contains(&token), "{}", again.banner);
    assert_eq!(again.stop().0, Some(0));

    // Everything of the state is in the backup, or is known not to be.
    let left_out = [
        "lock",
        "aws.lock",
        "backup.lock",
        "claude.json",
        "logs",
        "tasks",
        "s3",
    ];
    for entry in fs::read_dir(&away).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let beside = name.contains(".sqlite-") || name.ends_with(".new");
        assert!(
            newest.join(&name).exists() || left_out.contains(&name.as_str()) || beside,
            "{name} is in no backup"
        );
    }

    // Another version forward, and backward.
    change(&newest, |manifest| manifest["version"] = "0.0.1".into());
    let newest = newest.to_str().unwrap();
    assert!(place.run(&["backup", "verify", newest]).status.success());
    for (name, value) in [
        ("version", Value::from("99.1.0")),
        ("format", Value::from(99)),
    ] {
        change(Path::new(newest), |manifest| manifest[name] = value);
        fs::remove_dir_all(place.state()).unwrap();
        let refused = place.run(&["restore", newest]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            said(&refused).contains("cannot read it: use that version"),
            "{}",
            said(&refused)
        );
        assert!(!place.state().exists());
        fs::create_dir(place.state()).unwrap();
        change(Path::new(newest), |manifest| {
            manifest["version"] = "0.1.0".into()
        });
    }
}

#[test]
fn a_service_takes_backups_where_and_when_the_settings_say() {
    let place = Place::new();
    let to = place.path("copies");
    place.program(
        "programs/bring",
        "#!/bin/sh\necho \"$1\" >\"$(dirname \"$0\")/brought\"\n",
    );
    let brought = place.path("programs/brought");
    let start = |settings: &[(&str, &str)]| {
        let mut command = place.command(&[]);
        command.env("SHANNON_BACKUP_DIRECTORY", &to);
        Running::of(command.envs(settings.iter().copied()))
    };
    assert_eq!(start(&[]).stop().0, Some(0));
    assert!(!to.exists(), "it takes none unless it is told to");
    let program = place.path("programs/bring").display().to_string();
    let on = ("SHANNON_BACKUPS", "true");
    let running = start(&[on, ("SHANNON_BACKUP_COMMAND", &program)]);
    let first = wait_for(&to, 1).pop().unwrap();
    let since = Instant::now();
    while fs::read_to_string(&brought).unwrap_or_default().trim() != first.to_str().unwrap() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "it was not brought away"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(running.stop().0, Some(0));
    // 30 hours later: with an interval of two days it is early, with one of an hour it is due.
    older_by(&first, 30);
    let rare = ("SHANNON_BACKUP_INTERVAL_HOURS", "48");
    assert_eq!(start(&[on, rare]).stop().0, Some(0));
    assert_eq!(backups(&to).len(), 1);
    let often = ("SHANNON_BACKUP_INTERVAL_HOURS", "1");
    let running = start(&[on, often]);
    wait_for(&to, 2);
    assert_eq!(running.stop().0, Some(0));
    // Days go by.
    let aged = backups(&to);
    older_by(&aged[0], 24 * 10);
    older_by(&aged[1], 24 * 5);
    let running = start(&[on, often]);
    wait_for(&to, 3);
    assert_eq!(running.stop().0, Some(0));
    let mut command = place.command(&["backup"]);
    command.env("SHANNON_BACKUP_DIRECTORY", &to);
    let pruned = command
        .env("SHANNON_BACKUP_RETENTION_DAYS", "7")
        .output()
        .unwrap();
    assert!(pruned.status.success(), "{}", said(&pruned));
    let left = backups(&to);
    assert!(
        !left.contains(&aged[0]) && left.contains(&aged[1]),
        "{left:?}"
    );
    let mut command = place.command(&["backup"]);
    command.env("SHANNON_BACKUP_DIRECTORY", &to);
    let failing = command
        .env("SHANNON_BACKUP_COMMAND", "/bin/false")
        .output()
        .unwrap();
    assert_eq!(failing.status.code(), Some(1));
    assert!(
        said(&failing).contains("SHANNON_BACKUP_COMMAND"),
        "{}",
        said(&failing)
    );
}

#[test]
fn a_backup_that_was_not_brought_away_is_after_a_restart() {
    let place = Place::new();
    let to = place.path("copies");
    let bring = "#!/bin/sh\necho \"$1\" >>\"$(dirname \"$0\")/brought\"\n";
    place.program("programs/bring", bring);
    let brought = || fs::read_to_string(place.path("programs/brought")).unwrap_or_default();
    let start = |command: &str| {
        let mut start = place.command(&[]);
        start
            .env("SHANNON_BACKUPS", "true")
            .env("SHANNON_BACKUP_DIRECTORY", &to)
            .env("SHANNON_BACKUP_COMMAND", command);
        Running::of(&mut start)
    };
    let waited = |what: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !what() {
            assert!(since.elapsed() < Duration::from_secs(60), "{}", brought());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let running = start("/bin/false");
    let first = wait_for(&to, 1).pop().unwrap();
    assert_eq!(running.stop().0, Some(0));
    // By hand one more, which fails too; an old one that nobody can read is nobody's business.
    let mut command = place.command(&["backup"]);
    command.env("SHANNON_BACKUP_DIRECTORY", &to);
    let failing = command.env("SHANNON_BACKUP_COMMAND", "/bin/false").output();
    assert_eq!(failing.unwrap().status.code(), Some(1));
    fs::create_dir(to.join("backup-2020-01-01T00-00-00-000Z")).unwrap();
    let second = backups(&to).pop().unwrap();
    assert_ne!(first, second);

    let program = place.path("programs/bring").display().to_string();
    let running = start(&program);
    let line = |path: &Path| format!("{}\n", path.display());
    let both = line(&second) + &line(&first);
    waited(&|| brought() == both);
    assert_eq!(running.stop().0, Some(0));
    // Once is enough, also after the next start; the mark goes with the backup.
    let mark = |path: &Path| to.join(format!(".brought-{}", path.file_name().unwrap().display()));
    older_by(&first, 24 * 10);
    older_by(&second, 24 * 9);
    let running = start(&program);
    let third = wait_for(&to, 4).pop().unwrap();
    waited(&|| brought() == both.clone() + &line(&third));
    assert_eq!(running.stop().0, Some(0));
    assert!(mark(&first).exists() && mark(&second).exists() && mark(&third).exists());
    let mut command = place.command(&["backup"]);
    command.env("SHANNON_BACKUP_DIRECTORY", &to);
    let pruned = command.env("SHANNON_BACKUP_RETENTION_DAYS", "7").output();
    assert!(pruned.unwrap().status.success());
    assert!(!first.exists() && !mark(&first).exists());
    assert!(third.exists() && mark(&third).exists());
}

/// Name and bytes of every file below a directory.
fn contents(directory: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn a_state_with_a_key_is_read_with_that_key_only() {
    let place = Place::new();
    let key = |name: &str| {
        let path = place.path(name);
        let made = place.run(&["state-key", "new", path.to_str().unwrap()]);
        assert!(made.status.success(), "{}", said(&made));
        path
    };
    let (key, other) = (key("key"), key("other"));
    let again = place.run(&["state-key", "new", other.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "a key is never written over");
    let with = |arguments: &[&str], key: Option<&Path>| {
        let mut command = place.command(arguments);
        command.envs(key.map(|key| ("SHANNON_STATE_KEY_FILE", key)));
        command
    };
    let running = Running::of(&mut with(&[], Some(&key)));
    let token = running
        .banner
        .split_once("Bearer ")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let calls = with(&["calls"], Some(&key)).output().unwrap();
    assert!(calls.status.success(), "{}", said(&calls));
    let to = place.path("copies");
    let to_text = to.to_str().unwrap();
    let taken = with(&["backup", "--to", to_text], Some(&key))
        .output()
        .unwrap();
    assert!(taken.status.success(), "{}", said(&taken));
    assert_eq!(running.stop().0, Some(0));
    for directory in [place.state(), to.clone()] {
        for (path, bytes) in contents(&directory) {
            let found = |wanted: &[u8]| bytes.windows(wanted.len()).any(|it| it == wanted);
            assert!(
                !found(token.as_bytes()),
                "the token is readable in {}",
                path.display()
            );
            assert!(!found(b"SQLite format 3"), "{} is readable", path.display());
        }
    }
    let before = contents(&place.state());
    for (wrong, says) in [
        (Some(other.as_path()), "names the key"),
        (None, "is encrypted with"),
    ] {
        for arguments in [&["start"][..], &["backup", "--to", to_text][..]] {
            let refused = with(arguments, wrong).output().unwrap();
            assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
            assert!(said(&refused).contains(says), "{}", said(&refused));
        }
    }
    assert_eq!(before, contents(&place.state()), "nothing was changed");
    assert_eq!(backups(&to).len(), 1);
    // The backup needs the same key.
    fs::remove_dir_all(place.state()).unwrap();
    let restored = with(&["restore", backups(&to)[0].to_str().unwrap()], None)
        .output()
        .unwrap();
    assert!(
        said(&restored).contains("SHANNON_STATE_KEY_FILE"),
        "{}",
        said(&restored)
    );
    let again = Running::of(&mut with(&[], Some(&key)));
    assert!(again.banner.contains(&token));
    assert_eq!(again.stop().0, Some(0));
    // What is in use without a key is not mixed.
    fs::remove_dir_all(place.state()).unwrap();
    assert_eq!(Running::of(&mut with(&[], None)).stop().0, Some(0));
    let mixed = with(&[], Some(&key)).output().unwrap();
    assert!(
        said(&mixed).contains("is not converted"),
        "{}",
        said(&mixed)
    );
    // It is encrypted by way of a backup: every file, and the token is the same.
    let plain = fs::read_to_string(place.state().join("token")).unwrap();
    let to = place.path("plain");
    let taken = with(&["backup", "--to", to.to_str().unwrap()], None).output();
    assert!(taken.unwrap().status.success());
    fs::remove_dir_all(place.state()).unwrap();
    let backup = backups(&to).pop().unwrap();
    let restored = with(&["restore", backup.to_str().unwrap()], Some(&key))
        .output()
        .unwrap();
    assert!(restored.status.success(), "{}", said(&restored));
    assert!(
        said(&restored).contains("is not encrypted, the state is"),
        "{}",
        said(&restored)
    );
    for (path, bytes) in contents(&place.state()) {
        let found = |wanted: &[u8]| bytes.windows(wanted.len()).any(|it| it == wanted);
        assert!(!found(plain.as_bytes()), "{}", path.display());
        assert!(!found(b"SQLite format 3"), "{}", path.display());
    }
    let without = with(&[], None).output().unwrap();
    assert!(
        said(&without).contains("is encrypted with"),
        "{}",
        said(&without)
    );
    let again = Running::of(&mut with(&[], Some(&key)));
    assert!(again.banner.contains(&plain));
    assert_eq!(again.stop().0, Some(0));
    // One that is encrypted is not encrypted again with another key.
    let taken = with(&["backup", "--to", to.to_str().unwrap()], Some(&key)).output();
    assert!(taken.unwrap().status.success());
    let backup = backups(&to).pop().unwrap();
    let refused = with(&["restore", backup.to_str().unwrap()], Some(&other))
        .output()
        .unwrap();
    assert!(
        said(&refused).contains("names the key"),
        "{}",
        said(&refused)
    );
    fs::write(&key, "0").unwrap();
    let broken = with(&[], Some(&key)).output().unwrap();
    assert!(
        said(&broken).contains("is no key file"),
        "{}",
        said(&broken)
    );
}
