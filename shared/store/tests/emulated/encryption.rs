//! What is stored for a tree is encrypted for that tree.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    SessionId, SessionKey, TreeId, TreeKey,
    ports::{IdSource, TreeObjects},
};
use store::{Endpoint, LEAST_PIECE_BYTES, Store};
use testkit::owner;

use crate::{line::Line, services::Services};

#[tokio::test(flavor = "multi_thread")]
async fn every_tree_has_its_encryption_context() {
    let services = Services::start().await;
    let line = Line::to(&services.endpoint().url).await;
    let endpoint = Endpoint {
        url: line.url.clone(),
        ..services.endpoint()
    };
    let store = Store::connect_to(services.settings(), endpoint).await;
    let mut contexts = BTreeSet::new();
    for name in ["me", "you"] {
        let session = SessionId::from_random(store.random());
        let key = SessionKey {
            owner: owner(name),
            session: session.clone(),
        };
        let tree = TreeKey {
            owner: key.owner.clone(),
            tree: TreeId::of(session),
        };
        let stored = store.put_new(&tree, "packs/one", b"x".to_vec()).await;
        stored.expect("stored");
        let stored = store.put_session_object(&tree, &key, "transcript/1", b"x".to_vec());
        stored.await.expect("stored");
        let small = store.write_session_object(&tree, &key, "exports/small");
        small.finish(b"x".to_vec()).await.expect("stored");
        let mut large = store.write_session_object(&tree, &key, "exports/large");
        let piece = large.piece(vec![b'x'; LEAST_PIECE_BYTES]);
        piece.await.expect("stored");
        large.finish(Vec::new()).await.expect("stored");
        let read = store.get_object(&tree, "packs/one").await.expect("read");
        assert_eq!(read.as_deref(), Some(&b"x"[..]));

        let said = line.said();
        let place = format!("/{}/{}/", tree.owner, tree.tree);
        let expected = format!(r#"{{"shannon-tree":"{}/{}"}}"#, tree.owner, tree.tree);
        // The beginning of an object in pieces says it for all of them.
        let puts: Vec<&str> = said
            .split("PUT ")
            .flat_map(|put| put.split("POST "))
            .skip(1)
            .filter(|put| {
                let first = put.lines().next().unwrap_or_default();
                first.contains(&place) && !first.to_lowercase().contains("uploadid=")
            })
            .collect();
        assert_eq!(puts.len(), 4, "{} requests", puts.len());
        for put in puts {
            let header = |name: &str| {
                let mut lines = put.lines().filter_map(|line| line.split_once(": "));
                let found = lines.find(|(header, _)| header.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value).unwrap_or_default()
            };
            assert_eq!(header("x-amz-server-side-encryption"), "aws:kms");
            let context = header("x-amz-server-side-encryption-context");
            let context = BASE64_STANDARD.decode(context).expect("base64");
            assert_eq!(String::from_utf8(context).as_deref(), Ok(expected.as_str()));
        }
        contexts.insert(expected);
    }
    assert_eq!(contexts.len(), 2);
}
