//! One way to ask a person. What needs input says so once, with [`Asking::ask`]; how the question
//! reaches a person is decided here:
//!
//! - a client of 2026-07-28 that declares it gets a result `input_required` with a sealed
//!   `requestState`, and repeats its request with the answers;
//! - a client of the initialize era that declares it is asked on the stream of its request, and the
//!   call goes on when the answer is there;
//! - for all others the call ends with words that say where to answer.
//!
//! For the first kind the call is run again from its beginning: before a question it may do nothing
//! that must not be done twice.

mod outcome;
pub(crate) mod question;
mod sealed;

use std::sync::{Mutex, PoisonError};

use domain::client_session::RoundId;
use domain::ports::{Claim, Clock, IdSource, Rounds, Unavailable};
use domain::session_token::SigningKey;
use domain::{OwnerId, limits};
use rmcp::model::{
    ClientCapabilities, InputRequest, InputRequests, InputRequiredResult, InputResponses,
    ServerRequest,
};
use rmcp::service::{Peer, ServiceError};
use rmcp::{ErrorData, RoleServer};
use serde_json::Value;
use thiserror::Error;

use crate::asked::Asked;

pub use outcome::Outcome;
use sealed::{Carried, digest, open, seal};

/// What keeping rounds of questions takes.
pub trait AskPorts: Rounds + Clock + IdSource {}
impl<P: Rounds + Clock + IdSource> AskPorts for P {}

/// Whom a request comes from, and whether they can be asked.
#[derive(Clone, Debug)]
pub struct Caller {
    owner: OwnerId,
    client: Option<String>,
    way: Way,
    capabilities: ClientCapabilities,
}

/// How a question reaches the caller.
#[derive(Clone, Debug)]
enum Way {
    /// It is the answer, and the caller comes again.
    Again,
    /// It goes out on the stream of the request.
    Pushed(Peer<RoleServer>),
    /// It does not.
    None,
}

impl Caller {
    /// The caller of a request.
    #[must_use]
    pub fn of(asked: &Asked) -> Self {
        Self {
            owner: asked.principal.owner.clone(),
            client: asked.client(),
            way: match (asked.modern, &asked.peer) {
                (true, _) => Way::Again,
                (false, Some(peer)) => Way::Pushed(peer.clone()),
                (false, None) => Way::None,
            },
            capabilities: asked.capabilities.clone(),
        }
    }

    /// One who cannot be asked anything.
    fn silent(owner: OwnerId) -> Self {
        Self {
            owner,
            client: None,
            way: Way::None,
            capabilities: ClientCapabilities::default(),
        }
    }
}

/// Whether a client with these capabilities can be asked this.
pub(crate) fn can(can: &ClientCapabilities, request: &InputRequest) -> bool {
    match request {
        InputRequest::Elicitation(request) => {
            let url =
                serde_json::to_value(&request.params).is_ok_and(|params| params["mode"] == "url");
            can.elicitation.as_ref().is_some_and(|can| {
                // Older clients declare nothing closer, and mean forms.
                match (url, can.form.is_some(), can.url.is_some()) {
                    (false, form, url) => form || !url,
                    (true, _, url) => url,
                }
            })
        }
        InputRequest::CreateMessage(_) => can.sampling.is_some(),
        InputRequest::ListRoots(_) => can.roots.is_some(),
        _ => false,
    }
}

/// A request as it came, with the answers that it may bring.
#[derive(Clone, Debug)]
pub struct Round<'a> {
    /// JSON-RPC method.
    pub method: &'a str,
    /// Everything that the request is about: a state is good for exactly this. Order of keys does
    /// not matter.
    pub subject: Value,
    /// Its `inputResponses`.
    pub responses: Option<InputResponses>,
    /// Its `requestState`.
    pub state: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum NotAnswered {
    /// The client is being told to ask and to come again: give up this run, having done nothing.
    #[error("this needs an answer first")]
    Later,
    /// The client did not say that it can be asked this: say where to answer instead.
    #[error("this client cannot ask you")]
    CannotAsk,
    /// Nobody answered while it could be waited for.
    #[error("nobody answered within {} seconds", limits::ANSWER_MILLISECONDS / 1000)]
    NoAnswer,
    /// The client did not ask, or could not be reached.
    #[error("the question did not reach you")]
    NotAsked(#[source] ServiceError),
}

/// The way to the one who can answer, for one run of one request.
#[derive(Debug)]
pub struct Asking {
    caller: Caller,
    digest: String,
    carried: Carried,
    /// Answers of this round and those before.
    answers: InputResponses,
    /// The round whose answers this run was given.
    round: Option<RoundId>,
    needed: Mutex<InputRequests>,
}

impl Asking {
    /// The name that the client gives itself.
    pub(crate) fn client(&self) -> Option<&str> {
        self.caller.client.as_deref()
    }

    /// For a request that asks nothing, and costs nothing for that.
    pub(crate) fn nothing(owner: OwnerId) -> Self {
        Self::new(Caller::silent(owner), String::new())
    }

    fn new(caller: Caller, digest: String) -> Self {
        Self {
            caller,
            digest,
            carried: Carried::default(),
            answers: InputResponses::new(),
            round: None,
            needed: Mutex::default(),
        }
    }

    /// Asks; `key` names the question among those of the request, always the same. The answer is
    /// the client's result for that kind of question, unchecked.
    ///
    /// # Errors
    /// [`NotAnswered`].
    pub async fn ask(&self, key: &str, request: InputRequest) -> Result<Value, NotAnswered> {
        if !can(&self.caller.capabilities, &request) {
            return Err(NotAnswered::CannotAsk);
        }
        match &self.caller.way {
            Way::None => Err(NotAnswered::CannotAsk),
            Way::Again => match self.answers.get(key) {
                Some(answer) => Ok(answer.clone()),
                None => {
                    let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
                    needed.insert(key.to_owned(), request);
                    Err(NotAnswered::Later)
                }
            },
            Way::Pushed(peer) => {
                let request = match request {
                    InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
                    InputRequest::CreateMessage(request) => {
                        ServerRequest::CreateMessageRequest(request)
                    }
                    InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
                    _ => return Err(NotAnswered::CannotAsk),
                };
                match peer.send_request(request).await {
                    Ok(answer) => Ok(serde_json::to_value(answer).unwrap_or_default()),
                    Err(ServiceError::McpError(error)) if error.code.0 == NO_ANSWER => {
                        Err(NotAnswered::NoAnswer)
                    }
                    Err(error) => Err(NotAnswered::NotAsked(error)),
                }
            }
        }
    }
}

/// The JSON-RPC code with which the wait for a pushed question's answer ends when none came.
pub const NO_ANSWER: i32 = -32001;

/// What a request needs.
#[derive(Debug)]
pub enum Begun<T> {
    /// To be run.
    Run(Box<Asking>),
    /// Nothing: this came of the same answers before.
    Settled(T),
}

/// Runs requests that may ask.
#[derive(Clone, Copy)]
pub struct Asks<'a, P> {
    ports: &'a P,
    key: &'a SigningKey,
}

impl<'a, P: AskPorts> Asks<'a, P> {
    /// Rounds are kept with `ports`, states sealed with `key`.
    pub const fn new(ports: &'a P, key: &'a SigningKey) -> Self {
        Self { ports, key }
    }

    /// Begins a run. The first answers to a round count: the same again give what came of them (or
    /// another run, when that was cut off), others are refused. Give the run's outcome to
    /// [`Asks::finish`].
    ///
    /// # Errors
    /// A state that is not good for this request; answers that differ from those given before; the
    /// store.
    pub async fn begin<T: Outcome>(
        &self,
        caller: Caller,
        round: Round<'_>,
    ) -> Result<Begun<T>, ErrorData> {
        let digest = digest(&serde_json::json!([round.method, round.subject]));
        let mut asking = Asking::new(caller, digest);
        // Answers without a state belong to no question of ours: it is asked (again).
        if let Some(state) = &round.state {
            let (id, carried) = open(self.key, &asking, state, self.ports.now())?;
            asking.answers.clone_from(&carried.answers);
            let given: InputResponses = round
                .responses
                .unwrap_or_default()
                .into_iter()
                .filter(|(key, _)| carried.asked.contains(key))
                .collect();
            if !given.is_empty() {
                let answers = sealed::digest_of(&given);
                let until = self.ports.now().plus(limits::ROUND_MILLISECONDS);
                match self
                    .ports
                    .claim(&asking.caller.owner, &id, &answers, until)
                    .await
                    .map_err(|error| unavailable(&error))?
                {
                    Claim::Open => {}
                    Claim::Different => {
                        return Err(ErrorData::invalid_params(
                            "this question was answered before, in another way; repeat the request \
                             without requestState to be asked anew",
                            None,
                        ));
                    }
                    Claim::Settled(outcome) => {
                        return T::read(&outcome).map(Begun::Settled).ok_or_else(|| {
                            ErrorData::internal_error(
                                "what came of these answers cannot be read; repeat the request \
                                 without requestState",
                                None,
                            )
                        });
                    }
                }
                asking.answers.extend(given);
                asking.round = Some(id);
            }
            asking.carried = carried;
        }
        Ok(Begun::Run(Box::new(asking)))
    }

    /// What the client gets: the outcome, or the questions that the run needs answers to.
    ///
    /// # Errors
    /// Those of the run; a request that asks too often or carries too much.
    pub async fn finish<T: Outcome>(
        &self,
        asking: Box<Asking>,
        outcome: Result<T, ErrorData>,
    ) -> Result<T, ErrorData> {
        let needed = asking
            .needed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let outcome = if needed.is_empty() {
            outcome?
        } else {
            let carried = Carried {
                asked: needed.keys().cloned().collect(),
                answers: asking.answers,
                rounds: asking.carried.rounds + 1,
            };
            let state = seal(
                self.key,
                &asking.caller.owner,
                &asking.digest,
                RoundId::from_random(self.ports.random()),
                &carried,
                self.ports.now(),
            )?;
            T::input_required(InputRequiredResult::new(Some(needed), Some(state)))
        };
        let (Some(round), Some(record)) = (asking.round, outcome.record()) else {
            return Ok(outcome);
        };
        match self
            .ports
            .settle(&asking.caller.owner, &round, &record)
            .await
        {
            Ok(recorded) if recorded == record => Ok(outcome),
            // Somebody was faster with the same answers.
            Ok(recorded) => Ok(T::read(&recorded).unwrap_or(outcome)),
            // It happened; only a repeat would run it again, which everything must stand.
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what came of answers was not recorded"
                );
                Ok(outcome)
            }
        }
    }
}

fn unavailable(error: &Unavailable) -> ErrorData {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "answers were not taken"
    );
    ErrorData::internal_error(format!("{error}; repeat the request"), None)
}

#[cfg(test)]
mod tests;
