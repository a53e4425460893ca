//! Erasing sessions, in memory.

use domain::{
    Head, SessionId, SessionKey, TreeKey, UnixMillis,
    ports::{Condemned, Erasure, ExpireError, Unavailable},
};

use super::{Fake, world::Tombstone};

impl Erasure for Fake {
    async fn expire(&self, key: &SessionKey) -> Result<(), ExpireError> {
        self.call("expire", |world| {
            let session = world
                .sessions
                .get_mut(key)
                .filter(|session| session.head.state.is_ended())
                .ok_or(ExpireError::NotEnded)?;
            session.head.kept_until = Some(UnixMillis(0));
            Ok(())
        })
        .await
    }

    async fn condemned(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> Result<Option<Condemned>, Unavailable> {
        self.call("condemned", |world| {
            if let Some(session) = world.sessions.get(key) {
                return Ok(session.head.is_over(now).then(|| Condemned {
                    tree: session.head.tree_key(),
                    buried: false,
                }));
            }
            let tombstone = world.tombstones.get(key).filter(|it| it.until < now);
            Ok(tombstone.map(|it| Condemned {
                tree: it.tree.clone(),
                buried: true,
            }))
        })
        .await
    }

    async fn erase_rows(&self, key: &SessionKey, limit: usize) -> Result<usize, Unavailable> {
        self.call("erase_rows", |world| {
            let Some(session) = world.sessions.get_mut(key) else {
                return Ok(0);
            };
            let mut erased = 0;
            while erased < limit {
                let one = session.refs.pop_first().is_some()
                    || session.checkpoints.pop().is_some()
                    || session.commands.pop().is_some()
                    || session.events.pop().is_some()
                    || session.live.take().is_some();
                if !one {
                    break;
                }
                erased += 1;
            }
            Ok(erased)
        })
        .await
    }

    async fn leave_tree(
        &self,
        tree: &TreeKey,
        session: &SessionId,
    ) -> Result<Vec<SessionId>, Unavailable> {
        self.call("leave_tree", |world| {
            if !world.trees.contains_key(tree) {
                return Ok(Vec::new());
            }
            let mut members = world.tree(tree).members;
            members.retain(|member| member != session);
            if members.is_empty() {
                world.trees.remove(tree);
            } else {
                let record = world.trees.entry(tree.clone()).or_default();
                record.members = members.iter().cloned().collect();
            }
            Ok(members)
        })
        .await
    }

    async fn bury(
        &self,
        key: &SessionKey,
        now: UnixMillis,
        until: UnixMillis,
    ) -> Result<(), Unavailable> {
        self.call("bury", |world| {
            let over = |head: &Head| head.is_over(now);
            if !world.sessions.get(key).is_some_and(|it| over(&it.head)) {
                return Ok(());
            }
            if let Some(session) = world.sessions.remove(key) {
                let tree = session.head.tree_key();
                world
                    .tombstones
                    .insert(key.clone(), Tombstone { tree, until });
                world
                    .creations
                    .retain(|(owner, _), (of, _)| *owner != key.owner || *of != key.session);
            }
            Ok(())
        })
        .await
    }

    async fn forget(&self, key: &SessionKey, now: UnixMillis) -> Result<(), Unavailable> {
        self.call("forget", |world| {
            if world.tombstones.get(key).is_some_and(|it| it.until < now) {
                world.tombstones.remove(key);
            }
            Ok(())
        })
        .await
    }
}
