//! When rows are gone.

use domain::{
    Transition,
    ports::{ControlChange, ListQuery, LiveText, SessionDirectory, SessionLog},
};
use store::Store;
use testkit::{new_session, owner};

use crate::services::Services;

async fn cancel(store: &Store, head: domain::Head) {
    store
        .control(ControlChange {
            rewind: None,
            slots: domain::ports::SlotLimits::NONE,
            now: head.created_at,
            based_on: head,
            transition: Transition::WasCancelled,
            reason: "enough".to_owned(),
            events: Vec::new(),
        })
        .await
        .expect("cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_expires_after_its_retention_and_is_gone_before_the_sweep() {
    let services = Services::start().await;
    let mut settings = services.settings();
    settings.retention_days = 1;
    let store = Store::connect_to(settings, services.endpoint()).await;
    let me = owner("me");
    let (day, now) = (24 * 60 * 60 * 1000, domain::ports::Clock::now(&store));
    let mut old = new_session(&store, &me);
    old.now = domain::UnixMillis(now.0 - 2 * day);
    let old = store.create(old).await.expect("created").head;
    // It does not expire while it lives, however old it is.
    assert_eq!(store.head(&old.key).await.expect("read"), Some(old.clone()));
    let recent = store.create(new_session(&store, &me)).await;
    let recent = recent.expect("created").head;
    cancel(&store, recent.clone()).await;
    cancel(&store, old.clone()).await;
    assert_eq!(store.head(&old.key).await.expect("read"), None);
    assert!(store.head(&recent.key).await.expect("read").is_some());
    let query = ListQuery {
        limit: 10,
        ..ListQuery::default()
    };
    let page = store.list(&me, &query).await.expect("listed");
    let keys: Vec<_> = page.heads.into_iter().map(|head| head.key).collect();
    assert_eq!(keys, [recent.key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_text_expires_after_its_hours() {
    let services = Services::start().await;
    let mut settings = services.settings();
    settings.keep_deltas_hours = 1;
    let store = Store::connect_to(settings, services.endpoint()).await;
    let head = store.create(new_session(&store, &owner("me"))).await;
    let key = head.expect("created").head.key;
    let now = domain::ports::Clock::now(&store);
    let (lease, head) = store
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    for (age_hours, shown) in [(0, true), (2, false)] {
        let live = LiveText {
            after: head.last_sequence,
            fence: lease.fence,
            text: "so far".to_owned(),
            time: domain::UnixMillis(now.0 - age_hours * 60 * 60 * 1000),
        };
        store.set_live(&lease, Some(live)).await.expect("set");
        let found = store.live(&key).await.expect("read");
        assert_eq!(found.is_some(), shown, "{age_hours} h");
    }
}
