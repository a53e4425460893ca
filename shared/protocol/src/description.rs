//! What the server says about itself, in both eras.

use rmcp::model::{Implementation, ServerCapabilities};

const INSTRUCTIONS: &str = "Shannon runs Claude Code sessions on infrastructure that the user owns. \
    Start one with create_session, then call wait_session with the cursor it returned last until the \
    session is idle or has ended; talk to it with send_message; when it waits for a person, answer_question; read its files with read_file, and its \
    log and diff as shannon://sessions/<session_id>/events and /diff; give its machine back with suspend_session, or end it with cancel_session, \
    because an idle session holds a machine for some minutes.";

/// Name, capabilities and instructions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// Name and version.
    pub info: Implementation,
    /// What a model should know before it uses the tools.
    pub instructions: Option<String>,
    /// What requests of 2026-07-28 and later may use.
    pub modern: ServerCapabilities,
    /// What clients of the initialize era may use.
    pub legacy: ServerCapabilities,
}

impl Description {
    /// Of a server with this name and these capabilities in both eras.
    #[must_use]
    pub fn new(
        info: Implementation,
        modern: ServerCapabilities,
        legacy: ServerCapabilities,
    ) -> Self {
        Self {
            info,
            instructions: None,
            modern,
            legacy,
        }
    }

    /// Shannon's own. No listChanged: whoever advertises it is held to one open stream per client.
    pub(crate) fn shannon() -> Self {
        let mut description = Self::new(
            Implementation::new("shannon", env!("CARGO_PKG_VERSION")).with_title("Shannon"),
            ServerCapabilities::builder()
                .enable_tools()
                .enable_resources()
                .enable_prompts()
                .enable_completions()
                .enable_tasks()
                .build(),
            // The tasks extension needs capabilities in every request, which this era does not send.
            ServerCapabilities::builder()
                .enable_tools()
                .enable_resources()
                .enable_prompts()
                .enable_completions()
                .build(),
        );
        description.instructions = Some(INSTRUCTIONS.to_owned());
        description
    }
}
