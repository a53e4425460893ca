//! The pair of 2024-11-05: `GET /sse` is a stream that stays, `POST /messages` a way in. Whichever
//! instance gets a post leaves it in the store; the one that holds the stream takes it from there,
//! works on it, and answers on the stream (see [`super::held`]). So every stream holds a function
//! as long as its client is connected, and the pair is served only where the deployment wants to pay
//! for that.

use bytes::Bytes;
use domain::Principal;
use domain::client_session::{ClientKey, ClientSessionId};
use domain::ids::base32;
use domain::limits::POSTED_MILLISECONDS;
use domain::ports::ClientSession;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;

use super::held::Held;
use super::recorded::EventId;
use super::{Bridge, ClientPorts, LAST_EVENT, Peek, accepted, unavailable};
use crate::answer::{Body, INVALID_REQUEST, PARSE_ERROR, error_response};
use crate::front::record_request;
use crate::work::Work;

impl<W, P> Bridge<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// A request on `/sse` or `/messages`.
    pub(super) async fn pair(
        &self,
        request: Request<Bytes>,
        principal: &Principal,
    ) -> Response<Body> {
        if !self.settings.sessions.pair {
            return error_response(
                StatusCode::NOT_FOUND,
                &Value::Null,
                INVALID_REQUEST,
                "this deployment does not serve the transport of 2024-11-05 (SHANNON_SSE_PAIR); \
                 connect to /mcp",
            );
        }
        let stream = request.uri().path().ends_with("/sse");
        match (stream, request.method()) {
            (true, &Method::GET) => self.held(&request, principal).await,
            (false, &Method::POST) => self.left(&request, principal).await,
            // Clients that try the newer transport first read this as "try the older one".
            _ => error_response(
                StatusCode::METHOD_NOT_ALLOWED,
                &Value::Null,
                INVALID_REQUEST,
                "GET /sse for the stream, POST /messages for messages",
            ),
        }
    }

    /// `POST /messages?session_id=…`
    async fn left(&self, request: &Request<Bytes>, principal: &Principal) -> Response<Body> {
        let none = Value::Null;
        let query = request.uri().query().unwrap_or_default();
        let name = query
            .split('&')
            .find_map(|part| part.strip_prefix("session_id="))
            .and_then(|name| ClientSessionId::parse(name).ok());
        if request.body().len() > self.settings.max_request_body_bytes {
            return error_response(
                StatusCode::PAYLOAD_TOO_LARGE,
                &none,
                INVALID_REQUEST,
                "the message is too long; send files with create_upload",
            );
        }
        let Some((peek, message)) = Peek::at(request.body()) else {
            return error_response(
                StatusCode::BAD_REQUEST,
                &none,
                PARSE_ERROR,
                "the body is no JSON-RPC message",
            );
        };
        if let Some(method) = &peek.method {
            record_request(request.headers(), method, message.get("params"));
        }
        let key = match self.session_named(name, principal, &peek.id).await {
            Ok((key, _)) => key,
            Err(refused) => return *refused,
        };
        if peek.method.is_none() {
            return match peek.is_reply {
                true => self.replied(&key, &peek.id, &message).await,
                false => error_response(
                    StatusCode::BAD_REQUEST,
                    &peek.id,
                    INVALID_REQUEST,
                    "method is missing",
                ),
            };
        }
        let now = self.ports.now();
        // In the order in which they came, as far as clocks agree.
        let name = format!("{:015}-{}", now.0, &base32(&self.ports.random())[..16]);
        let until = now.plus(POSTED_MILLISECONDS);
        match self
            .ports
            .post(&key, &name, &message.to_string(), until)
            .await
        {
            Ok(()) => accepted(),
            Err(error) => unavailable(&error, &peek.id),
        }
    }

    /// `GET /sse`
    async fn held(&self, request: &Request<Bytes>, principal: &Principal) -> Response<Body> {
        let last = request
            .headers()
            .get(LAST_EVENT)
            .and_then(|last| last.to_str().ok());
        let last = last.and_then(EventId::parse);
        let known = match &last {
            Some(last) => {
                let name = Some(last.session.clone());
                self.session_named(name, principal, &Value::Null).await.ok()
            }
            None => None,
        };
        let (key, session) = match known {
            Some(known) => known,
            // A new client, or one that was away for too long: it begins anew.
            None => {
                let key = ClientKey {
                    owner: principal.owner.clone(),
                    session: ClientSessionId::from_random(self.ports.random()),
                };
                let session = ClientSession {
                    introduction: String::new(),
                    expires_at: self.lives_until(),
                };
                if let Err(error) = self.ports.open(&key, &session).await {
                    return unavailable(&error, &Value::Null);
                }
                (key, session)
            }
        };
        let introduction = serde_json::from_str(&session.introduction).ok();
        match Held::begin(self.clone(), principal.clone(), key, introduction, last).await {
            Ok(stream) => stream,
            Err(error) => unavailable(&error, &Value::Null),
        }
    }
}
