//! The rules of the house that a machine can check.

use std::path::{Path, PathBuf};

use e2e::checkout;

const LONGEST_FILE_LINES: usize = 600;

fn rust_files() -> Vec<PathBuf> {
    let files: Vec<PathBuf> = checkout::files()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    assert!(!files.is_empty(), "no Rust files found");
    files
}

/// Fails with every file for which `complaint` has something to say.
fn check(files: Vec<PathBuf>, complaint: impl Fn(&Path, &str) -> Option<String>) {
    let complaints: Vec<String> = files
        .into_iter()
        .filter_map(|file| {
            let bytes =
                std::fs::read(checkout::root().join(&file)).expect("a listed file is readable");
            let text = String::from_utf8_lossy(&bytes);
            complaint(&file, &text).map(|complaint| format!("{}: {complaint}", file.display()))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_file_says_what_it_does() {
    check(rust_files(), |_, text| {
        (!text.starts_with("//! ")).then(|| "starts without a //! header".to_owned())
    });
}

#[test]
fn no_file_is_too_long() {
    check(rust_files(), |_, text| {
        let lines = text.lines().count();
        (lines > LONGEST_FILE_LINES).then(|| format!("{lines} lines"))
    });
}

#[test]
fn no_module_is_a_drawer() {
    check(rust_files(), |file, _| {
        let drawer = file.components().any(|component| {
            let name = component.as_os_str().to_string_lossy();
            ["util", "utils", "helper", "helpers", "common", "misc"]
                .contains(&name.trim_end_matches(".rs"))
        });
        drawer.then(|| "name says nothing".to_owned())
    });
}

#[test]
fn nothing_is_skipped_or_silenced() {
    // Spelled in two parts so that this file does not find itself.
    let forbidden = [
        concat!("#[", "ignore"),
        concat!("#[", "allow("),
        concat!("#![", "allow("),
        concat!("uns", "afe {"),
        concat!("uns", "afe fn"),
    ];
    check(rust_files(), |_, text| {
        forbidden
            .iter()
            .find(|forbidden| text.contains(**forbidden))
            .map(|forbidden| format!("contains {forbidden}"))
    });
}

#[test]
fn no_file_names_this_machine() {
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/."),
        concat!("/ho", "me/runner"),
    ];
    let files = checkout::files()
        .into_iter()
        .filter(|file| file.file_name().is_none_or(|name| name != "Cargo.lock"))
        .collect();
    check(files, |_, text| {
        forbidden
            .iter()
            .find(|forbidden| text.contains(**forbidden))
            .map(|forbidden| format!("contains the machine path {forbidden}"))
    });
}

#[test]
fn the_start_program_of_a_function_is_small() {
    const LONGEST_MAIN_LINES: usize = 40;
    let files = rust_files()
        .into_iter()
        .filter(|file| {
            file.starts_with("functions")
                && file.ends_with("src/main.rs")
                && !file.starts_with("functions/session-runner")
        })
        .collect();
    check(files, |_, text| {
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
            .count();
        (lines > LONGEST_MAIN_LINES).then(|| format!("{lines} lines of code"))
    });
}
