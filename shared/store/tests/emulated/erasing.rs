//! Deleting sessions, proved by looking at everything that the table and the bucket hold.

use checkpoint::{
    About, IgnoreRules, NewSnapshot, RestoreOptions, RootName, Snapshots, SourceRoot, StoredChunks,
    TargetRoot,
};
use domain::{
    CommandId, EventBody, Head, NewCheckpoint, OwnerId, RefName, Retention, Sequence, SessionKey,
    State, TreeKey,
    checkpoint::{CheckpointName, CheckpointRef, RestoreScope},
    event::TokenUsage,
    ports::{
        Checkpoints, Clock, Condemned, Erasure, Inbox, LiveText, NewSession, SessionDirectory,
        SessionLog,
    },
    use_cases::{Deletion, ForkSession, delete_session, erase_session, fork_session, sweep_tree},
};
use store::Store;
use testkit::{append, caller, checkpoint, deployment, new_session, owner};

use crate::services::{Everything, Services};

/// A directory whose content is its own, and for the most part not to be compressed.
async fn stored(store: &Store, tree: &TreeKey, new: &NewCheckpoint, files: &[(&str, u64)]) {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, seed) in files {
        let mut random = testkit::Random::new(*seed);
        let bytes: Vec<u8> = (0..25_000)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        std::fs::write(directory.path().join(name), bytes).expect("written");
    }
    let snapshot = NewSnapshot {
        id: new.id.clone(),
        about: About {
            session: tree.tree.root().clone(),
            parent: None,
            created_at: store.now(),
            author: "test".to_owned(),
            message: None,
            tags: Vec::new(),
            claude_session: None,
            cut_sequence: Sequence(1),
            commands_settled: 1,
        },
        roots: vec![SourceRoot {
            name: RootName::Workspace,
            directory: directory.path().to_owned(),
            ignore: IgnoreRules::default(),
        }],
        base: None,
        unless_unchanged: false,
    };
    let snapshots = Snapshots::new(store, tree.clone());
    snapshots.create(snapshot).await.expect("stored");
}

/// A suspended session with one record of every kind that a session has, and two checkpoints.
pub(crate) async fn lived(store: &Store, me: &OwnerId, token: &str) -> Head {
    let new = NewSession {
        client_token: Some(domain::ports::ClientToken {
            token: token.to_owned(),
            request_digest: "digest".to_owned(),
        }),
        ..new_session(store, me)
    };
    let key = store.create(new).await.expect("created").head.key;
    let now = store.now();
    let (lease, head) = store
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    let tree = head.tree_key();
    let live = LiveText {
        after: head.last_sequence,
        fence: lease.fence,
        text: "so far".to_owned(),
        time: now,
    };
    store.set_live(&lease, Some(live)).await.expect("set");
    let usage = store.record_usage(&key, "request", "model", TokenUsage::default(), now);
    usage.await.expect("recorded");
    let transcript = store.put_session_object(&tree, &key, "transcript/1", b"a line".to_vec());
    transcript.await.expect("written");
    let mut export = store.write_session_object(&tree, &key, "exports/one.tar.zst");
    export.piece(b"files".to_vec()).await.expect("written");
    export.finish(Vec::new()).await.expect("written");
    let relayed = store.put_session_object(&tree, &key, "relay/1", b"a long request".to_vec());
    relayed.await.expect("written");

    let first = checkpoint(store, 1, Some(&head));
    stored(store, &tree, &first, &[("shared", 1), ("first", 2)]).await;
    let long = EventBody::ToolResult {
        tool_use_id: "u".to_owned(),
        is_error: false,
        text: "long ".repeat(40_000),
    };
    let mut appended = append(store, head.last_sequence.next(), vec![long]);
    appended.checkpoint = Some(first.clone());
    let last = store.append(&lease, &appended).await.expect("appended");
    let named = CheckpointRef {
        name: RefName::parse("named").expect("a name"),
        checkpoint: first.id,
        set_at: now,
    };
    store.set_ref(&key, &named, false).await.expect("named");

    let head = store.head(&key).await.expect("read").expect("there");
    let second = NewCheckpoint {
        commands_settled: 1,
        ..checkpoint(store, 2, Some(&head))
    };
    stored(store, &tree, &second, &[("shared", 1), ("second", 3)]).await;
    let mut appended = append(store, last.next(), Vec::new());
    appended.take = store.commands_after(&key, 0, 9).await.expect("read");
    appended.state = State::Suspended;
    appended.checkpoint = Some(second);
    store.append(&lease, &appended).await.expect("suspended");
    store.head(&key).await.expect("read").expect("there")
}

async fn forked(store: &Store, head: &Head, token: &str) -> Head {
    let first = store.checkpoints(&head.key, Some(2), 1).await;
    let first = first.expect("read").remove(0);
    let request = ForkSession {
        key: head.key.clone(),
        checkpoint: CheckpointName::Id(first.id),
        what: RestoreScope::Both,
        prompt: None,
        message_id: None,
        client_token: Some(token.to_owned()),
    };
    let me = caller(&head.key.owner);
    let fork = fork_session(store, &deployment(), &me, request).await;
    fork.expect("forked").head
}

/// Deletes for good and sweeps, as the reconciler does; then something still writes for it, and the
/// sweep looks again.
async fn erase(services: &Services, store: &Store, key: &SessionKey) {
    let me = caller(&key.owner);
    let head = store.head(key).await.expect("read").expect("there");
    let tree = head.tree_key();
    // An export is under way.
    let mut export = store.write_session_object(&tree, key, "exports/late.tar.zst");
    export.piece(b"files".to_vec()).await.expect("written");
    let deleted = delete_session(store, &me, key, Deletion::Erase).await;
    assert!(deleted.expect("deleted").state.is_ended());
    assert_eq!(store.head(key).await.expect("read"), None, "from now on");
    let erase = async || {
        let erased = erase_session(store, &StoredChunks(store), key, 1_000).await;
        erased.expect("erased")
    };
    let erased = erase().await.expect("it was to be erased");
    assert!(erased.rows > 0 && !erased.forgotten, "{erased:?}");
    assert_eq!(erase().await, None, "not before its time");
    let own = format!("{}/{}/sessions/{}/", tree.owner, tree.tree, key.session);
    let after = services.everything().await;
    assert!(after.objects_below(&own).is_empty(), "{:?}", after.objects);
    assert!(after.sorts(key).contains(&"tombstone"));
    // Nobody told the export, nor a runner that was frozen, nor the gateway.
    assert_eq!(after.unfinished.len(), 1, "it is under way");
    export.finish(Vec::new()).await.expect("written");
    let segment = store.put_session_object(&tree, key, "transcript/2", b"a line".to_vec());
    segment.await.expect("written");
    let late = checkpoint(store, 1, None);
    stored(store, &tree, &late, &[("late", 9)]).await;
    let usage = store.record_usage(key, "late", "model", TokenUsage::default(), store.now());
    usage.await.expect("recorded");
    let late = services.everything().await;
    assert_eq!(late.objects_below(&own).len(), 2);
    assert_eq!(late.unfinished, [""; 0], "the bucket's rule takes those");
    services.let_tombstone_be_due(key).await;
    let found = store.overdue(store.now(), 1_000).await.expect("looked");
    assert!(found.contains(key), "the sweep finds it");
    let erased = erase().await.expect("looked again");
    assert!(erased.rows == 2 && erased.forgotten, "{erased:?}");
    assert_eq!(erase().await, None);
    let after = services.everything().await;
    assert!(after.objects_below(&own).is_empty(), "{:?}", after.objects);
    let left = after.sorts(key);
    assert!(left.is_empty(), "{left:?}");
}

/// Chunks that nothing names go after the grace time; here it is over at once.
async fn sweep(store: &Store, tree: &TreeKey) -> u64 {
    let retention = Retention {
        max_checkpoints: 100,
        checkpoint_milliseconds: u64::MAX,
        grace_milliseconds: 0,
    };
    let dry_run = sweep_tree(store, &StoredChunks(store), retention, tree, true).await;
    let swept = sweep_tree(store, &StoredChunks(store), retention, tree, false).await;
    let swept = swept.expect("swept");
    assert_eq!(dry_run.expect("looked at"), swept, "it does what it said");
    swept.chunks.bytes_reclaimed
}

/// Files and conversation of a session's newest checkpoint are all there.
async fn can_go_on(store: &Store, head: &Head) {
    let record = &store.checkpoints(&head.key, None, 1).await.expect("read")[0];
    let snapshots = Snapshots::new(store, head.tree_key());
    let manifest = snapshots.manifest(&record.files).await.expect("there");
    let target = tempfile::tempdir().expect("a directory");
    let roots = [TargetRoot {
        name: RootName::Workspace,
        directory: target.path().to_owned(),
    }];
    let restored = snapshots.restore(&manifest, &roots, RestoreOptions::default());
    restored.await.expect("restored");
    let files = ["shared", "first"].map(|name| target.path().join(name).exists());
    assert_eq!(files, [true, true]);
}

/// The middle of three generations goes, then the root, then the grandchild.
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_session_leaves_nothing_in_either_store() {
    let services = Services::start().await;
    let store = services.store().await;
    let me = owner("me");
    let head = lived(&store, &me, "one").await;
    let tree = head.tree_key();
    let fork = forked(&store, &head, "fork").await;
    let grandchild = forked(&store, &fork, "grandchild").await;
    let other = lived(&store, &owner("somebody else"), "two").await;
    let before = services.everything().await;
    let kinds = before.sorts(&head.key);
    for kind in [
        "checkpoint#",
        "checkpoint-id#",
        "command#",
        "command-id#",
        "head",
        "live",
        "log#",
        "ref#",
        "usage",
        "usage#",
    ] {
        let found = kinds.iter().any(|sort| sort.starts_with(kind));
        assert!(found, "no {kind} in {kinds:?}");
    }
    let own = format!("{}/{}/sessions/{}/", me, tree.tree, head.key.session);
    for kind in ["events", "exports", "relay", "transcript"] {
        let found = before.objects_below(&format!("{own}{kind}/"));
        assert!(!found.is_empty(), "no {kind} in {:?}", before.objects);
    }
    assert_eq!(before.created_by_tokens(&me), 3);

    erase(&services, &store, &fork.key).await;
    assert_eq!(services.everything().await.created_by_tokens(&me), 2);
    erase(&services, &store, &head.key).await;
    let after = services.everything().await;
    // Its tree lives on in the grandchild; nothing else names it.
    assert_eq!(after.sorts(&head.key), [""; 0]);
    let root = format!("tree#{}#{}", me, head.key.session);
    assert_eq!(after.row(&root, "tree").sort, "tree");
    let below = |everything: &Everything, kind: &str| {
        let prefix = format!("{me}/{}/{kind}/", tree.tree);
        everything.objects_below(&prefix).len()
    };
    assert_eq!(below(&before, "manifests"), 2);
    let reclaimed = sweep(&store, &tree).await;
    assert!(reclaimed > 150_000, "what only it had: {reclaimed} bytes");
    let swept = services.everything().await;
    assert_eq!(below(&swept, "manifests"), 1, "that of the grandchild");
    assert!(below(&swept, "packs") < below(&before, "packs"));
    // The grandchild has all that it needs, and what it goes on from can be forked again.
    can_go_on(&store, &grandchild).await;
    let last = forked(&store, &grandchild, "last").await;
    can_go_on(&store, &last).await;
    erase(&services, &store, &grandchild.key).await;
    can_go_on(&store, &last).await;

    erase(&services, &store, &last.key).await;
    let after = services.everything().await;
    let left: Vec<&str> = after
        .rows
        .iter()
        .filter(|row| row.partition.contains(me.as_str()))
        .filter(|row| !row.partition.starts_with("audit#"))
        .map(|row| row.sort.as_str())
        .collect();
    assert_eq!(left, ["slots"], "how many sessions hold compute: none");
    let slots = after.row(&format!("slots#{me}"), "slots");
    assert_eq!(slots.attributes["used"].as_n().map(String::as_str), Ok("0"));
    assert!(after.objects_below(&format!("{me}/")).is_empty());
    assert_eq!(after.unfinished, [""; 0]);
    // Nothing of anybody else names any of them, but the audit: it says that they were and are erased.
    let sessions = [&head, &fork, &grandchild, &last].map(|head| head.key.session.to_string());
    let audit = format!("audit#{me}");
    for row in after.rows.iter().filter(|row| row.partition != audit) {
        let text = format!("{} {} {:?}", row.partition, row.sort, row.attributes);
        assert!(
            !sessions.iter().any(|session| text.contains(session)),
            "{text}"
        );
    }
    // Others have what they had.
    assert_eq!(after.sorts(&other.key), before.sorts(&other.key));
    let theirs = format!("{}/", other.key.owner);
    assert_eq!(after.objects_below(&theirs), before.objects_below(&theirs));
    let page = store.checkpoints(&other.key, None, 9).await.expect("read");
    assert_eq!(page.len(), 2);
}

/// A client token stands for a session that is erased no longer, and for the new one it does.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_token_of_an_erased_session_is_free_again() {
    let services = Services::start().await;
    let store = services.store().await;
    let me = owner("me");
    let first = lived(&store, &me, "one").await;
    let who = caller(&me);
    let deleted = delete_session(&store, &who, &first.key, Deletion::Erase).await;
    deleted.expect("deleted");
    // Nobody can read the first one, so the token is free at once.
    let second = lived(&store, &me, "one").await;
    assert_ne!(second.key, first.key);
    let erased = erase_session(&store, &StoredChunks(&store), &first.key, 0).await;
    assert!(erased.expect("erased").is_some());
    assert_eq!(services.everything().await.created_by_tokens(&me), 1);
    assert!(store.head(&second.key).await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_session_stays_until_its_time_is_up() {
    let services = Services::start().await;
    let store = services.store().await;
    let head = lived(&store, &owner("me"), "one").await;
    let before = services.everything().await;
    let me = caller(&head.key.owner);
    for _ in 0..2 {
        let archived = delete_session(&store, &me, &head.key, Deletion::Archive).await;
        assert_eq!(archived.expect("archived").state, State::Cancelled);
    }
    let after = services.everything().await;
    assert_eq!(after.objects, before.objects);
    let mut sorts = after.sorts(&head.key);
    // Its end is one more batch of events.
    assert_eq!(sorts.len(), before.sorts(&head.key).len() + 1);
    sorts.retain(|sort| !before.sorts(&head.key).contains(sort));
    assert!(sorts[0].starts_with("log#"), "{sorts:?}");
    let events = store.read(&head.key, Sequence(0), 1 << 20).await;
    assert!(!events.expect("read").is_empty());
    let command = CommandId::parse("late").expect("an id");
    assert_eq!(
        store.command(&head.key, &command).await.expect("read"),
        None
    );
    let now = store.now();
    assert_eq!(store.condemned(&head.key, now).await.expect("read"), None);
    let day = 24 * 60 * 60 * 1000;
    let later = now.plus(90 * day + 1_000);
    let condemned = store.condemned(&head.key, later).await.expect("read");
    let expected = Condemned {
        tree: head.tree_key(),
        buried: false,
    };
    assert_eq!(condemned, Some(expected));
}
