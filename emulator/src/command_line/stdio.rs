//! `emulator stdio`: bridges a local host to the stack that runs here, or to one with an address.

use tokio::io::BufReader;

use super::{
    FAILED, INTERRUPTED, Interrupts, NO_STACK, SUCCESS, StartArguments, USAGE, in_one_line,
    place::{self, Place},
    say, say_error,
    service_arguments::StdioArguments,
};
use crate::{
    settings::Settings,
    stdio::{
        self, Ended, Endpoint,
        ssh::{self, Remote},
    },
};

pub(super) async fn run(
    stdio: StdioArguments,
    arguments: &StartArguments,
    settings: Settings,
) -> u8 {
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            say_error(&error);
            return FAILED;
        }
    };
    if let Some(host) = stdio.ssh {
        let remote = Remote {
            host,
            program: stdio.remote_program,
        };
        return through_ssh(&remote, &interrupts).await;
    }
    let place = match &stdio.url {
        Some(url) => match place::at(url, &settings) {
            Ok(place) => Ok(place),
            Err(problem) => {
                say(&problem);
                return USAGE;
            }
        },
        None => tokio::select! {
            place = local(stdio.start, arguments, settings) => place,
            () = interrupts.asked() => return INTERRUPTED,
        },
    };
    let place = match place {
        Ok(place) => place,
        Err(problem) => {
            say(&problem);
            return NO_STACK;
        }
    };
    let endpoint = match Endpoint::new(&place.mcp_url, place.token) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            say(&in_one_line(&error));
            return USAGE;
        }
    };
    let input = BufReader::new(tokio::io::stdin());
    let ended = stdio::run(endpoint, input, tokio::io::stdout(), interrupts.asked()).await;
    if let Some(stack) = place.own {
        stack.shutdown(&|_| {}).await;
    }
    match ended {
        Ended::Input | Ended::Output => SUCCESS,
        Ended::Interrupted => INTERRUPTED,
    }
}

/// Another machine's, as that machine reaches it.
async fn through_ssh(remote: &Remote, interrupts: &Interrupts) -> u8 {
    let child = match remote.start() {
        Ok(child) => child,
        Err(error) => {
            say(&format!("cannot start ssh: {error}"));
            return FAILED;
        }
    };
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    match ssh::run(child, input, output, interrupts.asked()).await {
        (Ended::Interrupted, _) => INTERRUPTED,
        (_, true) => SUCCESS,
        (_, false) => {
            say(&format!("ssh or the program on {} has failed", remote.host));
            FAILED
        }
    }
}

/// The stack that runs here; a new one only when it was asked for.
async fn local(
    start: bool,
    arguments: &StartArguments,
    settings: Settings,
) -> Result<Place, String> {
    match place::running(arguments, &settings)? {
        Some(running) => Ok(running),
        None if start => place::start(arguments, settings).await,
        None => Err(
            "no stack runs here; start one with `emulator`, or add --start, or name one with --url"
                .to_owned(),
        ),
    }
}
