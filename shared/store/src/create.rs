//! Recording a session: head, first event, first message, client token and slots in one
//! transaction.

use domain::{
    FencingToken, Head, OwnerId, Sequence, SessionId, SessionKey, State, TreeId, UnixMillis,
    event::{EventBody, NewEvent},
    ids::base32,
    ports::{ClientToken, CreateError, Creation, IdSource, NewSession, SlotLimits, Unavailable},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, failure, head,
    item::{Row, UnreadableRow, expiry, text},
    keys::{EXPIRES_AT, Key, PARTITION, Record},
    table::{NotWritten, pause},
    write::Write,
};

/// Slots in use.
pub(crate) const USED: &str = "used";
const SESSION: &str = "session";
/// Of a head: the hash of its client token.
const CREATION: &str = "creation";
const REQUEST_DIGEST: &str = "request_digest";
const ATTEMPTED: &str = "record the session";
/// Places of the transaction's parts, as refusals name them.
const DEPLOYMENT_SLOTS: usize = 0;
const OWNER_SLOTS: usize = 1;
/// How often the world may change between looking and writing. Own.
const ATTEMPTS: u32 = 5;

/// What is known about a client token.
pub(crate) struct Remembered {
    session: SessionId,
    request_digest: String,
}

impl Store {
    pub(crate) async fn create_session(&self, new: NewSession) -> Result<Creation, CreateError> {
        let head = first_head(&new);
        for attempt in 0..ATTEMPTS {
            let token = new.client_token.as_ref();
            let owner = &new.key.owner;
            let remembered = self.remembered(ATTEMPTED, owner, token).await?;
            // Without a token there is nothing to find but the repeat of this very call, which is
            // rare: the refusal below finds it.
            if remembered.is_some()
                && let Some(found) = self.found(&new.key, token, remembered.as_ref()).await?
            {
                return creation(found);
            }
            if new.max_sessions == 0 {
                return Err(CreateError::DeploymentFull);
            }
            if new.max_sessions_per_owner == 0 {
                return Err(CreateError::OwnerFull);
            }
            let writes = self.creation(&new, &head, remembered.as_ref()).await?;
            // New for each attempt: a repeat must be refused, to be told from the first.
            let request = base32(&IdSource::random(self));
            match self.table.transact(ATTEMPTED, &request, writes).await {
                Ok(()) => {
                    return Ok(Creation {
                        head,
                        repeated: false,
                    });
                }
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
                Err(NotWritten::Refused(parts)) => {
                    // Whoever has the same client token may have been faster, and this very call
                    // may have happened: that counts before the slots, of which it took one.
                    let remembered = self.remembered(ATTEMPTED, owner, token).await?;
                    let found = self.found(&new.key, token, remembered.as_ref()).await?;
                    if let Some(found) = found {
                        return creation(found);
                    }
                    if parts.contains(&DEPLOYMENT_SLOTS) {
                        return Err(CreateError::DeploymentFull);
                    }
                    if parts.contains(&OWNER_SLOTS) {
                        return Err(CreateError::OwnerFull);
                    }
                }
            }
            pause(attempt).await;
        }
        Err(failure::own(ATTEMPTED, "its client token keeps changing").into())
    }

    /// The session that the client token stands for, or that this very call made before, and whether
    /// the request is the same.
    pub(crate) async fn found(
        &self,
        new: &SessionKey,
        token: Option<&ClientToken>,
        remembered: Option<&Remembered>,
    ) -> Result<Option<(Head, bool)>, Unavailable> {
        let (key, same_request) = match (remembered, token) {
            (Some(remembered), Some(token)) => (
                SessionKey {
                    owner: new.owner.clone(),
                    session: remembered.session.clone(),
                },
                remembered.request_digest == token.request_digest,
            ),
            _ => (new.clone(), true),
        };
        let head = self.head_row(&key).await?;
        Ok(head.map(|(head, _)| (head, same_request)))
    }

    pub(crate) async fn remembered(
        &self,
        attempted: &'static str,
        owner: &OwnerId,
        token: Option<&ClientToken>,
    ) -> Result<Option<Remembered>, Unavailable> {
        let Some(token) = token else {
            return Ok(None);
        };
        let key = creation_key(owner, token);
        let Some(row) = self.table.get(attempted, &key).await? else {
            return Ok(None);
        };
        let read = || {
            Ok(Some(Remembered {
                session: SessionId::parse(row.text(SESSION)?)
                    .map_err(|_| UnreadableRow::Rule(SESSION))?,
                request_digest: row.text(REQUEST_DIGEST)?.to_owned(),
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(attempted, error))
    }

    /// The write that remembers a client token, whose session may be gone since.
    pub(crate) fn remember(
        &self,
        key: &SessionKey,
        token: Option<&ClientToken>,
        gone: Option<&Remembered>,
        now: UnixMillis,
    ) -> Option<Write> {
        let token = token?;
        let row = Row::at(&creation_key(&key.owner, token))
            .with(SESSION, text(key.session.as_str()))
            .with(REQUEST_DIGEST, text(token.request_digest.as_str()))
            .with(EXPIRES_AT, expiry(self.row_expiry(now)));
        Some(match gone {
            // The token's session has expired, so the token is free again.
            Some(gone) => Write::put(row).when_absent_or(SESSION, "=", text(gone.session.as_str())),
            None => Write::put(row).when_absent(PARTITION),
        })
    }

    async fn creation(
        &self,
        new: &NewSession,
        head: &Head,
        gone: Option<&Remembered>,
    ) -> Result<Vec<Write>, Unavailable> {
        let created = NewEvent {
            turn: 0,
            time: new.now,
            cause: None,
            body: EventBody::SessionCreated,
        };
        let (tree, fence) = (head.tree_key(), FencingToken(0));
        let (batch, digest) = self
            .batch(&new.key, &tree, Sequence(1), fence, &[created])
            .await?;
        let slots = SlotLimits {
            deployment: new.max_sessions,
            owner: new.max_sessions_per_owner,
        };
        let mut writes: Vec<Write> = Self::take_slots(&new.key, slots).into();
        let row = head::write_new(head, digest).map_err(|error| failure::own(ATTEMPTED, error))?;
        writes.extend([
            Write::put_new(created_by(row, new.client_token.as_ref())),
            batch,
        ]);
        let (id, body) = &new.first_message;
        writes.extend(self.new_command(&new.key, 1, id, body, new.now)?);
        writes.extend(self.remember(&new.key, new.client_token.as_ref(), gone, new.now));
        Ok(writes)
    }
}

/// The head's row with the name of the row that remembers its client token, for its erasure.
pub(crate) fn created_by(row: Row, token: Option<&ClientToken>) -> Row {
    row.with_some(CREATION, token.map(|token| text(hash(token))))
}

/// Removes what remembers the client token of a session, unless it stands for another one since.
pub(crate) fn unremember(key: &SessionKey, head: &Row) -> Result<Option<Write>, UnreadableRow> {
    let hash = head.text_if(CREATION)?;
    Ok(hash.map(|hash| {
        Write::delete(Record::Creation(&key.owner, hash).key()).when_absent_or(
            SESSION,
            "=",
            text(key.session.as_str()),
        )
    }))
}

fn creation_key(owner: &OwnerId, token: &ClientToken) -> Key {
    Record::Creation(owner, &hash(token)).key()
}

fn hash(token: &ClientToken) -> String {
    base32(&Sha256::digest(&token.token))
}

fn creation((head, same_request): (Head, bool)) -> Result<Creation, CreateError> {
    if same_request {
        Ok(Creation {
            head,
            repeated: true,
        })
    } else {
        Err(CreateError::ClientTokenReused)
    }
}

pub(crate) fn first_head(new: &NewSession) -> Head {
    Head {
        key: new.key.clone(),
        tree: TreeId::of(new.key.session.clone()),
        parent: None,
        spec: new.spec.clone(),
        title: new.title.clone(),
        state: State::Requested,
        end_reason: None,
        created_at: new.now,
        updated_at: new.now,
        last_sequence: Sequence(1),
        checkpoint: None,
        cut_sequence: Sequence(0),
        checkpoints: 0,
        rewinds: 0,
        question: None,
        grants: Vec::new(),
        fence: FencingToken(0),
        lease_until: UnixMillis(0),
        turn: 0,
        commands_accepted: 1,
        commands_taken: 0,
        commands_settled: 0,
        runner_asked_at: new.now,
        recoveries: 0,
        kept_until: None,
        task: None,
        claude_session_id: None,
        total_cost_usd: 0.0,
    }
}
