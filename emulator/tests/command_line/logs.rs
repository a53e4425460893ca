//! Log files: how large, how many, how old.

use std::fs;

use super::{Place, Running, ask};

#[test]
fn log_files_are_as_large_and_as_many_as_the_settings_say() {
    let place = Place::new();
    let noise = "#!/bin/sh\nhead -c 3500000 /dev/zero | tr '\\0' x | fold -w 1000\nexit 1\n";
    place.program("functions/authorizer", noise);
    let files = |settings: &[(&str, &str)]| {
        let mut command = place.command(&[]);
        let running = Running::of(command.envs(settings.iter().copied()));
        let answer = ask(
            &running.banner,
            "POST /mcp HTTP/1.1\r\nauthorization: Bearer x\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
        assert_eq!(running.stop().0, Some(0));
        let mut sizes = std::collections::BTreeMap::new();
        for entry in fs::read_dir(place.state().join("logs")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("authorizer.log") {
                sizes.insert(name, fs::metadata(&path).unwrap().len());
            }
            fs::remove_file(path).unwrap();
        }
        sizes
    };
    let usual = files(&[]);
    assert_eq!(usual.len(), 1, "{usual:?}");
    assert!(usual["authorizer.log"] > 3_500_000, "{usual:?}");
    let small = files(&[
        ("SHANNON_LOG_FILE_MAX_BYTES", "1048576"),
        ("SHANNON_LOG_FILE_COUNT", "3"),
    ]);
    let names: Vec<&str> = small.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["authorizer.log", "authorizer.log.1", "authorizer.log.2"]
    );
    assert!(small.values().all(|bytes| *bytes <= 1_048_576), "{small:?}");
    let fewer = files(&[
        ("SHANNON_LOG_FILE_MAX_BYTES", "1048576"),
        ("SHANNON_LOG_FILE_COUNT", "2"),
    ]);
    assert_eq!(fewer.len(), 2, "{fewer:?}");
}

#[test]
fn logs_go_when_they_are_older_than_the_settings_say() {
    let place = Place::new();
    let logs = place.state().join("logs");
    assert_eq!(place.start(&[]).stop().0, Some(0));
    let days = |days: u64| std::time::Duration::from_secs(days * 24 * 60 * 60 + 60);
    for (name, age) in [
        ("call.log", 1),
        ("call.log.1", 8),
        ("tasks.log", 31),
        ("notes.txt", 400),
    ] {
        let file = fs::File::create(logs.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - days(age))
            .unwrap();
    }
    let left_with = |setting: Option<&str>| {
        let mut command = place.command(&[]);
        command.envs(setting.map(|days| ("SHANNON_LOG_RETENTION_DAYS", days)));
        assert_eq!(Running::of(&mut command).stop().0, Some(0));
        let names = ["call.log", "call.log.1", "tasks.log", "notes.txt"];
        names.map(|name| logs.join(name).exists())
    };
    assert_eq!(left_with(None), [true, true, false, true]);
    assert_eq!(left_with(Some("7")), [true, false, false, true]);
    assert_eq!(left_with(Some("1")), [false, false, false, true]);
}
