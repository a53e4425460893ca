//! The CloudFront distribution in front of the API: its function, and what its answers say about
//! themselves.

use serde_json::Value;

use super::{
    EdgeResource, ResponseHeader, TemplateError,
    functions::{number, only_in, word},
    intrinsics::invalid,
    load::Resource,
    resources::Kind,
};

/// What a distribution may have of origins and behaviours. TLS, names and what protects it are the
/// cloud's; nothing is cached here, so it is refused where something would be.
const CONFIG: &[&str] = &[
    "Aliases",
    "Comment",
    "DefaultCacheBehavior",
    "Enabled",
    "HttpVersion",
    "IPV6Enabled",
    "Origins",
    "ViewerCertificate",
    "WebACLId",
];
const BEHAVIOR: &[&str] = &[
    "AllowedMethods",
    "CachePolicyId",
    "Compress",
    "FunctionAssociations",
    "OriginRequestPolicyId",
    "ResponseHeadersPolicyId",
    "TargetOriginId",
    "ViewerProtocolPolicy",
];
/// CachingDisabled and AllViewerExceptHostHeader: what the emulator does.
/// <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html>
const CACHE_NOTHING: &str = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad";
const PASS_EVERYTHING: &str = "b689b0a8-53d0-40ab-baf2-38268ac966ac";

/// The one distribution; `None` without one.
pub(super) fn edge(resources: &[Resource]) -> Result<Option<EdgeResource>, TemplateError> {
    let mut distributions = resources
        .iter()
        .filter(|resource| matches!(resource.kind, Kind::Distribution));
    let Some(distribution) = distributions.next() else {
        return Ok(None);
    };
    if let Some(another) = distributions.next() {
        let place = format!("Resources.{}", another.logical_id);
        return Err(invalid(&place, "the emulator serves one distribution only"));
    }
    let place = distribution.place("DistributionConfig");
    let none = Value::Null;
    let config = distribution
        .properties
        .get("DistributionConfig")
        .unwrap_or(&none);
    only_in(config, CONFIG, &place)?;
    let place = format!("{place}.DefaultCacheBehavior");
    let behavior = &config["DefaultCacheBehavior"];
    only_in(behavior, BEHAVIOR, &place)?;
    for (name, known) in [
        ("CachePolicyId", CACHE_NOTHING),
        ("OriginRequestPolicyId", PASS_EVERYTHING),
    ] {
        if behavior[name] != known {
            let reason = format!("the emulator knows {known} only");
            return Err(invalid(&format!("{place}.{name}"), reason));
        }
    }
    Ok(Some(EdgeResource {
        code: code(resources, &behavior["FunctionAssociations"], &place)?,
        headers: headers(resources, &behavior["ResponseHeadersPolicyId"], &place)?,
    }))
}

fn code(
    resources: &[Resource],
    associations: &Value,
    place: &str,
) -> Result<Option<String>, TemplateError> {
    let place = format!("{place}.FunctionAssociations");
    let association = match associations.as_array().map(Vec::as_slice) {
        None | Some([]) => return Ok(None),
        Some([one]) if one["EventType"] == "viewer-request" => one,
        Some(_) => {
            return Err(invalid(
                &place,
                "the emulator runs one function, on viewer-request",
            ));
        }
    };
    let arn = word(&association["FunctionARN"], &place)?;
    let function = resources.iter().find(|resource| {
        matches!(resource.kind, Kind::EdgeFunction)
            && arn.ends_with(&format!(":function/{}", resource.name))
    });
    let function = function.ok_or_else(|| invalid(&place, format!("there is no {arn}")))?;
    let place = function.place("FunctionCode");
    let code = function.properties.get("FunctionCode");
    let code = code.ok_or_else(|| invalid(&place, "is missing"))?;
    word(code, &place).map(|code| Some(code.to_owned()))
}

fn headers(
    resources: &[Resource],
    policy: &Value,
    place: &str,
) -> Result<Vec<ResponseHeader>, TemplateError> {
    if policy.is_null() {
        return Ok(Vec::new());
    }
    let place = format!("{place}.ResponseHeadersPolicyId");
    let name = word(policy, &place)?;
    let resource = resources
        .iter()
        .find(|resource| matches!(resource.kind, Kind::ResponseHeaders) && resource.name == name)
        .ok_or_else(|| invalid(&place, format!("there is no policy {name}")))?;
    let place = resource.place("ResponseHeadersPolicyConfig");
    let none = Value::Null;
    let config = resource.properties.get("ResponseHeadersPolicyConfig");
    let config = config.unwrap_or(&none);
    only_in(
        config,
        &["Comment", "Name", "SecurityHeadersConfig"],
        &place,
    )?;
    let place = format!("{place}.SecurityHeadersConfig");
    let security = config["SecurityHeadersConfig"].as_object();
    security
        .into_iter()
        .flatten()
        .map(|(name, header)| security_header(name, header, &format!("{place}.{name}")))
        .collect()
}

fn security_header(
    kind: &str,
    header: &Value,
    place: &str,
) -> Result<ResponseHeader, TemplateError> {
    let text = |name: &str| word(&header[name], place).map(str::to_owned);
    let (name, value) = match kind {
        "ContentSecurityPolicy" => ("content-security-policy", text(kind)?),
        "ContentTypeOptions" => ("x-content-type-options", "nosniff".to_owned()),
        "FrameOptions" => ("x-frame-options", text("FrameOption")?),
        "ReferrerPolicy" => ("referrer-policy", text(kind)?),
        "StrictTransportSecurity" => {
            let seconds: u64 = number(&header["AccessControlMaxAgeSec"], place)?;
            let mut value = format!("max-age={seconds}");
            for (property, directive) in [
                ("IncludeSubdomains", "includeSubDomains"),
                ("Preload", "preload"),
            ] {
                if header[property] == true {
                    value.push_str("; ");
                    value.push_str(directive);
                }
            }
            ("strict-transport-security", value)
        }
        _ => return Err(invalid(place, "the emulator does not know this header")),
    };
    Ok(ResponseHeader {
        name: name.to_owned(),
        value,
        overrides: header["Override"] == true,
    })
}
