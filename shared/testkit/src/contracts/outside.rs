//! Uploads and compute.

use domain::{
    FencingToken, SessionId, SessionKey, UploadId,
    ports::{Clock, Compute, IdSource, Uploads},
    upload::{SignedRequest, Upload},
};

use super::new_owner;

/// `sign` and `upload`. `send` does what a client does with the signed request.
pub async fn uploads_contract<P: Uploads + Clock + IdSource>(
    ports: &P,
    send: impl AsyncFn(&Upload, &SignedRequest),
) {
    let upload = Upload {
        id: UploadId::from_random(ports.random()),
        owner: new_owner(ports),
        bytes: 5,
        expires_at: ports.now().plus(900_000),
    };
    let found = async || {
        ports
            .upload(&upload.owner, &upload.id)
            .await
            .expect("looked")
    };
    assert_eq!(found().await, None);
    let request = ports.sign(&upload).await.expect("signed");
    assert_eq!(request.method, "PUT");
    assert!(
        request
            .headers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("content-length") && value == "5"),
        "the size is signed: {:?}",
        request.headers
    );
    assert_eq!(found().await, Some((upload.clone(), false)));
    ports.sign(&upload).await.expect("signed again");
    send(&upload, &request).await;
    assert_eq!(found().await, Some((upload.clone(), true)));
    let foreign = ports.upload(&new_owner(ports), &upload.id).await;
    assert_eq!(foreign.expect("looked"), None);
}

/// `start_runner` and `stop_runner`.
pub async fn compute_contract<P: Compute + IdSource>(ports: &P) {
    let key = SessionKey {
        owner: new_owner(ports),
        session: SessionId::from_random(ports.random()),
    };
    let start = async |key: &SessionKey, fence| {
        ports
            .start_runner(key, FencingToken(fence))
            .await
            .expect("started")
    };
    let first = start(&key, 0).await;
    assert_eq!(
        start(&key, 0).await,
        first,
        "the same start is the same task"
    );
    assert_ne!(start(&key, 1).await, first);
    let other = SessionKey {
        owner: new_owner(ports),
        session: key.session.clone(),
    };
    assert_ne!(start(&other, 0).await, first);
    for _ in 0..2 {
        ports.stop_runner(&first, "enough").await.expect("stopped");
    }
    ports
        .stop_runner("00000000000000000000000000000000", "enough")
        .await
        .expect("one that is not there is as good as stopped");
}
