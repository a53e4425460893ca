//! DynamoDB that throttles, conflicts, or is not there.

use domain::{
    FencingToken,
    ports::{
        AppendError, ClientToken, Clock, CreateError, IdSource, Inbox, Lease, SessionDirectory,
        SessionLog,
    },
};
use store::{Endpoint, Store};
use testkit::{append, message, new_command, new_session, owner};

use crate::services::Services;

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_waited_out() {
    let services = Services::start().await;
    let store = services.store().await;
    services
        .plan_fault("TransactWriteItems", "ThrottlingException", 2)
        .await;
    let key = store
        .create(new_session(&store, &owner("me")))
        .await
        .expect("created after two refusals")
        .head
        .key;
    services
        .plan_fault("GetItem", "ThrottlingException", 2)
        .await;
    let head = store.head(&key).await.expect("read after two refusals");
    assert_eq!(head.map(|head| head.key), Some(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_without_end_is_named_and_nothing_happened() {
    let services = Services::start().await;
    let store = services.store().await;
    services
        .plan_fault("TransactWriteItems", "ThrottlingException", 1_000)
        .await;
    let new = new_session(&store, &owner("me"));
    match store.create(new.clone()).await {
        Err(CreateError::Unavailable(error)) => {
            assert!(!error.outcome_unknown, "DynamoDB said no");
            assert_eq!(error.to_string(), "could not record the session");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.head(&new.key).await.expect("read"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_leaves_the_outcome_unknown() {
    let services = Services::start().await;
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let endpoint = Endpoint {
        url: format!("http://{address}"),
        ..services.endpoint()
    };
    let store = Store::connect_to(services.settings(), endpoint).await;
    let mut with_token = new_session(&store, &owner("me"));
    // What stands for the token is read before anything is written.
    with_token.client_token = Some(ClientToken {
        token: "token".to_owned(),
        request_digest: "digest".to_owned(),
    });
    let error = store.create(with_token).await.expect_err("nobody listens");
    match error {
        CreateError::Unavailable(error) => assert!(!error.outcome_unknown, "it only read"),
        other => panic!("{other:?}"),
    }
    let key = new_session(&store, &owner("me")).key;
    let lease = Lease {
        tree: domain::TreeId::of(key.session.clone()),
        key,
        fence: FencingToken(1),
    };
    match store.renew(&lease, store.now()).await {
        Err(AppendError::Unavailable(error)) => assert!(error.outcome_unknown),
        other => panic!("{other:?}"),
    }
}

/// Appends, messages and new sessions of one owner all at once, from several threads: conflicts
/// are settled inside the store.
#[tokio::test(flavor = "multi_thread")]
async fn writers_that_meet_all_get_through() {
    let services = Services::start().await;
    let store = services.store().await;
    let me = owner("me");
    let key = store
        .create(new_session(&store, &me))
        .await
        .expect("created")
        .head
        .key;
    let now = store.now();
    let (lease, head) = store
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12 {
        let (store, key, me) = (store.clone(), key.clone(), me.clone());
        tasks.spawn(async move {
            let new = new_command(&store, &format!("m-{number}"), message("hello"));
            store.enqueue(&key, new).await.expect("accepted");
            let new = new_session(&store, &me);
            store.create(new).await.expect("created");
        });
    }
    let mut last = head.last_sequence;
    for _ in 0..30 {
        let text = domain::EventBody::Thinking {
            text: domain::ids::base32(&store.random()),
        };
        let append = append(&store, last.next(), vec![text]);
        last = store.append(&lease, &append).await.expect("appended");
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    let head = store.head(&key).await.expect("read").expect("there");
    assert_eq!(head.commands_accepted, 13);
    assert_eq!(head.last_sequence, last);
    let mut one_more = new_session(&store, &me);
    one_more.max_sessions_per_owner = 13;
    let full = store.create(one_more).await;
    assert!(matches!(full, Err(CreateError::OwnerFull)), "{full:?}");
}
