//! `emulator try`: finds the running stack or starts one, runs one session on it.

use std::{io::IsTerminal as _, path::Path};

use serde_json::{Value, json};

use super::{
    FAILED, INTERRUPTED, Interrupts, NO_STACK, SUCCESS, StartArguments, USAGE,
    arguments::TryArguments, in_one_line, out, say, say_error, stack_options, start,
};
use crate::{
    settings::Settings,
    stack::{self, RunningStack, state},
    token,
    try_session::{self, Client, Style, TryEnd, TryOptions},
};

pub(super) async fn run(tried: TryArguments, arguments: &StartArguments, settings: Settings) -> u8 {
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            say_error(&error);
            return FAILED;
        }
    };
    let session = match session(&tried) {
        Ok(session) => session,
        Err(problem) => {
            say(&problem);
            return USAGE;
        }
    };
    let longest_wait_seconds = settings
        .integer("SHANNON_WAIT_MAX_SECONDS")
        .unwrap_or(u64::MAX);
    let place = tokio::select! {
        place = place(arguments, settings) => place,
        () = interrupts.asked() => return INTERRUPTED,
    };
    let place = match place {
        Ok(place) => place,
        Err(problem) => {
            say(&problem);
            return NO_STACK;
        }
    };
    let shown = match &place.own {
        Some(stack) if arguments.logs => Some(tokio::spawn(start::show(stack.logs().subscribe()))),
        _ => None,
    };
    let style = match (
        tried.json,
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    ) {
        (true, _) => Style::Json,
        (false, true) => Style::Colours,
        (false, false) => Style::Plain,
    };
    let options = TryOptions {
        arguments: session,
        keep: tried.keep,
        style,
        longest_wait_seconds,
    };
    let end = try_session::run(&place.client, options, interrupts.asked(), &mut out).await;
    let code = match end {
        Ok(TryEnd::Success) => SUCCESS,
        Ok(TryEnd::Failed) => FAILED,
        Ok(TryEnd::Interrupted) => INTERRUPTED,
        Err(error) => {
            say(&in_one_line(&error));
            FAILED
        }
    };
    if let Some(stack) = place.own {
        if tried.keep && code != INTERRUPTED {
            say("the stack was started for this session and stays until Ctrl-C");
            say(&format!("MCP endpoint: {}", stack.description().mcp_url));
            interrupts.asked().await;
        }
        stack.shutdown(&|_| {}).await;
    }
    if let Some(shown) = shown {
        shown.abort();
    }
    code
}

/// Arguments of `create_session`.
fn session(tried: &TryArguments) -> Result<Value, String> {
    if tried.prompt.trim().is_empty() {
        return Err("the prompt is empty".to_owned());
    }
    let mut session = json!({
        "prompt": tried.prompt,
        "permission_mode": tried.permission_mode.as_str(),
    });
    if let Some(model) = &tried.model {
        session["model"] = json!(model);
    }
    if let Some(workspace) = &tried.workspace {
        session["workspace"] = workspace_of(workspace)?;
    }
    Ok(session)
}

/// A directory that exists, else a git URL, which may end with `#ref`.
fn workspace_of(text: &str) -> Result<Value, String> {
    let path = Path::new(text);
    if path.is_dir() {
        let path = path
            .canonicalize()
            .map_err(|error| format!("cannot open {text}: {error}"))?;
        return match path.to_str() {
            Some(path) => Ok(json!({"directory": path})),
            None => Err(format!("{} is not UTF-8", path.display())),
        };
    }
    if !text.contains("://") && !text.starts_with("git@") {
        return Err(format!("{text} is neither a directory nor a git URL"));
    }
    Ok(match text.split_once('#') {
        Some((url, reference)) => json!({"git_url": url, "git_ref": reference}),
        None => json!({"git_url": text}),
    })
}

/// Where the session runs.
struct Place {
    client: Client,
    /// The stack, when we started it.
    own: Option<RunningStack>,
}

async fn place(arguments: &StartArguments, settings: Settings) -> Result<Place, String> {
    let said = |error: &dyn std::error::Error| in_one_line(error);
    let directory = settings
        .path("SHANNON_STATE_DIRECTORY")
        .unwrap_or(Path::new(".shannon"))
        .to_owned();
    let running = if arguments.ephemeral {
        None
    } else {
        state::running(&directory).map_err(|error| said(&error))?
    };
    let (url, token, own) = match running {
        Some(running) => {
            let token = match settings.text("SHANNON_DEV_TOKEN") {
                Some(token) => token.to_owned(),
                None => token::kept(&directory.join("token")).map_err(|error| said(&error))?,
            };
            (running.mcp_url, token, None)
        }
        None => {
            // state that is there belongs to the person; what was not asked for is not left behind
            let ephemeral = arguments.ephemeral || !directory.join("token").exists();
            // nobody else has to find this stack, so a port in use is no reason to fail
            let settings = settings.with_default("SHANNON_PORT", "0");
            let options =
                stack_options(arguments, settings, ephemeral).map_err(|error| said(&error))?;
            say("no stack runs here; starting one");
            let stack = stack::start(options)
                .await
                .map_err(|error| format!("the stack could not start: {}", said(&error)))?;
            let about = stack.description();
            say(&format!("model: {}", about.model));
            if about.isolation == "none" {
                say("this session is NOT ISOLATED: it can read and change what you can");
            }
            (about.mcp_url.clone(), stack.token().to_owned(), Some(stack))
        }
    };
    Ok(Place {
        client: Client::new(url, token),
        own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces() {
        let directory = workspace_of(".").unwrap();
        assert!(Path::new(directory["directory"].as_str().unwrap()).is_absolute());
        assert_eq!(
            workspace_of("https://example.com/a.git#v1").unwrap(),
            json!({"git_url": "https://example.com/a.git", "git_ref": "v1"})
        );
        assert_eq!(
            workspace_of("git@example.com:a.git").unwrap(),
            json!({"git_url": "git@example.com:a.git"})
        );
        assert!(
            workspace_of("no/such/directory")
                .unwrap_err()
                .contains("neither")
        );
    }
}
