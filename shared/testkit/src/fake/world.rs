//! What the fake remembers.

use std::collections::BTreeMap;

use super::{audit::Audit, clients::Clients};
use domain::{
    Checkpoint, Command, Event, FencingToken, GitCredential, GitHost, Head, KeyId, KeyRecord,
    OwnerId, PolicyBook, PolicyScope, RefName, Sequence, SessionId, SessionKey, TreeKey,
    UnixMillis, UploadId,
    checkpoint::CheckpointRef,
    event::NewEvent,
    ports::{LiveText, NoticeMessage, Webhook},
    upload::Upload,
};

use super::{checkpoints::TreeRecord, objects::Version};

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) sessions: BTreeMap<SessionKey, Session>,
    /// What stands in the place of sessions that were erased.
    pub(super) tombstones: BTreeMap<SessionKey, Tombstone>,
    /// Session and request digest by owner and client token.
    pub(super) creations: BTreeMap<(OwnerId, String), (SessionId, String)>,
    pub(super) deployment_slots: u32,
    pub(super) owner_slots: BTreeMap<OwnerId, u32>,
    pub(super) uploads: BTreeMap<(OwnerId, UploadId), (Upload, bool)>,
    pub(super) tasks: Vec<StartedTask>,
    pub(super) trees: BTreeMap<TreeKey, TreeRecord>,
    /// Versions of objects, the oldest first.
    pub(super) objects: BTreeMap<(TreeKey, String), Vec<Version>>,
    /// Versions so far.
    pub(super) versions: u64,
    /// Deletions of objects so far.
    pub(super) deletions: usize,
    pub(super) clients: Clients,
    pub(super) audit: Audit,
    pub(super) books: BTreeMap<PolicyScope, PolicyBook>,
    pub(super) keys: BTreeMap<KeyId, KeyRecord>,
    /// With the time at which they were stored.
    pub(super) git_credentials: BTreeMap<(OwnerId, GitHost), (GitCredential, UnixMillis)>,
    /// When each owner's bucket of requests is full again, in microseconds.
    pub(super) buckets: BTreeMap<OwnerId, u64>,
    pub(super) release: Option<domain::release::Release>,
    /// What operators were told: subject and text.
    pub(super) told: Vec<(String, String)>,
    /// Places of streams: who has them until when.
    pub(super) places: BTreeMap<(OwnerId, u32), (String, UnixMillis)>,
    pub(super) webhooks: BTreeMap<OwnerId, Webhook>,
    pub(super) published: Vec<NoticeMessage>,
    /// With the address.
    pub(super) posted: Vec<(String, NoticeMessage)>,
}

#[derive(Debug)]
pub(super) struct Tombstone {
    pub(super) tree: TreeKey,
    pub(super) until: UnixMillis,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) head: Head,
    pub(super) events: Vec<Event>,
    /// In order of their ordinals, without gaps.
    pub(super) commands: Vec<Command>,
    /// In order of their ordinals; old ones may be missing.
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) refs: BTreeMap<RefName, CheckpointRef>,
    pub(super) live: Option<LiveText>,
    /// Who wrote or cleared it last.
    pub(super) live_fence: FencingToken,
    /// Request token of the newest append.
    pub(super) append_token: Option<String>,
}

/// A task that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedTask {
    /// Its name.
    pub name: String,
    /// For which session.
    pub key: SessionKey,
    /// For the runner after this fence.
    pub fence: FencingToken,
    /// Why it was stopped, if it was.
    pub stopped: Option<String>,
}

impl Session {
    /// Appends to the log and moves the head's sequence.
    pub(super) fn log(&mut self, fence: FencingToken, events: &[NewEvent]) {
        for event in events {
            let sequence = self.head.last_sequence.next();
            self.events.push(Event {
                sequence,
                fence,
                turn: event.turn,
                time: event.time,
                cause: event.cause.clone(),
                body: event.body.clone(),
                whole_body_bytes: None,
            });
            self.head.last_sequence = sequence;
        }
    }

    /// The command with that ordinal.
    pub(super) fn command(&mut self, ordinal: u64) -> Option<&mut Command> {
        let index = usize::try_from(ordinal.checked_sub(1)?).ok()?;
        self.commands.get_mut(index)
    }

    /// The last command directly after `ordinal` up to which none is to take by the runner with the
    /// head's fence.
    pub(super) fn passed(&self, ordinal: u64) -> u64 {
        self.commands
            .iter()
            .filter(|command| command.ordinal > ordinal)
            .take_while(|command| !command.to_take(self.head.fence))
            .last()
            .map_or(ordinal, |command| command.ordinal)
    }

    /// Events after a sequence.
    pub(super) fn events_after(&self, after: Sequence) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .filter(move |event| event.sequence > after)
    }
}

impl World {
    /// Frees the slots of a session that ends.
    pub(super) fn free_slots(&mut self, owner: &OwnerId) {
        self.deployment_slots = self.deployment_slots.saturating_sub(1);
        if let Some(used) = self.owner_slots.get_mut(owner) {
            *used = used.saturating_sub(1);
        }
    }
}
