//! The query protocol of SNS and STS: a form is asked, XML answers.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

/// The value of a parameter.
pub(super) fn field(body: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(body)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// An error as services of this protocol say it.
pub(super) fn refuse(namespace: &str, status: StatusCode, code: &str, message: &str) -> Response {
    let kind = if status.is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    let message = message
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let error = format!(
        "<Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    respond(namespace, status, "ErrorResponse", &error)
}

/// A document whose root is `element`.
pub(super) fn respond(namespace: &str, status: StatusCode, element: &str, inner: &str) -> Response {
    let id = uuid::Uuid::new_v4();
    // An error has its request id beside it, a result in its metadata.
    let metadata = if element == "ErrorResponse" {
        format!("<RequestId>{id}</RequestId>")
    } else {
        format!("<ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>")
    };
    let text = format!("<{element} xmlns=\"{namespace}\">{inner}{metadata}</{element}>");
    (status, [(header::CONTENT_TYPE, "text/xml")], text).into_response()
}
