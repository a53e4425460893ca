//! The contracts of the ports, which the fake of `testkit` keeps too.

use testkit::contracts;

use crate::services::Services;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_a_session_directory() {
    let services = Services::start().await;
    contracts::session_directory_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_a_session_log() {
    let services = Services::start().await;
    contracts::session_log_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_an_inbox() {
    let services = Services::start().await;
    contracts::whole_inbox_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_has_uploads_and_compute() {
    let services = Services::start().await;
    let http = reqwest::Client::new();
    contracts::outside_contract(&services.store().await, async |upload, request| {
        let bytes = usize::try_from(upload.bytes).expect("small");
        let mut sent = http.put(&request.url).body(vec![b'x'; bytes]);
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        let answer = sent.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    })
    .await;
}
