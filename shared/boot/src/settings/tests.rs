//! The rules for settings, each with a value that breaks it.

use std::io::Write as _;

use super::table::{Kind, Table};
use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::read(
        variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn refused(name: &str, value: &str) -> String {
    match read(&[(name, value)]) {
        Ok(_) => panic!("{name}={value} was taken"),
        Err(error) => error.to_string(),
    }
}

/// 40 bytes that no sample looks like.
const SECRET: &str = "kR8vT2nQ5wXzB7mJ4hLcG9pYdF3sAeU6oViN1tKx";

#[test]
fn every_default_is_allowed_by_its_own_row() {
    for row in Table::load().expect("the table reads").rows() {
        if let Some(default) = row.default.as_deref().filter(|text| !text.is_empty()) {
            assert_eq!(check(row, default), Ok(()), "{}", row.name);
        }
    }
}

#[test]
fn every_range_has_two_ends() {
    let mut seen = 0;
    for row in Table::load().expect("the table reads").rows() {
        let (Kind::Integer | Kind::Decimal, Some(minimum), Some(maximum)) =
            (row.kind, row.minimum, row.maximum)
        else {
            continue;
        };
        seen += 1;
        for good in [minimum, maximum] {
            assert_eq!(check(row, &good.to_string()), Ok(()), "{}", row.name);
        }
        let step = if row.kind == Kind::Integer {
            1.0
        } else {
            0.001
        };
        for bad in [minimum - step, maximum + step] {
            let message = check(row, &bad.to_string())
                .expect_err("outside")
                .to_string();
            assert!(message.contains(&row.name), "{message}");
            assert!(message.contains(&minimum.to_string()), "{message}");
            assert!(message.contains(&maximum.to_string()), "{message}");
        }
    }
    assert!(seen > 20, "only {seen} rows have a range");
}

#[test]
fn a_misspelt_variable_stops_the_start() {
    assert_eq!(
        refused("SHANNON_MAX_SESSION", "3"),
        "SHANNON_MAX_SESSION is not a setting; infra/settings.toml lists them"
    );
    assert!(read(&[("PATH", "/bin"), ("SHANNONX", "1")]).is_ok());
    // Only a secret has a file.
    assert!(refused("SHANNON_MAX_TURNS_FILE", "x").contains("is not a setting"));
}

#[test]
fn a_bad_value_is_named_with_what_is_right() {
    for (name, value, allowed) in [
        ("SHANNON_MAX_TURNS", "many", "1 to 500"),
        ("SHANNON_MAX_TURNS", "", "1 to 500"),
        ("SHANNON_MAX_TURNS", "-1", "1 to 500"),
        ("SHANNON_MAX_TURNS", "1e2", "1 to 500"),
        ("SHANNON_MAX_BUDGET_USD", "NaN", "0.01 to 10000"),
        ("SHANNON_DEBUG", "yes", "true, false"),
        ("SHANNON_LOG_FORMAT", "xml", "json, text"),
        ("SHANNON_LOG_LEVEL", "loud", "trace, debug"),
        ("SHANNON_LOG_LEVEL", "call=loud", "trace, debug"),
        ("SHANNON_STAGE", "Prod", "a-z, 0-9"),
        ("SHANNON_CLAUDE_VERSION", "latest", "1.2.3"),
        ("SHANNON_BIND", "localhost", "IP address"),
        ("SHANNON_RUNNER_CPU_UNITS", "300", "256, 512"),
        ("SHANNON_TABLE", "a\nb", "one line"),
    ] {
        let message = refused(name, value);
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
        assert!(message.contains(allowed), "{message}");
    }
    assert!(read(&[("SHANNON_LOG_LEVEL", "warn,call=debug")]).is_ok());
}

#[test]
fn a_bad_secret_is_refused_without_being_shown() {
    for bad in [
        "short",
        "example-example-example-example-example",
        &"a".repeat(40),
        "has a space in it and is long enough though",
    ] {
        let message = refused("SHANNON_SIGNING_KEY", bad);
        assert!(message.starts_with("SHANNON_SIGNING_KEY: "), "{message}");
        assert!(message.contains("at least 32"), "{message}");
        assert!(!message.contains(bad), "{message}");
    }
    let settings = read(&[("SHANNON_SIGNING_KEY", SECRET)]).expect("a good secret");
    let secret = settings.secret("SHANNON_SIGNING_KEY").expect("set");
    assert_eq!(secret.expose(), SECRET);
    assert!(!format!("{secret:?} {settings:?}").contains(SECRET));
    assert!(
        read(&[("SHANNON_SIGNING_KEY", "")]).is_ok_and(|settings| matches!(
            settings.secret("SHANNON_SIGNING_KEY"),
            Err(SettingsError::Missing { .. })
        ))
    );
}

#[test]
fn a_secret_can_come_from_a_file() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{SECRET}").expect("it is writable");
    let path = file.path().to_str().expect("UTF-8");
    let settings = read(&[("SHANNON_SIGNING_KEY_FILE", path)]).expect("a good file");
    assert_eq!(
        settings
            .secret("SHANNON_SIGNING_KEY")
            .expect("set")
            .expose(),
        SECRET
    );

    let both = [
        ("SHANNON_SIGNING_KEY", SECRET),
        ("SHANNON_SIGNING_KEY_FILE", path),
    ];
    assert!(matches!(read(&both), Err(SettingsError::Invalid { .. })));
    assert!(matches!(
        read(&[("SHANNON_SIGNING_KEY_FILE", "/nonexistent/key")]),
        Err(SettingsError::File { .. })
    ));
    let empty = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = empty.path().to_str().expect("UTF-8");
    assert!(matches!(
        read(&[("SHANNON_DEV_TOKEN_FILE", path)]),
        Err(SettingsError::Invalid { .. })
    ));
}

#[test]
fn a_lease_lasts_three_heartbeats() {
    assert!(
        read(&[
            ("SHANNON_LEASE_SECONDS", "9"),
            ("SHANNON_HEARTBEAT_SECONDS", "3")
        ])
        .is_ok()
    );
    let message = read(&[
        ("SHANNON_LEASE_SECONDS", "8"),
        ("SHANNON_HEARTBEAT_SECONDS", "3"),
    ])
    .expect_err("too short")
    .to_string();
    assert!(message.contains("three heartbeats"), "{message}");
}

#[test]
fn the_deployment_follows_the_settings() {
    let default = read(&[]).expect("defaults").deployment().expect("whole");
    assert_eq!(default.max_sessions, 100);
    assert!(!default.is_local());
    let changed = read(&[
        ("SHANNON_MAX_SESSIONS", "1"),
        ("SHANNON_MAX_SESSIONS_PER_OWNER", "2"),
        ("SHANNON_MAX_QUEUED_MESSAGES", "3"),
        ("SHANNON_MAX_TURNS", "4"),
        ("SHANNON_MAX_BUDGET_USD", "0.5"),
        ("SHANNON_ALLOW_BYPASS_PERMISSIONS", "true"),
        ("SHANNON_ELICITATION_APPROVES", "one, two"),
        ("SHANNON_SAFETY_TIER", "strict"),
        ("SHANNON_WORKSPACE_ROOTS", "/a:/b"),
        ("SHANNON_MAX_UPLOAD_BYTES", "1048576"),
        ("SHANNON_UPLOAD_URL_SECONDS", "60"),
        ("SHANNON_WAIT_DEFAULT_SECONDS", "0"),
        ("SHANNON_WAIT_MAX_SECONDS", "5"),
        ("SHANNON_RESPONSE_BUDGET_CHARACTERS", "600"),
        ("SHANNON_LEASE_SECONDS", "12"),
        ("SHANNON_RETENTION_DAYS", "7"),
        ("SHANNON_AUDIT_RETENTION_DAYS", "8"),
        ("SHANNON_SESSION_TOKEN_SECONDS", "61"),
    ])
    .expect("good values")
    .deployment()
    .expect("whole");
    let expected = Deployment {
        max_sessions: 1,
        max_sessions_per_owner: 2,
        max_queued_messages: 3,
        max_turns: 4,
        max_budget_usd: 0.5,
        allow_bypass_permissions: true,
        elicitation_approves: vec!["one".to_owned(), "two".to_owned()],
        tier: domain::Tier::Strict,
        workspace_roots: vec!["/a".to_owned(), "/b".to_owned()],
        max_upload_bytes: 1_048_576,
        upload_url_seconds: 60,
        wait_default_seconds: 0,
        wait_max_seconds: 5,
        response_budget_characters: 600,
        lease_milliseconds: 12_000,
        retention_days: 7,
        audit_retention_days: 8,
        session_token_seconds: 61,
    };
    assert_eq!(changed, expected);
}

#[test]
fn sweeps_follow_the_settings() {
    let default = read(&[]).expect("defaults");
    assert_eq!(default.slots().expect("whole").deployment, 100);
    let retention = default.retention().expect("whole");
    assert_eq!(retention.max_checkpoints, 1000);
    assert_eq!(retention.checkpoint_milliseconds, 90 * 86_400_000);
    assert_eq!(retention.grace_milliseconds, 86_400_000);
    let changed = read(&[
        ("SHANNON_MAX_SESSIONS", "5"),
        ("SHANNON_MAX_SESSIONS_PER_OWNER", "4"),
        ("SHANNON_MAX_CHECKPOINTS", "3"),
        ("SHANNON_CHECKPOINT_RETENTION_DAYS", "2"),
        ("SHANNON_CHECKPOINT_GRACE_HOURS", "1"),
    ])
    .expect("good values");
    let slots = changed.slots().expect("whole");
    assert_eq!((slots.deployment, slots.owner), (5, 4));
    let retention = changed.retention().expect("whole");
    assert_eq!(retention.max_checkpoints, 3);
    assert_eq!(retention.checkpoint_milliseconds, 2 * 86_400_000);
    assert_eq!(retention.grace_milliseconds, 3_600_000);
}

#[test]
fn an_administrator_sees_values_and_no_secret() {
    let settings = read(&[
        ("SHANNON_MAX_TURNS", "7"),
        ("SHANNON_SIGNING_KEY", SECRET),
        ("SHANNON_DEV_TOKEN", SECRET),
    ])
    .expect("both are right");
    let shown = settings.shown("read");
    assert!(!shown.to_string().contains(SECRET));
    let find = |name: &str| {
        let rows = shown["settings"].as_array().expect("settings");
        rows.iter()
            .find(|row| row["name"] == name)
            .unwrap_or_else(|| panic!("{name} is missing"))
            .clone()
    };
    let given = find("SHANNON_MAX_TURNS");
    assert_eq!(
        (&given["value"], &given["from"]),
        (&"7".into(), &"environment".into())
    );
    let default = find("SHANNON_MAX_BUDGET_USD");
    assert_eq!(
        (&default["value"], &default["from"]),
        (&"10".into(), &"default".into())
    );
    let secret = find("SHANNON_SIGNING_KEY");
    assert_eq!((&secret["set"], secret.get("value")), (&true.into(), None));
    // What this function is not given it cannot know.
    let elsewhere = find("SHANNON_CLONE_TIMEOUT_SECONDS");
    assert_eq!(
        (elsewhere.get("value"), &elsewhere["default"]),
        (None, &"300".into())
    );
}
