//! Objects of a tree.

use domain::{
    SessionId, TreeId, TreeKey,
    ports::{Clock, IdSource, PutNew, StoredObject, TreeObjects},
};

use super::new_owner;
use crate::join_all;

/// All of [`TreeObjects`].
pub async fn tree_objects_contract<P: TreeObjects + Clock + IdSource>(ports: &P) {
    let tree = new_tree(ports);
    reading(ports, &tree).await;
    of_many_at_once_one_creates(ports, &tree).await;
    listing_and_deleting(ports).await;
}

fn new_tree<P: IdSource>(ports: &P) -> TreeKey {
    TreeKey {
        owner: new_owner(ports),
        tree: TreeId::of(SessionId::from_random(ports.random())),
    }
}

async fn put<P: TreeObjects>(ports: &P, tree: &TreeKey, name: &str, bytes: &[u8]) -> PutNew {
    let put = ports.put_new(tree, name, bytes.to_vec()).await;
    put.expect("an answer")
}

async fn get<P: TreeObjects>(ports: &P, tree: &TreeKey, name: &str) -> Option<Vec<u8>> {
    ports.get_object(tree, name).await.expect("an answer")
}

async fn reading<P: TreeObjects + IdSource>(ports: &P, tree: &TreeKey) {
    let name = "packs/one";
    assert_eq!(get(ports, tree, name).await, None);
    let range = ports.get_range(tree, name, 0, 1).await;
    assert_eq!(range.expect("an answer"), None);
    assert_eq!(put(ports, tree, name, b"0123456789").await, PutNew::Created);
    assert_eq!(put(ports, tree, name, b"other").await, PutNew::Existed);
    assert_eq!(
        get(ports, tree, name).await.as_deref(),
        Some(&b"0123456789"[..])
    );
    for (offset, length, expected) in [
        (0, 10, "0123456789"),
        (3, 4, "3456"),
        (8, 100, "89"),
        (9, u64::MAX, "9"),
        (10, 1, ""),
        (400, 1, ""),
        (2, 0, ""),
    ] {
        let range = ports.get_range(tree, name, offset, length).await;
        assert_eq!(
            range.expect("an answer").as_deref(),
            Some(expected.as_bytes()),
            "{length} bytes from {offset}"
        );
    }
    // Nothing in it is something too.
    assert_eq!(put(ports, tree, "empty", b"").await, PutNew::Created);
    assert_eq!(get(ports, tree, "empty").await, Some(Vec::new()));
    let range = ports.get_range(tree, "empty", 0, 5).await;
    assert_eq!(range.expect("an answer"), Some(Vec::new()));
    // The same name in another tree, and under another owner, is another object.
    let mut other = new_tree(ports);
    assert_eq!(get(ports, &other, name).await, None);
    other.tree = tree.tree.clone();
    assert_eq!(get(ports, &other, name).await, None);
}

async fn of_many_at_once_one_creates<P: TreeObjects>(ports: &P, tree: &TreeKey) {
    let puts =
        join_all((0..5).map(|number| ports.put_new(tree, "manifests/contested", vec![number])))
            .await;
    let mut created = Vec::new();
    for (number, put) in (0_u8..).zip(puts) {
        if put.expect("an answer") == PutNew::Created {
            created.push(number);
        }
    }
    assert_eq!(created.len(), 1, "{created:?}");
    assert_eq!(
        get(ports, tree, "manifests/contested").await,
        Some(vec![created[0]])
    );
}

async fn listing_and_deleting<P: TreeObjects + Clock + IdSource>(ports: &P) {
    let tree = new_tree(ports);
    assert_eq!(list(ports, &tree, "").await, []);
    let before = ports.now();
    for number in 0..20 {
        let name = format!("packs/{number:02}");
        put(ports, &tree, &name, &vec![0; number]).await;
    }
    put(ports, &tree, "packs-not", b"x").await;
    put(ports, &tree, "manifests/a", b"abc").await;
    let packs = list(ports, &tree, "packs/").await;
    assert_eq!(packs.len(), 20);
    for (number, pack) in packs.iter().enumerate() {
        assert_eq!(pack.name, format!("packs/{number:02}"));
        assert_eq!(pack.bytes, number as u64);
        assert!(!pack.is_deletion);
        // Whole seconds, on the store's own clock.
        assert!(pack.modified_at.plus(2_000) >= before, "{pack:?}");
    }
    assert_eq!(list(ports, &tree, "").await.len(), 22);
    assert_eq!(list(ports, &new_tree(ports), "").await, []);

    // A named version goes for good, twice is once, and what is not named stays.
    let first = &packs[0];
    for _ in 0..2 {
        delete(ports, &tree, &first.name, first.version.as_deref()).await;
    }
    assert_eq!(get(ports, &tree, &first.name).await, None);
    assert_eq!(list(ports, &tree, "packs/").await, packs[1..]);
    assert_eq!(put(ports, &tree, "packs/00", b"new").await, PutNew::Created);
    delete(ports, &tree, "packs/00", first.version.as_deref()).await;
    assert!(get(ports, &tree, "packs/00").await.is_some());

    // Without a version it is gone for readers; whatever stays behind is listed and can be deleted.
    delete(ports, &tree, "manifests/a", None).await;
    delete(ports, &tree, "manifests/never", None).await;
    assert_eq!(get(ports, &tree, "manifests/a").await, None);
    assert_eq!(
        put(ports, &tree, "manifests/a", b"again").await,
        PutNew::Created
    );
    let versions = list(ports, &tree, "manifests/").await;
    assert_eq!(
        versions.first().map(|newest| newest.bytes),
        Some(5),
        "the newest comes first: {versions:?}"
    );
    for version in list(ports, &tree, "").await {
        delete(ports, &tree, &version.name, version.version.as_deref()).await;
    }
    assert_eq!(list(ports, &tree, "").await, []);
}

async fn delete<P: TreeObjects>(ports: &P, tree: &TreeKey, name: &str, version: Option<&str>) {
    let deleted = ports.delete_object(tree, name, version).await;
    deleted.expect("an answer");
}

async fn list<P: TreeObjects>(ports: &P, tree: &TreeKey, prefix: &str) -> Vec<StoredObject> {
    let mut objects = Vec::new();
    let mut after = None;
    loop {
        let page = ports.list_objects(tree, prefix, after.as_deref()).await;
        let page = page.expect("an answer");
        objects.extend(page.objects);
        after = page.next;
        if after.is_none() {
            return objects;
        }
    }
}
