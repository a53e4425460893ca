//! How API Gateway says no: status, error type and body as it has them.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

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
    pub(super) fn response(&self, request_id: &str) -> Response {
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
