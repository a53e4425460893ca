//! One endpoint for all services, as `AWS_ENDPOINT_URL` wants it: which service a request is for, and
//! whether its sender is known and may do what it asks for.

use std::time::SystemTime;

use axum::{
    Json, Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::DATE, request::Parts};
use s3s::dto::{Timestamp, TimestampFormat};
use serde_json::json;
use tower::ServiceExt;

use super::{
    calls::{Call, Calls},
    control::Control,
    dynamodb::DocumentService,
    ecs::{MetadataDocument, TaskService},
    faults::{Fault, Faults},
    messages::Messages,
    parameters::{self, ParameterService},
    permissions::{Permissions, ecs_requests},
    s3::ObjectService,
    signature, sns, sts,
};
use crate::{
    credentials::{Credentials, Principal},
    iam::Request as Wanted,
    template::{ACCOUNT, REGION},
};

/// DynamoDB takes requests of up to 16 MiB; ECS and Lambda less.
const BODY_BYTES: usize = 16 * 1024 * 1024;
const DYNAMODB: &str = "DynamoDB_20120810.";
const DYNAMODB_STREAMS: &str = "DynamoDBStreams_20120810.";
const ECS: &str = "AmazonEC2ContainerServiceV20141113.";
const SSM: &str = "AmazonSSM.";
const LAMBDA: [&str; 2] = ["/2015-03-31/functions/", "/2021-11-15/functions/"];

/// All services behind the endpoint. Cheap to clone.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) credentials: Credentials,
    pub(super) calls: Calls,
    pub(super) faults: Faults,
    pub(super) permissions: Permissions,
    pub(super) documents: DocumentService,
    pub(super) objects: ObjectService,
    pub(super) tasks: TaskService,
    pub(super) messages: Messages,
    pub(super) parameters: ParameterService,
    pub(super) lambda: Option<Router>,
    pub(super) control: Control,
}

impl Services {
    /// Answers one request.
    pub(super) async fn answer(self, request: Request) -> Response {
        let mut response = self.route(request).await;
        // What the server adds itself stands still when the clock is set back, until it is as late again, and
        // clients sign with the time that they are told.
        let mut date = Vec::new();
        let now = Timestamp::from(SystemTime::now());
        if now.format(TimestampFormat::HttpDate, &mut date).is_ok()
            && let Ok(date) = HeaderValue::from_bytes(&date)
        {
            response.headers_mut().insert(DATE, date);
        }
        response
    }

    async fn route(self, request: Request) -> Response {
        let path = request.uri().path();
        if let Some(rest) = path.strip_prefix("/_emulator/") {
            let rest = rest.to_owned();
            return self.control.answer(&rest, request).await;
        }
        if let Some(rest) = path.strip_prefix("/v4/") {
            let rest = rest.to_owned();
            return self.metadata(&rest).await;
        }
        if LAMBDA.iter().any(|prefix| path.starts_with(prefix)) {
            return self.lambda(request).await;
        }
        match request.headers().get("x-amz-target") {
            Some(target) => {
                let target = target.to_str().unwrap_or_default().to_owned();
                self.json_service(&target, request).await
            }
            None if is_query(&request) => self.query_service(request).await,
            None => self.objects.answer(request).await,
        }
    }

    /// Services of the query protocol: SNS, and STS.
    async fn query_service(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = match axum::body::to_bytes(body, BODY_BYTES).await {
            Ok(body) => body,
            Err(error) => {
                let words = format!("the request body could not be read: {error}");
                return sns::fault("InvalidParameter", &words);
            }
        };
        let operation = sns::operation(&body);
        let request = Request::from_parts(parts, axum::body::Body::from(body.clone()));
        if sts::is_meant(&body) {
            return self.tokens(request, &operation).await;
        }
        let status = StatusCode::FORBIDDEN;
        let (sender, body) = match self.admit(request, "sns", &operation, status).await {
            Ok((admitted, body)) => (admitted.principal, body),
            Err(response) => return response,
        };
        let wanted = Wanted::new(&format!("sns:{operation}"), sns::resource(&body));
        if let Err(denied) = self.permissions.check(&sender, &[wanted]) {
            return sns::fault("AuthorizationError", &denied.to_string());
        }
        match self.faults.take("sns", &operation) {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Error(code)) => sns::fault(&code, "injected by a test"),
            Some(Fault::DiskFull) => sns::fault("InternalError", "no space left"),
            None => sns::answer(&self.messages, &operation, &body),
        }
    }

    async fn tokens(&self, request: Request, operation: &str) -> Response {
        let status = StatusCode::FORBIDDEN;
        let (sender, body) = match self.admit(request, "sts", operation, status).await {
            Ok((admitted, body)) => (admitted.principal, body),
            Err(response) => return response,
        };
        match self.faults.take("sts", operation) {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Error(code)) => sts::fault(&code, "injected by a test"),
            Some(Fault::DiskFull) => sts::fault("InternalFailure", "no space left"),
            None => sts::answer(
                &self.permissions,
                &self.credentials,
                &sender,
                operation,
                &body,
            ),
        }
    }

    async fn json_service(&self, target: &str, request: Request) -> Response {
        let (service, operation) = if let Some(operation) = target
            .strip_prefix(DYNAMODB)
            .or_else(|| target.strip_prefix(DYNAMODB_STREAMS))
        {
            ("dynamodb", operation)
        } else if let Some(operation) = target.strip_prefix(ECS) {
            ("ecs", operation)
        } else if let Some(operation) = target.strip_prefix(SSM) {
            ("ssm", operation)
        } else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "UnknownOperationException",
                &format!("the emulator has no service for the target {target:?}"),
            );
        };
        let (sender, body) = match self
            .admit(request, service, operation, StatusCode::BAD_REQUEST)
            .await
        {
            Ok((admitted, body)) => (admitted.principal, body),
            Err(response) => return response,
        };
        if let Err(refusal) = self.permitted(&sender, service, operation, &body).await {
            return refusal;
        }
        let disk_full = "no space left on the device that holds the emulator's state";
        match (service, self.faults.take(service, operation)) {
            (_, Some(Fault::Hang)) => std::future::pending().await,
            ("ecs", None) => self.tasks.answer(operation, &body).await,
            ("ecs", Some(Fault::Error(code))) => TaskService::fault(&code, "injected by a test"),
            ("ecs", Some(Fault::DiskFull)) => TaskService::fault("ServerException", disk_full),
            ("ssm", None) => self.parameters.answer(operation, &body),
            ("ssm", Some(Fault::Error(code))) => parameters::fault(&code, "injected by a test"),
            ("ssm", Some(Fault::DiskFull)) => parameters::fault("InternalServerError", disk_full),
            (_, None) => self.documents.answer(operation, body).await,
            (_, Some(Fault::Error(code))) => DocumentService::fault(&code, "injected by a test"),
            (_, Some(Fault::DiskFull)) => DocumentService::fault("InternalServerError", disk_full),
        }
    }

    /// Whether the sender may do what a call of a JSON service asks for; or the refusal.
    async fn permitted(
        &self,
        sender: &Principal,
        service: &str,
        operation: &str,
        body: &[u8],
    ) -> Result<(), Response> {
        let wanted = match service {
            "ecs" => {
                let body = serde_json::from_slice(body).unwrap_or_default();
                let definition = self.tasks.definition_of(&body).await;
                ecs_requests(operation, &body, definition.as_ref())
            }
            "ssm" => vec![parameters::wanted(operation, body)],
            _ => self.permissions.dynamodb_requests(operation, body),
        };
        let checked = self.permissions.check(sender, &wanted);
        checked.map_err(|denied| {
            let (code, words) = ("AccessDeniedException", denied.to_string());
            match service {
                "ecs" => TaskService::fault(code, &words),
                "ssm" => parameters::fault(code, &words),
                _ => DocumentService::fault(code, &words),
            }
        })
    }

    async fn lambda(&self, request: Request) -> Response {
        let Some(router) = self.lambda.clone() else {
            return refuse(
                StatusCode::NOT_FOUND,
                "ResourceNotFoundException",
                "this emulator runs no functions",
            );
        };
        let operation = if request
            .uri()
            .path()
            .ends_with("/response-streaming-invocations")
        {
            "InvokeWithResponseStream"
        } else {
            "Invoke"
        };
        let name = request.uri().path().split('/').nth(3).unwrap_or_default();
        let function = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
        let wanted = Wanted::new("lambda:InvokeFunction", function);
        let status = StatusCode::FORBIDDEN;
        let (mut parts, body) = match self.admit(request, "lambda", operation, status).await {
            Ok((Admitted { parts, principal }, body)) => {
                if let Err(denied) = self.permissions.check(&principal, &[wanted]) {
                    return refuse(status, "AccessDeniedException", &denied.to_string());
                }
                let mut parts = parts;
                parts.extensions.insert(principal);
                (parts, body)
            }
            Err(response) => return response,
        };
        parts.headers.remove(http::header::AUTHORIZATION);
        match router
            .oneshot(Request::from_parts(parts, axum::body::Body::from(body)))
            .await
        {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Reads the body, checks the signature and counts the call; or says why not.
    async fn admit(
        &self,
        request: Request,
        service: &'static str,
        operation: &str,
        unknown: StatusCode,
    ) -> Result<(Admitted, Bytes), Response> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, BODY_BYTES)
            .await
            .map_err(|error| {
                refuse(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestEntityTooLargeException",
                    &format!("the request body could not be read: {error}"),
                )
            })?;
        let principal = signature::verify(&parts, &body, &self.credentials)
            .map_err(|error| refuse(unknown, error.code(), &error.to_string()))?;
        self.calls.count(Call {
            principal: principal.clone(),
            service,
            operation,
            content: &body,
        });
        Ok((Admitted { parts, principal }, body))
    }

    /// The task metadata endpoint: `<id>` or `<id>/task`.
    async fn metadata(&self, rest: &str) -> Response {
        let (id, document) = match rest.split_once('/') {
            None => (rest, MetadataDocument::Container),
            Some((id, "task")) => (id, MetadataDocument::Task),
            Some(_) => return StatusCode::NOT_FOUND.into_response(),
        };
        match self.tasks.metadata(id, document).await {
            Ok(Some(found)) => Json(found).into_response(),
            Ok(None) => StatusCode::NOT_FOUND.into_response(),
            Err(error) => {
                tracing::error!(%error, "task metadata failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// A request of the query protocol: a form to the root. S3 knows forms of another type only.
fn is_query(request: &Request) -> bool {
    request.method() == http::Method::POST
        && request.uri().path() == "/"
        && request
            .headers()
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| {
                kind.as_bytes()
                    .starts_with(b"application/x-www-form-urlencoded")
            })
}

/// A request from someone we know.
struct Admitted {
    parts: Parts,
    principal: Principal,
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let mut response =
        (status, Json(json!({ "__type": code, "message": message }))).into_response();
    if let Ok(code) = HeaderValue::try_from(code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}
