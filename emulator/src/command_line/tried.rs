//! `emulator try`: finds the running stack or starts one, runs one session on it.

use std::{io::IsTerminal as _, path::Path};

use serde_json::{Value, json};

use super::{
    FAILED, INTERRUPTED, Interrupts, NO_STACK, SUCCESS, StartArguments, USAGE,
    arguments::TryArguments, in_one_line, out, place, say, say_error, start,
};
use crate::{
    settings::Settings,
    try_session::{self, Client, ReplayOptions, Style, TryEnd, TryOptions},
};

pub(super) async fn run(tried: TryArguments, arguments: &StartArguments, settings: Settings) -> u8 {
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            say_error(&error);
            return FAILED;
        }
    };
    let session = match tried
        .prompt
        .as_deref()
        .map(|prompt| session(&tried, prompt))
    {
        None => Ok(None),
        Some(session) => session.map(Some),
    };
    let session = match session {
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
        place = place::running_or_new(arguments, settings) => place,
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
    let client = Client::new(place.mcp_url, place.token);
    let end = match (session, tried.replay) {
        (Some(arguments), _) => {
            let options = TryOptions {
                arguments,
                keep: tried.keep,
                style,
                longest_wait_seconds,
            };
            try_session::run(&client, options, interrupts.asked(), &mut out).await
        }
        (None, session) => {
            let options = ReplayOptions {
                session: session.unwrap_or_default(),
                style,
                speed: tried.speed.factor(),
            };
            try_session::replay(&client, options, interrupts.asked(), &mut out).await
        }
    };
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
fn session(tried: &TryArguments, prompt: &str) -> Result<Value, String> {
    if prompt.trim().is_empty() {
        return Err("the prompt is empty".to_owned());
    }
    let mut session = json!({
        "prompt": prompt,
        "permission_mode": tried.permission_mode.as_str(),
    });
    if let Some(tier) = tried.tier {
        session["tier"] = json!(tier.as_str());
    }
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
