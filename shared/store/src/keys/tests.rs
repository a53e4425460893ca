//! Keys are stored for ever: their spelling stays.

use super::*;
use crate::retention;

#[test]
fn keys_are_spelled_as_they_are_stored() {
    let owner = OwnerId::of("issuer", "subject");
    let key = SessionKey {
        owner: owner.clone(),
        session: SessionId::from_random([0; 17]),
    };
    let command = CommandId::parse("m-1").expect("valid");
    let upload = UploadId::from_random([0; 17]);
    let client = ClientKey {
        owner: owner.clone(),
        session: domain::ClientSessionId::from_random([0; 17]),
    };
    let round = RoundId::from_random([0; 17]);
    let chain = AuditChain::Owner(owner.clone());
    let policy = PolicyName::parse("no-npm").expect("valid");
    let spelled: Vec<String> = [
        Record::Head(&key),
        Record::Tombstone(&key),
        Record::Batch(&key, Sequence(42)),
        Record::Live(&key),
        Record::Command(&key, 7),
        Record::CommandName(&key, &command),
        Record::Checkpoint(&key, 7),
        Record::CheckpointName(&key, &CheckpointId::from_random([0; 17])),
        Record::Ref(&key, &RefName::parse("before-1").expect("valid")),
        Record::Tree(&TreeKey {
            owner: owner.clone(),
            tree: TreeId::of(key.session.clone()),
        }),
        Record::Usage(&key),
        Record::UsageOfRequest(&key, "req_1"),
        Record::Creation(&owner, "hash"),
        Record::Upload(&owner, &upload),
        Record::OwnerSlots(&owner),
        Record::DeploymentSlots,
        Record::Runner,
        Record::Client(&client),
        Record::ClientReply(&client, "ask_1"),
        Record::ClientStream(&client, "st"),
        Record::ClientMessage(&client, "st", 7),
        Record::PostedMessage(&client, "n"),
        Record::Round(&owner, &round),
        Record::AuditEntry(&chain, 7),
        Record::AuditEnd(&AuditChain::Deployment),
        Record::AuditMark(&owner, &key.session),
        Record::RefusalCount(UnixMillis(1_700_000_040_000), "192.0.2.1"),
        Record::ApiKey(&KeyId::from_random([0; 17])),
        Record::PolicyBook(&PolicyScope::Deployment),
        Record::Policy(&PolicyScope::Owner(owner.clone()), &policy),
        Record::GitCredential(
            &owner,
            &GitHost::parse("git.example.com:8443").expect("valid"),
        ),
        Record::Bucket(&owner),
        Record::StreamPlace(&owner, 7),
        Record::Release,
    ]
    .iter()
    .map(|record| {
        let Key { partition, sort } = record.key();
        format!("{} {sort}", partition.replace(owner.as_str(), "OWNER"))
    })
    .collect();
    assert_eq!(
        spelled,
        [
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa head",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa tombstone",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa log#00000000000000000042",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa live",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa command#000000000007",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa command-id#m-1",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa checkpoint#000000000007",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa checkpoint-id#chk_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa ref#before-1",
            "tree#OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa tree",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa usage",
            "OWNER#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa usage#req_1",
            "OWNER create#hash",
            "OWNER upload#upl_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "slots#OWNER slots",
            "slots#deployment slots",
            "runner runner",
            "OWNER#mcp_aaaaaaaaaaaaaaaaaaaaaaaaaa client",
            "OWNER#mcp_aaaaaaaaaaaaaaaaaaaaaaaaaa reply#ask_1",
            "OWNER#mcp_aaaaaaaaaaaaaaaaaaaaaaaaaa stream#st",
            "OWNER#mcp_aaaaaaaaaaaaaaaaaaaaaaaaaa message#st#00000000000000000007",
            "OWNER#mcp_aaaaaaaaaaaaaaaaaaaaaaaaaa posted#n",
            "OWNER round#rnd_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "audit#OWNER entry#00000000000000000007",
            "audit#deployment end",
            "audit#OWNER session#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "refused 001700000040000#192.0.2.1",
            "keys key_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "policies#deployment policies",
            "policies#OWNER policy#no-npm",
            "git#OWNER host#git.example.com:8443",
            "rate#OWNER requests",
            "rate#OWNER place#0000000007",
            "releases claude-code",
        ]
    );
    // Each has exactly one row in the table of retention, and each row has a record.
    let mut retained: Vec<&str> = Vec::new();
    for place in &spelled {
        let kinds: Vec<_> = retention::kinds_of(retention::Place::Row(place)).collect();
        assert_eq!(kinds.len(), 1, "{place}: {kinds:?}");
        retained.push(kinds[0].name);
    }
    for kind in retention::RETENTION {
        let stored = matches!(kind.place, retention::Place::Object(_));
        assert!(stored || retained.contains(&kind.name), "{kind:?}");
    }
    assert_eq!(
        owner_sort(UnixMillis(1_700_000_000_000), &key.session),
        "001700000000000#ses_aaaaaaaaaaaaaaaaaaaaaaaaaa"
    );
    assert_eq!(live_shard(&key.session), "live#1");
    let tree = TreeKey {
        owner,
        tree: TreeId::of(key.session),
    };
    assert_eq!(tree_shard(&tree), "tree#1");
    assert_eq!(
        [OWNER_KEY, OWNER_SORT, LIVE_KEY, LIVE_UNTIL, EXPIRES_AT],
        [
            "owner_key",
            "owner_sort",
            "live_key",
            "live_until",
            "expires_at"
        ]
    );
}

#[test]
fn a_partition_gives_its_session_back() {
    let key = SessionKey {
        owner: OwnerId::of("i", "s"),
        session: SessionId::from_random([9; 17]),
    };
    let tree = TreeKey {
        owner: key.owner.clone(),
        tree: TreeId::of(key.session.clone()),
    };
    assert_eq!(session_of(&session_partition(&key)), Some(key));
    assert_eq!(session_of(&tree_partition(&tree)), None);
    assert_eq!(tree_of(&tree_partition(&tree)), Some(tree));
}

#[test]
fn sort_keys_sort_as_their_numbers_do() {
    assert!(batch_sort(Sequence(9)) < batch_sort(Sequence(10)));
    assert!(command_sort(99) < command_sort(100));
    assert!(checkpoint_sort(99) < checkpoint_sort(100));
    // One query reads a book: its state comes first.
    let scope = PolicyScope::Deployment;
    let (_, from, to) = book_range(&scope);
    let name = PolicyName::parse("z").expect("valid");
    for record in [Record::PolicyBook(&scope), Record::Policy(&scope, &name)] {
        let sort = record.key().sort;
        assert!(from <= sort && sort < to, "{sort}");
    }
    // What is between the first and the last checkpoint is a checkpoint.
    assert!(!("checkpoint#".."checkpoint#:").contains(&"checkpoint-id#chk_a"));
}
