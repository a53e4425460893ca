//! `emulator serve`: the stack as a service of one machine. What makes trying things convenient is
//! off: it is as a deployment is, says what it does in log lines, and stops without losing anything.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    FAILED, Interrupts, SUCCESS, StartArguments, USAGE, in_one_line,
    logging::{self, Reader},
    service_arguments::ServeArguments,
};
use crate::{
    build::Functions,
    process::{LogLine, OwnLog},
    settings::{Inputs, Settings},
    stack::{self, RunningStack, ServiceOptions, StackOptions, model::ModelOptions},
};

/// The stop timeout passed before everything had ended by itself.
const CUT_OFF: u8 = 4;
/// Where a service keeps its state unless it is told.
const STATE: &str = "/var/lib/shannon";
/// The time of a stop unless the settings say.
const STOP_SECONDS: u64 = 110;

/// Turns the inputs of a person's stack into those of a service: what is not given is as deployed,
/// and the port of the platform counts where none of ours is set.
pub(super) fn inputs(mut inputs: Inputs) -> Inputs {
    inputs.deployed = true;
    let given = |name: &str| inputs.environment.iter().any(|(found, _)| found == name);
    if !given("SHANNON_PORT")
        && let Some((_, port)) = inputs.environment.iter().find(|(name, _)| name == "PORT")
    {
        let port = port.clone();
        inputs
            .environment
            .push((OsString::from("SHANNON_PORT"), port));
    }
    inputs
}

/// Where the parts of an installed program are.
struct Installed {
    directory: PathBuf,
    functions: PathBuf,
    template: PathBuf,
}

impl Installed {
    fn find(arguments: &ServeArguments, start: &StartArguments) -> Result<Self, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("this program does not know where it is: {error}"))?;
        let directory = program.parent().unwrap_or(Path::new("/")).to_owned();
        let beside = |given: &Option<PathBuf>, name: &str| {
            given.clone().unwrap_or_else(|| directory.join(name))
        };
        let functions = beside(&start.functions, "functions");
        let template = beside(&arguments.template, "template.yaml");
        if !functions.is_dir() {
            return Err(format!(
                "there is no directory {}; put the programs of the functions there, or name it with --functions",
                functions.display()
            ));
        }
        if !template.is_file() {
            return Err(format!(
                "there is no file {}; put the template there, or name it with --template",
                template.display()
            ));
        }
        Ok(Self {
            directory,
            functions,
            template,
        })
    }
}

/// What a service has to be told, and was not, or was told and does not do.
fn refused(start: &StartArguments, settings: &Settings) -> Result<(), String> {
    for (asked, option) in [
        (start.watch, "--watch"),
        (start.release, "--release"),
        (start.ephemeral, "--ephemeral"),
        (start.test_hooks, "--test-hooks"),
    ] {
        if asked {
            return Err(format!(
                "{option} is for developing; a service does not take it"
            ));
        }
    }
    if settings.is_given("SHANNON_DEV_TOKEN") {
        return Err(
            "SHANNON_DEV_TOKEN is for a local stack; a service takes SHANNON_ACCESS_TOKEN"
                .to_owned(),
        );
    }
    if let Some(url) = settings.text("SHANNON_PUBLIC_URL")
        && let Some(problem) = url_problem(url)
    {
        return Err(format!(
            "SHANNON_PUBLIC_URL: `{url}` {problem}; right is for example https://shannon.example.com"
        ));
    }
    Ok(())
}

fn url_problem(url: &str) -> Option<&'static str> {
    let Ok(parsed) = url.parse::<url::Url>() else {
        return Some("is no address");
    };
    match parsed.scheme() {
        "http" | "https" if parsed.host().is_some() => {}
        _ => return Some("is no http:// or https:// address"),
    }
    (!["", "/"].contains(&parsed.path()) || parsed.query().is_some() || parsed.fragment().is_some())
        .then_some("has a path; the service is at the root of its address")
}

fn options(
    arguments: &ServeArguments,
    start: &StartArguments,
    settings: Settings,
    model: ModelOptions,
) -> Result<StackOptions, String> {
    refused(start, &settings)?;
    let token = settings.text("SHANNON_ACCESS_TOKEN").ok_or(
        "SHANNON_ACCESS_TOKEN is not set; a service needs a token of at least 32 bytes, for example \
         from `openssl rand -hex 32`, in it or in the file that SHANNON_ACCESS_TOKEN_FILE names",
    )?;
    let keyless = model.key.as_ref().is_none_or(String::is_empty);
    if keyless && !model.offline {
        return Err(
            "ANTHROPIC_API_KEY is not set; set it, or ANTHROPIC_API_KEY_FILE, or start with --offline \
             for the offline model"
                .to_owned(),
        );
    }
    let token = token.to_owned();
    let installed = Installed::find(arguments, start)?;
    let settings = settings
        .with_default("SHANNON_STATE_DIRECTORY", STATE)
        .with_default("SHANNON_DEV_ISSUER", "off")
        .with_default("SHANNON_BACKUPS", "true");
    Ok(StackOptions {
        settings,
        workspace: installed.directory,
        template: installed.template,
        edge: None,
        service: Some(ServiceOptions {
            token,
            unisolated: arguments.unisolated,
        }),
        functions: Functions::Directory(installed.functions),
        ephemeral: false,
        watch: false,
        model,
        test_hooks: false,
        emulator: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
        say: Arc::new(|line: &str| tracing::info!("{line}")),
    })
}

/// Serves until a signal asks it to stop, or it cannot any more.
pub(super) async fn run(
    arguments: ServeArguments,
    start: &StartArguments,
    settings: Settings,
    own: OwnLog,
) -> u8 {
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => return failed(&in_one_line(&error)),
    };
    let json = logging::is_json(&settings, Reader::Collector);
    let seconds = settings.integer("SHANNON_STOP_TIMEOUT_SECONDS");
    let limit = Duration::from_secs(seconds.unwrap_or(STOP_SECONDS));
    let limits = stack::log_limits(&settings);
    let model = match super::model_options(start.offline) {
        Ok(model) => model,
        Err(problem) => return wrong(&problem),
    };
    let options = match options(&arguments, start, settings, model) {
        Ok(options) => options,
        Err(problem) => return wrong(&problem),
    };
    let started = tokio::select! {
        started = stack::start(options) => started,
        () = interrupts.asked() => {
            tracing::info!("stopped before it was ready");
            return SUCCESS;
        }
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) if error.is_of_settings() => return wrong(&in_one_line(&error)),
        Err(error) => return failed(&format!("not started: {}", in_one_line(&error))),
    };
    if let Err(error) = own.open(running.description().logs.clone(), limits) {
        tracing::warn!(%error, "the service's own lines go to standard error only");
    }
    ready(&running);
    let shown = start
        .logs
        .then(|| tokio::spawn(show(running.logs().subscribe(), json)));
    let asked = tokio::select! {
        () = interrupts.asked() => true,
        () = running.failed() => false,
    };
    let whole = running.drain(limit, &|line| tracing::info!("{line}")).await;
    if let Some(shown) = shown {
        shown.abort();
    }
    match (asked, whole) {
        (false, _) => FAILED,
        (true, true) => SUCCESS,
        (true, false) => CUT_OFF,
    }
}

fn wrong(problem: &str) -> u8 {
    tracing::error!("{problem}");
    USAGE
}

fn failed(problem: &str) -> u8 {
    tracing::error!("{problem}");
    FAILED
}

fn ready(running: &RunningStack) {
    let about = running.description();
    let state = about.state.as_deref().unwrap_or(Path::new("-")).display();
    if let Some(problem) = running.isolation_problem() {
        tracing::warn!(
            problem,
            "SESSIONS ARE NOT ISOLATED: they can read what this service can"
        );
    }
    tracing::info!(
        url = about.url,
        public_url = running.public_url(),
        %state,
        logs = %about.logs.display(),
        model = about.model,
        claude = %about.claude_path.display(),
        claude_version = about.claude_version,
        isolation = about.isolation,
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
}

/// Lines of functions and sessions on standard error: their JSON as it is, anything else within one.
async fn show(mut lines: Receiver<LogLine>, json: bool) {
    loop {
        match lines.recv().await {
            Ok(line) if !json => eprintln!("[{}] {}", line.name, line.line),
            Ok(line) if line.line.starts_with('{') => eprintln!("{}", line.line),
            Ok(line) => eprintln!(
                "{}",
                serde_json::json!({"function": line.name, "instance": line.instance, "message": line.line})
            ),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "lines that are only in the log files");
            }
            Err(RecvError::Closed) => return,
        }
    }
}
