//! When rows are gone.

use std::{collections::BTreeSet, ops::RangeInclusive};

use domain::upload::{SignedRequest, Upload};
use domain::{
    ClientKey, ClientSessionId, Transition,
    ports::{
        Clock, ControlChange, IdSource, ListQuery, LiveText, PostedMessages, RefusalCounts,
        SessionDirectory, SessionLog,
    },
};
use store::{
    RunnerFacts, Store,
    retention::{Ends, Kind, Place, RETENTION, kinds_of},
};
use testkit::{contracts, new_session, owner};

use crate::{
    erasing,
    services::{AUDIT_RULE_DAYS, GIT_PARAMETERS, RULE_DAYS, Services, send},
};

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

/// Whatever the contracts of all ports left is in the table of retention, and goes as it says.
#[tokio::test(flavor = "multi_thread")]
async fn every_stored_thing_goes_as_the_table_of_retention_says() {
    let services = Services::start().await;
    let mut settings = services.settings();
    settings.retention_days = RETENTION_DAYS;
    settings.audit_retention_days = AUDIT_DAYS;
    settings.keep_deltas_hours = DELTAS_HOURS;
    let store = Store::connect_to(settings, services.endpoint()).await;
    let store = store.with_git_credentials(GIT_PARAMETERS);
    // First what does not expire: the times of the rest are looked at.
    contracts::policy_books_contract(&store).await;
    contracts::api_keys_contract(&store).await;
    contracts::git_credentials_contract(&store).await;
    contracts::session_directory_contract(&store).await;
    contracts::session_log_contract(&store).await;
    contracts::whole_inbox_contract(&store).await;
    contracts::durability_contract(&store).await;
    contracts::client_contract(&store).await;
    contracts::audit_contract(&store).await;
    contracts::rates_contract(&store).await;
    contracts::releases_contract(&store).await;
    // Nothing makes an entry of this one.
    let counted = store.count_refusal("192.0.2.1", store.now()).await;
    counted.expect("counted");
    // Readers take what was posted; this one has none.
    let client = ClientKey {
        owner: owner("me"),
        session: ClientSessionId::from_random(store.random()),
    };
    let until = store.now().plus(60_000);
    let posted = store.post(&client, "n", "{}", until).await;
    posted.expect("posted");
    let send = async |_: &Upload, request: &SignedRequest| {
        let length = request
            .headers
            .iter()
            .find(|(name, _)| name == "content-length");
        let bytes = length.map_or(0, |(_, bytes)| bytes.parse().expect("a number"));
        let (method, url) = (&request.method, &request.url);
        send(method, url, &request.headers, vec![b'x'; bytes]).await;
    };
    contracts::outside_contract(&store, send).await;
    let head = store.create(new_session(&store, &owner("me"))).await;
    let key = head.expect("created").head.key;
    let now = domain::ports::Clock::now(&store);
    let tokens = domain::event::TokenUsage::default();
    let used = store
        .record_usage(&key, "request", "model", tokens, now)
        .await;
    used.expect("recorded");
    let facts = RunnerFacts {
        claude_version: "1".to_owned(),
        claude_path: "/claude".to_owned(),
        agents: Vec::new(),
        noted_at: now,
    };
    store.note_runner(&facts).await.expect("noted");

    // With an object of every kind.
    erasing::lived(&store, &owner("lived"), "token").await;

    let everything = services.everything().await;
    let now = i64::try_from(now.0 / 1000).expect("a time");
    let mut seen = BTreeSet::new();
    for row in &everything.rows {
        let place = format!("{} {}", row.partition, row.sort);
        let kinds: Vec<Kind> = kinds_of(Place::Row(&place)).collect();
        assert_eq!(kinds.len(), 1, "{place}: {kinds:?}");
        let expires = row.attributes.get("expires_at");
        match (kinds[0].ends, expires) {
            (Ends::Expires(setting), Some(at)) => {
                let at: i64 = at.as_n().expect("a number").parse().expect("seconds");
                let expected = lifetime(setting);
                assert!(
                    expected.contains(&(at - now)),
                    "{place}: {} s, {setting}",
                    at - now
                );
            }
            (Ends::Expires(_), None) | (_, Some(_)) => panic!("{place}: {expires:?}"),
            (_, None) => {}
        }
        seen.insert(kinds[0].name);
    }
    // A name may be that of a row and that of an object.
    let mut seen_objects = BTreeSet::new();
    for object in &everything.objects {
        let kinds: Vec<Kind> = kinds_of(Place::Object(object)).collect();
        assert_eq!(kinds.len(), 1, "{object}: {kinds:?}");
        seen_objects.insert(kinds[0].name);
    }
    let unseen: Vec<_> = RETENTION
        .iter()
        .filter(|kind| match kind.place {
            Place::Row(_) => !seen.contains(kind.name),
            Place::Object(_) => !seen_objects.contains(kind.name),
        })
        .map(|kind| kind.name)
        .collect();
    // Sessions are erased elsewhere, and clients end theirs.
    assert_eq!(unseen, ["tombstone", "client session"]);
}

/// Of the store of that test.
const DELTAS_HOURS: u64 = 7;
const RETENTION_DAYS: u64 = 30;
const AUDIT_DAYS: u64 = 31;

/// Seconds after which a row of such an end is gone.
fn lifetime(setting: &str) -> RangeInclusive<i64> {
    // For as long as the contracts take on a busy machine.
    const SLACK: i64 = 300;
    let (hour, day) = (60 * 60, 24 * 60 * 60);
    let about = |least: u64, most: u64| {
        let seconds = |count: u64| i64::try_from(count).expect("small");
        seconds(least) - SLACK..=seconds(most) + SLACK
    };
    match setting {
        "SHANNON_KEEP_DELTAS_HOURS" => about(DELTAS_HOURS * hour, DELTAS_HOURS * hour),
        // They outlive the head.
        "SHANNON_AUDIT_RETENTION_DAYS" => about(AUDIT_DAYS * day, AUDIT_DAYS * day),
        // The contract makes them for a day.
        "its own end, and SHANNON_RETENTION_DAYS" => {
            about((RETENTION_DAYS + 1) * day, (RETENTION_DAYS + 1) * day)
        }
        "a week, or until it is an entry of the audit" => about(7 * day, 7 * day),
        "SHANNON_RETENTION_DAYS" => about(RETENTION_DAYS * day, (RETENTION_DAYS + 2) * day),
        // The contract signs for a quarter of an hour.
        "SHANNON_UPLOAD_URL_SECONDS, and a day" => about(900 + day, 900 + day),
        // Whoever writes these says until when; the contracts say minutes.
        "SHANNON_CLIENT_SESSION_DAYS"
        | "the wait for it"
        | "an hour after its last change"
        | "its stream"
        | "minutes"
        | "the state of the round" => about(0, 120),
        // The contract looks a minute ahead.
        "the time in which it fills, and a minute" => about(60, 122),
        // And some minutes.
        "a minute after its function last kept it, and a minute" => about(120, 460),
        other => panic!("nothing is known of {other}"),
    }
}

/// What the table leaves to rules of the bucket is what the template has rules for.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_the_bucket_are_those_of_the_table_of_retention() {
    let services = Services::start().await;
    let by_rule: Vec<(String, &str)> = RETENTION
        .iter()
        .filter_map(|kind| match (kind.place, kind.ends) {
            (Place::Object(place), Ends::ByRule(setting)) => {
                Some((place.split('*').next()?.to_owned(), setting))
            }
            _ => None,
        })
        .collect();
    let mut rules: Vec<(String, &str)> = services
        .lifecycle()
        .iter()
        .filter(|rule| rule.get("ExpirationInDays").is_some())
        .map(|rule| {
            assert_eq!(rule["Status"], "Enabled", "{rule}");
            let days = rule["ExpirationInDays"].to_string();
            // Of their parameters, which the tests of the settings tie to the settings.
            let setting = match days.trim_matches('"') {
                RULE_DAYS => "SHANNON_RETENTION_DAYS",
                AUDIT_RULE_DAYS => "SHANNON_AUDIT_RETENTION_DAYS",
                other => panic!("{other}: {rule}"),
            };
            let prefix = rule["Prefix"].as_str().expect("a prefix");
            (prefix.to_owned(), setting)
        })
        .collect();
    rules.sort();
    assert_eq!(rules, by_rule);
    // What is written in pieces and never finished goes by a rule too.
    let aborts = |rule: &serde_json::Value| {
        rule["Status"] == "Enabled"
            && rule.get("Prefix").is_none()
            && rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
    };
    assert!(services.lifecycle().iter().any(aborts));
}
