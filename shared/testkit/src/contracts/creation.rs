//! Recording sessions.

use domain::{
    CommandState, FencingToken, SessionId, SessionKey, State,
    ports::{ClientToken, ControlChange, CreateError},
};

use super::{Ports, assert_refused, created, head, kinds, log, new_owner};
use crate::{builders, join_all};

/// `create` and `head`.
pub async fn creation_contract<P: Ports>(ports: &P) {
    a_new_session_is_recorded(ports).await;
    ids_of_others_open_nothing(ports).await;
    client_tokens_make_repeats_harmless(ports).await;
    slots_are_counted(ports).await;
    of_many_at_once_only_one_records(ports).await;
}

async fn a_new_session_is_recorded<P: Ports>(ports: &P) {
    let owner = new_owner(ports);
    let mut new = builders::new_session(ports, &owner);
    new.spec.tags = vec!["one".to_owned(), "two".to_owned()];
    new.spec.system_prompt_addition = Some("be brief".to_owned());
    let creation = ports.create(new.clone()).await.expect("created");
    assert!(!creation.repeated);
    let stored = head(ports, &new.key).await;
    assert_eq!(stored, creation.head);
    assert_eq!(stored.state, State::Requested);
    assert_eq!(stored.spec, new.spec);
    assert_eq!(stored.fence, FencingToken(0));
    assert_eq!(stored.created_at, new.now);
    assert_eq!((stored.commands_accepted, stored.commands_taken), (1, 0));
    assert_eq!(kinds(&log(ports, &new.key).await), ["session_created"]);
    let commands = ports.commands_after(&new.key, 0, 10).await.expect("read");
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].id, new.first_message.0);
    assert_eq!(commands[0].body, new.first_message.1);
    assert_eq!(commands[0].state, CommandState::Queued);

    // The very same call again is its own repeat.
    let again = ports.create(new.clone()).await.expect("repeated");
    assert!(again.repeated);
    assert_eq!(again.head, stored);
}

async fn ids_of_others_open_nothing<P: Ports>(ports: &P) {
    let session = created(ports).await.key.session;
    let foreign = SessionKey {
        owner: new_owner(ports),
        session,
    };
    assert_eq!(ports.head(&foreign).await.expect("read"), None);
    assert!(log(ports, &foreign).await.is_empty());
    let commands = ports.commands_after(&foreign, 0, 10).await.expect("read");
    assert!(commands.is_empty());
}

async fn client_tokens_make_repeats_harmless<P: Ports>(ports: &P) {
    let owner = new_owner(ports);
    let token = |digest: &str| {
        Some(ClientToken {
            token: "token".to_owned(),
            request_digest: digest.to_owned(),
        })
    };
    let with = |client_token| {
        let mut new = builders::new_session(ports, &owner);
        new.client_token = client_token;
        new
    };
    let first = ports.create(with(token("a"))).await.expect("created");
    let again = ports.create(with(token("a"))).await.expect("repeated");
    assert!(again.repeated && !first.repeated);
    assert_eq!(again.head.key, first.head.key);
    assert_refused!(
        ports.create(with(token("b"))).await,
        CreateError::ClientTokenReused
    );
    // The same token of somebody else is another one.
    let mut other = builders::new_session(ports, &new_owner(ports));
    other.client_token = token("b");
    assert!(!ports.create(other).await.expect("created").repeated);
}

async fn slots_are_counted<P: Ports>(ports: &P) {
    let owner = new_owner(ports);
    let with = |per_owner, all| {
        let mut new = builders::new_session(ports, &owner);
        new.max_sessions_per_owner = per_owner;
        new.max_sessions = all;
        new
    };
    let first = ports.create(with(2, 1_000_000)).await.expect("created");
    ports.create(with(2, 1_000_000)).await.expect("created");
    assert_refused!(
        ports.create(with(2, 1_000_000)).await,
        CreateError::OwnerFull
    );
    assert_refused!(ports.create(with(9, 1)).await, CreateError::DeploymentFull);
    assert_refused!(ports.create(with(9, 0)).await, CreateError::DeploymentFull);
    // Refused means nothing was recorded, and an end frees one.
    let change = ControlChange {
        rewind: None,
        slots: domain::ports::SlotLimits::NONE,
        transition: domain::Transition::WasCancelled,
        reason: "enough".to_owned(),
        events: Vec::new(),
        now: ports.now(),
        based_on: first.head,
    };
    ports.control(change).await.expect("cancelled");
    ports.create(with(2, 1_000_000)).await.expect("created");
    assert_refused!(
        ports.create(with(2, 1_000_000)).await,
        CreateError::OwnerFull
    );
}

async fn of_many_at_once_only_one_records<P: Ports>(ports: &P) {
    let owner = new_owner(ports);
    let all = (0..6).map(|_| {
        let mut new = builders::new_session(ports, &owner);
        new.max_sessions_per_owner = 1;
        new.client_token = Some(ClientToken {
            token: "same".to_owned(),
            request_digest: "same".to_owned(),
        });
        ports.create(new)
    });
    let results = join_all(all).await;
    let mut sessions: Vec<SessionId> = Vec::new();
    let mut recorded = 0;
    for result in results {
        let creation = result.expect("each finds or records the one session");
        recorded += usize::from(!creation.repeated);
        sessions.push(creation.head.key.session);
    }
    sessions.dedup();
    assert_eq!((recorded, sessions.len()), (1, 1), "{sessions:?}");
}
