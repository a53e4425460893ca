//! Changes of a session by someone who is not its runner: one transaction over head, events, slots,
//! and what a rewind records.

use domain::{
    Head,
    checkpoint::CheckpointRef,
    ids::base32,
    ports::{ControlChange, ControlError, Rewind, Slots, Unavailable},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, checkpoints, failure,
    head::{self, update_unmoved},
    keys::Record,
    table::NotWritten,
    write::Write,
};

const ATTEMPTED: &str = "change the session";

impl Slots for Store {
    async fn slots_in_use(&self) -> Result<u32, Unavailable> {
        const ATTEMPTED: &str = "count the sessions that hold compute";
        let row = self
            .table
            .get(ATTEMPTED, &Record::DeploymentSlots.key())
            .await?;
        let used = row.map_or(Ok(None), |row| row.number_if(crate::create::USED));
        let used = used.map_err(|error| failure::own(ATTEMPTED, error))?;
        Ok(u32::try_from(used.unwrap_or_default()).unwrap_or(u32::MAX))
    }
}

impl Store {
    pub(crate) async fn change(&self, change: &ControlChange) -> Result<Head, ControlError> {
        let based_on = &change.based_on;
        let Some(head) = change.head_after(self.retention_milliseconds) else {
            return Err(ControlError::Changed);
        };
        let mut writes = Vec::new();
        let takes = !based_on.state.holds_slot() && head.state.holds_slot();
        if takes {
            // The first two parts, by which a refusal is told.
            writes.extend(Self::take_slots(&head.key, change.slots));
        } else if based_on.state.holds_slot() && !head.state.holds_slot() {
            writes.extend(Self::free_slots(&head.key));
        }
        let mut update = head::changes(update_unmoved(based_on), based_on, &head)
            .map_err(|error| failure::own(ATTEMPTED, error))?;
        let mut batch = None;
        if !change.events.is_empty() {
            let (tree, first) = (head.tree_key(), based_on.last_sequence.next());
            let (write, digest) = self
                .batch(&head.key, &tree, first, based_on.fence, &change.events)
                .await?;
            update = head::with_log(update, digest);
            batch = Some(write);
        }
        let place_of_head = writes.len();
        writes.push(update);
        if let Some(rewind) = &change.rewind {
            writes.extend(self.rewind(change, rewind).await?);
        }
        writes.extend(batch);
        // The same change of the same head is the same request; another one is not.
        let token = base32(&Sha256::digest(format!("{change:?}")));
        match self.table.transact(ATTEMPTED, &token[..36], writes).await {
            Ok(()) => Ok(head),
            Err(NotWritten::Refused(parts)) if takes && !parts.contains(&place_of_head) => {
                Err(match parts.first() {
                    Some(0) => ControlError::DeploymentFull,
                    Some(1) => ControlError::OwnerFull,
                    _ => ControlError::Changed,
                })
            }
            Err(NotWritten::Refused(_)) => Err(ControlError::Changed),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    async fn rewind(
        &self,
        change: &ControlChange,
        rewind: &Rewind,
    ) -> Result<Vec<Write>, Unavailable> {
        let based_on = &change.based_on;
        let key = &based_on.key;
        let mut writes = Vec::new();
        let keep = match &rewind.keep {
            None => None,
            Some((name, checkpoint)) => self
                .checkpoint_ordinal(key, checkpoint)
                .await?
                .map(|ordinal| (name, checkpoint, ordinal)),
        };
        match keep {
            Some((name, checkpoint, ordinal)) => {
                let named = CheckpointRef {
                    name: name.clone(),
                    checkpoint: checkpoint.clone(),
                    set_at: change.now,
                };
                writes.extend(checkpoints::ref_writes(key, &named, ordinal, None));
                if ordinal != rewind.target_ordinal {
                    writes.push(checkpoints::is_there(key, rewind.target_ordinal));
                }
            }
            None => writes.push(checkpoints::is_there(key, rewind.target_ordinal)),
        }
        if let Some(record) = &rewind.record {
            let record = record
                .clone()
                .record(based_on.fence, rewind.cut_sequence, change.now);
            writes.extend(checkpoints::record(key, &record, 0)?);
        }
        Ok(writes)
    }
}
