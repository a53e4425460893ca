//! Event source mappings of streams, and the topics and queues that they and functions send to.

use serde_json::Value;

use super::{
    ACCOUNT, FunctionResource, REGION, Stack, StreamMapping, TemplateError,
    functions::{number, only, only_in, word},
    intrinsics::invalid,
    load::Resource,
};

/// What is understood of a mapping. One batch at a time, so `ParallelizationFactor` is refused.
const MAPPING: &[&str] = &[
    "BatchSize",
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "FilterCriteria",
    "FunctionResponseTypes",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "StartingPosition",
    "Stream",
];
/// Properties of topics and queues that change nothing on one machine.
const TOPIC: &[&str] = &["DisplayName", "KmsMasterKeyId", "Tags", "TopicName"];
const QUEUE: &[&str] = &[
    "KmsMasterKeyId",
    "MessageRetentionPeriod",
    "QueueName",
    "SqsManagedSseEnabled",
    "Tags",
];
/// Bounds of Lambda.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html>
const BATCH_SIZE: usize = 10_000;
const WINDOW_SECONDS: u64 = 300;
const RETRIES: u32 = 10_000;
const RECORD_AGE_SECONDS: u64 = 604_800;
/// Filters of a mapping.
const FILTERS: usize = 5;

/// The ARN of a topic.
pub(super) fn topic(resource: &Resource) -> Result<String, TemplateError> {
    only(
        resource.properties.keys(),
        TOPIC,
        &resource.properties_place(),
    )?;
    Ok(format!("arn:aws:sns:{REGION}:{ACCOUNT}:{}", resource.name))
}

/// The ARN of a queue.
pub(super) fn queue(resource: &Resource) -> Result<String, TemplateError> {
    only(
        resource.properties.keys(),
        QUEUE,
        &resource.properties_place(),
    )?;
    Ok(format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", resource.name))
}

/// Reads an event of the type `DynamoDB`. Tables, topics and queues have to be known already.
pub(super) fn mapping(
    stack: &Stack,
    function: &FunctionResource,
    name: String,
    properties: &Value,
    place: &str,
) -> Result<StreamMapping, TemplateError> {
    only_in(properties, MAPPING, place)?;
    let at = |property: &str| format!("{place}.{property}");
    let stream_arn = word(&properties["Stream"], &at("Stream"))?;
    let table = stack
        .tables
        .iter()
        .find(|table| stream_arn.contains(&format!(":table/{}/stream/", table.name)))
        .ok_or_else(|| invalid(&at("Stream"), "there is no such table"))?;
    if table.create_table["StreamSpecification"].is_null() {
        return Err(invalid(
            &at("Stream"),
            format!("the table {} has no StreamSpecification", table.name),
        ));
    }
    // The emulator has no history that a new mapping could miss, so both begin at the same place.
    if !["TRIM_HORIZON", "LATEST"].contains(&word(
        &properties["StartingPosition"],
        &at("StartingPosition"),
    )?) {
        return Err(invalid(
            &at("StartingPosition"),
            "has to be TRIM_HORIZON or LATEST",
        ));
    }
    let batch_size = bounded(properties, "BatchSize", place, 1, BATCH_SIZE)?;
    let window = "MaximumBatchingWindowInSeconds";
    let on_failure = match &properties["DestinationConfig"] {
        Value::Null => None,
        config => Some(destination(stack, config, &at("DestinationConfig"))?),
    };
    Ok(StreamMapping {
        name,
        function: function.name.clone(),
        function_arn: match &function.alias {
            Some(_) => function.called_arn(),
            None => format!("{}:$LATEST", function.arn()),
        },
        function_version: function.version(),
        table: table.name.clone(),
        stream_arn: stream_arn.to_owned(),
        batch_size: batch_size.unwrap_or(100),
        window_seconds: bounded(properties, window, place, 0, WINDOW_SECONDS)?.unwrap_or(0),
        retries: endless(properties, "MaximumRetryAttempts", place, RETRIES)?,
        record_age_seconds: endless(
            properties,
            "MaximumRecordAgeInSeconds",
            place,
            RECORD_AGE_SECONDS,
        )?,
        bisect: flag(properties, "BisectBatchOnFunctionError", place)?,
        reports_failures: match &properties["FunctionResponseTypes"] {
            Value::Null => false,
            kinds if *kinds == serde_json::json!(["ReportBatchItemFailures"]) => true,
            _ => {
                return Err(invalid(
                    &at("FunctionResponseTypes"),
                    "the emulator knows [ReportBatchItemFailures]",
                ));
            }
        },
        filters: filters(&properties["FilterCriteria"], &at("FilterCriteria"))?,
        on_failure,
    })
}

fn bounded<Number: std::str::FromStr + PartialOrd + std::fmt::Display>(
    properties: &Value,
    name: &str,
    place: &str,
    least: Number,
    most: Number,
) -> Result<Option<Number>, TemplateError> {
    let place = format!("{place}.{name}");
    match &properties[name] {
        Value::Null => Ok(None),
        value => {
            let number: Number = number(value, &place)?;
            if number < least || number > most {
                return Err(invalid(&place, format!("has to be {least} to {most}")));
            }
            Ok(Some(number))
        }
    }
}

/// A number of which -1 means that there is no bound, as does its absence.
fn endless<Number: std::str::FromStr + PartialOrd + std::fmt::Display + Default>(
    properties: &Value,
    name: &str,
    place: &str,
    most: Number,
) -> Result<Option<Number>, TemplateError> {
    if properties[name] == -1 || properties[name] == "-1" {
        return Ok(None);
    }
    bounded(properties, name, place, Number::default(), most)
}

fn flag(properties: &Value, name: &str, place: &str) -> Result<bool, TemplateError> {
    match &properties[name] {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(invalid(
            &format!("{place}.{name}"),
            "has to be true or false",
        )),
    }
}

fn destination(stack: &Stack, config: &Value, place: &str) -> Result<String, TemplateError> {
    only_in(config, &["OnFailure"], place)?;
    let place = format!("{place}.OnFailure");
    let on_failure = &config["OnFailure"];
    only_in(on_failure, &["Type", "Destination"], &place)?;
    let arn = word(&on_failure["Destination"], &place)?;
    let known = match on_failure["Type"].as_str() {
        Some("SQS") => &stack.queues,
        Some("SNS") => &stack.topics,
        _ => return Err(invalid(&place, "Type has to be SQS or SNS")),
    };
    if !known.iter().any(|known| known == arn) {
        return Err(invalid(&place, format!("there is no {arn}")));
    }
    Ok(arn.to_owned())
}

fn filters(criteria: &Value, place: &str) -> Result<Vec<Value>, TemplateError> {
    if criteria.is_null() {
        return Ok(Vec::new());
    }
    only_in(criteria, &["Filters"], place)?;
    let filters = criteria["Filters"].as_array();
    let filters = filters
        .filter(|filters| (1..=FILTERS).contains(&filters.len()))
        .ok_or_else(|| invalid(place, format!("Filters has 1 to {FILTERS} entries")))?;
    filters
        .iter()
        .map(|filter| {
            only_in(filter, &["Pattern"], place)?;
            serde_json::from_str(word(&filter["Pattern"], place)?)
                .map_err(|error| invalid(place, format!("a pattern is no JSON: {error}")))
        })
        .collect()
}
