//! Recording a fork: head, first events, first checkpoint, client token and its place in the tree in
//! one transaction.

use domain::{
    FencingToken, Head, Sequence, State, UnixMillis,
    ids::base32,
    ports::{Creation, ForkError, IdSource, NewFork, Unavailable},
};

use crate::{
    Store, checkpoints,
    create::created_by,
    failure, head,
    table::{NotWritten, pause},
    write::Write,
};

const ATTEMPTED: &str = "record the fork";
/// How often the world may change between looking and writing. Own.
const ATTEMPTS: u32 = 5;

impl Store {
    pub(crate) async fn record_fork(&self, new: &NewFork) -> Result<Creation, ForkError> {
        let token = new.client_token.as_ref();
        for attempt in 0..ATTEMPTS {
            let remembered = self.remembered(ATTEMPTED, &new.key.owner, token).await?;
            let found = self.found(&new.key, token, remembered.as_ref()).await?;
            if let Some((head, same_request)) = found {
                return if same_request {
                    Ok(Creation {
                        head,
                        repeated: true,
                    })
                } else {
                    Err(ForkError::ClientTokenReused)
                };
            }
            let head = self.first_head(new);
            let mut writes = self.fork_writes(new, &head).await?;
            writes.extend(self.remember(&new.key, token, remembered.as_ref(), new.now));
            let request = base32(&IdSource::random(self));
            match self.table.transact(ATTEMPTED, &request, writes).await {
                Ok(()) => {
                    return Ok(Creation {
                        head,
                        repeated: false,
                    });
                }
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
                // The first parts look at the parent's checkpoints.
                Err(NotWritten::Refused(parts))
                    if parts.iter().any(|part| *part < new.relies_on.len()) =>
                {
                    // It was there for this very call, if that happened before.
                    return match self.head_row(&new.key).await? {
                        Some((head, _)) => Ok(Creation {
                            head,
                            repeated: true,
                        }),
                        None => Err(ForkError::CheckpointGone),
                    };
                }
                Err(NotWritten::Refused(_)) => pause(attempt).await,
            }
        }
        Err(failure::own(ATTEMPTED, "its client token keeps changing").into())
    }

    async fn fork_writes(&self, new: &NewFork, head: &Head) -> Result<Vec<Write>, Unavailable> {
        let record = new
            .checkpoint
            .clone()
            .record(FencingToken(0), head.cut_sequence, new.now);
        let tree = head.tree_key();
        let fence = FencingToken(0);
        let relies_on = new.relies_on.iter();
        let mut writes: Vec<Write> = relies_on
            .map(|ordinal| checkpoints::is_there(&new.parent.key, *ordinal))
            .collect();
        let (batch, digest) = self
            .batch(&new.key, &tree, Sequence(1), fence, &new.events)
            .await?;
        let row = head::write_new(head, digest).map_err(|error| failure::own(ATTEMPTED, error))?;
        writes.extend([
            Write::put_new(created_by(row, new.client_token.as_ref())),
            batch,
            // Not its root, which may be gone.
            checkpoints::join(&tree, &[&new.parent.key.session, &new.key.session]),
        ]);
        writes.extend(checkpoints::record(&new.key, &record, 0)?);
        Ok(writes)
    }

    fn first_head(&self, new: &NewFork) -> Head {
        let last = Sequence(new.events.len() as u64);
        Head {
            key: new.key.clone(),
            tree: new.parent.tree.clone(),
            parent: Some(new.begins_at.clone()),
            spec: new.spec.clone(),
            title: new.title.clone(),
            state: State::Suspended,
            end_reason: None,
            created_at: new.now,
            updated_at: new.now,
            last_sequence: last,
            checkpoint: Some(new.checkpoint.id.clone()),
            cut_sequence: last,
            checkpoints: 1,
            rewinds: 0,
            grants: Vec::new(),
            question: new.checkpoint.question.clone(),
            fence: FencingToken(0),
            lease_until: UnixMillis(0),
            turn: new.checkpoint.turn,
            commands_accepted: 0,
            commands_taken: 0,
            commands_settled: 0,
            runner_asked_at: new.now,
            recoveries: 0,
            kept_until: Some(self.head_expiry(new.now)),
            task: None,
            claude_session_id: new.checkpoint.claude_session_id.clone(),
            total_cost_usd: 0.0,
        }
    }
}
