//! Records of checkpoints, in memory.

use std::collections::BTreeSet;

use domain::{
    Checkpoint, CheckpointId, RefName, SessionId, SessionKey, TreeKey, UnixMillis,
    checkpoint::CheckpointRef,
    limits,
    ports::{CheckpointError, Checkpoints, RefError, RemoveError, SweepError, Tree, Unavailable},
};

use super::{
    Fake,
    world::{Session, World},
};

/// What is remembered of a tree.
#[derive(Debug, Default)]
pub(super) struct TreeRecord {
    pub(super) generation: u64,
    pub(super) swept_at: UnixMillis,
    pub(super) due_at: UnixMillis,
    pub(super) members: BTreeSet<SessionId>,
}

impl Checkpoints for Fake {
    async fn checkpoint(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> Result<Option<Checkpoint>, Unavailable> {
        self.call("checkpoint", |world| {
            let session = world.sessions.get(key);
            Ok(session.and_then(|session| session.checkpoint(id).cloned()))
        })
        .await
    }

    async fn checkpoints(
        &self,
        key: &SessionKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Checkpoint>, Unavailable> {
        self.call("checkpoints", |world| {
            let all = world.sessions.get(key).into_iter();
            Ok(all
                .flat_map(|session| session.checkpoints.iter().rev())
                .filter(|checkpoint| before.is_none_or(|before| checkpoint.ordinal < before))
                .take(limit)
                .cloned()
                .collect())
        })
        .await
    }

    async fn pin(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
        pinned: bool,
    ) -> Result<(), CheckpointError> {
        self.call("pin", |world| {
            world
                .sessions
                .get_mut(key)
                .and_then(|session| session.checkpoints.iter_mut().find(|it| it.id == *id))
                .ok_or(CheckpointError::NoSuchCheckpoint)?
                .pinned = pinned;
            Ok(())
        })
        .await
    }

    async fn refs(&self, key: &SessionKey) -> Result<Vec<CheckpointRef>, Unavailable> {
        self.call("refs", |world| {
            let session = world.sessions.get(key);
            let refs = session.map(|session| session.refs.values().take(limits::REFS));
            Ok(refs.into_iter().flatten().cloned().collect())
        })
        .await
    }

    async fn set_ref(
        &self,
        key: &SessionKey,
        named: &CheckpointRef,
        replace: bool,
    ) -> Result<(), RefError> {
        self.call("set_ref", |world| {
            let session = world
                .sessions
                .get_mut(key)
                .filter(|session| session.checkpoint(&named.checkpoint).is_some())
                .ok_or(RefError::NoSuchCheckpoint)?;
            match session.refs.get(&named.name) {
                Some(known) if known.checkpoint == named.checkpoint => return Ok(()),
                Some(_) if !replace => return Err(RefError::Taken),
                _ => {}
            }
            session.refs.insert(named.name.clone(), named.clone());
            Ok(())
        })
        .await
    }

    async fn delete_ref(&self, key: &SessionKey, name: &RefName) -> Result<(), Unavailable> {
        self.call("delete_ref", |world| {
            if let Some(session) = world.sessions.get_mut(key) {
                session.refs.remove(name);
            }
            Ok(())
        })
        .await
    }

    async fn remove_checkpoint(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> Result<(), RemoveError> {
        self.call("remove_checkpoint", |world| {
            let Some(session) = world.sessions.get_mut(key) else {
                return Ok(());
            };
            let named = session.refs.values().any(|named| named.checkpoint == *id);
            let pinned = session.checkpoint(id).is_some_and(|it| it.pinned);
            if named || pinned || session.head.checkpoint.as_ref() == Some(id) {
                return Err(RemoveError::InUse);
            }
            session.checkpoints.retain(|it| it.id != *id);
            Ok(())
        })
        .await
    }

    async fn tree(&self, tree: &TreeKey) -> Result<Tree, Unavailable> {
        self.call("tree", |world| Ok(world.tree(tree))).await
    }

    async fn overdue_trees(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<TreeKey>, Unavailable> {
        self.call("overdue_trees", |world| {
            let mut found: Vec<(UnixMillis, TreeKey)> = world
                .trees
                .iter()
                .map(|(tree, record)| (record.due_at, tree.clone()))
                .filter(|(due_at, _)| *due_at < now)
                .collect();
            found.sort();
            found.truncate(limit);
            Ok(found.into_iter().map(|(_, tree)| tree).collect())
        })
        .await
    }

    async fn begin_sweep(
        &self,
        tree: &TreeKey,
        generation: u64,
        now: UnixMillis,
    ) -> Result<u64, SweepError> {
        self.call("begin_sweep", |world| {
            let record = world.trees.get_mut(tree).ok_or_else(|| Unavailable {
                attempted: "begin a sweep",
                outcome_unknown: false,
                source: "nothing is recorded of the tree".into(),
            })?;
            if record.generation != generation {
                return Err(SweepError::Overtaken(record.generation));
            }
            record.generation += 1;
            record.swept_at = now;
            record.due_at = now.plus(limits::TREE_SWEEP_MILLISECONDS);
            Ok(record.generation)
        })
        .await
    }
}

impl Session {
    pub(super) fn checkpoint(&self, id: &CheckpointId) -> Option<&Checkpoint> {
        self.checkpoints.iter().find(|it| it.id == *id)
    }

    pub(super) fn has_checkpoint(&self, ordinal: u64) -> bool {
        self.checkpoints.iter().any(|it| it.ordinal == ordinal)
    }
}

impl World {
    pub(super) fn tree(&self, tree: &TreeKey) -> Tree {
        let record = self.trees.get(tree);
        let mut members: Vec<SessionId> = record
            .map(|record| record.members.iter().cloned().collect())
            .unwrap_or_default();
        if members.is_empty() {
            members.push(tree.tree.root().clone());
        }
        Tree {
            generation: record.map_or(0, |record| record.generation),
            swept_at: record.map_or(UnixMillis(0), |record| record.swept_at),
            members,
        }
    }
}
