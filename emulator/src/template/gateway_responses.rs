//! What the API answers instead of its own refusals.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gatewayResponse-definition.html>

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{
    GatewayResponse, TemplateError,
    functions::{number, only_in, word},
    intrinsics::invalid,
    load::Resource,
};

/// The types that the gateway here has.
const TYPES: &[&str] = &[
    "MISSING_AUTHENTICATION_TOKEN",
    "UNAUTHORIZED",
    "ACCESS_DENIED",
    "REQUEST_TOO_LARGE",
    "AUTHORIZER_FAILURE",
    "INTEGRATION_TIMEOUT",
    "INTEGRATION_FAILURE",
    "DEFAULT_4XX",
    "DEFAULT_5XX",
];

/// Those of the API, by type.
pub(super) fn read(api: &Resource) -> Result<BTreeMap<String, GatewayResponse>, TemplateError> {
    let none = Map::new();
    let declared = api.properties.get("GatewayResponses");
    let declared = declared.and_then(Value::as_object).unwrap_or(&none);
    let mut responses = BTreeMap::new();
    for (kind, response) in declared {
        let place = api.place(&format!("GatewayResponses.{kind}"));
        if !TYPES.contains(&kind.as_str()) {
            return Err(invalid(
                &place,
                format!("the emulator knows {}", TYPES.join(", ")),
            ));
        }
        only_in(response, &["StatusCode", "ResponseParameters"], &place)?;
        let parameters = &response["ResponseParameters"];
        let place_of = format!("{place}.ResponseParameters");
        only_in(parameters, &["Headers"], &place_of)?;
        let mut headers = BTreeMap::new();
        for (name, value) in parameters["Headers"].as_object().unwrap_or(&none) {
            let place = format!("{place_of}.Headers.{name}");
            let text = word(value, &place)?;
            let fixed = text
                .strip_prefix('\'')
                .and_then(|text| text.strip_suffix('\''))
                .filter(|text| !text.contains('\''));
            let fixed = fixed.ok_or_else(|| {
                invalid(
                    &place,
                    "the emulator knows fixed values only, in single quotes",
                )
            })?;
            let is_header =
                HeaderName::try_from(name.as_str()).is_ok() && HeaderValue::from_str(fixed).is_ok();
            if !is_header {
                return Err(invalid(&place, "is no HTTP header"));
            }
            headers.insert(name.to_lowercase(), fixed.to_owned());
        }
        let status = match &response["StatusCode"] {
            Value::Null => None,
            status => Some(number(status, &format!("{place}.StatusCode"))?),
        };
        responses.insert(kind.clone(), GatewayResponse { status, headers });
    }
    Ok(responses)
}
