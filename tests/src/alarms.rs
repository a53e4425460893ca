//! The alarms of the template over the logs of a running stack: the same log groups, filters and
//! thresholds, with the values that the stack was given for the template's parameters.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::metric_filters::{breaches_where, metric_of, metrics};
use crate::process;
use crate::stack::Stack;
use crate::translated::{resources, template};

/// How long a line may take to be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(90);

/// The log groups of the template, each with the file that a local stack writes in its place.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (name, function) in resources(template(), "AWS::Lambda::Function") {
        let properties = &function["Properties"];
        let group = properties["LoggingConfig"]["LogGroup"]["Ref"].as_str();
        let file = properties["FunctionName"]["Fn::Sub"]
            .as_str()
            .and_then(|name| name.strip_prefix("${AWS::StackName}-"));
        let (Some(group), Some(file)) = (group, file) else {
            panic!("{name} has no log group or no name of its stack");
        };
        files.insert(group.to_owned(), file.to_owned());
    }
    for (_, task) in resources(template(), "AWS::ECS::TaskDefinition") {
        let container = &task["Properties"]["ContainerDefinitions"][0];
        let group = &container["LogConfiguration"]["Options"]["awslogs-group"]["Ref"];
        let of = |value: &Value| value.as_str().expect("text").to_owned();
        files.insert(of(group), of(&container["Name"]));
    }
    files
}

/// The JSON lines of a log, which the emulator puts a time and an instance before.
fn lines(logs: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read(logs.join(format!("{file}.log"))).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let json = |line: &str| serde_json::from_str(&line[line.find('{')?..]).ok();
    text.lines().filter_map(json).collect()
}

/// The values of the metric that an alarm looks at, of everything the stack has logged.
///
/// # Panics
/// When there is no such alarm.
pub fn values(stack: &Stack, alarm: &str) -> Vec<f64> {
    let metric = metric_of(alarm);
    let logs = stack.state.join("logs");
    let of_group = |(group, file): (String, String)| {
        let mut made = metrics(&group, &lines(&logs, &file));
        made.remove(metric).unwrap_or_default()
    };
    files().into_iter().flat_map(of_group).collect()
}

/// Waits until the last values of an alarm's metric, as many as a period of it may have, would make
/// it fire.
///
/// # Panics
/// When they do not, in good time; or when the first `before` values do.
pub fn fires(stack: &Stack, alarm: &str, before: usize, parameters: &BTreeMap<&str, f64>) {
    let mut seen = Vec::new();
    let fired = process::eventually(WRITTEN_WITHIN, || {
        seen = values(stack, alarm).split_off(before);
        !seen.is_empty() && breaches_where(alarm, &seen, parameters)
    });
    assert!(fired, "{alarm}: {seen:?}\n{}", stack.logs());
}
