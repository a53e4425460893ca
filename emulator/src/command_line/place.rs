//! Where the stack of a subcommand is: the one that runs here, or one that is started for it.

use std::path::Path;

use super::{NO_STACK, StartArguments, USAGE, in_one_line, say, stack_options};
use crate::{
    encryption,
    settings::Settings,
    stack::{self, RunningStack, state},
    token,
};

/// A stack and how to use it.
pub(super) struct Place {
    pub(super) mcp_url: String,
    pub(super) token: String,
    /// The stack, when we started it.
    pub(super) own: Option<RunningStack>,
}

/// A deployed stack, with the token that the settings have for it.
pub(super) fn at(url: &str, settings: &Settings) -> Result<Place, String> {
    let token = settings
        .text("SHANNON_ACCESS_TOKEN")
        .ok_or("SHANNON_ACCESS_TOKEN is not set: the token of the stack at that address")?;
    Ok(Place {
        mcp_url: url.to_owned(),
        token: token.to_owned(),
        own: None,
    })
}

/// The deployed stack at `url`, or the one that runs here, or a new one. What is wrong is said; the error
/// is the exit code.
pub(super) async fn asked_for(
    url: Option<&str>,
    arguments: &StartArguments,
    settings: Settings,
) -> Result<Place, u8> {
    let (place, code) = match url {
        Some(url) => (at(url, &settings), USAGE),
        None => (running_or_new(arguments, settings).await, NO_STACK),
    };
    place.map_err(|problem| {
        say(&problem);
        code
    })
}

/// The stack that runs, or one that is started.
pub(super) async fn running_or_new(
    arguments: &StartArguments,
    settings: Settings,
) -> Result<Place, String> {
    match running(arguments, &settings)? {
        Some(running) => Ok(running),
        None => start(arguments, settings).await,
    }
}

/// The stack that runs on the state directory; `None` when there is none, or a new one was asked
/// for.
pub(super) fn running(
    arguments: &StartArguments,
    settings: &Settings,
) -> Result<Option<Place>, String> {
    if arguments.ephemeral {
        return Ok(None);
    }
    let directory = state::directory(settings);
    let Some(running) = state::running(directory).map_err(|error| in_one_line(&error))? else {
        return Ok(None);
    };
    let token = match settings.text("SHANNON_DEV_TOKEN") {
        _ if running.service => settings
            .text("SHANNON_ACCESS_TOKEN")
            .ok_or("SHANNON_ACCESS_TOKEN is not set: the token of the service that runs here")?
            .to_owned(),
        Some(token) => token.to_owned(),
        None => kept_token(directory, settings)?,
    };
    Ok(Some(Place {
        mcp_url: running.mcp_url,
        token,
        own: None,
    }))
}

/// Starts a stack.
pub(super) async fn start(arguments: &StartArguments, settings: Settings) -> Result<Place, String> {
    // state that is there belongs to the person; what was not asked for is not left behind
    let ephemeral = arguments.ephemeral || !state::directory(&settings).join("token").exists();
    // nobody else has to find this stack, so a port in use is no reason to fail
    let settings = settings.with_default("SHANNON_PORT", "0");
    let options = stack_options(arguments, settings, ephemeral)?;
    say(if ephemeral {
        "no stack runs here; starting one that keeps no session"
    } else {
        "no stack runs here; starting one"
    });
    let stack = stack::start(options)
        .await
        .map_err(|error| format!("the stack could not start: {}", in_one_line(&error)))?;
    let about = stack.description();
    say(&format!("model: {}", about.model));
    if about.isolation == "none" {
        say("this session is NOT ISOLATED: it can read and change what you can");
    }
    Ok(Place {
        mcp_url: about.mcp_url.clone(),
        token: stack.token().to_owned(),
        own: Some(stack),
    })
}

/// The state directory.
pub(super) fn directory(settings: &Settings) -> &Path {
    state::directory(settings)
}

/// The token that a stack keeps in its state directory.
pub(super) fn kept_token(directory: &Path, settings: &Settings) -> Result<String, String> {
    let key = encryption::key(settings).map_err(|error| in_one_line(&error))?;
    token::kept(&directory.join(state::TOKEN), key.as_ref()).map_err(|error| in_one_line(&error))
}
