//! Asking a stack over its HTTP addresses, with a token: the one that runs here, or a deployed one.

use http::Method;
use serde_json::Value;

use super::key_arguments::StackArguments;
use super::place::{self, Place};
use super::{FAILED, NO_STACK, StartArguments, USAGE, in_one_line, say};
use crate::{settings::Settings, stdio::Endpoint};

/// Why there is nothing to show; said already.
pub(super) struct Failed(u8);

impl Failed {
    pub(super) fn because(code: u8, words: &str) -> Self {
        say(words);
        Self(code)
    }

    /// For the end of the process.
    pub(super) const fn code(&self) -> u8 {
        self.0
    }
}

/// The stack that runs here, or a deployed one.
pub(super) struct StackClient {
    endpoint: Endpoint,
}

impl StackClient {
    pub(super) fn of(
        asked: &StackArguments,
        start: &StartArguments,
        settings: &Settings,
    ) -> Result<Self, Failed> {
        let place: Place = match &asked.url {
            Some(url) => place::at(url, settings).map_err(|it| Failed::because(USAGE, &it))?,
            None => place::running(start, settings)
                .map_err(|problem| Failed::because(NO_STACK, &problem))?
                .ok_or_else(|| {
                    let words =
                        "no stack runs here; start one with `emulator`, or name one with --url";
                    Failed::because(NO_STACK, words)
                })?,
        };
        let endpoint = Endpoint::new(&place.mcp_url, place.token)
            .map_err(|error| Failed::because(USAGE, &in_one_line(&error)))?;
        Ok(Self { endpoint })
    }

    /// Asks at an address beside the MCP endpoint.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, Failed> {
        let failed = |error: reqwest::Error| Failed::because(FAILED, &in_one_line(&error));
        let mut request = self.endpoint.beside(method, path);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(failed)?;
        Ok(Answer { status, body })
    }
}

/// What the stack answered.
pub(super) struct Answer {
    pub(super) status: u16,
    body: String,
}

impl Answer {
    /// What was asked for; otherwise what the stack says instead.
    pub(super) fn wanted(&self, status: u16) -> Result<Value, Failed> {
        let body: Option<Value> = serde_json::from_str(&self.body).ok();
        match (self.status, body) {
            (found, Some(body)) if found == status => Ok(body),
            (status, body) => {
                let error = body.as_ref().and_then(|it| it["error"]["message"].as_str());
                let words = match (status, error) {
                    (_, Some(words)) => words.to_owned(),
                    (401 | 403, None) => "the stack refuses our token".to_owned(),
                    (status, None) => format!("the stack answers with HTTP {status}"),
                };
                Err(Failed::because(FAILED, &words))
            }
        }
    }
}
