//! Bodies that are too long for the log.

use domain::{
    EventBody, Sequence,
    event::{ChangeKind, FileChange},
    limits,
    ports::{Clock, SessionDirectory, SessionLog, WholeBodies},
};
use testkit::{append, new_session, owner};

use crate::services::Services;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_leaves_a_preview_and_can_be_read_whole() {
    let services = Services::start().await;
    let store = services.store().await;
    let key = store
        .create(new_session(&store, &owner("me")))
        .await
        .expect("created")
        .head
        .key;
    let now = store.now();
    let (lease, head) = store
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    let long = "é\"\n".repeat(600_000);
    let bodies = vec![
        EventBody::ToolResult {
            tool_use_id: "u".to_owned(),
            is_error: false,
            text: long.clone(),
        },
        EventBody::Thinking {
            text: "short".to_owned(),
        },
        EventBody::FilesChanged {
            files: (0..2_000)
                .map(|number| FileChange {
                    path: format!("directory/file-{number}"),
                    change: ChangeKind::Added,
                    added_lines: Some(1),
                    removed_lines: None,
                })
                .collect(),
            patch: "+line\n".repeat(5_000),
        },
    ];
    let append = append(&store, head.last_sequence.next(), bodies.clone());
    for _ in 0..2 {
        store.append(&lease, &append).await.expect("appended");
    }
    let events = store
        .read(&key, head.last_sequence, 1 << 20)
        .await
        .expect("read");
    assert_eq!(events.len(), 3);
    match &events[0].body {
        EventBody::ToolResult { text, .. } => {
            assert!(long.starts_with(text.as_str()));
            assert!(text.len() <= limits::EVENT_PREVIEW_BYTES && text.len() > 1_000);
        }
        other => panic!("{other:?}"),
    }
    assert!(
        events[0]
            .whole_body_bytes
            .is_some_and(|bytes| bytes > 2_000_000)
    );
    assert_eq!(events[1].whole_body_bytes, None);
    match &events[2].body {
        EventBody::FilesChanged { files, .. } => assert!(files.len() < 100),
        other => panic!("{other:?}"),
    }
    for (event, body) in events.iter().zip(bodies) {
        let whole = store.whole_body(&key, event.sequence).await.expect("read");
        assert!(whole == Some(body), "{:?}", event.sequence);
    }
    let none = store.whole_body(&key, Sequence(99)).await.expect("read");
    assert_eq!(none, None);
}

/// A full batch of the longest bodies that stay in the log fits one row.
#[tokio::test(flavor = "multi_thread")]
async fn many_events_fit_one_append() {
    let services = Services::start().await;
    let store = services.store().await;
    let key = store
        .create(new_session(&store, &owner("me")))
        .await
        .expect("created")
        .head
        .key;
    let now = store.now();
    let (lease, head) = store
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    let bodies: Vec<EventBody> = (0..limits::EVENTS_PER_BATCH)
        .map(|number| EventBody::Text {
            text: format!("line {number} ").repeat(40),
            agent: None,
        })
        .collect();
    let append = append(&store, head.last_sequence.next(), bodies.clone());
    store.append(&lease, &append).await.expect("appended");
    let events = store
        .read(&key, head.last_sequence, 1 << 24)
        .await
        .expect("read");
    let read: Vec<EventBody> = events.into_iter().map(|event| event.body).collect();
    assert!(read == bodies);
}
