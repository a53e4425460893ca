//! What a client carries from a question to its answer, and the digests that bind it.

use std::collections::BTreeMap;

use domain::client_session::{Binding, InvalidState, RoundId, RoundState};
use domain::session_token::SigningKey;
use domain::{OwnerId, UnixMillis, ids::base32, limits};
use rmcp::ErrorData;
use rmcp::model::InputResponses;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Asking;

/// The payload of a state. The answers are the client's own, so it may read them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Carried {
    /// Keys of the questions of this round.
    pub(super) asked: Vec<String>,
    /// Answers of the rounds before.
    pub(super) answers: InputResponses,
    /// How many rounds there were, this one included.
    pub(super) rounds: u32,
}

/// SHA-256 of a JSON document, whatever the order of its keys.
pub(super) fn digest(document: &Value) -> String {
    base32(&Sha256::digest(sorted(document).to_string()))
}

/// The same for answers.
pub(super) fn digest_of(answers: &InputResponses) -> String {
    digest(&answers.clone().into_iter().collect())
}

fn sorted(document: &Value) -> Value {
    match document {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, Value> = object
                .iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            sorted
                .into_iter()
                .map(|(name, value)| (name.clone(), value))
                .collect()
        }
        Value::Array(entries) => entries.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Opens the state that the client brought.
pub(super) fn open(
    key: &SigningKey,
    asking: &Asking,
    state: &str,
    now: UnixMillis,
) -> Result<(RoundId, Carried), ErrorData> {
    let refused = |reason: InvalidState| {
        ErrorData::invalid_params(
            format!("requestState: {reason}; repeat the request without it"),
            None,
        )
    };
    let binding = Binding {
        owner: &asking.caller.owner,
        request_digest: &asking.digest,
    };
    let opened = key.open_state(binding, state, now).map_err(refused)?;
    let carried =
        serde_json::from_slice(&opened.payload).map_err(|_| refused(InvalidState::Foreign))?;
    Ok((opened.round, carried))
}

/// Seals the state of a new round.
pub(super) fn seal(
    key: &SigningKey,
    owner: &OwnerId,
    request_digest: &str,
    round: RoundId,
    carried: &Carried,
    now: UnixMillis,
) -> Result<String, ErrorData> {
    if carried.rounds > limits::ROUNDS {
        return Err(ErrorData::internal_error(
            "this request asked too often; repeat it without requestState",
            None,
        ));
    }
    let payload = serde_json::to_vec(carried)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    if payload.len() > limits::CARRIED_ANSWER_BYTES {
        return Err(ErrorData::invalid_params(
            format!(
                "the answers have {} bytes and may have {}",
                payload.len(),
                limits::CARRIED_ANSWER_BYTES
            ),
            None,
        ));
    }
    let binding = Binding {
        owner,
        request_digest,
    };
    let state = RoundState {
        round,
        expires_at: now.plus(limits::ROUND_MILLISECONDS),
        payload,
    };
    Ok(key.seal_state(binding, &state))
}
