//! Recording a session: head, first event, first message, client token and slots in one
//! transaction.

use domain::{
    FencingToken, Head, Sequence, SessionId, SessionKey, State, UnixMillis,
    event::{EventBody, NewEvent},
    ids::base32,
    ports::{CreateError, Creation, IdSource, NewSession, Unavailable},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, failure, head,
    item::{Row, UnreadableRow, expiry, number, text},
    keys::{EXPIRES_AT, Key, PARTITION, Record},
    table::{NotWritten, pause},
    write::Write,
};

/// Slots in use.
pub(crate) const USED: &str = "used";
const SESSION: &str = "session";
const REQUEST_DIGEST: &str = "request_digest";
const ATTEMPTED: &str = "record the session";
/// Places of the transaction's parts, as refusals name them.
const DEPLOYMENT_SLOTS: usize = 0;
const OWNER_SLOTS: usize = 1;
/// How often the world may change between looking and writing. Own.
const ATTEMPTS: u32 = 5;

/// What is known about a client token.
struct Remembered {
    session: SessionId,
    request_digest: String,
}

impl Store {
    pub(crate) async fn create_session(&self, new: NewSession) -> Result<Creation, CreateError> {
        let head = first_head(&new);
        for attempt in 0..ATTEMPTS {
            let remembered = self.remembered(&new).await?;
            // Without a token there is nothing to find but the repeat of this very call, which is
            // rare: the refusal below finds it.
            if remembered.is_some()
                && let Some(found) = self.found(&new, remembered.as_ref()).await?
            {
                return found;
            }
            if new.max_sessions == 0 {
                return Err(CreateError::DeploymentFull);
            }
            if new.max_sessions_per_owner == 0 {
                return Err(CreateError::OwnerFull);
            }
            let writes = self.creation(&new, &head, remembered.as_ref()).await?;
            // New for each attempt: a repeat must be refused, to be told from the first.
            let token = base32(&IdSource::random(self));
            match self.table.transact(ATTEMPTED, &token, writes).await {
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
                    let remembered = self.remembered(&new).await?;
                    if let Some(found) = self.found(&new, remembered.as_ref()).await? {
                        return found;
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

    /// The session that the client token stands for, or that this very call made before.
    async fn found(
        &self,
        new: &NewSession,
        remembered: Option<&Remembered>,
    ) -> Result<Option<Result<Creation, CreateError>>, Unavailable> {
        let (key, same_request) = match (remembered, &new.client_token) {
            (Some(remembered), Some(token)) => (
                SessionKey {
                    owner: new.key.owner.clone(),
                    session: remembered.session.clone(),
                },
                remembered.request_digest == token.request_digest,
            ),
            _ => (new.key.clone(), true),
        };
        Ok(self.head_row(&key).await?.map(|(head, _)| {
            if same_request {
                Ok(Creation {
                    head,
                    repeated: true,
                })
            } else {
                Err(CreateError::ClientTokenReused)
            }
        }))
    }

    async fn remembered(&self, new: &NewSession) -> Result<Option<Remembered>, Unavailable> {
        let Some(key) = creation_key(new) else {
            return Ok(None);
        };
        let Some(row) = self.table.get(ATTEMPTED, &key).await? else {
            return Ok(None);
        };
        let read = || {
            Ok(Some(Remembered {
                session: SessionId::parse(row.text(SESSION)?)
                    .map_err(|_| UnreadableRow::Rule(SESSION))?,
                request_digest: row.text(REQUEST_DIGEST)?.to_owned(),
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
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
        let batch = self
            .batch(&new.key, Sequence(1), FencingToken(0), &[created], new.now)
            .await?;
        let slot = |slots: Record<'_>, most: u32| {
            Write::update(slots.key())
                .add(USED, number(1))
                .when_absent_or(USED, "<", number(most))
        };
        let mut writes = vec![
            slot(Record::DeploymentSlots, new.max_sessions),
            slot(
                Record::OwnerSlots(&new.key.owner),
                new.max_sessions_per_owner,
            ),
            Write::put_new(head::write(head).map_err(|error| failure::own(ATTEMPTED, error))?),
            batch,
        ];
        let (id, body) = &new.first_message;
        writes.extend(self.new_command(&new.key, 1, id, body, new.now)?);
        if let (Some(key), Some(token)) = (creation_key(new), &new.client_token) {
            let row = Row::at(&key)
                .with(SESSION, text(new.key.session.as_str()))
                .with(REQUEST_DIGEST, text(token.request_digest.as_str()))
                .with(EXPIRES_AT, expiry(self.row_expiry(new.now)));
            writes.push(match gone {
                // The token's session has expired, so the token is free again.
                Some(gone) => {
                    Write::put(row).when_absent_or(SESSION, "=", text(gone.session.as_str()))
                }
                None => Write::put(row).when_absent(PARTITION),
            });
        }
        Ok(writes)
    }
}

fn creation_key(new: &NewSession) -> Option<Key> {
    let token = new.client_token.as_ref()?;
    let hash = base32(&Sha256::digest(&token.token));
    Some(Record::Creation(&new.key.owner, &hash).key())
}

fn first_head(new: &NewSession) -> Head {
    Head {
        key: new.key.clone(),
        spec: new.spec.clone(),
        title: new.title.clone(),
        state: State::Requested,
        end_reason: None,
        created_at: new.now,
        updated_at: new.now,
        last_sequence: Sequence(1),
        fence: FencingToken(0),
        lease_until: UnixMillis(0),
        turn: 0,
        commands_accepted: 1,
        commands_taken: 0,
        task: None,
        claude_session_id: None,
        total_cost_usd: 0.0,
    }
}
