//! How API Gateway says no: status, error type and body as it has them.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::template::GatewayResponse;

/// An answer that no function gave.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No route has this path and method.
    MissingAuthenticationToken,
    /// No identity, or the authorizer says so.
    Unauthorized,
    /// The policy denies it in so many words.
    ExplicitDeny,
    /// The policy does not allow it.
    ImplicitDeny,
    /// The authorizer failed or answered with something unusable.
    AuthorizerFailed,
    /// The stage takes no more of them now.
    TooManyRequests,
    /// Too many bytes, here or for Lambda.
    TooLarge,
    /// The body did not arrive.
    BadRequest,
    /// The integration took too long.
    TimedOut,
    /// The function failed or answered with something unusable.
    BadGateway,
    /// Lambda took no invocation, for want of room or otherwise.
    Internal,
    /// CloudFront: the edge function failed.
    EdgeFailed,
}

impl Refusal {
    /// The types of API Gateway's gateway responses that this is, the nearest first.
    /// <https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html>
    const fn types(&self) -> &'static [&'static str] {
        match self {
            Self::MissingAuthenticationToken => &["MISSING_AUTHENTICATION_TOKEN", "DEFAULT_4XX"],
            Self::Unauthorized => &["UNAUTHORIZED", "DEFAULT_4XX"],
            Self::ExplicitDeny | Self::ImplicitDeny => &["ACCESS_DENIED", "DEFAULT_4XX"],
            Self::TooLarge => &["REQUEST_TOO_LARGE", "DEFAULT_4XX"],
            Self::TooManyRequests => &["THROTTLED", "DEFAULT_4XX"],
            Self::BadRequest => &["DEFAULT_4XX"],
            Self::AuthorizerFailed => &["AUTHORIZER_FAILURE", "DEFAULT_5XX"],
            Self::TimedOut => &["INTEGRATION_TIMEOUT", "DEFAULT_5XX"],
            Self::BadGateway => &["INTEGRATION_FAILURE", "DEFAULT_5XX"],
            Self::Internal => &["DEFAULT_5XX"],
            // Not API Gateway's.
            Self::EdgeFailed => &[],
        }
    }

    /// As the API answers it, with what the template says of such answers.
    pub(super) fn response(
        &self,
        request_id: &str,
        changed: &BTreeMap<String, GatewayResponse>,
    ) -> Response {
        let mut response = self.own_response(request_id);
        let Some(changed) = self.types().iter().find_map(|kind| changed.get(*kind)) else {
            return response;
        };
        if let Some(status) = changed.status.and_then(|it| StatusCode::from_u16(it).ok()) {
            *response.status_mut() = status;
        }
        for (name, value) in &changed.headers {
            let name = HeaderName::try_from(name.as_str());
            // The template's were looked at when it was read.
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn own_response(&self, request_id: &str) -> Response {
        let (status, error, body) = match self {
            Self::MissingAuthenticationToken => (
                StatusCode::FORBIDDEN,
                "MissingAuthenticationTokenException",
                r#"{"message":"Missing Authentication Token"}"#,
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "UnauthorizedException",
                r#"{"message":"Unauthorized"}"#,
            ),
            Self::ExplicitDeny => (
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                r#"{"Message":"User is not authorized to access this resource with an explicit deny"}"#,
            ),
            Self::ImplicitDeny => (
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                r#"{"Message":"User is not authorized to access this resource"}"#,
            ),
            Self::AuthorizerFailed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "AuthorizerConfigurationException",
                r#"{"message":null}"#,
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                r#"{"message":"Too Many Requests"}"#,
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLargeException",
                r#"{"message":"Request Too Long"}"#,
            ),
            Self::BadRequest => (
                StatusCode::BAD_REQUEST,
                "BadRequestException",
                r#"{"message":"Bad Request"}"#,
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "InternalServerErrorException",
                r#"{"message": "Endpoint request timed out"}"#,
            ),
            Self::BadGateway => (
                StatusCode::BAD_GATEWAY,
                "InternalServerErrorException",
                r#"{"message": "Internal server error"}"#,
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerErrorException",
                r#"{"message": "Internal server error"}"#,
            ),
            Self::EdgeFailed => (
                StatusCode::SERVICE_UNAVAILABLE,
                "FunctionExecutionError",
                "The CloudFront function associated with the CloudFront distribution is invalid or could not run.",
            ),
        };
        let mut response = (status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert("x-amzn-errortype", HeaderValue::from_static(error));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }
}
