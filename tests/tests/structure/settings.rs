//! Every setting that a person can set has a test that changing it changes what happens.

use std::collections::{BTreeMap, BTreeSet};

use e2e::checkout;

const BOOT: &str = "shared/boot/src/settings/tests.rs";
const EMULATOR: &str = "emulator/tests/command_line/main.rs";
const EMULATOR_BACKUPS: &str = "emulator/tests/command_line/backups.rs";
const EMULATOR_LOGS: &str = "emulator/tests/command_line/logs.rs";
const FAILURES: &str = "functions/session-runner/tests/runner/failures/mod.rs";
const RUNNER_APPROVALS: &str = "functions/session-runner/tests/runner/approvals.rs";
const GATEWAY: &str = "functions/model-gateway/src/gateway/tests.rs";
const JOURNAL: &str = "functions/session-runner/src/journal/tests.rs";
const LOCATE: &str = "shared/claude/tests/locate.rs";
const RATES: &str = "shared/protocol/tests/wire/rates.rs";
const STACK: &str = "tests/tests/stack/settings.rs";
const STORE: &str = "shared/store/tests/emulated/lifetimes.rs";
const TABLE: &str = "emulator/tests/settings.rs";
const WEBHOOKS: &str = "functions/projector/src/webhooks/tests.rs";
const TASK: &str = "functions/session-runner/src/task.rs";

/// Setting without its prefix, file, test.
const TESTED: &[(&str, &str, &str)] = &[
    (
        "ACCESS_TOKEN",
        "emulator/tests/stdio.rs",
        "requests_come_back_as_lines",
    ),
    (
        "ALLOWED_HOSTS",
        "shared/protocol/tests/wire/modern.rs",
        "only_listed_hosts_are_served",
    ),
    ("ALLOWED_ORIGINS", STACK, "sizes_and_times_of_requests"),
    (
        "ALARM_SET",
        "tests/tests/deployment/alarms.rs",
        "more_alarms_are_there_when_they_are_asked_for",
    ),
    (
        "ALLOW_BYPASS_PERMISSIONS",
        "tests/tests/stack/permissions.rs",
        "bypass_is_refused_where_it_is_not",
    ),
    (
        "SAFETY_TIER",
        "tests/tests/stack/permissions.rs",
        "a_stricter_session_asks_where_its_deployment_does_not",
    ),
    (
        "APPROVAL_EXPIRY_SECONDS",
        RUNNER_APPROVALS,
        "an_approval_that_nobody_decides_is_a_denial",
    ),
    (
        "ELICITATION_APPROVES",
        "shared/protocol/tests/wire/approvals.rs",
        "a_form_decides_only_where_that_is_permitted",
    ),
    (
        "DEV_ISSUER",
        "tests/tests/stack/login.rs",
        "the_stack_has_an_issuer_of_its_own_unless_it_is_told_otherwise",
    ),
    (
        "OIDC_ISSUER",
        "tests/tests/stack/login.rs",
        "whoever_has_a_token_of_the_issuer_is_let_in",
    ),
    (
        "OIDC_OWNERS",
        "tests/tests/stack/login.rs",
        "the_settings_say_which_tokens_count_and_what_they_allow",
    ),
    (
        "OIDC_AUDIENCE",
        "tests/tests/stack/login.rs",
        "the_settings_say_which_tokens_count_and_what_they_allow",
    ),
    (
        "OIDC_JWKS_URL",
        "tests/tests/stack/login.rs",
        "the_settings_say_which_tokens_count_and_what_they_allow",
    ),
    (
        "OIDC_ALGORITHMS",
        "tests/tests/stack/login.rs",
        "the_settings_say_which_tokens_count_and_what_they_allow",
    ),
    (
        "OIDC_SCOPE_CLAIMS",
        "tests/tests/stack/login.rs",
        "the_settings_say_which_tokens_count_and_what_they_allow",
    ),
    (
        "OIDC_SCOPE_MAP",
        "tests/tests/stack/login.rs",
        "the_settings_say_which_tokens_count_and_what_they_allow",
    ),
    (
        "OIDC_SCOPE_PREFIX",
        "functions/authorizer/src/issuer_tests.rs",
        "the_prefix_of_the_issuer_is_taken_off_its_scopes",
    ),
    (
        "OIDC_CLIENTS",
        "functions/authorizer/src/issuer_tests.rs",
        "a_token_without_an_audience_is_good_for_clients_that_are_named",
    ),
    (
        "OIDC_ADDRESSES",
        "tests/tests/stack/login.rs",
        "an_issuer_on_this_machine_is_for_local_deployments",
    ),
    (
        "JWKS_CACHE_SECONDS",
        "functions/authorizer/src/jwks_tests.rs",
        "the_setting_decides_how_long_keys_are_kept",
    ),
    (
        "CLOCK_SKEW_SECONDS",
        "functions/authorizer/src/issuer_tests.rs",
        "only_in_its_time_give_or_take_the_skew",
    ),
    (
        "AUTHORIZATION_CACHE_SECONDS",
        "tests/tests/stack/keys.rs",
        "a_revoked_key_passes_for_as_long_as_answers_are_kept",
    ),
    (
        "APPEND_BATCH_BYTES",
        JOURNAL,
        "entries_are_gathered_by_time_and_by_size",
    ),
    (
        "APPEND_BATCH_MILLISECONDS",
        JOURNAL,
        "entries_are_gathered_by_time_and_by_size",
    ),
    (
        "TRUSTED_PROXIES",
        "tests/tests/stack/audit.rs",
        "what_is_denied_is_in_the_audit_and_what_is_taken_away_is_found",
    ),
    (
        "BACKUPS",
        EMULATOR_BACKUPS,
        "a_service_takes_backups_where_and_when_the_settings_say",
    ),
    (
        "BACKUP_COMMAND",
        EMULATOR_BACKUPS,
        "a_service_takes_backups_where_and_when_the_settings_say",
    ),
    (
        "BACKUP_DIRECTORY",
        EMULATOR_BACKUPS,
        "a_service_takes_backups_where_and_when_the_settings_say",
    ),
    (
        "BACKUP_INTERVAL_HOURS",
        EMULATOR_BACKUPS,
        "a_service_takes_backups_where_and_when_the_settings_say",
    ),
    (
        "BACKUP_RETENTION_DAYS",
        EMULATOR_BACKUPS,
        "a_service_takes_backups_where_and_when_the_settings_say",
    ),
    (
        "STATE_KEY_FILE",
        EMULATOR_BACKUPS,
        "a_state_with_a_key_is_read_with_that_key_only",
    ),
    ("BIND", EMULATOR, "an_address_for_others_is_warned_of"),
    (
        "CANARY_INTERVAL_SECONDS",
        "functions/reconciler/src/canary.rs",
        "it_looks_once_in_an_interval",
    ),
    (
        "CLAUDE_UPDATE_CHECK_SECONDS",
        "functions/reconciler/src/updates/tests.rs",
        "a_newer_release_is_kept_and_told_once",
    ),
    (
        "NPM_REGISTRY_URL",
        "functions/reconciler/src/updates/tests.rs",
        "a_newer_release_is_kept_and_told_once",
    ),
    ("CATALOG_TTL_SECONDS", STACK, "sizes_and_times_of_requests"),
    ("CHECKPOINT_GRACE_HOURS", BOOT, "sweeps_follow_the_settings"),
    (
        "CHECKPOINT_COMPRESSION_LEVEL",
        "shared/checkpoint/tests/snapshots/incremental.rs",
        "the_level_decides_how_small_it_becomes_and_not_what_comes_back",
    ),
    (
        "CHECKPOINT_INTERVAL_SECONDS",
        "functions/session-runner/src/supervisor/cuts.rs",
        "changes_are_kept_soon_and_no_later_than_the_interval",
    ),
    (
        "CHECKPOINT_RETENTION_DAYS",
        BOOT,
        "sweeps_follow_the_settings",
    ),
    (
        "CHECKPOINT_STRATEGY",
        "functions/session-runner/src/supervisor/cuts.rs",
        "changes_are_kept_soon_and_no_later_than_the_interval",
    ),
    (
        "CLAUDE_CACHE_SECONDS",
        "emulator/src/claude_install/remembered.rs",
        "an_answer_holds_while_question_and_file_are_the_same",
    ),
    ("CLAUDE_NVM_CHECK", LOCATE, "every_layout_is_found_once"),
    ("CLAUDE_SEARCH_PATHS", LOCATE, "every_layout_is_found_once"),
    (
        "CLAUDE_VERSION",
        LOCATE,
        "only_the_supported_version_is_selected",
    ),
    (
        "CLIENT_SESSION_DAYS",
        "shared/protocol/tests/wire/bridge/sessions.rs",
        "a_session_lives_as_long_as_it_is_used_and_a_while_longer",
    ),
    (
        "CLONE_TIMEOUT_SECONDS",
        STACK,
        "sessions_and_what_they_may_do",
    ),
    ("CONFIG_PATH", TABLE, "later_places_win"),
    (
        "CONNECT_TIMEOUT_SECONDS",
        "shared/boot/src/outbound.rs",
        "a_server_that_takes_no_connection_is_given_up",
    ),
    (
        "DEBUG",
        "shared/boot/src/logging.rs",
        "causes_are_shown_only_for_debugging",
    ),
    ("DEV_TOKEN", EMULATOR, "the_token_can_be_given"),
    (
        "HEALTH_INTERVAL_SECONDS",
        TABLE,
        "every_parameter_changes_the_stack",
    ),
    (
        "HEARTBEAT_SECONDS",
        JOURNAL,
        "the_lease_is_kept_while_nothing_happens",
    ),
    (
        "IDLE_SUSPEND_SECONDS",
        STACK,
        "sessions_and_what_they_may_do",
    ),
    ("KEEP_ALIVE_SECONDS", STACK, "waits_and_answers"),
    (
        "KEEP_DELTAS_HOURS",
        STORE,
        "live_text_expires_after_its_hours",
    ),
    (
        "KILL_GRACE_SECONDS",
        FAILURES,
        "a_stopped_runner_leaves_its_session_to_the_next",
    ),
    (
        "LEASE_SECONDS",
        JOURNAL,
        "the_lease_is_kept_while_nothing_happens",
    ),
    (
        "LOG_FILE_COUNT",
        EMULATOR_LOGS,
        "log_files_are_as_large_and_as_many_as_the_settings_say",
    ),
    (
        "LOG_FILE_MAX_BYTES",
        EMULATOR_LOGS,
        "log_files_are_as_large_and_as_many_as_the_settings_say",
    ),
    ("LOG_FORMAT", STACK, "the_whole_deployment_and_its_logs"),
    ("LOG_LEVEL", STACK, "the_whole_deployment_and_its_logs"),
    (
        "LOG_RETENTION_DAYS",
        EMULATOR_LOGS,
        "logs_go_when_they_are_older_than_the_settings_say",
    ),
    ("MAX_BUDGET_USD", STACK, "sessions_and_what_they_may_do"),
    ("MAX_CHECKPOINTS", BOOT, "sweeps_follow_the_settings"),
    (
        "MAX_LINE_BYTES",
        FAILURES,
        "garbage_and_endless_lines_do_not_end_a_session",
    ),
    (
        "MAX_QUEUED_MESSAGES",
        STACK,
        "sessions_and_what_they_may_do",
    ),
    (
        "MAX_REQUEST_BODY_BYTES",
        STACK,
        "sizes_and_times_of_requests",
    ),
    ("MAX_SESSIONS", STACK, "the_whole_deployment_and_its_logs"),
    (
        "MAX_SESSIONS_PER_OWNER",
        STACK,
        "sessions_and_what_they_may_do",
    ),
    ("MAX_TURNS", STACK, "sessions_and_what_they_may_do"),
    ("MAX_UPLOAD_BYTES", STACK, "sizes_and_times_of_requests"),
    (
        "MODEL_TIMEOUT_SECONDS",
        GATEWAY,
        "an_api_that_is_not_there_or_silent_is_an_error_that_is_tried_again",
    ),
    ("PORT", EMULATOR, "a_used_port_is_said"),
    (
        "PUBLIC_URL",
        "tests/tests/service/limits.rs",
        "events_and_uploads_pass_nginx",
    ),
    (
        "READY_DEADLINE_MILLISECONDS",
        "functions/model-gateway/src/ready/tests.rs",
        "each_that_fails_or_is_silent_turns_it_red_within_the_deadline",
    ),
    (
        "REQUEST_TIMEOUT_SECONDS",
        STACK,
        "requests_end_at_their_time",
    ),
    (
        "RATE_LIMIT_PER_SECOND",
        RATES,
        "above_the_burst_it_is_429_and_nobody_else_is_slower",
    ),
    (
        "RATE_LIMIT_BURST",
        RATES,
        "above_the_burst_it_is_429_and_nobody_else_is_slower",
    ),
    (
        "MAX_OPEN_STREAMS",
        RATES,
        "streams_are_counted_and_freed_when_they_end",
    ),
    (
        "STAGE_RATE_LIMIT_PER_SECOND",
        TABLE,
        "every_parameter_changes_the_stack",
    ),
    (
        "STAGE_RATE_LIMIT_BURST",
        TABLE,
        "every_parameter_changes_the_stack",
    ),
    ("RESPONSE_BUDGET_CHARACTERS", STACK, "waits_and_answers"),
    (
        "AUDIT_RETENTION_DAYS",
        STORE,
        "every_stored_thing_goes_as_the_table_of_retention_says",
    ),
    (
        "RETENTION_DAYS",
        STORE,
        "a_session_expires_after_its_retention_and_is_gone_before_the_sweep",
    ),
    (
        "RUNNER_BUFFER_BYTES",
        "functions/session-runner/tests/runner/failures/floods.rs",
        "while_the_log_cannot_be_written_the_cli_waits_and_nothing_is_lost",
    ),
    (
        "RUNNER_CPU_UNITS",
        TABLE,
        "every_parameter_changes_the_stack",
    ),
    (
        "RUNNER_DISK_GIB",
        TABLE,
        "every_parameter_changes_the_stack",
    ),
    (
        "RUNNER_MEMORY_MIB",
        TABLE,
        "every_parameter_changes_the_stack",
    ),
    (
        "SESSION_TIMEOUT_SECONDS",
        FAILURES,
        "an_idle_session_is_suspended_and_a_long_one_times_out",
    ),
    (
        "SESSION_TOKEN_SECONDS",
        GATEWAY,
        "a_token_is_renewed_for_the_same_runner",
    ),
    (
        "SHORT_REQUEST_TIMEOUT_SECONDS",
        STACK,
        "requests_end_at_their_time",
    ),
    (
        "SILENCE_TIMEOUT_SECONDS",
        FAILURES,
        "a_silent_cli_is_interrupted_and_goes_on",
    ),
    (
        "SLOW_REQUEST_MILLISECONDS",
        STACK,
        "the_whole_deployment_and_its_logs",
    ),
    (
        "LISTEN_SECONDS",
        "shared/protocol/tests/wire/listen.rs",
        "many_are_cut_to_the_limit_and_none_are_served_where_it_is_off",
    ),
    (
        "SSE_PAIR",
        "shared/protocol/tests/wire/bridge/pair.rs",
        "where_it_is_off_it_says_so",
    ),
    (
        "SSE_STREAM_SECONDS",
        "shared/protocol/tests/wire/bridge/pair.rs",
        "a_client_that_connects_again_goes_on_with_its_session",
    ),
    ("STAGE", STACK, "the_whole_deployment_and_its_logs"),
    (
        "STATE_DIRECTORY",
        EMULATOR,
        "a_state_directory_has_one_user",
    ),
    (
        "STOP_TIMEOUT_SECONDS",
        TASK,
        "a_runner_that_is_stopped_has_its_time_and_no_more",
    ),
    // Not seen from outside by design: the lines are the same whatever the chunks are.
    (
        "STREAM_CHUNK_BYTES",
        "shared/claude/src/lines.rs",
        "no_more_is_asked_for_at_once_than_the_setting_says",
    ),
    ("UPLOAD_URL_SECONDS", STACK, "sizes_and_times_of_requests"),
    (
        "NOTIFICATION_GROUP_SECONDS",
        TABLE,
        "every_parameter_changes_the_stack",
    ),
    (
        "WEBHOOK_ADDRESSES",
        WEBHOOKS,
        "a_deployment_posts_to_public_addresses_and_signs",
    ),
    (
        "WEBHOOK_ATTEMPTS",
        WEBHOOKS,
        "it_is_given_up_after_its_attempts_and_no_redirect_is_followed",
    ),
    (
        "WEBHOOK_SECRET",
        WEBHOOKS,
        "a_deployment_posts_to_public_addresses_and_signs",
    ),
    (
        "WEBHOOK_TIMEOUT_SECONDS",
        WEBHOOKS,
        "a_silent_receiver_has_its_time_and_no_more",
    ),
    (
        "WEBHOOK_URL",
        WEBHOOKS,
        "a_deployment_posts_to_public_addresses_and_signs",
    ),
    ("WAIT_DEFAULT_SECONDS", STACK, "waits_and_answers"),
    ("WAIT_MAX_SECONDS", STACK, "waits_and_answers"),
    (
        "TRANSCRIPT_FLUSH_MILLISECONDS",
        "functions/session-runner/src/transcript/tests.rs",
        "what_came_is_stored_within_the_time_also_when_the_bucket_failed_meanwhile",
    ),
    (
        "WORKSPACE_ROOTS",
        "tests/tests/stack/files.rs",
        "a_directory_is_copied_and_nothing_outside_its_root",
    ),
];

/// Names in the table that a person may set, without the prefix.
fn settable() -> BTreeSet<String> {
    let table = checkout::read("infra/settings.toml");
    let value = |row: &str, key: &str| {
        row.lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")))
            .map(|text| text.trim_matches('"').to_owned())
    };
    table
        .split("[[setting]]")
        .skip(1)
        .filter(|row| value(row, "kind").as_deref() != Some("wiring"))
        .map(|row| {
            let name = value(row, "name").expect("a setting has a name");
            name.trim_start_matches("SHANNON_").to_owned()
        })
        .collect()
}

/// Names below `[later]`, without the prefix, and what each waits for.
fn later() -> BTreeMap<String, String> {
    let table = checkout::read("infra/settings.toml");
    let (_, rows) = table.split_once("\n[later]\n").expect("a table `later`");
    rows.lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, waits_for)| {
            let name = name.strip_prefix("SHANNON_").expect("a setting");
            (name.to_owned(), waits_for.trim_matches('"').to_owned())
        })
        .collect()
}

/// What waits for a later issue says for which, is no setting yet, and nothing reads it.
#[test]
fn what_comes_later_is_not_there_yet() {
    let settable = settable();
    let later = later();
    assert!(!later.is_empty());
    let mut readers = vec![("template.yaml".to_owned(), checkout::read("template.yaml"))];
    for file in checkout::files() {
        let of_product = ["emulator", "functions", "shared"]
            .iter()
            .any(|it| file.starts_with(it));
        if of_product && file.extension().is_some_and(|extension| extension == "rs") {
            readers.push((file.display().to_string(), checkout::read(&file)));
        }
    }
    assert!(readers.len() > 100, "{} files", readers.len());
    for (name, waits_for) in &later {
        assert!(waits_for.contains("(issue "), "{name}: {waits_for:?}");
        assert!(!settable.contains(name), "SHANNON_{name} is a setting now");
        for (file, text) in &readers {
            assert!(
                !text.contains(&format!("SHANNON_{name}")),
                "{file} reads SHANNON_{name}"
            );
        }
    }
}

#[test]
fn every_setting_has_a_test() {
    let tested: BTreeSet<String> = TESTED.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let settable = settable();
    let without: Vec<_> = settable.difference(&tested).collect();
    let gone: Vec<_> = tested.difference(&settable).collect();
    assert!(
        without.is_empty() && gone.is_empty(),
        "write a test that changing it changes behaviour and list it in {}: {without:?}; no settings any more: {gone:?}",
        file!()
    );
    assert!(checkout::read(BOOT).contains("fn the_deployment_follows_the_settings()"));
    for (name, file, test) in TESTED {
        let declared = format!("fn {test}()");
        assert!(
            checkout::read(file).contains(&declared),
            "SHANNON_{name}: {file} has no {declared}"
        );
    }
}
