//! The newest release of the CLI.

use domain::{
    UnixMillis,
    ports::{Clock, Releases},
    release::Release,
};

/// All of [`Releases`], on a store without one.
pub async fn releases_contract<P: Releases + Clock>(ports: &P) {
    assert_eq!(ports.release().await.expect("an answer"), None);
    let now = ports.now();
    let seen = |newest: &str, told, later| Release {
        newest: newest.parse().expect("a version"),
        told,
        seen_at: UnixMillis(now.0 + later),
    };
    for (release, kept) in [
        (seen("2.1.400", false, 5), seen("2.1.400", false, 5)),
        (seen("2.1.400", true, 5), seen("2.1.400", true, 5)),
        (seen("2.1.400", true, 5), seen("2.1.400", true, 5)),
        // One that was long under way.
        (seen("2.1.399", false, 4), seen("2.1.400", true, 5)),
        // A release may be taken back.
        (seen("2.1.398", false, 6), seen("2.1.398", false, 6)),
    ] {
        ports.keep_release(&release).await.expect("kept");
        assert_eq!(ports.release().await.expect("an answer"), Some(kept));
    }
}
