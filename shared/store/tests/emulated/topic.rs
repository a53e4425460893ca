//! Notices on the emulated topic.

use domain::{
    SessionId, SessionKey, State, UnixMillis,
    notice::{Notice, NoticeKind},
    ports::{NoticeMessage, Notifier},
};
use store::Topic;
use testkit::owner;

use crate::services::Services;

fn message() -> NoticeMessage {
    NoticeMessage {
        notice: Notice {
            id: "ntc_1".to_owned(),
            kind: NoticeKind::SessionFinished,
            key: SessionKey {
                owner: owner("me"),
                session: SessionId::from_random([1; 17]),
            },
            title: "a title".to_owned(),
            state: State::Completed,
            time: UnixMillis(0),
            question: None,
        },
        body: r#"{"type":"session.finished"}"#.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_published_and_a_failure_says_whether_it_may_have_been() {
    let services = Services::start().await;
    let topic = Topic::connect_to(services.topic(), services.endpoint()).await;
    topic.publish(&message()).await.expect("published");
    // One failure is tried again by the client, and no caller hears of it.
    services
        .fault_of("sns", "Publish", "InternalError", 1)
        .await;
    topic.publish(&message()).await.expect("published again");
    // As often as the client tries.
    services
        .fault_of("sns", "Publish", "InternalError", 4)
        .await;
    let error = topic.publish(&message()).await.expect_err("an outage");
    assert!(error.outcome_unknown, "{error}");
    let nowhere = format!("{}-of-somebody-else", services.topic());
    let nowhere = Topic::connect_to(&nowhere, services.endpoint()).await;
    let error = nowhere.publish(&message()).await.expect_err("no topic");
    assert!(!error.outcome_unknown, "{error}");
}
