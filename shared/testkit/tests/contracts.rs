//! The fake keeps the contracts of the ports.

use testkit::{Fake, contracts};

#[tokio::test]
async fn the_fake_is_a_session_directory() {
    contracts::session_directory_contract(&Fake::new(1)).await;
}

#[tokio::test]
async fn the_fake_counts_slots() {
    contracts::slots_in_use_contract(&Fake::new(7)).await;
}

#[tokio::test]
async fn the_fake_is_a_session_log() {
    contracts::session_log_contract(&Fake::new(2)).await;
}

#[tokio::test]
async fn the_fake_is_an_inbox() {
    contracts::whole_inbox_contract(&Fake::new(3)).await;
}

#[tokio::test]
async fn the_fake_has_uploads_and_compute() {
    let fake = Fake::new(4);
    contracts::outside_contract(&fake, async |upload, _| {
        fake.deliver_upload(&upload.owner, &upload.id);
    })
    .await;
}

#[tokio::test]
async fn the_fake_has_the_objects_of_a_tree() {
    contracts::tree_objects_contract(&Fake::new(5)).await;
}

#[tokio::test]
async fn sessions_in_the_fake_go_on_elsewhere() {
    contracts::durability_contract(&Fake::new(6)).await;
}

#[tokio::test]
async fn the_fake_keeps_what_clients_need() {
    contracts::client_contract(&Fake::new(5)).await;
}

#[tokio::test]
async fn sessions_in_the_fake_can_be_erased() {
    contracts::erasure_contract(&Fake::new(7)).await;
}

#[tokio::test]
async fn the_fake_keeps_the_audit() {
    contracts::audit_contract(&Fake::new(9)).await;
}

#[tokio::test]
async fn the_fake_keeps_api_keys() {
    contracts::api_keys_contract(&Fake::new(10)).await;
}

#[tokio::test]
async fn the_fake_keeps_git_credentials() {
    contracts::git_credentials_contract(&Fake::new(11)).await;
}

#[tokio::test]
async fn the_fake_keeps_policies() {
    contracts::policy_books_contract(&Fake::new(8)).await;
}

#[tokio::test]
async fn the_fake_keeps_rates() {
    contracts::rates_contract(&Fake::new(10)).await;
}

#[tokio::test]
async fn the_fake_keeps_releases() {
    contracts::releases_contract(&Fake::new(10)).await;
}
