//! Erasing sessions, in memory.

use domain::{
    Head, SessionId, SessionKey, TreeKey, UnixMillis,
    ports::{Erasure, ExpireError, Unavailable},
};

use super::Fake;

impl Erasure for Fake {
    async fn expire(&self, key: &SessionKey, now: UnixMillis) -> Result<(), ExpireError> {
        self.call("expire", |world| {
            let session = world
                .sessions
                .get_mut(key)
                .filter(|session| session.head.state.is_ended())
                .ok_or(ExpireError::NotEnded)?;
            session.head.kept_until = Some(UnixMillis(now.0.saturating_sub(1)));
            Ok(())
        })
        .await
    }

    async fn condemned(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> Result<Option<Head>, Unavailable> {
        self.call("condemned", |world| {
            let session = world.sessions.get(key);
            let head = session.map(|session| session.head.clone());
            Ok(head.filter(|head| head.is_over(now)))
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

    async fn erase_head(&self, key: &SessionKey, now: UnixMillis) -> Result<(), Unavailable> {
        self.call("erase_head", |world| {
            let over = |head: &Head| head.is_over(now);
            if world.sessions.get(key).is_some_and(|it| over(&it.head)) {
                world.sessions.remove(key);
            }
            Ok(())
        })
        .await
    }
}
