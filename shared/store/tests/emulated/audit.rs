//! What somebody with write access to the table does to the audit is found, and where.

use aws_sdk_dynamodb::{
    primitives::Blob,
    types::AttributeValue::{self, B, N, S},
};
use domain::{
    Sequence, SessionKey,
    audit::{AuditChain, ChainEnd, Finding, Seal},
    chain::Break,
    ports::{AuditTrail, Clock, Lease, Seals, SessionDirectory, SessionLog},
    session_token::SigningKey,
    use_cases::{audit_erasure, audit_session, keep_audit},
};
use store::Store;
use testkit::{append, contracts::checked, new_session, owner};

use crate::services::Services;

struct Audited {
    services: Services,
    store: Store,
    lease: Lease,
}

fn text(text: &str) -> domain::EventBody {
    domain::EventBody::Text {
        text: text.to_owned(),
        agent: None,
    }
}

impl Audited {
    /// A session whose log has several batches, and the audit several entries about it.
    async fn new() -> Self {
        let services = Services::start().await;
        let store = services.store().await;
        let new = new_session(&store, &owner("audited"));
        let key = store.create(new).await.expect("created").head.key;
        let now = store.now();
        let taken = store.acquire(&key, "t-1", "none", now.plus(60_000), now);
        let (lease, _) = taken.await.expect("acquired");
        let audited = Self {
            services,
            store,
            lease,
        };
        for said in ["one", "two", "three"] {
            audited.say(said).await;
            audit_session(&audited.store, audited.key())
                .await
                .expect("recorded");
        }
        assert_eq!(audited.findings().await, []);
        audited
    }

    fn key(&self) -> &SessionKey {
        &self.lease.key
    }

    fn chain(&self) -> AuditChain {
        AuditChain::Owner(self.key().owner.clone())
    }

    async fn end(&self) -> ChainEnd {
        let end = self.store.chain_end(&self.chain()).await;
        end.expect("read").expect("an end").0
    }

    async fn say(&self, said: &str) {
        let head = self
            .store
            .head(self.key())
            .await
            .expect("read")
            .expect("there");
        let append = append(&self.store, head.last_sequence.next(), vec![text(said)]);
        self.store
            .append(&self.lease, &append)
            .await
            .expect("appended");
    }

    async fn findings(&self) -> Vec<Finding> {
        checked(&self.store, Some(self.key())).await.0
    }

    fn entry(&self, number: u64) -> (String, String) {
        let chain = self.chain();
        (
            format!("audit#{}", chain.name()),
            format!("entry#{number:020}"),
        )
    }

    fn batch(&self, last: u64) -> (String, String) {
        let key = self.key();
        (
            format!("{}#{}", key.owner, key.session),
            format!("log#{last:020}"),
        )
    }

    async fn set(&self, (partition, sort): (String, String), name: &str, value: AttributeValue) {
        let table = self.services.settings().table;
        self.services
            .dynamodb()
            .update_item()
            .table_name(table)
            .key("pk", S(partition))
            .key("sk", S(sort))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value)
            .send()
            .await
            .expect("written");
    }

    async fn get(&self, (partition, sort): (String, String), name: &str) -> AttributeValue {
        let table = self.services.settings().table;
        let got = self
            .services
            .dynamodb()
            .get_item()
            .table_name(table)
            .key("pk", S(partition))
            .key("sk", S(sort))
            .send();
        let item = got.await.expect("read").item.expect("a row");
        item[name].clone()
    }

    async fn delete(&self, (partition, sort): (String, String)) {
        let table = self.services.settings().table;
        self.services
            .dynamodb()
            .delete_item()
            .table_name(table)
            .key("pk", S(partition))
            .key("sk", S(sort))
            .send()
            .await
            .expect("deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_entry_is_named() {
    let audited = Audited::new().await;
    let other = audited.get(audited.entry(1), "content").await;
    audited.set(audited.entry(2), "content", other).await;
    let findings = audited.findings().await;
    assert_eq!(findings, [Finding::Chain(Break::Changed { at: 2 })]);

    audited
        .set(audited.entry(2), "content", B(Blob::new(*b"x")))
        .await;
    let unreadable = [
        Finding::Chain(Break::Changed { at: 2 }),
        Finding::Unreadable { entry: 2 },
    ];
    assert_eq!(audited.findings().await, unreadable);

    // With the digest of another one, or what is none.
    for digest in ["0".repeat(64), "no digest".to_owned()] {
        audited.set(audited.entry(3), "digest", S(digest)).await;
        let findings = audited.findings().await;
        assert!(
            findings.contains(&Finding::Chain(Break::Changed { at: 3 })),
            "{findings:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_cut_entry_is_named() {
    let audited = Audited::new().await;
    let missing = |from, to| Finding::Chain(Break::Missing { from, to });
    let (end, log) = ("end".to_owned(), audited.entry(1).0);
    audited.delete(audited.entry(3)).await;
    assert_eq!(audited.findings().await, [missing(3, 3)]);
    // The end cut too, what was sealed says so.
    let chain = audited.chain();
    let sealed = audited.end().await;
    let key = SigningKey::new(&[7; 32]).expect("long enough");
    let seal = Seal::sign(&key, chain, sealed, audited.store.now());
    audited.store.keep_seal(&seal).await.expect("kept");
    let before = audited.get(audited.entry(2), "digest").await;
    audited
        .set((log.clone(), end.clone()), "number", N("2".to_owned()))
        .await;
    audited.set((log, end), "digest", before).await;
    let sealed = Finding::OtherThanSealed {
        entry: 3,
        sealed_at: seal.time,
    };
    assert_eq!(audited.findings().await, std::slice::from_ref(&sealed));
    audited.delete(audited.entry(2)).await;
    assert_eq!(audited.findings().await, [sealed.clone(), missing(2, 2)]);
    audited.delete(audited.entry(1)).await;
    let all = audited.findings().await;
    assert!(
        all.contains(&sealed) && all.contains(&missing(1, 2)),
        "{all:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_missing_log_is_named() {
    let audited = Audited::new().await;
    let session = audited.key().session.clone();
    let head = audited
        .store
        .head(audited.key())
        .await
        .expect("read")
        .expect("there");
    let last = head.last_sequence.0;
    let log = |what| Finding::Log {
        session: session.clone(),
        what,
    };
    let events = audited.get(audited.batch(last - 1), "events").await;
    let other = audited.get(audited.batch(last), "events").await;
    audited.set(audited.batch(last - 1), "events", other).await;
    let changed = log(Break::Changed { at: last - 1 });
    assert_eq!(audited.findings().await, [changed]);

    audited.set(audited.batch(last - 1), "events", events).await;
    audited.delete(audited.batch(last - 1)).await;
    let findings = audited.findings().await;
    let expected = [
        Finding::OtherLog {
            session: session.clone(),
            at: Sequence(last - 1),
            entry: 2,
        },
        log(Break::Missing {
            from: last - 1,
            to: last - 1,
        }),
    ];
    assert_eq!(findings, expected);
    audited.delete(audited.batch(last)).await;
    let findings = audited.findings().await;
    let cut = log(Break::Missing {
        from: last - 1,
        to: last,
    });
    assert!(findings.contains(&cut), "{findings:?}");

    // All of it, the session with it: there are entries, and none says that it was erased.
    let partition = audited.batch(1).0;
    for sequence in 1..=last {
        audited.delete(audited.batch(sequence)).await;
    }
    audited.delete((partition, "head".to_owned())).await;
    let findings = audited.findings().await;
    let gone = |entry| Finding::NoLog {
        session: session.clone(),
        entry,
    };
    assert_eq!(findings, [gone(1), gone(2), gone(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_missing_long_body_is_named() {
    let audited = Audited::new().await;
    for number in 0..2 {
        audited.say(&format!("long {number} ").repeat(9000)).await;
    }
    assert_eq!(audited.findings().await, []);
    let head = audited.store.head(audited.key()).await.expect("read");
    let last = head.expect("there").last_sequence;
    let found = |at| Finding::Body {
        session: audited.key().session.clone(),
        at,
    };
    let (s3, bucket) = (audited.services.s3(), audited.services.settings().bucket);
    let bodies = s3.list_objects_v2().bucket(&bucket).send().await;
    let bodies = bodies.expect("listed").contents.expect("objects");
    let bodies: Vec<String> = bodies
        .into_iter()
        .filter_map(|object| object.key.filter(|key| key.contains("/events/")))
        .collect();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    for body in &bodies {
        let put = s3.put_object().bucket(&bucket).key(body);
        let put = put.body(aws_sdk_s3::primitives::ByteStream::from_static(
            b"\"other\"",
        ));
        put.send().await.expect("put");
    }
    let before = Sequence(last.0 - 1);
    assert_eq!(audited.findings().await, [found(before), found(last)]);
    for body in &bodies {
        let delete = s3.delete_object().bucket(&bucket).key(body);
        delete.send().await.expect("deleted");
    }
    assert_eq!(audited.findings().await, [found(before), found(last)]);
}

/// A batch that nobody can read any more keeps neither what comes behind it from the audit, nor its
/// session from being erased.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_batch_stops_nothing() {
    let audited = Audited::new().await;
    audited.say("four").await;
    let head = audited.store.head(audited.key()).await.expect("read");
    let last = head.expect("there").last_sequence.0;
    let garbage = B(Blob::new(b"not a batch"));
    audited.set(audited.batch(last), "events", garbage).await;
    audited.say("five").await;
    let entries = audit_session(&audited.store, audited.key()).await;
    assert_eq!(entries.expect("recorded"), 1);
    let recorded = audited.store.recorded(audited.key()).await;
    assert_eq!(recorded.expect("read"), Sequence(last + 1));
    let changed = Finding::Log {
        session: audited.key().session.clone(),
        what: Break::Changed { at: last },
    };
    assert_eq!(audited.findings().await, [changed]);
    let erased = audit_erasure(&audited.store, audited.key()).await;
    erased.expect("recorded");
    let is_erased = audited.store.is_erased(audited.key()).await;
    assert!(is_erased.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_cannot_be_taken_away() {
    let audited = Audited::new().await;
    let services = &audited.services;
    let chain = audited.chain();
    let end = audited.end().await;
    let key = SigningKey::new(&[7; 32]).expect("long enough");
    let seal = Seal::sign(&key, chain.clone(), end, audited.store.now());
    audited.store.keep_seal(&seal).await.expect("kept");
    let (s3, bucket) = (services.s3(), services.settings().bucket);
    let prefix = format!("audit/{}/", chain.name());
    let versions = s3.list_object_versions().bucket(&bucket).prefix(prefix);
    let versions = versions.send().await.expect("listed");
    let version = &versions.versions()[0];
    let delete = s3
        .delete_object()
        .bucket(&bucket)
        .key(version.key().expect("a key"))
        .version_id(version.version_id().expect("a version"));
    let refused = delete.send().await.expect_err("locked");
    assert!(
        format!("{refused:?}").contains("AccessDenied"),
        "{refused:?}"
    );
    // A marker hides it from lists, and takes nothing away.
    let hide = s3.delete_object().bucket(&bucket);
    let hide = hide.key(version.key().expect("a key")).send().await;
    hide.expect("hidden");
    let found = audited.store.seals(&chain, 0, u64::MAX, 10).await;
    let found = found.expect("read");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].seal.as_ref(), Some(&seal));
    // And what is due is sealed by the sweep.
    let kept = keep_audit(&audited.store, &key).await.expect("kept");
    assert_eq!(kept.sealed, 0, "not due yet, and nothing moved");
}
