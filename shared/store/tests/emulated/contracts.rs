//! The contracts of the ports, which the fake of `testkit` keeps too.

use testkit::contracts;

use crate::services::{Services, send};

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_a_session_directory() {
    let services = Services::start().await;
    contracts::session_directory_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_counts_slots() {
    let services = Services::start().await;
    contracts::slots_in_use_contract(&services.store().await).await;
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
    contracts::outside_contract(&services.store().await, async |upload, request| {
        let bytes = usize::try_from(upload.bytes).expect("small");
        let status = send(
            &request.method,
            &request.url,
            &request.headers,
            vec![b'x'; bytes],
        )
        .await;
        assert_eq!(status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_has_the_objects_of_a_tree() {
    let services = Services::start().await;
    contracts::tree_objects_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_the_store_go_on_elsewhere() {
    let services = Services::start().await;
    contracts::durability_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_what_clients_need() {
    let services = Services::start().await;
    contracts::client_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_the_store_can_be_erased() {
    let services = Services::start().await;
    contracts::erasure_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_the_audit() {
    let services = Services::start().await;
    contracts::audit_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_api_keys() {
    let services = Services::start().await;
    contracts::api_keys_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_git_credentials() {
    let services = Services::start().await;
    contracts::git_credentials_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_policies() {
    let services = Services::start().await;
    contracts::policy_books_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_rates() {
    let services = Services::start().await;
    contracts::rates_contract(&services.store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_releases() {
    let services = Services::start().await;
    contracts::releases_contract(&services.store().await).await;
}
