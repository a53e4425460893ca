//! Writes that happened and whose answer never came: repeating them changes nothing.

use domain::{
    ClientKey, ClientSessionId, EventBody, SessionId, SessionKey, State,
    event::TokenUsage,
    ports::{
        AppendError, Clock, IdSource, Inbox, PostedMessages, SessionDirectory, SessionLog,
        Unavailable,
    },
};
use store::{Endpoint, Store};
use testkit::{append, message, new_command, new_session, owner};

use crate::{line::Line, services::Services};

async fn store_behind(line: &Line, services: &Services) -> Store {
    let endpoint = Endpoint {
        url: line.url.clone(),
        ..services.endpoint()
    };
    Store::connect_to(services.settings(), endpoint).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lost_answer_is_not_noticed() {
    let services = Services::start().await;
    let line = Line::to(&services.endpoint().url).await;
    let store = store_behind(&line, &services).await;

    line.lose(1);
    let created = store.create(new_session(&store, &owner("me"))).await;
    let key = created.expect("created").head.key;
    line.lose(1);
    let now = store.now();
    let (lease, head) = store
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    line.lose(1);
    let text = EventBody::Thinking {
        text: "once".to_owned(),
    };
    let appended = append(&store, head.last_sequence.next(), vec![text]);
    let last = store.append(&lease, &appended).await.expect("appended");
    line.lose(1);
    let command = new_command(&store, "two", message("once"));
    let accepted = store.enqueue(&key, command).await.expect("accepted");
    assert_eq!(accepted.command.ordinal, 2);
    line.lose(1);
    store
        .withdraw(&key, &accepted.command.id, store.now())
        .await
        .expect("withdrawn");
    line.lose(1);
    store
        .renew(&lease, store.now().plus(10_000))
        .await
        .expect("renewed");
    assert_eq!(line.left(), 0);

    let head = store.head(&key).await.expect("read").expect("there");
    assert_eq!(head.last_sequence, last.next());
    let events = store.read(&key, domain::Sequence(0), 1 << 20).await;
    let kinds: Vec<_> = events
        .expect("read")
        .iter()
        .map(|event| event.body.kind())
        .collect();
    assert_eq!(
        kinds,
        [
            "session_created",
            "runner_started",
            "state_changed",
            "thinking",
            "message_withdrawn"
        ]
    );
    let mut other = new_session(&store, &owner("me"));
    other.max_sessions_per_owner = 2;
    store.create(other).await.expect("only one slot was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answers_are_all_lost_is_done_once() {
    let services = Services::start().await;
    let line = Line::to(&services.endpoint().url).await;
    let store = store_behind(&line, &services).await;
    let created = store.create(new_session(&store, &owner("me"))).await;
    let key = created.expect("created").head.key;
    let now = store.now();
    let (lease, head) = store
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    let text = EventBody::Thinking {
        text: "once".to_owned(),
    };
    let mut appended = append(&store, head.last_sequence.next(), vec![text]);
    appended.state = State::Running;
    line.lose(1_000);
    match store.append(&lease, &appended).await {
        Err(AppendError::Unavailable(Unavailable {
            outcome_unknown: true,
            ..
        })) => {}
        other => panic!("{other:?}"),
    }
    line.lose(0);
    // As a runner repeats it: the same token, a later time.
    appended.now = store.now();
    appended.lease_until = store.now().plus(10_000);
    let last = store.append(&lease, &appended).await.expect("done");
    assert_eq!(last, head.last_sequence.next());
    let events = store
        .read(&key, head.last_sequence, 1 << 20)
        .await
        .expect("read");
    assert_eq!(events.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_whose_answer_is_lost_is_counted_once() {
    let services = Services::start().await;
    let line = Line::to(&services.endpoint().url).await;
    let store = store_behind(&line, &services).await;
    let key = SessionKey {
        owner: owner("me"),
        session: SessionId::from_random(store.random()),
    };
    let tokens = TokenUsage {
        input_tokens: 7,
        ..TokenUsage::default()
    };
    for lost in [1, 0] {
        line.lose(lost);
        store
            .record_usage(&key, "req_1", "model", tokens, store.now())
            .await
            .expect("recorded");
    }
    let total = store.usage(&key).await.expect("read");
    assert_eq!((total.requests, total.tokens.input_tokens), (1, 7));
}

/// Whether the client of the store asks again by itself or its caller does.
#[tokio::test(flavor = "multi_thread")]
async fn a_post_whose_taker_does_not_hear_of_it_is_given_to_that_one_again() {
    let services = Services::start().await;
    let line = Line::to(&services.endpoint().url).await;
    let store = store_behind(&line, &services).await;
    let key = ClientKey {
        owner: owner("me"),
        session: ClientSessionId::from_random(store.random()),
    };
    let until = store.now().plus(60_000);
    for (name, lost) in [("1", 1), ("2", 1_000)] {
        store
            .post(&key, name, "a message", until)
            .await
            .expect("posted");
        line.lose(lost);
        let taken = store.take_posted(&key, "one").await;
        assert_eq!(taken.is_err(), lost > 1);
        line.lose(0);
        assert!(
            store
                .take_posted(&key, "two")
                .await
                .expect("read")
                .is_empty()
        );
        let taken = store.take_posted(&key, "one").await.expect("taken");
        let names: Vec<_> = taken.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, [name]);
        assert_eq!(taken[0].message, "a message");
        line.lose(1);
        store
            .remove_posted(&key, "one", name)
            .await
            .expect("removed");
        assert!(
            store
                .take_posted(&key, "one")
                .await
                .expect("read")
                .is_empty()
        );
    }
}
