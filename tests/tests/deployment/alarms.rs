//! The ten alarms that are always deployed, and the nineteen that are asked for: their numbers, who hears
//! of them, and where their metrics come from.

use std::collections::BTreeSet;

use e2e::checkout;
use e2e::metric_filters::{by_default, metric_of};
use e2e::translated::{resources, template};
use serde_json::{Value, json};

/// Name, topic, comparison with the threshold, seconds of a period, how many of how many.
pub(super) type Alarm = (
    &'static str,
    &'static str,
    &'static str,
    f64,
    u64,
    (u64, u64),
);
pub(super) const ALARMS: &[Alarm] = &[
    (
        "ServiceDown",
        "CriticalTopic",
        "LessThanThreshold",
        1.0,
        300,
        (1, 1),
    ),
    (
        "NotReady",
        "CriticalTopic",
        "LessThanThreshold",
        1.0,
        300,
        (2, 3),
    ),
    (
        "HighErrorRateSustained",
        "CriticalTopic",
        "GreaterThanThreshold",
        6.0,
        60,
        (5, 5),
    ),
    (
        "VeryHighResponseTime",
        "CriticalTopic",
        "GreaterThanThreshold",
        1.0,
        60,
        (5, 5),
    ),
    (
        "HighSessionCount",
        "WarningTopic",
        "GreaterThanThreshold",
        0.8,
        60,
        (5, 5),
    ),
    (
        "SessionsLost",
        "WarningTopic",
        "GreaterThanThreshold",
        0.0,
        60,
        (1, 1),
    ),
    (
        "MemoryPressure",
        "CriticalTopic",
        "GreaterThanThreshold",
        0.0,
        60,
        (2, 2),
    ),
    (
        "CheckpointStale",
        "CriticalTopic",
        "GreaterThanThreshold",
        300.0,
        60,
        (2, 2),
    ),
    (
        "BreakerOpen",
        "CriticalTopic",
        "GreaterThanOrEqualToThreshold",
        5.0,
        60,
        (1, 1),
    ),
    (
        "AuditChainBroken",
        "CriticalTopic",
        "GreaterThanThreshold",
        0.0,
        60,
        (1, 1),
    ),
];

/// The ones that come with `AlarmSet=full`.
pub(super) const FULL: &[Alarm] = &[
    (
        "HighErrorRate",
        "WarningTopic",
        "GreaterThanThreshold",
        6.0,
        60,
        (2, 2),
    ),
    (
        "ErrorBurst",
        "CriticalTopic",
        "GreaterThanThreshold",
        600.0,
        60,
        (2, 2),
    ),
    (
        "HighErrorRatio",
        "WarningTopic",
        "GreaterThanThreshold",
        0.05,
        60,
        (5, 5),
    ),
    (
        "HighResponseTime",
        "WarningTopic",
        "GreaterThanThreshold",
        0.5,
        60,
        (5, 5),
    ),
    (
        "HighRequestRate",
        "WarningTopic",
        "GreaterThanThreshold",
        60_000.0,
        60,
        (1, 1),
    ),
    (
        "SessionOverload",
        "CriticalTopic",
        "GreaterThanThreshold",
        0.9,
        60,
        (1, 1),
    ),
    (
        "HighMemoryUsage",
        "WarningTopic",
        "GreaterThanThreshold",
        0.0,
        60,
        (5, 5),
    ),
    (
        "StoreThrottled",
        "WarningTopic",
        "GreaterThanThreshold",
        0.0,
        60,
        (5, 5),
    ),
    (
        "DeadLetters",
        "WarningTopic",
        "GreaterThanThreshold",
        0.0,
        300,
        (1, 1),
    ),
    (
        "AuthenticationAttack",
        "WarningTopic",
        "GreaterThanThreshold",
        5.0,
        60,
        (1, 1),
    ),
    (
        "HighCPUUsage",
        "WarningTopic",
        "GreaterThanThreshold",
        0.8,
        60,
        (5, 5),
    ),
    (
        "DiskFilling",
        "WarningTopic",
        "GreaterThanThreshold",
        0.8,
        60,
        (2, 2),
    ),
    (
        "DiskFillingCritical",
        "CriticalTopic",
        "GreaterThanThreshold",
        0.9,
        60,
        (2, 2),
    ),
    (
        "QueueBacklog",
        "WarningTopic",
        "GreaterThanThreshold",
        100.0,
        60,
        (5, 5),
    ),
    (
        "SlowRecovery",
        "CriticalTopic",
        "GreaterThanThreshold",
        60.0,
        60,
        (1, 1),
    ),
    (
        "SlowEventDelivery",
        "WarningTopic",
        "GreaterThanThreshold",
        0.5,
        60,
        (5, 5),
    ),
    (
        "LowCacheHitRate",
        "WarningTopic",
        "LessThanThreshold",
        0.5,
        60,
        (10, 10),
    ),
    (
        "HighTokenUsage",
        "WarningTopic",
        "GreaterThanThreshold",
        5_000.0,
        60,
        (5, 5),
    ),
    (
        "BackupStale",
        "CriticalTopic",
        "GreaterThanThreshold",
        3_600.0,
        3_600,
        (1, 1),
    ),
];

pub(super) fn properties(name: &str) -> &'static Value {
    &template()["Resources"][name]["Properties"]
}

#[test]
fn alarms_have_their_numbers_and_tell_somebody() {
    let deployed: BTreeSet<&str> = resources(template(), "AWS::CloudWatch::Alarm")
        .map(|(name, _)| name)
        .collect();
    let all = || ALARMS.iter().chain(FULL);
    let known: BTreeSet<&str> = all().map(|(name, ..)| *name).collect();
    assert_eq!(deployed, known);
    for (name, topic, operator, threshold, period, (n, of)) in all() {
        let alarm = properties(name);
        assert_eq!(alarm["ComparisonOperator"], *operator, "{name}");
        assert_eq!(alarm["Threshold"].as_f64(), Some(*threshold), "{name}");
        let within = &alarm["Metrics"][0]["MetricStat"]["Period"];
        let seconds = by_default(&alarm["Period"])
            .as_u64()
            .or_else(|| within.as_u64());
        assert_eq!(seconds, Some(*period), "{name}");
        assert_eq!(alarm["DatapointsToAlarm"], *n, "{name}");
        assert_eq!(alarm["EvaluationPeriods"], *of, "{name}");
        let missing = if ["ServiceDown", "BackupStale"].contains(name) {
            "breaching"
        } else {
            "notBreaching"
        };
        assert_eq!(*by_default(&alarm["TreatMissingData"]), missing, "{name}");
        for actions in ["AlarmActions", "OKActions"] {
            assert_eq!(alarm[actions], json!([{"Ref": topic}]), "{name}");
        }
        // Whoever is woken reads what it is about.
        let words = alarm["AlarmDescription"].as_str().expect("a description");
        let severity = topic.trim_end_matches("Topic");
        assert!(
            words.starts_with(&format!("{severity}: ")),
            "{name}: {words}"
        );
        assert_eq!(alarm["ActionsEnabled"], Value::Null, "{name}");
    }
}

/// Who asks for nothing gets what costs nothing.
#[test]
fn more_alarms_are_there_when_they_are_asked_for() {
    let template = template();
    assert_eq!(template["Parameters"]["AlarmSet"]["Default"], "core");
    let asked = json!({"Fn::Equals": [{"Ref": "AlarmSet"}, "full"]});
    assert_eq!(template["Conditions"]["HasFullAlarms"], asked);
    let conditions = |kind| {
        resources(template, kind).map(|(name, it)| (name.to_owned(), it["Condition"].clone()))
    };
    for (name, condition) in conditions("AWS::CloudWatch::Alarm") {
        let is_more = FULL.iter().any(|(more, ..)| *more == name);
        assert_eq!(condition == "HasFullAlarms", is_more, "{name}: {condition}");
    }
    // A filter that only they look at would be paid for, too.
    let looked_at: BTreeSet<&str> = ALARMS.iter().map(|it| metric_of(it.0)).collect();
    for (name, filter) in resources(template, "AWS::Logs::MetricFilter") {
        let made = &filter["Properties"]["MetricTransformations"][0]["MetricName"];
        let is_core = looked_at.contains(made.as_str().expect("a name"));
        assert_eq!(filter["Condition"].is_null(), is_core, "{name}");
    }
}

/// What AWS measures itself, and no filter makes.
pub(super) const AWS_MEASURES: &[[&str; 2]] = &[
    ["AWS/ApiGateway", "5XXError"],
    ["AWS/ApiGateway", "Count"],
    ["AWS/DynamoDB", "ThrottledRequests"],
    ["AWS/SQS", "ApproximateNumberOfMessagesVisible"],
];

/// Every metric of ours that an alarm looks at is made by a filter, and every filter is looked at.
#[test]
fn alarms_and_filters_name_the_same_metrics() {
    let ours = json!({"Fn::Sub": "Shannon/${AWS::StackName}"});
    let mut looked_at = BTreeSet::new();
    for (name, _) in resources(template(), "AWS::CloudWatch::Alarm") {
        let alarm = properties(name);
        let several = alarm["Metrics"].as_array().into_iter().flatten();
        let several = several.map(|it| &it["MetricStat"]["Metric"]);
        let one = (!alarm["MetricName"].is_null()).then_some(alarm);
        for metric in one.into_iter().chain(several.filter(|it| !it.is_null())) {
            if metric["Namespace"] == ours {
                looked_at.insert(metric["MetricName"].as_str().expect("a name"));
                continue;
            }
            let measured = [&metric["Namespace"], &metric["MetricName"]];
            let measured = measured.map(|word| word.as_str().expect("a name"));
            let known = AWS_MEASURES.contains(&measured);
            assert!(known, "{name}: {measured:?}");
        }
    }
    let mut made = BTreeSet::new();
    for (name, filter) in resources(template(), "AWS::Logs::MetricFilter") {
        for metric in filter["Properties"]["MetricTransformations"]
            .as_array()
            .expect("metrics")
        {
            assert_eq!(metric["MetricNamespace"], ours, "{name}");
            made.insert(metric["MetricName"].as_str().expect("a name"));
        }
    }
    assert_eq!(looked_at, made);
    // What the dashboard shows exists.
    let body = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
        .as_str()
        .expect("a text");
    let body: Value = serde_json::from_str(body).expect("the dashboard is JSON");
    let shown = body.to_string();
    let shown: BTreeSet<&str> = shown
        .split('"')
        .filter(|word| word.starts_with("shannon_"))
        .collect();
    assert!(!shown.is_empty() && shown.is_subset(&made), "{shown:?}");
}

/// Where a line comes from that a filter waits for: its field, and the file that writes it.
const WRITTEN: &[(&str, &str)] = &[
    (
        "shannon_request_duration_seconds",
        "shared/boot/src/http.rs",
    ),
    (
        "shannon_active_sessions",
        "functions/reconciler/src/sweep.rs",
    ),
    (
        "shannon_sessions_lost_total",
        "functions/session-runner/src/supervisor/mod.rs",
    ),
    (
        "shannon_checkpoint_age_seconds",
        "functions/session-runner/src/supervisor/cutting.rs",
    ),
    (
        "shannon_audit_failures_total",
        "shared/protocol/src/tools/verify_audit.rs",
    ),
    (
        "shannon_model_failures_total",
        "functions/model-gateway/src/upstream.rs",
    ),
    (
        "shannon_model_failures_total",
        "functions/model-gateway/src/response.rs",
    ),
    (
        "shannon_cache_hits_total",
        "functions/model-gateway/src/response.rs",
    ),
    (
        "shannon_cache_misses_total",
        "functions/model-gateway/src/response.rs",
    ),
    (
        "shannon_runner_cpu_ratio",
        "functions/session-runner/src/load.rs",
    ),
    (
        "shannon_runner_disk_ratio",
        "functions/session-runner/src/load.rs",
    ),
    (
        "shannon_command_queue_depth",
        "functions/session-runner/src/load.rs",
    ),
    (
        "shannon_command_queue_depth",
        "functions/reconciler/src/sweep.rs",
    ),
    (
        "shannon_session_recovery_seconds",
        "functions/session-runner/src/supervisor/starting.rs",
    ),
    (
        "shannon_event_delivery_seconds",
        "shared/protocol/src/tools/delivery.rs",
    ),
    ("shannon_response_tokens", "shared/boot/src/http.rs"),
    (
        "shannon_backup_age_seconds",
        "functions/reconciler/src/backups.rs",
    ),
    ("shannon_up", "functions/reconciler/src/canary.rs"),
    (
        "shannon_refusals_of_source",
        "functions/reconciler/src/sweep.rs",
    ),
    ("shannon_ready", "functions/reconciler/src/canary.rs"),
];

/// Nobody renames a field, and with it an alarm away.
#[test]
fn our_programs_write_what_filters_wait_for() {
    for (word, file) in WRITTEN {
        let text = checkout::read(file);
        assert!(text.contains(&format!("{word} = ")), "{file}: {word}");
    }
    for (name, filter) in resources(template(), "AWS::Logs::MetricFilter") {
        let pattern = filter["Properties"]["FilterPattern"]
            .as_str()
            .expect("a pattern");
        let ours = WRITTEN
            .iter()
            .any(|(word, _)| pattern.contains(&format!("$.{word} ")));
        let lambdas = pattern.starts_with("{ $.type = \"platform.report\" && ");
        assert!(ours || lambdas, "{name}: who writes {pattern}?");
    }
}
