//! The ten alarms that are always deployed, and the ten that are asked for: their numbers, who hears of
//! them, and that each fires.

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

/// The ones that come with `AlarmSet=full`.
const FULL: &[Alarm] = &[
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
];

fn properties(name: &str) -> &'static Value {
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
    let looked_at: BTreeSet<&str> = ALARMS.iter().filter_map(|it| metric_of(it.0)).collect();
    for (name, filter) in resources(template, "AWS::Logs::MetricFilter") {
        let made = &filter["Properties"]["MetricTransformations"][0]["MetricName"];
        let is_core = looked_at.contains(made.as_str().expect("a name"));
        assert_eq!(filter["Condition"].is_null(), is_core, "{name}");
    }
}

/// The metric that an alarm looks at, or the first of several.
fn metric_of(alarm: &str) -> Option<&'static str> {
    let properties = properties(alarm);
    let within = &properties["Metrics"][0]["MetricStat"]["Metric"]["MetricName"];
    properties["MetricName"].as_str().or(within.as_str())
}

/// What AWS measures itself, and no filter makes.
const AWS_MEASURES: &[[&str; 2]] = &[
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
        let within = &alarm["Metrics"][0]["MetricStat"]["Metric"];
        let metric = if within.is_null() { alarm } else { within };
        if metric["Namespace"] == ours {
            looked_at.insert(metric["MetricName"].as_str().expect("a name"));
        } else {
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
    (
        "shannon_refusals_of_source",
        "functions/reconciler/src/sweep.rs",
    ),
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
        (
            "CallLogs",
            vec![line("shannon_request_duration_seconds", json!(0.5))],
            "HighResponseTime",
            false,
        ),
        (
            "CallLogs",
            vec![line("shannon_request_duration_seconds", json!(0.6))],
            "HighResponseTime",
            true,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_active_sessions", json!(90))],
            "SessionOverload",
            false,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_active_sessions", json!(91))],
            "SessionOverload",
            true,
        ),
        ("CallLogs", vec![report(204)], "HighMemoryUsage", false),
        ("CallLogs", vec![report(205)], "HighMemoryUsage", true),
        (
            "ReconcilerLogs",
            vec![line("shannon_refusals_of_source", json!(5))],
            "AuthenticationAttack",
            false,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_refusals_of_source", json!(6))],
            "AuthenticationAttack",
            true,
        ),
    ]
}

#[test]
fn every_alarm_on_lines_fires_by_them() {
    let mut fired: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    for (group, lines, alarm, expected) in minutes() {
        let made = metrics(group, &lines);
        let values = made
            .get(metric_of(alarm).expect("a metric"))
            .cloned()
            .unwrap_or_default();
        assert_eq!(breaches(alarm, &values), expected, "{alarm}: {lines:?}");
        fired.entry(alarm).or_default().insert(expected);
    }
    for (name, ..) in ALARMS.iter().chain(FULL) {
        let metric = metric_of(name).expect("a metric");
        if *name == "HighErrorRatio" {
            let ratio = &properties(name)["Metrics"][2]["Expression"];
            assert_eq!(ratio, "IF(requests >= 20, errors / requests, 0)");
        } else if AWS_MEASURES.iter().any(|[_, measured]| *measured == metric) {
            let most = properties(name)["Threshold"].as_f64().expect("a number");
            assert!(
                breaches(name, &[most + 1.0]) && !breaches(name, &[most]),
                "{name}"
            );
        } else {
            let both = BTreeSet::from([false, true]);
            assert_eq!(fired.get(name), Some(&both), "{name} is not tested");
        }
    }
}

/// The limit of each function's memory stands in its pattern, which cannot compute.
#[test]
fn memory_is_watched_at_eight_and_nine_tenths() {
    let mut watched = 0;
    let limits = [
        ("shannon_memory_pressure_total", 9),
        ("shannon_memory_high_total", 8),
    ];
    for (name, function) in resources(template(), "AWS::Lambda::Function") {
        let memory = function["Properties"]["MemorySize"]
            .as_u64()
            .expect("a number");
        let group = function["Properties"]["LoggingConfig"]["LogGroup"]["Ref"].as_str();
        let group = group.expect("a group");
        for (metric, tenths) in limits {
            let most = memory * tenths / 10;
            for (used, expected) in [(most, 0), (most + 1, 1)] {
                let made = metrics(group, &[report(used)]);
                let count = made.get(metric).map_or(0, Vec::len);
                assert_eq!(count, expected, "{name}: {metric}: {used} of {memory} MB");
            }
        }
        watched += 1;
    }
    assert!(watched >= 12, "{watched}");
}
