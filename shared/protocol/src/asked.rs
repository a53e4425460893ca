//! What a request says besides its parameters, and the way back to its client while it is being
//! answered.

use bytes::Bytes;
use domain::Principal;
use rmcp::RoleServer;
use rmcp::model::{
    ClientCapabilities, CustomNotification, ProgressToken, RequestMetaObject, ServerNotification,
};
use rmcp::service::Peer;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Notifications that may wait for the client to read them; more of them make the work wait.
pub(crate) const NOTICES_AHEAD: usize = 64;

/// Who asks, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Asked {
    /// The caller.
    pub principal: Principal,
    /// The request is of 2026-07-28 or later.
    pub modern: bool,
    /// What the client can do: of this request, or of its `initialize`.
    pub capabilities: ClientCapabilities,
    /// The request's `_meta`.
    pub meta: RequestMetaObject,
    /// Where notifications go.
    pub notices: Notices,
    /// The client itself, where it can be asked while it waits: only on a session of the initialize
    /// era.
    pub peer: Option<Peer<RoleServer>>,
}

impl Asked {
    /// The client understands a task as the answer. Only requests that say so themselves do.
    #[must_use]
    pub fn wants_task(&self) -> bool {
        self.modern && self.capabilities.supports_tasks()
    }

    /// The name of the client: of this request, or of its `initialize`. It says so itself.
    #[must_use]
    pub fn client(&self) -> Option<String> {
        let of_request = self.meta.client_info().map(|client| client.name);
        let introduced = || {
            let introduction = self.peer.as_ref()?.peer_info()?;
            Some(introduction.client_info.name.clone())
        };
        of_request.or_else(introduced)
    }

    /// Where the client wants to be told how far the request is.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.meta.get_progress_token().map(|token| Progress {
            notices: self.notices.clone(),
            token,
        })
    }
}

/// The stream that a request's answer becomes when something is sent before it. Sending never
/// fails: a client that went away is told nothing, and the work ends by itself.
#[derive(Clone, Debug)]
pub struct Notices(Outlet);

#[derive(Clone, Debug)]
enum Outlet {
    Stream(mpsc::Sender<Bytes>),
    Peer(Peer<RoleServer>),
}

impl Notices {
    /// An outlet, and where its messages come out: each one JSON document.
    pub(crate) fn stream() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(NOTICES_AHEAD);
        (Self(Outlet::Stream(sender)), receiver)
    }

    pub(crate) fn peer(peer: Peer<RoleServer>) -> Self {
        Self(Outlet::Peer(peer))
    }

    /// Sends one notification; waits while the client reads slower than this is called.
    pub async fn send(&self, method: &str, params: Value) {
        let sent = match &self.0 {
            Outlet::Stream(sender) => {
                let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
                sender.send(Bytes::from(message.to_string())).await.is_ok()
            }
            Outlet::Peer(peer) => {
                let notice = CustomNotification::new(method, Some(params));
                let sending =
                    peer.send_notification(ServerNotification::CustomNotification(notice));
                sending.await.is_ok()
            }
        };
        if !sent {
            tracing::debug!(method, "a notification reached nobody");
        }
    }
}

/// Where a client wants to be told how far a call is.
#[derive(Clone, Debug)]
pub struct Progress {
    notices: Notices,
    token: ProgressToken,
}

impl Progress {
    /// Tells the client. `progress` must only grow.
    pub async fn report(&self, progress: f64, total: Option<f64>, message: String) {
        let mut params =
            json!({"progressToken": self.token, "progress": progress, "message": message});
        if let Some(total) = total {
            params["total"] = total.into();
        }
        self.notices.send("notifications/progress", params).await;
    }
}
