//! The last look at what goes into the log: whoever made an entry, its texts leave without secrets.
//!
//! Most are clean already when they come here, and cleaning twice changes nothing. What is handed to
//! the CLI does not pass here: the bodies of commands stay as they were sent.

use domain::checkpoint::PendingQuestion;
use domain::event::{EventBody, NewEvent, TurnEnd};
use domain::{ApprovalRequest, CommandOutcome, Decision};
use redact::Redactor;

use super::Entry;

/// Takes the secrets out of an entry.
pub(super) fn clean(redactor: &Redactor, entry: &mut Entry) {
    let clean = Cleaning(redactor);
    for NewEvent { body, .. } in &mut entry.events {
        clean.body(body);
    }
    for (_, outcome) in &mut entry.finish {
        clean.outcome(outcome);
    }
    clean.maybe(&mut entry.end_reason);
    if let Some(Some(question)) = &mut entry.question {
        clean.question(question);
    }
    if let Some(checkpoint) = &mut entry.checkpoint {
        clean.maybe(&mut checkpoint.message);
        checkpoint.tags.iter_mut().for_each(|tag| clean.text(tag));
        if let Some(question) = &mut checkpoint.question {
            clean.question(question);
        }
    }
}

struct Cleaning<'r>(&'r Redactor);

impl Cleaning<'_> {
    fn text(&self, text: &mut String) {
        *text = self.0.clean(text);
    }

    fn maybe(&self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// Text that somebody reads as JSON.
    fn json(&self, text: &mut String) {
        *text = self.0.clean_json(text);
    }

    /// The input of an approval may be cut, and then it is no JSON.
    fn question(&self, question: &mut PendingQuestion) {
        self.json(&mut question.input);
        if let Some(request) = &mut question.approval {
            self.request(request);
        }
    }

    /// A pattern is offered only where there is nothing to take out of it.
    fn request(&self, request: &mut ApprovalRequest) {
        self.text(&mut request.tool);
        self.text(&mut request.reason);
        request.parts.iter_mut().for_each(|part| self.text(part));
        self.maybe(&mut request.agent);
        if let Some(preview) = &mut request.preview {
            *preview = self.0.clean_lines(preview);
        }
    }

    fn body(&self, body: &mut EventBody) {
        match body {
            EventBody::MessageTaken { text } | EventBody::Thinking { text } => self.text(text),
            EventBody::Text { text, agent } => {
                self.text(text);
                self.maybe(agent);
            }
            EventBody::ToolCall {
                tool_use_id,
                tool,
                input,
                agent,
            } => {
                self.text(tool_use_id);
                self.text(tool);
                self.json(input);
                self.maybe(agent);
            }
            EventBody::ToolResult {
                tool_use_id, text, ..
            } => {
                self.text(tool_use_id);
                // Many tools answer in JSON, and say so by nothing else.
                self.json(text);
            }
            EventBody::ToolAllowed {
                tool_use_id, tool, ..
            } => {
                self.text(tool_use_id);
                self.text(tool);
            }
            EventBody::ToolDenied {
                tool_use_id,
                tool,
                reason,
                ..
            } => {
                self.text(tool_use_id);
                self.text(tool);
                self.text(reason);
            }
            EventBody::Retry { message, .. } | EventBody::Notice { message, .. } => {
                self.text(message);
            }
            EventBody::CommandStarted { command, .. } => self.text(command),
            EventBody::CommandEnded {
                end,
                stdout,
                stderr,
                ..
            } => {
                self.maybe(&mut end.reason);
                self.json(stdout);
                self.json(stderr);
            }
            EventBody::TurnEnded(end) => self.end(end),
            EventBody::FilesChanged { files, patch } => {
                files.iter_mut().for_each(|file| self.text(&mut file.path));
                *patch = self.0.clean_lines(patch);
            }
            EventBody::CheckpointCreated { message, .. } => self.maybe(message),
            EventBody::QuestionAsked {
                tool_use_id, input, ..
            } => {
                self.text(tool_use_id);
                self.json(input);
            }
            EventBody::QuestionAnswered { answers, .. } => self.json(answers),
            EventBody::ApprovalRequested {
                tool_use_id,
                input,
                request,
                ..
            } => {
                self.text(tool_use_id);
                self.json(input);
                self.request(request);
            }
            EventBody::ApprovalDecided { decision, .. } => match decision {
                Decision::AllowEdited { input } => self.json(input),
                Decision::Deny { reason } => self.text(reason),
                Decision::AllowOnce
                | Decision::AllowCall
                | Decision::AllowPattern
                | Decision::Expire => {}
            },
            EventBody::RunnerLost { reason } | EventBody::SessionEnded { reason, .. } => {
                self.text(reason);
            }
            EventBody::TurnStarted { model } => self.maybe(model),
            EventBody::SessionReady { claude_version, .. } => self.text(claude_version),
            // Nothing in them is written by a session or a caller.
            EventBody::SessionCreated
            | EventBody::RunnerStarted { .. }
            | EventBody::WorkspaceReady { .. }
            | EventBody::MessageWithdrawn
            | EventBody::SessionForked { .. }
            | EventBody::SessionResumed { .. }
            | EventBody::Rewound { .. }
            | EventBody::StateChanged { .. } => {}
        }
    }

    fn outcome(&self, outcome: &mut CommandOutcome) {
        match outcome {
            CommandOutcome::Turn(end) | CommandOutcome::CutTurn(end, _) => self.end(end),
            CommandOutcome::Refused(words) => self.text(words),
            CommandOutcome::Ran(end) => self.maybe(&mut end.reason),
            // The pieces of a file were looked at with what stands around them.
            CommandOutcome::File(_)
            | CommandOutcome::Interrupted(_)
            | CommandOutcome::Cancelled
            | CommandOutcome::Answered
            | CommandOutcome::Suspended
            | CommandOutcome::Checkpointed(_) => {}
        }
    }

    fn end(&self, end: &mut TurnEnd) {
        self.text(&mut end.text);
        self.text(&mut end.subtype);
        self.maybe(&mut end.terminal_reason);
    }
}
