//! That each alarm fires by the lines that its metric is made of, and not before: the filters and the
//! thresholds of the template on one minute of a log.

use std::collections::{BTreeMap, BTreeSet};

use e2e::metric_filters::{breaches, breaches_of, metric_of, metrics};
use e2e::translated::{resources, template};
use serde_json::{Value, json};

use super::alarms::{ALARMS, AWS_MEASURES, FULL, properties};

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
    let failed = |times: usize| vec![line("shannon_model_failures_total", json!(1)); times];
    let looked_up = |hits: usize, misses: usize| -> Vec<Value> {
        let answer = |hit: bool| {
            let mut line = line("shannon_cache_hits_total", json!(u8::from(hit)));
            line["shannon_cache_misses_total"] = json!(u8::from(!hit));
            line
        };
        let hits = vec![answer(true); hits];
        [hits, vec![answer(false); misses]].concat()
    };
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
        (
            "RunnerLogs",
            vec![line("shannon_runner_cpu_ratio", json!(0.8))],
            "HighCPUUsage",
            false,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_runner_cpu_ratio", json!(0.81))],
            "HighCPUUsage",
            true,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_runner_disk_ratio", json!(0.8))],
            "DiskFilling",
            false,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_runner_disk_ratio", json!(0.801))],
            "DiskFilling",
            true,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_runner_disk_ratio", json!(0.9))],
            "DiskFillingCritical",
            false,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_runner_disk_ratio", json!(0.901))],
            "DiskFillingCritical",
            true,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_command_queue_depth", json!(50)); 2],
            "QueueBacklog",
            false,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_command_queue_depth", json!(51)); 2],
            "QueueBacklog",
            true,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_command_queue_depth", json!(101))],
            "QueueBacklog",
            true,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_session_recovery_seconds", json!(60.0))],
            "SlowRecovery",
            false,
        ),
        (
            "RunnerLogs",
            vec![line("shannon_session_recovery_seconds", json!(60.001))],
            "SlowRecovery",
            true,
        ),
        (
            "CallLogs",
            vec![line("shannon_event_delivery_seconds", json!(0.5))],
            "SlowEventDelivery",
            false,
        ),
        (
            "CallLogs",
            vec![line("shannon_event_delivery_seconds", json!(0.501))],
            "SlowEventDelivery",
            true,
        ),
        (
            "LegacyLogs",
            vec![line("shannon_event_delivery_seconds", json!(0.501))],
            "SlowEventDelivery",
            true,
        ),
        (
            "ModelGatewayLogs",
            looked_up(49, 50),
            "LowCacheHitRate",
            false,
        ),
        (
            "ModelGatewayLogs",
            looked_up(50, 50),
            "LowCacheHitRate",
            false,
        ),
        (
            "ModelGatewayLogs",
            looked_up(0, 99),
            "LowCacheHitRate",
            false,
        ),
        (
            "ModelGatewayLogs",
            looked_up(49, 51),
            "LowCacheHitRate",
            true,
        ),
        (
            "CallLogs",
            vec![line("shannon_response_tokens", json!(5000))],
            "HighTokenUsage",
            false,
        ),
        (
            "CallLogs",
            vec![line("shannon_response_tokens", json!(5001))],
            "HighTokenUsage",
            true,
        ),
        (
            "ReadLogs",
            vec![line("shannon_response_tokens", json!(5001))],
            "HighTokenUsage",
            true,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_backup_age_seconds", json!(3600))],
            "BackupStale",
            false,
        ),
        (
            "ReconcilerLogs",
            vec![line("shannon_backup_age_seconds", json!(3601))],
            "BackupStale",
            true,
        ),
        ("ReconcilerLogs", vec![], "BackupStale", true),
    ]
}

#[test]
fn every_alarm_on_lines_fires_by_them() {
    let mut fired: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    for (group, lines, alarm, expected) in minutes() {
        let made = metrics(group, &lines);
        let breaches = breaches_of(alarm, &made, &BTreeMap::new());
        assert_eq!(breaches, expected, "{alarm}: {lines:?}");
        fired.entry(alarm).or_default().insert(expected);
    }
    for (name, ..) in ALARMS.iter().chain(FULL) {
        let metric = metric_of(name);
        if *name == "HighErrorRatio" {
            for (errors, requests, expected) in
                [(1.0, 20.0, false), (2.0, 20.0, true), (19.0, 19.0, false)]
            {
                let made = BTreeMap::from([
                    ("5XXError".to_owned(), vec![errors]),
                    ("Count".to_owned(), vec![requests]),
                ]);
                let breaches = breaches_of(name, &made, &BTreeMap::new());
                assert_eq!(breaches, expected, "{errors} of {requests}");
            }
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
