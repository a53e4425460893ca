//! Erasing sessions, and finding trees that are to be swept.

use domain::{
    Head, Transition, TreeKey,
    ports::{Erasure, ExpireError, ListQuery},
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
    assert_refused!(ports.expire(key, now).await, ExpireError::NotEnded);
    let ended = ports
        .control(change(ports, &base, Transition::WasCancelled))
        .await
        .expect("cancelled");
    assert!(ended.kept_until > Some(now));
    assert_eq!(ports.condemned(key, now).await.expect("read"), None);
    ports.erase_head(key, now).await.expect("not yet");
    assert_eq!(head(ports, key).await, ended);
    // What has ended gave its slot back, and nobody takes it from the owner twice.
    swept(ports, &tree, &base).await;

    for _ in 0..2 {
        ports.expire(key, now).await.expect("given up");
    }
    assert_eq!(ports.head(key).await.expect("read"), None);
    let query = ListQuery {
        limit: 10,
        ..ListQuery::default()
    };
    let page = ports.list(&key.owner, &query).await.expect("listed");
    assert!(page.heads.is_empty(), "{page:?}");
    let late = builders::new_command(ports, "late", builders::message("x"));
    assert!(ports.enqueue(key, late).await.is_err());
    let condemned = ports.condemned(key, ports.now()).await.expect("read");
    assert_eq!(condemned.map(|head| head.key), Some(key.clone()));
    let mut found = false;
    for _ in 0..1_000 {
        let overdue = ports.overdue(ports.now(), 100_000).await.expect("looked");
        found = overdue.contains(key);
        if found {
            break;
        }
        yield_once().await;
    }
    assert!(found, "the sweep finds what is to be erased");

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
        ports.erase_head(key, ports.now()).await.expect("erased");
    }
    assert_eq!(ports.condemned(key, ports.now()).await.expect("read"), None);
    assert_eq!(ports.erase_rows(key, 3).await.expect("nothing"), 0);
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
