//! Objects, uploads on disk, and what a task is told.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    FencingToken, SessionId, SessionKey, TreeId, TreeKey, UploadId,
    ports::{Checkpoints, Clock, Compute, IdSource, ListQuery, Seals, SessionDirectory, Uploads},
    upload::Upload,
};
use sha2::{Digest, Sha256};
use store::{LEAST_PIECE_BYTES, ObjectError, Store, StoreSettings};
use testkit::owner;

use crate::services::{Services, send, signing_key};

fn key(store: &Store) -> SessionKey {
    SessionKey {
        owner: owner("me"),
        session: SessionId::from_random(store.random()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_belong_to_their_session() {
    let services = Services::start().await;
    let store = services.store().await;
    let (one, other) = (key(&store), key(&store));
    let tree = |key: &SessionKey| TreeKey {
        owner: key.owner.clone(),
        tree: TreeId::of(key.session.clone()),
    };
    for text in ["first", "second"] {
        store
            .put_session_object(&tree(&one), &one, "transcript/1", text.into())
            .await
            .expect("written");
    }
    let read = store
        .get_session_object(&tree(&one), &one, "transcript/1")
        .await
        .expect("read");
    assert_eq!(read.as_deref(), Some(&b"second"[..]));
    for (key, name) in [(&one, "transcript/2"), (&other, "transcript/1")] {
        assert_eq!(
            store
                .get_session_object(&tree(key), key, name)
                .await
                .expect("read"),
            None
        );
    }
}

/// Rows that a session puts into the index of what is overdue keep nobody else from being found.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_cannot_stop_the_sweep() {
    let services = Services::start().await;
    let store = services.store().await;
    let [victim, other] = ["victim", "other"].map(owner);
    let found = async |owner: &domain::OwnerId| {
        let key = store.create(testkit::new_session(&store, owner)).await;
        key.expect("created").head.key
    };
    let (victim, other) = (found(&victim).await, found(&other).await);
    let partition = format!("{}#{}", other.owner, other.session);
    for number in 0..30 {
        let shards = (0..8).map(|shard| format!("live#{shard}"));
        for shard in shards.chain(["tree#0", "seal"].map(str::to_owned)) {
            let (table, dynamodb) = (services.settings().table, services.dynamodb());
            let text = |text: &str| AttributeValue::S(text.to_owned());
            let put = dynamodb.put_item().table_name(table);
            let put = put.item("pk", text(&partition));
            let put = put.item("sk", text(&format!("junk#{shard}#{number}")));
            let put = put.item("live_key", text(&shard));
            let put = put.item("live_until", AttributeValue::N("0".to_owned()));
            put.send().await.expect("written");
        }
    }
    let later = store.now().plus(3_600_000);
    let overdue = store.overdue(later, 5).await.expect("looked for");
    assert!(overdue.contains(&victim), "{overdue:?}");
    assert_eq!(overdue.iter().filter(|key| **key == other).count(), 1);
    store.overdue_trees(later, 5).await.expect("looked for");
    store.to_seal(later, 5).await.expect("looked for");
}

/// A runner may write any attribute of its own session's rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_cannot_put_itself_into_the_list_of_somebody_else() {
    let services = Services::start().await;
    let store = services.store().await;
    let [victim, other] = ["victim", "other"].map(owner);
    let own = store.create(testkit::new_session(&store, &victim)).await;
    let own = own.expect("created").head.key;
    for _ in 0..3 {
        let new = testkit::new_session(&store, &other);
        let key = store.create(new).await.expect("created").head.key;
        let partition = format!("{}#{}", key.owner, key.session);
        services
            .overwrite((&partition, "head"), "owner_key", victim.as_str())
            .await;
    }
    let query = ListQuery {
        limit: 10,
        ..ListQuery::default()
    };
    let page = store.list(&victim, &query).await.expect("listed");
    let listed: Vec<_> = page.heads.into_iter().map(|head| head.key).collect();
    assert_eq!((listed, page.next), (vec![own], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_written_in_pieces_and_fetched_with_its_address() {
    let services = Services::start().await;
    let store = services.store().await;
    let key = key(&store);
    let tree = TreeKey {
        owner: key.owner.clone(),
        tree: TreeId::of(key.session.clone()),
    };
    let piece = |byte: u8| vec![byte; LEAST_PIECE_BYTES];
    for (name, pieces, last) in [
        ("exports/empty", vec![], vec![]),
        ("exports/small", vec![], b"small".to_vec()),
        ("exports/even", vec![piece(1)], vec![]),
        ("exports/large", vec![piece(1), piece(2)], vec![3]),
        // And again: the same name, other bytes.
        ("exports/large", vec![piece(4)], vec![5]),
    ] {
        let mut whole = pieces.concat();
        whole.extend(&last);
        let mut writer = store.write_session_object(&tree, &key, name);
        for piece in pieces {
            writer.piece(piece).await.expect("written");
        }
        let written = writer.finish(last).await.expect("finished");
        let sha256: String = Sha256::digest(&whole)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            (written.bytes, written.sha256),
            (whole.len() as u64, sha256)
        );
        let read = store.get_session_object(&tree, &key, name).await;
        assert!(
            read.expect("read").is_some_and(|read| read == whole),
            "{name}"
        );
        let hour = Duration::from_secs(3600);
        let address = store
            .sign_session_object(&tree, &key, name, "files.tar.zst", hour)
            .await
            .expect("signed");
        assert_eq!(send("GET", &address, &[], Vec::new()).await, 200);
        let forged = address.replace("exports", "secrets");
        assert_eq!(send("GET", &forged, &[], Vec::new()).await, 403);
    }
    // What is not finished is not there.
    let mut writer = store.write_session_object(&tree, &key, "exports/none");
    writer.piece(piece(1)).await.expect("written");
    drop(writer);
    let read = store.get_session_object(&tree, &key, "exports/none").await;
    assert!(read.expect("read").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_arrives_once_it_has_the_signed_size() {
    let services = Services::start().await;
    let store = services.store().await;
    let upload = Upload {
        id: UploadId::from_random(store.random()),
        owner: owner("me"),
        bytes: 1_000_000,
        expires_at: store.now().plus(60_000),
    };
    let request = store.sign(&upload).await.expect("signed");
    let send = async |bytes: usize| {
        // The content length is that of the body.
        send(&request.method, &request.url, &[], vec![b'x'; bytes]).await
    };
    assert_eq!(send(1_000_001).await, 403, "another size");
    let found = store.upload(&upload.owner, &upload.id).await;
    assert_eq!(found.expect("read"), Some((upload.clone(), false)));
    let file = std::env::temp_dir().join(format!("upload-{}", upload.id));
    let missing = store
        .download_upload(&upload.owner, &upload.id, &file, 2_000_000)
        .await;
    assert!(matches!(missing, Err(ObjectError::Missing)), "{missing:?}");

    assert_eq!(send(1_000_000).await, 200);
    let too_large = store
        .download_upload(&upload.owner, &upload.id, &file, 999_999)
        .await;
    assert!(
        matches!(too_large, Err(ObjectError::TooLarge(999_999))),
        "{too_large:?}"
    );
    let written = store
        .download_upload(&upload.owner, &upload.id, &file, 1_000_000)
        .await
        .expect("downloaded");
    let bytes = std::fs::read(&file).expect("the file");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!((written, bytes.len()), (1_000_000, 1_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_told_its_session_and_a_token_for_the_next_fence() {
    let services = Services::start().await;
    let store = services.store().await;
    let key = key(&store);
    let name = store
        .start_runner(&key, FencingToken(4))
        .await
        .expect("started");
    let task = services.describe_task(&name).await;
    assert_eq!(task.started_by(), Some(key.session.as_str()));
    let overrides = task.overrides().expect("overrides");
    let environment = overrides.container_overrides()[0].environment();
    let value = |name| {
        environment
            .iter()
            .find(|pair| pair.name() == Some(name))
            .and_then(|pair| pair.value())
            .unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(value("SHANNON_OWNER"), key.owner.as_str());
    assert_eq!(value("SHANNON_SESSION"), key.session.as_str());
    assert_eq!(value("SHANNON_FENCE"), "5");
    let claims = signing_key()
        .verify(value("SHANNON_SESSION_TOKEN"), store.now())
        .expect("a good token");
    assert_eq!((claims.key, claims.fence), (key, FencingToken(5)));
    let lifetime = claims.expires_at.since(store.now());
    assert!((800_000..=900_000).contains(&lifetime), "{lifetime}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_cluster_says_so() {
    let services = Services::start().await;
    let settings = StoreSettings {
        compute: None,
        ..services.settings()
    };
    let store = Store::connect_to(settings, services.endpoint()).await;
    let error = store.start_runner(&key(&store), FencingToken(0)).await;
    let error = error.expect_err("no cluster");
    assert!(!error.outcome_unknown);
}

#[test]
fn settings_are_read_by_their_names() {
    let all = [
        ("SHANNON_TABLE", "table"),
        ("SHANNON_BUCKET", "bucket"),
        ("SHANNON_RETENTION_DAYS", "90"),
        ("SHANNON_KEEP_DELTAS_HOURS", "24"),
        ("SHANNON_AUDIT_RETENTION_DAYS", "30"),
        ("SHANNON_CLUSTER", "cluster"),
        ("SHANNON_TASK_DEFINITION", "family"),
        ("SHANNON_SUBNETS", "subnet-1, subnet-2"),
        ("SHANNON_SECURITY_GROUP", "sg-1"),
        ("SHANNON_STAGE", "test"),
        ("SHANNON_SIGNING_KEY", "0123456789abcdef0123456789abcdef"),
        ("SHANNON_SESSION_TOKEN_SECONDS", "900"),
    ];
    let read = |without: &str| {
        StoreSettings::read(|name| {
            let found = all.iter().find(|(known, _)| *known == name);
            Ok::<_, std::fmt::Error>(
                found
                    .filter(|(name, _)| *name != without)
                    .map(|(_, value)| (*value).to_owned()),
            )
        })
    };
    let settings = read("").expect("complete");
    assert_eq!(settings.retention_days, 90);
    let compute = settings.compute.expect("a cluster");
    assert_eq!(compute.subnets, ["subnet-1", "subnet-2"]);
    assert_eq!(compute.session_token_milliseconds, 900_000);
    let without_cluster = read("SHANNON_CLUSTER").expect("complete");
    assert!(without_cluster.compute.is_none());
    for (name, _) in all {
        if name != "SHANNON_CLUSTER" {
            let error = read(name).err().expect("needed").to_string();
            assert_eq!(error, format!("{name} is not set"));
        }
    }
}
