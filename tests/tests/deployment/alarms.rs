//! The ten alarms that are always deployed: their numbers, who hears of them, and that each fires.

use std::collections::{BTreeMap, BTreeSet};

use e2e::checkout;
use e2e::metric_filters::{breaches, by_default, metrics};
use e2e::translated::{resources, template};
use serde_json::{Value, json};

/// Name, topic, comparison with the threshold, seconds of a period, how many of how many.
type Alarm = (
    &'static str,
    &'static str,
    &'static str,
    f64,
    u64,
    (u64, u64),
);
const ALARMS: &[Alarm] = &[
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

fn properties(name: &str) -> &'static Value {
    &template()["Resources"][name]["Properties"]
}

#[test]
fn the_ten_alarms_have_their_numbers_and_tell_somebody() {
    let deployed: BTreeSet<&str> = resources(template(), "AWS::CloudWatch::Alarm")
        .map(|(name, _)| name)
        .collect();
    let known: BTreeSet<&str> = ALARMS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(deployed, known);
    for (name, topic, operator, threshold, period, (n, of)) in ALARMS {
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
        let missing = if *name == "ServiceDown" {
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

/// Every metric of ours that an alarm looks at is made by a filter, and every filter is looked at.
#[test]
fn alarms_and_filters_name_the_same_metrics() {
    let ours = json!({"Fn::Sub": "Shannon/${AWS::StackName}"});
    let mut looked_at = BTreeSet::new();
    for (name, _) in resources(template(), "AWS::CloudWatch::Alarm") {
        let alarm = properties(name);
        let within = &alarm["Metrics"][0]["MetricStat"]["Metric"];
        let metric = if within.is_null() { alarm } else { within };
        if metric["Namespace"] == ours {
            looked_at.insert(metric["MetricName"].as_str().expect("a name"));
        } else {
            assert_eq!(metric["Namespace"], "AWS/ApiGateway", "{name}");
            assert_eq!(metric["MetricName"], "5XXError", "{name}");
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

/// Where a line comes from that a filter waits for: field or message, and the file that writes it.
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
        "the model API was not reached",
        "functions/model-gateway/src/upstream.rs",
    ),
    (
        "the model API refused the key of this deployment",
        "functions/model-gateway/src/response.rs",
    ),
    ("shannon_up", "functions/reconciler/src/canary.rs"),
    ("shannon_ready", "functions/reconciler/src/canary.rs"),
];

/// Nobody renames a field or a message, and with it an alarm away.
#[test]
fn our_programs_write_what_filters_wait_for() {
    for (word, file) in WRITTEN {
        let text = checkout::read(file);
        let field = format!("{word} = ");
        let message = format!("\"{word}\"");
        assert!(
            text.contains(&field) || text.contains(&message),
            "{file}: {word}"
        );
    }
    for (name, filter) in resources(template(), "AWS::Logs::MetricFilter") {
        let pattern = filter["Properties"]["FilterPattern"]
            .as_str()
            .expect("a pattern");
        let ours = WRITTEN.iter().any(|(word, _)| {
            pattern.contains(&format!("$.{word} ")) || pattern.contains(&format!("\"{word}\""))
        });
        let lambdas = pattern.starts_with("{ $.type = \"platform.report\" && ");
        assert!(ours || lambdas, "{name}: who writes {pattern}?");
    }
}

fn report(used: u64) -> Value {
    // As Lambda writes it.
    json!({"time": "2026-11-27T10:00:00.000Z", "type": "platform.report", "record": {
        "requestId": "r", "status": "success",
        "metrics": {"durationMs": 5.1, "billedDurationMs": 6, "memorySizeMB": 256, "maxMemoryUsedMB": used}}})
}

/// One minute of a log: the group, its lines, the alarm, and whether it is one of those that make it
/// fire.
fn minutes() -> Vec<(&'static str, Vec<Value>, &'static str, bool)> {
    let line = |field: &str, value: Value| {
        let mut line = json!({"time_unix_ms": 1, "level": "info", "function": "f", "message": "m"});
        line[field] = value;
        line
    };
    let slow = |slow: usize| -> Vec<Value> {
        let seconds = |index: usize| if index < slow { 1.5 } else { 0.2 };
        (0..20)
            .map(|index| line("shannon_request_duration_seconds", json!(seconds(index))))
            .collect()
    };
    let failed =
        |times: usize| vec![line("message", json!("the model API was not reached")); times];
    vec![
        (
            "ReconcilerLogs",
            vec![line("shannon_up", json!(1))],
            "ServiceDown",
            false,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_up", json!(0))],
            "ServiceDown",
            true,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_ready", json!(1))],
            "NotReady",
            false,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_ready", json!(0))],
            "NotReady",
            true,
        ),
        ("ReconcilerLogs", vec![], "NotReady", false),
        ("ReconcilerLogs", vec![], "ServiceDown", true),
        ("CallLogs", slow(1), "VeryHighResponseTime", false),
        ("CallLogs", slow(2), "VeryHighResponseTime", true),
        ("CallLogs", vec![], "VeryHighResponseTime", false),
        (
            "ReconcilerLogs",
            vec![line("shannon_active_sessions", json!(80))],
            "HighSessionCount",
            false,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_active_sessions", json!(81))],
            "HighSessionCount",
            true,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_sessions_lost_total", json!(1))],
            "SessionsLost",
            true,
        ),
        (
            "RunnerLogs",
            vec![line("message", json!("asked to stop"))],
            "SessionsLost",
            false,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_checkpoint_age_seconds", json!(300))],
            "CheckpointStale",
            false,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_checkpoint_age_seconds", json!(301))],
            "CheckpointStale",
            true,
        ),
        ("CallLogs", vec![report(230)], "MemoryPressure", false),
        ("CallLogs", vec![report(231)], "MemoryPressure", true),
        ("ModelGatewayLogs", failed(4), "BreakerOpen", false),
        ("ModelGatewayLogs", failed(5), "BreakerOpen", true),
        (
            "CallLogs",
            vec![line("shannon_audit_failures_total", json!(1))],
            "AuditChainBroken",
            true,
        ),
        (
            "LegacyLogs",
            vec![line("shannon_audit_failures_total", json!(2))],
            "AuditChainBroken",
            true,
        ),
        (
            "CallLogs",
            vec![line("level", json!("error"))],
            "AuditChainBroken",
            false,
        ),
    ]
}

#[test]
fn every_alarm_on_lines_fires_by_them() {
    let mut fired: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    for (group, lines, alarm, expected) in minutes() {
        let made = metrics(group, &lines);
        let within = &properties(alarm)["Metrics"][0]["MetricStat"]["Metric"]["MetricName"];
        let metric = properties(alarm)["MetricName"]
            .as_str()
            .or_else(|| within.as_str());
        let values = made
            .get(metric.expect("a metric"))
            .cloned()
            .unwrap_or_default();
        assert_eq!(breaches(alarm, &values), expected, "{alarm}: {lines:?}");
        fired.entry(alarm).or_default().insert(expected);
    }
    for (name, ..) in ALARMS {
        if *name == "HighErrorRateSustained" {
            // API Gateway's own count.
            assert!(breaches(name, &[7.0]) && !breaches(name, &[6.0]));
        } else {
            let both = BTreeSet::from([false, true]);
            assert_eq!(fired.get(name), Some(&both), "{name} is not tested");
        }
    }
}

/// The limit of each function's memory stands in its pattern, which cannot compute.
#[test]
fn memory_is_watched_at_nine_tenths() {
    let mut watched = 0;
    for (name, function) in resources(template(), "AWS::Lambda::Function") {
        let memory = function["Properties"]["MemorySize"]
            .as_u64()
            .expect("a number");
        let group = function["Properties"]["LoggingConfig"]["LogGroup"]["Ref"].as_str();
        let group = group.expect("a group");
        let most = memory * 9 / 10;
        for (used, expected) in [(most, 0), (most + 1, 1)] {
            let made = metrics(group, &[report(used)]);
            let count = made
                .get("shannon_memory_pressure_total")
                .map_or(0, Vec::len);
            assert_eq!(count, expected, "{name}: {used} of {memory} MB");
        }
        watched += 1;
    }
    assert!(watched >= 12, "{watched}");
}
