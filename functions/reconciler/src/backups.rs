//! How old the newest moment is to which the table can be restored. An alarm is made of the line that it
//! writes, and of its absence.

use domain::{UnixMillis, ports::Clock};
use store::Store;

use crate::{Canary, Event};

/// Looks with the canary, and says what it saw. Looking twice is harmless.
pub(crate) async fn look_if_due(canary: &Canary, store: &Store, event: &Event) {
    if !canary.is_due(event) {
        return;
    }
    match store.restorable_until().await {
        Ok(until) => say(until, store.now()),
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "backups of the table could not be asked for"
        ),
    }
}

fn say(until: Option<UnixMillis>, now: UnixMillis) {
    match until {
        Some(until) => {
            let age = now.since(until) / 1000;
            // A metric is made of it.
            tracing::info!(
                shannon_backup_age_seconds = age,
                "the table can be restored"
            );
        }
        None => tracing::error!("the table cannot be restored: turn on its point-in-time recovery"),
    }
}

#[cfg(test)]
mod tests {
    use testkit::Written;

    use super::*;

    fn said(until: Option<u64>, now: u64) -> serde_json::Value {
        let written = Written::default();
        let writer = written.clone();
        let lines = boot::logging::json_into("reconciler", move || writer.clone());
        tracing::subscriber::with_default(lines, || {
            tracing::callsite::rebuild_interest_cache();
            say(until.map(UnixMillis), UnixMillis(now));
        });
        serde_json::from_str(&written.text()).expect("one JSON line")
    }

    #[test]
    fn the_age_is_told_where_there_is_something_to_restore() {
        let told = |until, now| said(Some(until), now)["shannon_backup_age_seconds"].clone();
        assert_eq!(told(1_000_000, 1_300_999), 300);
        assert_eq!(told(1_000_000, 4_601_000), 3601);
        // AWS's clock is ahead.
        assert_eq!(told(1_000_500, 1_000_000), 0);
        let none = said(None, 1_000_000);
        assert!(none["shannon_backup_age_seconds"].is_null(), "{none}");
        assert_eq!(none["level"], "error");
    }
}
