//! What is kept for clients between their requests.

use domain::{
    ClientKey, ClientSessionId, UnixMillis,
    client_session::RoundId,
    ports::{
        Claim, ClientSession, ClientSessions, ClientStream, Clock, IdSource, PostedMessages,
        ReplyMailbox, Rounds, StreamEvents, Withdrawals,
    },
};

use super::new_owner;

const MINUTE: u64 = 60_000;

/// Every port of clients, as one value has them.
pub trait ClientPorts:
    ClientSessions
    + ReplyMailbox
    + Withdrawals
    + StreamEvents
    + PostedMessages
    + Rounds
    + Clock
    + IdSource
{
}
impl<P> ClientPorts for P where
    P: ClientSessions
        + ReplyMailbox
        + Withdrawals
        + StreamEvents
        + PostedMessages
        + Rounds
        + Clock
        + IdSource
{
}

/// All of them.
pub async fn client_contract<P: ClientPorts>(ports: &P) {
    client_sessions_contract(ports).await;
    reply_mailbox_contract(ports).await;
    withdrawals_contract(ports).await;
    stream_events_contract(ports).await;
    posted_messages_contract(ports).await;
    rounds_contract(ports).await;
}

fn new_key<P: IdSource>(ports: &P) -> ClientKey {
    ClientKey {
        owner: new_owner(ports),
        session: ClientSessionId::from_random(ports.random()),
    }
}

/// The time, in whole seconds: as precise as an expiry is.
fn now<P: Clock>(ports: &P) -> UnixMillis {
    UnixMillis(ports.now().0 / 1000 * 1000)
}

/// The same session id under another owner.
fn foreign<P: IdSource>(ports: &P, key: &ClientKey) -> ClientKey {
    ClientKey {
        owner: new_owner(ports),
        session: key.session.clone(),
    }
}

/// [`ClientSessions`].
pub async fn client_sessions_contract<P: ClientPorts>(ports: &P) {
    let (key, now) = (new_key(ports), now(ports));
    let session = ClientSession {
        introduction: r#"{"protocolVersion":"2025-11-25"}"#.to_owned(),
        expires_at: now.plus(MINUTE),
    };
    assert_eq!(ports.client(&key).await.expect("read"), None);
    assert!(!ports.close(&key).await.expect("nothing to close"));
    ports.keep(&key, now.plus(MINUTE)).await.expect("nothing");
    assert_eq!(
        ports.client(&key).await.expect("read"),
        None,
        "keeping opens nothing"
    );
    ports.open(&key, &session).await.expect("opened");
    ports.open(&key, &session).await.expect("opened again");
    assert_eq!(
        ports.client(&key).await.expect("read"),
        Some(session.clone())
    );
    let other = foreign(ports, &key);
    assert_eq!(ports.client(&other).await.expect("read"), None);
    assert!(!ports.close(&other).await.expect("not theirs"));
    let said = |name: &str| format!(r#"{{"name":"{name}"}}"#);
    assert!(
        !ports
            .introduce(&other, &said("b"))
            .await
            .expect("not theirs")
    );
    assert!(ports.introduce(&key, &said("c")).await.expect("noted"));
    let longer = now.plus(2 * MINUTE);
    ports.keep(&key, longer).await.expect("kept");
    let found = ports.client(&key).await.expect("read").expect("there");
    assert_eq!(found.introduction, said("c"));
    assert!(found.expires_at >= longer);
    assert!(ports.close(&key).await.expect("closed"));
    assert!(!ports.close(&key).await.expect("closed before"));
    assert_eq!(ports.client(&key).await.expect("read"), None);

    let expired = new_key(ports);
    let session = ClientSession {
        expires_at: UnixMillis(now.0 - MINUTE),
        ..session
    };
    ports.open(&expired, &session).await.expect("opened");
    assert_eq!(ports.client(&expired).await.expect("read"), None);
    assert!(!ports.introduce(&expired, "{}").await.expect("gone already"));
    assert!(!ports.close(&expired).await.expect("gone already"));
}

/// [`ReplyMailbox`].
pub async fn reply_mailbox_contract<P: ClientPorts>(ports: &P) {
    let (key, until) = (new_key(ports), now(ports).plus(MINUTE));
    let unasked = ports.deliver(&key, "r1", "{}").await.expect("refused");
    assert!(!unasked, "nobody asked");
    ports.await_reply(&key, "r1", until).await.expect("noted");
    ports.await_reply(&key, "r1", until).await.expect("again");
    assert_eq!(ports.reply(&key, "r1").await.expect("read"), None);
    let other = foreign(ports, &key);
    assert!(!ports.deliver(&other, "r1", "{}").await.expect("refused"));
    assert!(!ports.deliver(&key, "r2", "{}").await.expect("refused"));
    assert!(ports.deliver(&key, "r1", r#"{"a":1}"#).await.expect("left"));
    assert!(
        ports
            .deliver(&key, "r1", r#"{"a":1}"#)
            .await
            .expect("the same again")
    );
    assert!(
        !ports
            .deliver(&key, "r1", r#"{"a":2}"#)
            .await
            .expect("refused")
    );
    // A repeat of the wait does not lose what came.
    ports.await_reply(&key, "r1", until).await.expect("noted");
    for _ in 0..2 {
        let reply = ports.reply(&key, "r1").await.expect("read");
        assert_eq!(reply.as_deref(), Some(r#"{"a":1}"#));
    }
    assert_eq!(ports.reply(&other, "r1").await.expect("read"), None);
    let past = UnixMillis(now(ports).0 - MINUTE);
    ports.await_reply(&key, "late", past).await.expect("noted");
    assert!(!ports.deliver(&key, "late", "{}").await.expect("refused"));
}

/// [`Withdrawals`].
pub async fn withdrawals_contract<P: ClientPorts>(ports: &P) {
    let (key, until) = (new_key(ports), now(ports).plus(MINUTE));
    let other = foreign(ports, &key);
    let allow = async |worker| {
        let allowed = ports.allow_withdrawal(&key, "off", worker, until).await;
        allowed.expect("noted");
    };
    let withdraw = async |key| ports.withdraw(key, "off").await.expect("tried");
    let from = async |worker| {
        let withdrawn = ports.is_withdrawn(&key, "off", worker).await;
        withdrawn.expect("read")
    };
    assert!(!withdraw(&key).await, "nobody works on it");
    assert!(!from("a").await);
    allow("a").await;
    assert!(!from("a").await);
    assert!(!withdraw(&other).await, "not theirs");
    for _ in 0..2 {
        assert!(withdraw(&key).await);
        assert!(from("a").await);
        assert!(!from("b").await);
    }
    // The same name again: the newer is not taken back by what was meant for the older.
    allow("b").await;
    assert!(!from("a").await);
    assert!(!from("b").await);
    let ended = async |worker| {
        ports
            .end_withdrawal(&key, "off", worker)
            .await
            .expect("ended")
    };
    ended("a").await;
    assert!(withdraw(&key).await, "another one's end ends nothing");
    assert!(from("b").await);
    for _ in 0..2 {
        ended("b").await;
        assert!(!withdraw(&key).await);
        assert!(!from("b").await);
    }
    let past = UnixMillis(now(ports).0 - MINUTE);
    ports
        .allow_withdrawal(&key, "late", "a", past)
        .await
        .expect("noted");
    assert!(!ports.withdraw(&key, "late").await.expect("refused"));
}

/// [`StreamEvents`].
pub async fn stream_events_contract<P: ClientPorts>(ports: &P) {
    let (key, now) = (new_key(ports), now(ports));
    assert_eq!(ports.stream(&key, "s").await.expect("read"), None);
    let mut state = ClientStream {
        request: "7".to_owned(),
        written_until: now.plus(MINUTE),
        complete: false,
        expires_at: now.plus(MINUTE),
    };
    ports.note_stream(&key, "s", &state).await.expect("noted");
    assert_eq!(
        ports.stream(&key, "s").await.expect("read"),
        Some(state.clone())
    );
    state.complete = true;
    ports.note_stream(&key, "s", &state).await.expect("noted");
    assert_eq!(
        ports.stream(&key, "s").await.expect("read"),
        Some(state.clone())
    );
    let other = foreign(ports, &key);
    assert_eq!(ports.stream(&other, "s").await.expect("read"), None);

    for (position, message) in [(1, "a"), (2, "b"), (12, "c"), (2, "changed")] {
        ports
            .keep_message(&key, "s", position, message, now.plus(MINUTE))
            .await
            .expect("kept");
    }
    ports
        .keep_message(&key, "t", 1, "of another stream", now.plus(MINUTE))
        .await
        .expect("kept");
    let after = async |key: &ClientKey, position| {
        let messages = ports
            .messages_after(key, "s", position)
            .await
            .expect("read");
        let texts = messages.into_iter().map(|(at, text)| format!("{at}{text}"));
        texts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(after(&key, 0).await, "1a 2b 12c");
    assert_eq!(after(&key, 2).await, "12c");
    assert_eq!(after(&key, 12).await, "");
    assert_eq!(after(&other, 0).await, "");
}

/// [`PostedMessages`].
pub async fn posted_messages_contract<P: ClientPorts>(ports: &P) {
    let (key, until) = (new_key(ports), now(ports).plus(MINUTE));
    let other = foreign(ports, &key);
    for (name, message) in [("2", "b"), ("1", "a"), ("1", "a")] {
        ports
            .post(&key, name, message, until)
            .await
            .expect("posted");
    }
    ports.post(&other, "3", "x", until).await.expect("posted");
    let past = UnixMillis(now(ports).0 - MINUTE);
    ports
        .post(&key, "0", "expired", past)
        .await
        .expect("posted");
    let take = async |key: &ClientKey, taker| {
        let taken = ports.take_posted(key, taker).await.expect("taken");
        let shown = taken.iter().map(|it| format!("{}{}", it.name, it.message));
        shown.collect::<Vec<_>>().join(" ")
    };
    let remove = async |key: &ClientKey, taker, name| {
        let removed = ports.remove_posted(key, taker, name).await;
        removed.expect("removed");
    };
    remove(&key, "one", "1").await;
    for _ in 0..2 {
        assert_eq!(take(&key, "one").await, "1a 2b", "until they are removed");
        assert_eq!(take(&key, "two").await, "", "they have their taker");
    }
    assert_eq!(take(&other, "two").await, "3x");
    remove(&key, "two", "2").await;
    remove(&other, "one", "3").await;
    for _ in 0..2 {
        remove(&key, "one", "1").await;
    }
    ports.post(&key, "4", "d", until).await.expect("posted");
    assert_eq!(take(&key, "two").await, "4d", "behind those of another");
    assert_eq!(take(&key, "one").await, "2b");
    assert_eq!(take(&other, "two").await, "3x");
    for (key, taker, name) in [(&key, "one", "2"), (&key, "two", "4"), (&other, "two", "3")] {
        remove(key, taker, name).await;
        assert_eq!(take(key, taker).await, "");
    }
}

/// [`Rounds`].
pub async fn rounds_contract<P: ClientPorts>(ports: &P) {
    let (owner, other) = (new_owner(ports), new_owner(ports));
    let round = RoundId::from_random(ports.random());
    let until = now(ports).plus(MINUTE);
    let claim = async |owner, digest| {
        let claimed = ports.claim(owner, &round, digest, until).await;
        claimed.expect("claimed")
    };
    assert_eq!(claim(&owner, "yes").await, Claim::Open);
    assert_eq!(claim(&owner, "yes").await, Claim::Open);
    assert_eq!(claim(&owner, "no").await, Claim::Different);
    assert_eq!(
        claim(&other, "no").await,
        Claim::Open,
        "each owner has their own"
    );
    for outcome in ["first", "second"] {
        let recorded = ports.settle(&owner, &round, outcome).await;
        assert_eq!(recorded.expect("settled"), "first");
    }
    let settled = Claim::Settled("first".to_owned());
    assert_eq!(claim(&owner, "yes").await, settled);
    assert_eq!(claim(&owner, "no").await, Claim::Different);
    assert_eq!(claim(&other, "no").await, Claim::Open);
}
