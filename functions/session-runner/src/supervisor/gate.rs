//! What the gate and the CLI's permission prompt ask, and when waiting calls go.

use claude::control;
use claude::gate::{ASK_TOOL, Answer};
use claude::message::CanUseTool;
use policy::Call;

use super::calls;
use super::questions::PROPOSE_AGAIN;
use super::starting::Started;
use super::{Ports, Stop, Supervision};
use crate::gate_server::Asked;
use crate::objects::SessionObjects;

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Takes over what the gate says; a call that waits goes with [`Self::let_calls_go`].
    pub(crate) async fn gate_asked(
        &mut self,
        asked: Asked,
        started: &mut Started,
    ) -> Result<(), Stop> {
        match asked {
            Asked::Refused(refusal) => {
                let entry = self.conversation.refusal(refusal, self.ports.now());
                self.journal.note(entry);
            }
            Asked::Waits(call) if started.deferring => call.answer(Answer::Deny {
                reason: PROPOSE_AGAIN.to_owned(),
            }),
            Asked::Waits(call) if call.tool == ASK_TOOL || call.approval.is_some() => {
                return self.ask(call, started).await;
            }
            Asked::Waits(call) => started.hold(call),
        }
        Ok(())
    }

    /// Lets waiting calls go, unless a checkpoint is due.
    pub(crate) fn let_calls_go(&mut self, started: &mut Started) {
        if started.waiting.is_empty() || self.holds_calls(started) {
            return;
        }
        started.held_since = None;
        for call in started.waiting.drain(..) {
            if calls::may_change_files(&call.tool) {
                self.cuts.may_change();
            }
            // Read only by Claude Code's leave, it may yet be refused, which is then said.
            let entry = self.conversation.allowance(&call, self.ports.now());
            self.journal.note(entry);
            started.calls.let_go(&call);
            call.let_go();
        }
    }

    /// The CLI asks besides the gate where it wants a person: the same policies answer.
    pub(crate) fn answer(&mut self, asked: &CanUseTool, started: &Started) {
        let call = Call {
            tool: &asked.tool_name,
            input: &asked.input,
            cli_mode: Some("default"),
        };
        let tool_use_id = asked.tool_use_id.as_deref().unwrap_or_default();
        let Err(refusal) = started.rules.decide_prompt(&call, tool_use_id) else {
            started
                .cli
                .tell(control::permit(&asked.request_id, &asked.input));
            return;
        };
        let reason = refusal.reason.clone();
        let entry = self.conversation.refusal(refusal, self.ports.now());
        self.journal.note(entry);
        started
            .cli
            .tell(control::refuse(&asked.request_id, &reason));
    }
}
