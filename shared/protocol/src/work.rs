//! What stands behind a class: nothing, turns as tasks, or every tool.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Clock, Compute, IdSource, Inbox, SessionDirectory, SessionLog, Uploads};
use domain::{Deployment, Principal};
use rmcp::ErrorData;
use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestMethod, CallToolResponse, GetTaskMethod, GetTaskResult, JsonObject,
    ProgressNotificationParam, ProgressToken,
};
use rmcp::service::Peer;

use crate::tools::find_claude_binary::{ClaudeFinder, Kept};
use crate::{task, tools};

/// All ports that tools need; whatever has them is one.
pub trait Ports:
    SessionDirectory + SessionLog + Inbox + Uploads + Compute + Clock + IdSource + 'static
{
}
impl<P> Ports for P where
    P: SessionDirectory + SessionLog + Inbox + Uploads + Compute + Clock + IdSource + 'static
{
}

/// One call of a tool.
#[derive(Debug)]
pub struct ToolCall {
    pub(crate) principal: Principal,
    pub(crate) name: String,
    pub(crate) arguments: JsonObject,
    /// The client declared the tasks extension.
    pub(crate) wants_task: bool,
    pub(crate) progress: Option<Progress>,
}

/// Where a client wants to be told how far a call is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) peer: Peer<RoleServer>,
    pub(crate) token: ProgressToken,
}

impl Progress {
    /// Tells the client; one that went away is told nothing, and the call ends by itself.
    pub(crate) async fn report(&self, progress: f64, message: String) {
        let notice =
            ProgressNotificationParam::new(self.token.clone(), progress).with_message(message);
        if let Err(error) = self.peer.notify_progress(notice).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "progress reached nobody"
            );
        }
    }
}

/// What requests of a class do. Implemented here only: its types are rmcp's.
pub trait Work: Send + Sync + 'static {
    /// `tools/call`.
    fn call_tool(
        &self,
        call: ToolCall,
    ) -> impl Future<Output = Result<CallToolResponse, ErrorData>> + Send {
        drop(call);
        std::future::ready(Err(ErrorData::method_not_found::<CallToolRequestMethod>()))
    }

    /// `tasks/get`.
    fn get_task(
        &self,
        principal: Principal,
        id: &str,
    ) -> impl Future<Output = Result<GetTaskResult, ErrorData>> + Send {
        drop((principal, id));
        std::future::ready(Err(ErrorData::method_not_found::<GetTaskMethod>()))
    }

    /// `tasks/update`, with the keys of the input responses.
    fn update_task(
        &self,
        principal: Principal,
        id: &str,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send {
        drop((principal, id, keys));
        std::future::ready(Err(ErrorData::method_not_found::<GetTaskMethod>()))
    }

    /// `tasks/cancel`.
    fn cancel_task(
        &self,
        principal: Principal,
        id: &str,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send {
        drop((principal, id));
        std::future::ready(Err(ErrorData::method_not_found::<GetTaskMethod>()))
    }
}

/// Nothing: classes that only say what there is (`discover`, `catalog`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Listings;

impl Work for Listings {}

/// Turns as tasks, from the session's records alone (`tasks`).
#[derive(Clone, Debug)]
pub struct Turns<P> {
    ports: P,
    deployment: Arc<Deployment>,
}

impl<P> Turns<P> {
    /// Reads and cancels turns through these ports.
    pub fn new(ports: P, deployment: Deployment) -> Self {
        Self {
            ports,
            deployment: Arc::new(deployment),
        }
    }
}

impl<P> Work for Turns<P>
where
    P: SessionDirectory + Inbox + Clock + IdSource + 'static,
{
    async fn get_task(&self, principal: Principal, id: &str) -> Result<GetTaskResult, ErrorData> {
        task::get(&self.ports, &self.deployment, &principal, id).await
    }

    async fn update_task(
        &self,
        principal: Principal,
        id: &str,
        keys: Vec<String>,
    ) -> Result<(), ErrorData> {
        task::update(&self.ports, &principal, id, &keys).await
    }

    async fn cancel_task(&self, principal: Principal, id: &str) -> Result<(), ErrorData> {
        task::cancel(&self.ports, &principal, id).await
    }
}

/// Every tool, and turns as tasks (`call`, `legacy`).
pub struct Sessions<P, F> {
    pub(crate) ports: P,
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) finder: F,
    pub(crate) found: Kept,
}

impl<P, F> Sessions<P, F> {
    /// Tools over these ports. What `finder` finds is kept for `keep_found` in this process.
    pub fn new(ports: P, deployment: Deployment, finder: F, keep_found: Duration) -> Self {
        Self {
            ports,
            deployment: Arc::new(deployment),
            finder,
            found: Kept::new(keep_found),
        }
    }
}

impl<P: Ports, F: ClaudeFinder> Work for Sessions<P, F> {
    async fn call_tool(&self, call: ToolCall) -> Result<CallToolResponse, ErrorData> {
        tools::call(self, call).await
    }

    async fn get_task(&self, principal: Principal, id: &str) -> Result<GetTaskResult, ErrorData> {
        task::get(&self.ports, &self.deployment, &principal, id).await
    }

    async fn update_task(
        &self,
        principal: Principal,
        id: &str,
        keys: Vec<String>,
    ) -> Result<(), ErrorData> {
        task::update(&self.ports, &principal, id, &keys).await
    }

    async fn cancel_task(&self, principal: Principal, id: &str) -> Result<(), ErrorData> {
        task::cancel(&self.ports, &principal, id).await
    }
}
