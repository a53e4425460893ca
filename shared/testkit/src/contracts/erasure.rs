//! Erasing sessions, and finding trees that are to be swept.

use domain::{
    Head, Transition, TreeKey,
    ports::{Condemned, Erasure, ExpireError, ListQuery},
};

use super::{
    Ports, assert_refused,
    durability::{change, suspended},
    head, log,
};
use crate::{builders, yield_once};

/// All of [`Erasure`], and `overdue_trees`.
pub async fn erasure_contract<P: Ports + Erasure>(ports: &P) {
    let (_, base) = suspended(ports, None).await;
    let (key, tree) = (&base.key, base.tree_key());
    let now = ports.now();
    assert_refused!(ports.expire(key).await, ExpireError::NotEnded);
    let ended = ports
        .control(change(ports, &base, Transition::WasCancelled))
        .await
        .expect("cancelled");
    assert!(ended.kept_until > Some(now));
    assert_eq!(ports.condemned(key, now).await.expect("read"), None);
    ports.bury(key, now, now).await.expect("not yet");
    ports.forget(key, now).await.expect("nothing yet");
    assert_eq!(head(ports, key).await, ended);
    // What has ended gave its slot back, and nobody takes it from the owner twice.
    swept(ports, &tree, &base).await;

    for _ in 0..2 {
        ports.expire(key).await.expect("given up");
    }
    assert_eq!(ports.head(key).await.expect("read"), None);
    // Also for somebody whose clock is behind.
    let past = domain::UnixMillis(1);
    assert!(ports.condemned(key, past).await.expect("read").is_some());
    let query = ListQuery {
        limit: 10,
        ..ListQuery::default()
    };
    let page = ports.list(&key.owner, &query).await.expect("listed");
    assert!(page.heads.is_empty(), "{page:?}");
    let late = builders::new_command(ports, "late", builders::message("x"));
    assert!(ports.enqueue(key, late).await.is_err());
    let condemned = ports.condemned(key, ports.now()).await.expect("read");
    let tree_of = |buried| Condemned {
        tree: tree.clone(),
        buried,
    };
    assert_eq!(condemned, Some(tree_of(false)));
    overdue(ports, &base, ports.now(), true).await;

    let mut rows = 0;
    loop {
        let erased = ports.erase_rows(key, 3).await.expect("erased");
        assert!(erased <= 3);
        if erased == 0 {
            break;
        }
        rows += erased;
    }
    assert!(rows >= 4, "{rows}: commands, events, a checkpoint");
    assert!(log(ports, key).await.is_empty());
    assert!(
        ports
            .checkpoints(key, None, 9)
            .await
            .expect("read")
            .is_empty()
    );
    assert!(
        ports
            .commands_after(key, 0, 9)
            .await
            .expect("read")
            .is_empty()
    );
    for _ in 0..2 {
        let left = ports.leave_tree(&tree, &key.session).await;
        assert!(left.expect("left").is_empty());
        // It does not come back by a sweep that was under way.
        assert!(ports.begin_sweep(&tree, 1, ports.now()).await.is_err());
        assert!(ports.begin_sweep(&tree, 0, ports.now()).await.is_err());
    }
    let now = ports.now();
    let until = now.plus(1_000);
    for _ in 0..2 {
        ports.bury(key, now, until).await.expect("buried");
        ports.forget(key, until).await.expect("not yet");
    }
    for at in [now, until] {
        assert_eq!(ports.condemned(key, at).await.expect("read"), None);
        overdue(ports, &base, at, false).await;
    }
    assert_eq!(ports.head(key).await.expect("read"), None);
    let late = until.plus(1);
    overdue(ports, &base, late, true).await;
    let condemned = ports.condemned(key, late).await.expect("read");
    assert_eq!(condemned, Some(tree_of(true)));
    assert_eq!(ports.erase_rows(key, 3).await.expect("nothing"), 0);
    for _ in 0..2 {
        ports.forget(key, late).await.expect("forgotten");
    }
    assert_eq!(ports.condemned(key, late).await.expect("read"), None);
    overdue(ports, &base, late, false).await;
    fork_of_a_gone_root(ports).await;
}

/// Whether the sweep finds the session at that time.
async fn overdue<P: Ports>(ports: &P, base: &Head, at: domain::UnixMillis, expected: bool) {
    let mut found = !expected;
    for _ in 0..1_000 {
        let overdue = ports.overdue(at, 100_000).await.expect("looked");
        found = overdue.contains(&base.key);
        if found == expected {
            break;
        }
        yield_once().await;
    }
    assert_eq!(found, expected, "at {at:?}");
}

/// A tree whose root has left ends with its last fork, however often that one leaves.
async fn fork_of_a_gone_root<P: Ports + Erasure>(ports: &P) {
    let (_, base) = suspended(ports, None).await;
    let tree = base.tree_key();
    let fork = ports.fork(builders::new_fork(ports, &base)).await;
    let fork = fork.expect("forked").head.key;
    let left = ports.leave_tree(&tree, &base.key.session).await;
    assert_eq!(left.expect("left"), std::slice::from_ref(&fork.session));
    // A fork of the fork does not bring it back.
    let parent = head(ports, &fork).await;
    let second = ports.fork(builders::new_fork(ports, &parent)).await;
    let second = second.expect("forked").head.key;
    let left = ports.leave_tree(&tree, &fork.session).await;
    assert_eq!(left.expect("left"), std::slice::from_ref(&second.session));
    for _ in 0..2 {
        let left = ports.leave_tree(&tree, &second.session).await;
        assert!(left.expect("left").is_empty());
    }
}

/// A session is swept from its first checkpoint on, and then again after a while.
async fn swept<P: Ports>(ports: &P, tree: &TreeKey, base: &Head) {
    let due = async |after: u64, expected: bool| {
        let at = ports.now().plus(after);
        let mut found = !expected;
        for _ in 0..1_000 {
            let trees = ports.overdue_trees(at, 100_000).await.expect("looked");
            found = trees.contains(tree);
            if found == expected {
                break;
            }
            yield_once().await;
        }
        assert_eq!(found, expected, "{after} ms from now, {}", base.key.session);
    };
    due(0, true).await;
    let begun = ports.begin_sweep(tree, 0, ports.now()).await;
    assert_eq!(begun.expect("begun"), 1);
    due(0, false).await;
    due(2 * domain::limits::TREE_SWEEP_MILLISECONDS, true).await;
}
