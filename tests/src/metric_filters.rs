//! From log lines to alarms as CloudWatch does it: the metric filters of the template on JSON lines, and
//! what an alarm says of one period of what came of them.
//!
//! Of the pattern language what the template uses: `{ $.field op value }` joined by `&&` or `||`, and
//! `NOT EXISTS`.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html>

use std::collections::BTreeMap;

use serde_json::Value;

use crate::metric_math::evaluate;
use crate::translated::{resources, template};

/// Values of each metric that the filters of one log group make of these lines.
///
/// # Panics
/// When a filter of the template is not understood.
pub fn metrics(group: &str, lines: &[Value]) -> BTreeMap<String, Vec<f64>> {
    let mut metrics: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, filter) in resources(template(), "AWS::Logs::MetricFilter") {
        let properties = &filter["Properties"];
        if properties["LogGroupName"]["Ref"] != group {
            continue;
        }
        let pattern = properties["FilterPattern"].as_str().expect("a pattern");
        for line in lines.iter().filter(|line| matches(pattern, line)) {
            for made in properties["MetricTransformations"]
                .as_array()
                .expect("metrics")
            {
                let value = made["MetricValue"].as_str().expect("a value");
                let value = match value.strip_prefix("$.") {
                    Some(path) => at(line, path).as_f64(),
                    None => value.parse().ok(),
                };
                let value = value.unwrap_or_else(|| panic!("{name} makes no number of {line}"));
                let metric = made["MetricName"].as_str().expect("a name");
                metrics.entry(metric.to_owned()).or_default().push(value);
            }
        }
    }
    metrics
}

fn at<'line>(line: &'line Value, path: &str) -> &'line Value {
    path.split('.').fold(line, |value, name| &value[name])
}

/// Whether a line matches a pattern.
///
/// # Panics
/// When the pattern is not understood.
pub fn matches(pattern: &str, line: &Value) -> bool {
    let inner = pattern
        .strip_prefix("{ ")
        .and_then(|pattern| pattern.strip_suffix(" }"))
        .unwrap_or_else(|| panic!("not a pattern for JSON: {pattern}"));
    let and: Vec<&str> = inner.split(" && ").collect();
    let or: Vec<&str> = inner.split(" || ").collect();
    assert!(
        and.len() == 1 || or.len() == 1,
        "brackets are missing: {pattern}"
    );
    if or.len() > 1 {
        or.iter().any(|term| term_matches(term, line))
    } else {
        and.iter().all(|term| term_matches(term, line))
    }
}

fn term_matches(term: &str, line: &Value) -> bool {
    let (path, rest) = term
        .split_once(' ')
        .unwrap_or_else(|| panic!("not a term: {term}"));
    let path = path
        .strip_prefix("$.")
        .unwrap_or_else(|| panic!("not a field: {term}"));
    let value = at(line, path);
    if rest == "NOT EXISTS" {
        return value.is_null();
    }
    let (operator, wanted) = rest
        .split_once(' ')
        .unwrap_or_else(|| panic!("not a term: {term}"));
    if let Some(text) = wanted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        assert_eq!(operator, "=", "{term}");
        return value == text;
    }
    let wanted: f64 = wanted
        .parse()
        .unwrap_or_else(|_| panic!("not a value: {term}"));
    // A text is no number, whatever it holds.
    value
        .as_f64()
        .is_some_and(|value| compare(operator, value, wanted))
}

fn compare(operator: &str, value: f64, wanted: f64) -> bool {
    match operator {
        ">" | "GreaterThanThreshold" => value > wanted,
        ">=" | "GreaterThanOrEqualToThreshold" => value >= wanted,
        "LessThanThreshold" => value < wanted,
        other => panic!("{other} is no comparison that is known here"),
    }
}

/// The metric that an alarm looks at, or the first of several.
///
/// # Panics
/// When there is no such alarm.
pub fn metric_of(alarm: &str) -> &'static str {
    let properties = &template()["Resources"][alarm]["Properties"];
    let within = &properties["Metrics"][0]["MetricStat"]["Metric"]["MetricName"];
    let metric = properties["MetricName"].as_str().or(within.as_str());
    metric.unwrap_or_else(|| panic!("{alarm} is no alarm"))
}

/// Whether one period with these values is one of those that make an alarm fire. Without values it is
/// when missing data are bad.
///
/// # Panics
/// When there is no such alarm, or it is not understood.
pub fn breaches(alarm: &str, values: &[f64]) -> bool {
    breaches_where(alarm, values, &BTreeMap::new())
}

/// The same where parameters of the template are not what they are by default.
///
/// # Panics
/// When there is no such alarm, or it is not understood.
pub fn breaches_where(alarm: &str, values: &[f64], parameters: &BTreeMap<&str, f64>) -> bool {
    let made = BTreeMap::from([(metric_of(alarm).to_owned(), values.to_vec())]);
    breaches_of(alarm, &made, parameters)
}

/// The same of an alarm that may look at several metrics, with the values of each by its name.
///
/// # Panics
/// When there is no such alarm, or it is not understood.
pub fn breaches_of(
    alarm: &str,
    made: &BTreeMap<String, Vec<f64>>,
    parameters: &BTreeMap<&str, f64>,
) -> bool {
    let properties = &template()["Resources"][alarm]["Properties"];
    let Some(value) = value_of(alarm, properties, made, parameters) else {
        return by_default(&properties["TreatMissingData"]) == "breaching";
    };
    let operator = properties["ComparisonOperator"]
        .as_str()
        .expect("an operator");
    compare(
        operator,
        value,
        properties["Threshold"].as_f64().expect("a threshold"),
    )
}

/// What an alarm compares; `None` where a metric of it has no value.
fn value_of(
    alarm: &str,
    properties: &Value,
    made: &BTreeMap<String, Vec<f64>>,
    parameters: &BTreeMap<&str, f64>,
) -> Option<f64> {
    let of = |metric: &Value, stat: &Value| {
        let stat = stat
            .as_str()
            .unwrap_or_else(|| panic!("{alarm} is no alarm"));
        let values = made.get(metric.as_str().expect("a name"));
        statistic(stat, values.map_or(&[], Vec::as_slice))
    };
    let Some(metrics) = properties["Metrics"].as_array() else {
        let one = [&properties["Statistic"], &properties["ExtendedStatistic"]];
        let stat = one.into_iter().find(|stat| !stat.is_null());
        return of(&properties["MetricName"], stat.unwrap_or(&Value::Null));
    };
    let mut values = BTreeMap::new();
    let mut expression = None;
    for metric in metrics {
        match &metric["MetricStat"] {
            Value::Null => expression = Some(&metric["Expression"]),
            measured => {
                let id = metric["Id"].as_str().expect("an id");
                values.insert(
                    id,
                    of(&measured["Metric"]["MetricName"], &measured["Stat"])?,
                );
            }
        }
    }
    let expression = expression.unwrap_or_else(|| panic!("{alarm} computes nothing"));
    let substituted = expression["Fn::Sub"].as_str();
    let text = substituted.or(expression.as_str()).expect("an expression");
    Some(evaluate(&with_parameters(text, parameters), &values))
}

/// An expression with what the parameters in it are.
fn with_parameters(text: &str, parameters: &BTreeMap<&str, f64>) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').expect("a name in braces");
        let default = &template()["Parameters"][name]["Default"];
        let chosen = parameters.get(name).copied().or(default.as_f64());
        let chosen = chosen.unwrap_or_else(|| panic!("no number: {default}"));
        whole.push_str(&format!("{before}{chosen}"));
        rest = after;
    }
    whole + rest
}

/// A value as the defaults of the parameters make it. Conditions of alarms hold by default.
pub fn by_default(value: &Value) -> &Value {
    let value = match value["Fn::If"].as_array() {
        Some(choice) => &choice[1],
        None => value,
    };
    match value["Ref"].as_str() {
        Some(parameter) => &template()["Parameters"][parameter]["Default"],
        None => value,
    }
}

fn statistic(stat: &str, values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    Some(match stat {
        "Sum" => sorted.iter().sum(),
        "Maximum" => most,
        "Minimum" => least,
        "p95" => {
            let rank = (sorted.len() * 95).div_ceil(100);
            sorted[rank - 1]
        }
        other => panic!("{other} is no statistic that is known here"),
    })
}
