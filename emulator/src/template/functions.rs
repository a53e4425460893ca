//! Functions and what calls them: routes, authorizers, rules and schedules.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Authorizer, EventRule, FunctionResource, Route, Schedule, Stack, TemplateError, Throttle,
    gateway_responses, intrinsics::invalid, load::Resource, parameters::text, resources::Kind,
    roles, streams,
};

/// A buffered integration ends after this many milliseconds.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>
const BUFFERED_MILLISECONDS: u32 = 29_000;
/// A streaming integration may take this many milliseconds at most.
const STREAMING_MILLISECONDS: u32 = 900_000;
/// Least integration timeout.
const LEAST_MILLISECONDS: u32 = 50;

/// What is understood of a function.
const FUNCTION: &[&str] = &[
    "Architectures",
    "AutoPublishAlias",
    "AutoPublishAliasAllProperties",
    "CodeUri",
    "DeploymentPreference",
    "Description",
    "Environment",
    "Events",
    "FunctionName",
    "Handler",
    "LoggingConfig",
    "MemorySize",
    "Policies",
    "ReservedConcurrentExecutions",
    "Runtime",
    "Tags",
    "Timeout",
    "VersionDescription",
];
/// Of an API. It writes no access logs here.
const API: &[&str] = &[
    "AccessLogSetting",
    "Auth",
    "Description",
    "EndpointConfiguration",
    "GatewayResponses",
    "MethodSettings",
    "Name",
    "StageName",
    "Tags",
];
const METHOD_SETTING: &[&str] = &[
    "HttpMethod",
    "ResourcePath",
    "ThrottlingBurstLimit",
    "ThrottlingRateLimit",
];
const AUTH: &[&str] = &[
    "AddDefaultAuthorizerToCorsPreflight",
    "Authorizers",
    "DefaultAuthorizer",
];
const AUTHORIZER: &[&str] = &["FunctionArn", "FunctionPayloadType", "Identity"];
const IDENTITY: &[&str] = &["Headers", "ReauthorizeEvery"];
const ROUTE: &[&str] = &[
    "Auth",
    "Method",
    "Path",
    "ResponseTransferMode",
    "RestApiId",
    "TimeoutInMillis",
];
const RULE: &[&str] = &["Pattern"];
const SCHEDULE: &[&str] = &["Description", "Schedule"];

/// Refuses properties that would be deployed but do nothing here.
pub(super) fn only<'name>(
    names: impl Iterator<Item = &'name String>,
    known: &[&str],
    place: &str,
) -> Result<(), TemplateError> {
    for name in names {
        if !known.contains(&name.as_str()) {
            let place = format!("{place}.{name}");
            return Err(invalid(&place, "the emulator does not know this property"));
        }
    }
    Ok(())
}

pub(super) fn only_in(value: &Value, known: &[&str], place: &str) -> Result<(), TemplateError> {
    only(
        value.as_object().into_iter().flat_map(Map::keys),
        known,
        place,
    )
}

/// A number that may have come through a parameter, which makes it a text.
pub(super) fn number<Number: std::str::FromStr>(
    value: &Value,
    place: &str,
) -> Result<Number, TemplateError> {
    text(value)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid(place, "has to be a number in range"))
}

pub(super) fn word<'value>(
    value: &'value Value,
    place: &str,
) -> Result<&'value str, TemplateError> {
    value
        .as_str()
        .ok_or_else(|| invalid(place, "has to be a text"))
}

pub(super) fn function(
    resource: &Resource,
    stack_name: &str,
) -> Result<FunctionResource, TemplateError> {
    only(
        resource.properties.keys(),
        FUNCTION,
        &resource.properties_place(),
    )?;
    let property = |name: &str| resource.properties.get(name);
    let name = word(
        &resource.metadata["BuildProperties"]["Binary"],
        &format!(
            "Resources.{}.Metadata.BuildProperties.Binary",
            resource.logical_id
        ),
    )?;
    let mut environment = BTreeMap::new();
    let place = resource.place("Environment.Variables");
    let none = Map::new();
    let variables = property("Environment").map(|environment| &environment["Variables"]);
    for (variable, value) in variables.and_then(Value::as_object).unwrap_or(&none) {
        let value = text(value).ok_or_else(|| invalid(&place, format!("{variable} is no text")))?;
        environment.insert(variable.clone(), value);
    }
    let timeout_seconds: f64 =
        property("Timeout").map_or(Ok(3.0), |value| number(value, &resource.place("Timeout")))?;
    if !(1.0..=900.0).contains(&timeout_seconds) {
        return Err(invalid(
            &resource.place("Timeout"),
            "has to be 1 to 900 seconds",
        ));
    }
    Ok(FunctionResource {
        name: name.to_owned(),
        logical_id: resource.logical_id.clone(),
        function_name: resource.name.clone(),
        timeout_seconds,
        memory_mib: property("MemorySize").map_or(Ok(128), |value| {
            number(value, &resource.place("MemorySize"))
        })?,
        environment,
        role: roles::role_arn(&roles::function_role_name(stack_name, &resource.logical_id)),
        reserved_concurrency: property("ReservedConcurrentExecutions")
            .map(|value| number(value, &resource.place("ReservedConcurrentExecutions")))
            .transpose()?,
        alias: property("AutoPublishAlias")
            .map(|alias| word(alias, &resource.place("AutoPublishAlias")).map(str::to_owned))
            .transpose()?,
        log_group: log_group(resource)?,
    })
}

/// The group of a function's logs: its own by default. The lines themselves say how they are.
fn log_group(resource: &Resource) -> Result<String, TemplateError> {
    let config = resource.properties.get("LoggingConfig");
    let place = resource.place("LoggingConfig");
    if let Some(config) = config {
        let known = [
            "ApplicationLogLevel",
            "LogFormat",
            "LogGroup",
            "SystemLogLevel",
        ];
        only_in(config, &known, &place)?;
    }
    match config.and_then(|config| config.get("LogGroup")) {
        Some(group) => word(group, &place).map(str::to_owned),
        None => Ok(format!("/aws/lambda/{}", resource.name)),
    }
}

/// Adds what calls the functions.
pub(super) fn connect(stack: &mut Stack, resources: &[Resource]) -> Result<(), TemplateError> {
    let mut api = None;
    for resource in resources {
        if matches!(resource.kind, Kind::Api) {
            if api.replace(resource).is_some() {
                let place = format!("Resources.{}", resource.logical_id);
                return Err(invalid(&place, "the emulator serves one API only"));
            }
            add_api(stack, resource)?;
        }
    }
    let none = Map::new();
    for resource in resources {
        if !matches!(resource.kind, Kind::Function) {
            continue;
        }
        let called = function(resource, &stack.name)?;
        let function = called.name.clone();
        let events = resource.properties.get("Events").and_then(Value::as_object);
        for (event, declaration) in events.unwrap_or(&none) {
            let place = resource.place(&format!("Events.{event}"));
            let properties = &declaration["Properties"];
            match declaration["Type"].as_str() {
                Some("Api") => {
                    let default = api
                        .and_then(|api| api.properties.get("Auth")?["DefaultAuthorizer"].as_str());
                    let route = route(&function, properties, default, &place)?;
                    if let Some(name) = &route.authorizer
                        && !stack.authorizers.iter().any(|one| one.name == *name)
                    {
                        return Err(invalid(&place, format!("there is no authorizer {name}")));
                    }
                    stack.routes.push(route);
                }
                Some("EventBridgeRule" | "CloudWatchEvent") => {
                    only_in(properties, RULE, &place)?;
                    stack.rules.push(EventRule {
                        function: function.clone(),
                        pattern: properties["Pattern"].clone(),
                    });
                }
                Some("Schedule") => {
                    only_in(properties, SCHEDULE, &place)?;
                    stack.schedules.push(Schedule {
                        name: format!("{function}-{event}"),
                        function: function.clone(),
                        seconds: rate(&properties["Schedule"], &place)?,
                    });
                }
                Some("DynamoDB") => {
                    let name = format!("{function}-{event}");
                    let mapping = streams::mapping(stack, &called, name, properties, &place)?;
                    stack.stream_mappings.push(mapping);
                }
                kind => {
                    let kind = kind.unwrap_or("(none)");
                    let reason = format!("the emulator does not know the event type {kind}");
                    return Err(invalid(&place, reason));
                }
            }
        }
    }
    Ok(())
}

fn add_api(stack: &mut Stack, api: &Resource) -> Result<(), TemplateError> {
    only(api.properties.keys(), API, &api.properties_place())?;
    let stage = api.properties.get("StageName").unwrap_or(&Value::Null);
    stack.stage = word(stage, &api.place("StageName"))?.to_owned();
    stack.gateway_responses = gateway_responses::read(api)?;
    let settings = api.properties.get("MethodSettings");
    for setting in settings.and_then(Value::as_array).into_iter().flatten() {
        let throttle = throttle(setting, &api.place("MethodSettings"))?;
        stack.throttles.push(throttle);
    }
    let Some(auth) = api.properties.get("Auth") else {
        return Ok(());
    };
    only_in(auth, AUTH, &api.place("Auth"))?;
    let none = Map::new();
    for (name, declaration) in auth["Authorizers"].as_object().unwrap_or(&none) {
        let place = api.place(&format!("Auth.Authorizers.{name}"));
        if declaration["FunctionPayloadType"] != "REQUEST" {
            return Err(invalid(
                &place,
                "the emulator knows FunctionPayloadType REQUEST only",
            ));
        }
        let arn = word(&declaration["FunctionArn"], &place)?;
        let function = stack
            .functions
            .iter()
            .find(|one| one.arn() == arn || one.called_arn() == arn);
        let function =
            function.ok_or_else(|| invalid(&place, format!("there is no function {arn}")))?;
        let identity = &declaration["Identity"];
        only_in(declaration, AUTHORIZER, &place)?;
        only_in(identity, IDENTITY, &format!("{place}.Identity"))?;
        let headers = identity["Headers"].as_array();
        let headers = headers
            .filter(|headers| !headers.is_empty())
            .ok_or_else(|| invalid(&place, "Identity.Headers is missing"))?;
        stack.authorizers.push(Authorizer {
            name: name.clone(),
            function: function.name.clone(),
            identity_headers: headers
                .iter()
                .map(|header| word(header, &place).map(str::to_lowercase))
                .collect::<Result<_, _>>()?,
            ttl_seconds: match &identity["ReauthorizeEvery"] {
                Value::Null => 300,
                value => number(value, &place)?,
            },
        });
    }
    Ok(())
}

/// A path is spelled as CloudFormation wants it: every slash but the first one is `~1`, and the first
/// one is followed by that of the path.
fn throttle(setting: &Value, place: &str) -> Result<Throttle, TemplateError> {
    only_in(setting, METHOD_SETTING, place)?;
    let path = word(&setting["ResourcePath"], place)?;
    let path = match (path, path.strip_prefix("/~1")) {
        ("/*" | "/", _) => path.to_owned(),
        (_, Some(rest)) if !rest.contains('/') => format!("/{}", rest.replace("~1", "/")),
        _ => {
            let reason = format!("ResourcePath is /*, / or as /~1part~1part, not {path}");
            return Err(invalid(place, reason));
        }
    };
    let method = word(&setting["HttpMethod"], place)?.to_owned();
    if (path == "/*") != (method == "*") {
        let reason = "the emulator knows HttpMethod * with ResourcePath /* only";
        return Err(invalid(place, reason));
    }
    Ok(Throttle {
        method,
        path,
        rate: number(&setting["ThrottlingRateLimit"], place)?,
        burst: number(&setting["ThrottlingBurstLimit"], place)?,
    })
}

fn route(
    function: &str,
    properties: &Value,
    default_authorizer: Option<&str>,
    place: &str,
) -> Result<Route, TemplateError> {
    only_in(properties, ROUTE, place)?;
    only_in(
        &properties["Auth"],
        &["Authorizer"],
        &format!("{place}.Auth"),
    )?;
    // SAM takes any other spelling silently and makes the route a buffered one.
    let streaming = match &properties["ResponseTransferMode"] {
        Value::Null => false,
        mode if mode == "BUFFERED" => false,
        mode if mode == "RESPONSE_STREAM" => true,
        mode => {
            let reason =
                format!("ResponseTransferMode has to be RESPONSE_STREAM or BUFFERED, not {mode}");
            return Err(invalid(place, reason));
        }
    };
    let most = if streaming {
        STREAMING_MILLISECONDS
    } else {
        BUFFERED_MILLISECONDS
    };
    let timeout_milliseconds = match &properties["TimeoutInMillis"] {
        Value::Null => BUFFERED_MILLISECONDS,
        value => number(value, place)?,
    };
    if !(LEAST_MILLISECONDS..=most).contains(&timeout_milliseconds) {
        let reason = format!("TimeoutInMillis has to be {LEAST_MILLISECONDS} to {most}");
        return Err(invalid(place, reason));
    }
    let path = word(&properties["Path"], &format!("{place}.Path"))?;
    if !path.starts_with('/') {
        return Err(invalid(place, "Path has to start with /"));
    }
    let authorizer = match &properties["Auth"]["Authorizer"] {
        Value::Null => default_authorizer,
        name if name == "NONE" => None,
        name => Some(word(name, place)?),
    };
    Ok(Route {
        function: function.to_owned(),
        path: path.to_owned(),
        method: word(&properties["Method"], &format!("{place}.Method"))?.to_uppercase(),
        streaming,
        timeout_milliseconds,
        authorizer: authorizer.map(str::to_owned),
    })
}

/// Seconds of `rate(1 minute)`.
fn rate(value: &Value, place: &str) -> Result<u64, TemplateError> {
    let expected = || {
        invalid(
            place,
            "the emulator knows rate(<number> minutes|hours|days)",
        )
    };
    let inner = value
        .as_str()
        .and_then(|text| text.strip_prefix("rate(")?.strip_suffix(')'))
        .ok_or_else(expected)?;
    let (count, unit) = inner.split_once(' ').ok_or_else(expected)?;
    let count: u64 = count.parse().map_err(|_| expected())?;
    let seconds = match unit.trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return Err(expected()),
    };
    count
        .checked_mul(seconds)
        .filter(|period| *period > 0)
        .ok_or_else(expected)
}
