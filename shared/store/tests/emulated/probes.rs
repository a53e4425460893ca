//! What the store stands on, asked whether it is there.

use domain::ports::{Clock, SessionDirectory};
use store::{Endpoint, Store, StoreSettings, Topic};
use testkit::{new_session, owner};

use crate::services::Services;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_answers() {
    let services = Services::start().await;
    let store = services.store().await;
    assert_eq!(store.probe_table().await.expect("read"), 0);
    store
        .create(new_session(&store, &owner("me")))
        .await
        .expect("created");
    assert_eq!(store.probe_table().await.expect("read"), 1);
    store.probe_bucket().await.expect("there");
    let compute = services.settings().compute.expect("a cluster");
    store
        .probe_compute(&compute.cluster, &compute.task_definition)
        .await
        .expect("in use");
    let topic = Topic::connect_to(services.topic(), services.endpoint()).await;
    topic.probe().await.expect("there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_an_error() {
    let services = Services::start().await;
    let elsewhere = StoreSettings {
        table: "of-somebody-else".to_owned(),
        bucket: "of-somebody-else".to_owned(),
        ..services.settings()
    };
    let nothing = Store::connect_to(elsewhere, services.endpoint()).await;
    nothing.probe_table().await.expect_err("no table");
    nothing.probe_bucket().await.expect_err("no bucket");
    let compute = services.settings().compute.expect("a cluster");
    let store = services.store().await;
    for (cluster, definition) in [
        ("other", compute.task_definition.as_str()),
        (compute.cluster.as_str(), "other"),
    ] {
        let asked = store.probe_compute(cluster, definition).await;
        asked.expect_err("it is not there");
    }
    let topic = format!("{}-of-somebody-else", services.topic());
    let topic = Topic::connect_to(&topic, services.endpoint()).await;
    topic.probe().await.expect_err("no topic");

    // Nobody listens where they should be.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let nowhere = Endpoint {
        url: format!("http://{address}"),
        ..services.endpoint()
    };
    let store = Store::connect_to(services.settings(), nowhere.clone()).await;
    let begun = store.now();
    store.probe_table().await.expect_err("nobody listens");
    store.probe_bucket().await.expect_err("nobody listens");
    assert!(store.now().0 - begun.0 < 60_000);
}
