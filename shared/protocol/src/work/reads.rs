//! What is only read, without the tools: a program that serves no more has nothing of them in it.

use rmcp::ErrorData;
use rmcp::model::{
    CompleteRequestParams, CompleteResult, GetPromptRequestParams, GetPromptResponse,
    ReadResourceRequestParams, ReadResourceResponse,
};

use super::{Ports, Sessions, Work};
use crate::asked::Asked;
use crate::snapshots::Snapshots;
use crate::tools::check_policy::PolicyChecker;
use crate::tools::find_claude_binary::ClaudeFinder;

/// Resources, prompts and completion of the same sessions (`read`).
pub struct Reads<P, F>(Sessions<P, F>);

impl<P, F> Reads<P, F> {
    /// Reads through what tools work with.
    pub const fn new(sessions: Sessions<P, F>) -> Self {
        Self(sessions)
    }
}

impl<P: Ports, F: ClaudeFinder + PolicyChecker + Snapshots> Work for Reads<P, F> {
    async fn get_prompt(
        &self,
        asked: Asked,
        request: GetPromptRequestParams,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.0.get_prompt(asked, request).await
    }

    async fn read_resource(
        &self,
        asked: Asked,
        request: ReadResourceRequestParams,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.0.read_resource(asked, request).await
    }

    async fn complete(
        &self,
        asked: Asked,
        request: CompleteRequestParams,
    ) -> Result<CompleteResult, ErrorData> {
        self.0.complete(asked, request).await
    }
}
