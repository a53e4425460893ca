//! `emulator backup`, `restore` and `drill`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::backup_arguments::{BackupArguments, BackupCommand, DrillArguments, RestoreArguments};
use super::{
    FAILED, INTERRUPTED, Interrupts, NO_STACK, SUCCESS, StartArguments, USAGE, in_one_line, out,
    say, say_error,
};
use crate::{
    backup::{
        self, Manifest, Schedule,
        drill::{self, Launch},
    },
    encryption,
    settings::Settings,
    stack::state,
};

pub(super) async fn run(asked: BackupArguments, settings: &Settings) -> u8 {
    match asked.command {
        Some(BackupCommand::List { directory, json }) => list(directory, json, settings),
        Some(BackupCommand::Verify { backups }) => verify(backups, settings),
        None => take(asked.to, asked.json, settings).await,
    }
}

async fn take(to: Option<PathBuf>, as_json: bool, settings: &Settings) -> u8 {
    let key = match encryption::key(settings) {
        Ok(key) => key,
        Err(error) => {
            say_error(&error);
            return USAGE;
        }
    };
    let state = state::directory(settings);
    let schedule = Schedule::of(settings, state, key.clone());
    let elsewhere = to.is_some();
    let taking = {
        let schedule = schedule.clone();
        tokio::task::spawn_blocking(move || match to {
            Some(to) => backup::take(&schedule.state, &to, key.as_ref()),
            None => schedule.take(),
        })
    };
    let taken = match taking.await {
        Ok(Ok(taken)) => taken,
        Ok(Err(error)) => {
            say_error(&error);
            return FAILED;
        }
        Err(error) => {
            say_error(&error);
            return FAILED;
        }
    };
    let described = describe(&taken.path, &taken.manifest);
    if as_json {
        let mut described = described;
        described["shared_bytes"] = json!(taken.shared_bytes);
        described["locked_ms"] = json!(milliseconds(taken.locked));
        described["took_ms"] = json!(milliseconds(taken.took));
        out(&format!("{described}\n"));
    } else {
        out(&format!("{}\n", taken.path.display()));
        say(&format!(
            "{} files, {} bytes, {} of them shared with the backup before; {} ms, writers waited {} ms",
            taken.manifest.files.len(),
            taken.manifest.bytes(),
            taken.shared_bytes,
            milliseconds(taken.took),
            milliseconds(taken.locked),
        ));
    }
    if !elsewhere && let Err(problem) = schedule.bring_elsewhere(&taken.path).await {
        say(&problem);
        return FAILED;
    }
    SUCCESS
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn describe(path: &Path, manifest: &Manifest) -> Value {
    json!({
        "path": path, "taken_at": manifest.taken_at, "version": manifest.version,
        "format": manifest.format, "key_id": manifest.key_id, "files": manifest.files.len(),
        "bytes": manifest.bytes(),
    })
}

fn directory(settings: &Settings) -> PathBuf {
    backup::directory(settings, state::directory(settings))
}

fn list(given: Option<PathBuf>, as_json: bool, settings: &Settings) -> u8 {
    let directory = given.unwrap_or_else(|| directory(settings));
    let listed = match backup::list(&directory) {
        Ok(listed) => listed,
        Err(error) => {
            say_error(&error);
            return FAILED;
        }
    };
    if as_json {
        let listed: Vec<Value> = listed
            .iter()
            .map(|listed| match &listed.manifest {
                Ok(manifest) => describe(&listed.path, manifest),
                Err(error) => json!({"path": listed.path, "problem": in_one_line(error)}),
            })
            .collect();
        out(&format!("{}\n", json!({ "backups": listed })));
        return SUCCESS;
    }
    if listed.is_empty() {
        say(&format!("no backup in {}", directory.display()));
    }
    for listed in listed {
        let path = listed.path.display();
        match &listed.manifest {
            Ok(manifest) => out(&format!(
                "{path}  {}  {} bytes  version {}{}\n",
                manifest.taken_at,
                manifest.bytes(),
                manifest.version,
                manifest
                    .key_id
                    .as_ref()
                    .map_or(String::new(), |id| format!("  key {id}")),
            )),
            Err(error) => out(&format!("{path}  {}\n", in_one_line(error))),
        }
    }
    SUCCESS
}

fn verify(backups: Vec<PathBuf>, settings: &Settings) -> u8 {
    let backups = if backups.is_empty() {
        match backup::list(&directory(settings)) {
            Ok(listed) => listed.into_iter().map(|listed| listed.path).collect(),
            Err(error) => {
                say_error(&error);
                return FAILED;
            }
        }
    } else {
        backups
    };
    if backups.is_empty() {
        say(&format!("no backup in {}", directory(settings).display()));
        return FAILED;
    }
    let mut code = SUCCESS;
    for backup in backups {
        match backup::verify(&backup) {
            Ok(manifest) => out(&format!(
                "{}: whole, {} files\n",
                backup.display(),
                manifest.files.len()
            )),
            Err(error) => {
                out(&format!("{}\n", in_one_line(&error)));
                code = FAILED;
            }
        }
    }
    code
}

pub(super) async fn restore(asked: &RestoreArguments, settings: &Settings) -> u8 {
    let key = match encryption::key(settings) {
        Ok(key) => key,
        Err(error) => {
            say_error(&error);
            return USAGE;
        }
    };
    let (backup, state) = (asked.backup.clone(), state::directory(settings).to_owned());
    let restoring =
        tokio::task::spawn_blocking(move || backup::restore(&backup, &state, key.as_ref()));
    match restoring.await {
        Ok(Ok(restored)) => {
            let manifest = &restored.manifest;
            out(&format!("{}\n", restored.state.display()));
            say(&format!(
                "{} files as they were at {}; start the stack with --state {}{}",
                manifest.files.len(),
                manifest.taken_at,
                restored.state.display(),
                restored.key_id.as_ref().map_or(String::new(), |id| format!(
                    " and the key {id} in SHANNON_STATE_KEY_FILE"
                )),
            ));
            if restored.key_id != manifest.key_id {
                say(
                    "the backup is not encrypted, the state is: remove what is left without encryption",
                );
            }
            SUCCESS
        }
        Ok(Err(error)) => {
            say_error(&error);
            FAILED
        }
        Err(error) => {
            say_error(&error);
            FAILED
        }
    }
}

pub(super) async fn drill(asked: DrillArguments, start: &StartArguments, settings: Settings) -> u8 {
    let key = match encryption::key(&settings) {
        Ok(key) => key,
        Err(error) => {
            say_error(&error);
            return USAGE;
        }
    };
    let room = u64::from(asked.sessions) + 10;
    let mut arguments: Vec<OsString> = ["start", "--port", "0", "--offline"]
        .map(OsString::from)
        .into();
    for name in ["max_sessions", "max_sessions_per_owner"] {
        let set = settings.integer(&format!("SHANNON_{}", name.to_uppercase()));
        let at_least = set.unwrap_or(0).max(room);
        arguments.push(OsString::from("--set"));
        arguments.push(OsString::from(format!("{name}={at_least}")));
    }
    if let Some(functions) = &start.functions {
        arguments.push(OsString::from("--functions"));
        arguments.push(OsString::from(functions));
    } else if start.release {
        arguments.push(OsString::from("--release"));
    }
    let launch = Launch {
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
        arguments,
        key,
        token: settings.text("SHANNON_DEV_TOKEN").map(str::to_owned),
    };
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            say(&format!("cannot listen for signals: {error}"));
            return FAILED;
        }
    };
    let drilled = tokio::select! {
        drilled = drill::run(usize::from(asked.sessions), &launch, &say) => drilled,
        // Its stack is killed with it, and its directory removed.
        () = interrupts.asked() => return INTERRUPTED,
    };
    match drilled {
        Ok(report) => {
            if asked.json {
                out(&format!("{}\n", report.json()));
            } else {
                out(&report.to_string());
            }
            if report.at_work < report.sessions {
                say(
                    "not all sessions were at work when the backup was taken: this machine is too slow for so many",
                );
            }
            if report.has_passed() { SUCCESS } else { FAILED }
        }
        Err(error) => {
            say(&format!("the drill failed: {}", in_one_line(&error)));
            if error.is_start() { NO_STACK } else { FAILED }
        }
    }
}
