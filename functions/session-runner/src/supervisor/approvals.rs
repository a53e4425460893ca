//! Calls on which a person decides.
//!
//! An approval is held, deferred and taken up again like any question ([`super::questions`]). It is
//! known by the digest of its call: the same call, made again after a suspension or by the next runner,
//! is the same approval until it is decided. A decision counts for the call that it was about. It lets
//! that call go once: after a runner was lost behind it, the person is asked again.

use claude::gate::Answer;
use std::time::Duration;

use domain::approval::Way;
use domain::checkpoint::PendingQuestion;
use domain::event::EventBody;
use domain::use_cases::expire_approval;
use domain::{ApprovalRequest, Command, CommandBody, Decision, Grant, limits};
use policy::Call;
use redact::hides_only_words;
use serde_json::Value;
use tokio::time::Instant;

use super::questions::{HeldQuestion, Settled};
use super::starting::Started;
use super::{Ports, Stop, Supervision};
use crate::gate_server::{Approval, Decided, WaitingCall, is_of_caller};
use crate::objects::SessionObjects;
use crate::preview::preview;

/// Between two tries to end an approval. Own: far longer than a command needs to come.
const EXPIRY_AGAIN: Duration = Duration::from_secs(2);

/// Told to the model when a person gave no reason.
const DENIED: &str = "The person who was asked does not allow this. Do not try it in another form; go \
    on without it, or ask them what to do instead.";

/// Told to the person about what a caller wants to run.
const OF_CALLER: &str = "Not the session's model but a client asks for this (run_command).";

/// What becomes of a call on which a person is to decide.
pub(crate) enum Put {
    /// They are asked; with its input as the log has it.
    Asks(Box<PendingQuestion>, String),
    /// It may run meanwhile.
    Goes,
    /// It does not run; the model reads why.
    Denied(String),
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Puts a call to a person, unless that is settled already.
    pub(crate) async fn approval(
        &mut self,
        call: &WaitingCall,
        input: &Value,
        approval: Approval,
        started: &Started,
    ) -> Result<Put, Stop> {
        let looked_at = Call {
            tool: &call.tool,
            input,
            cli_mode: call.cli_mode.as_deref(),
        };
        // It may have stood behind another call for hours.
        match started
            .rules
            .decide(&looked_at, &call.tool_use_id, call.agent.is_some())
        {
            Decided::Goes {
                answer: Answer::Allow,
                ..
            } => return Ok(Put::Goes),
            Decided::Refused(refusal) => return Ok(Put::Denied(refusal.reason)),
            Decided::Goes { .. } | Decided::Asks(_) => {}
        }
        let text = input.to_string();
        if text.len() > limits::APPROVAL_INPUT_BYTES {
            return Ok(Put::Denied(format!(
                "{} It is too long to be shown to a person ({} bytes of {}): do it in smaller parts.",
                approval.reason,
                text.len(),
                limits::APPROVAL_INPUT_BYTES
            )));
        }
        let whole = self.conversation.clean(&text);
        let now = self.ports.now();
        let expiry = u64::try_from(self.settings.approval_expiry.as_millis()).unwrap_or(u64::MAX);
        let known = self.known_questions.iter().position(|known| {
            let request = known.approval.as_ref();
            // A caller's command and the model's call are never each other, though they say the same.
            let same = if call.is_of_caller() {
                known.tool_use_id == call.tool_use_id
            } else {
                !is_of_caller(&known.tool_use_id)
            };
            same && request.is_some_and(|request| request.digest == approval.digest)
        });
        let known = known.map(|at| self.known_questions.remove(at));
        let (id, expires_at, pattern) = match known {
            Some(PendingQuestion {
                id,
                approval: Some(request),
                ..
            }) => {
                // Only what was shown can be allowed.
                let shown = approval
                    .pattern
                    .filter(|it| request.pattern.as_ref() == Some(it));
                (id, request.expires_at, shown)
            }
            _ => (
                self.new_question_id("apr"),
                now.plus(expiry),
                approval.pattern,
            ),
        };
        let mut shown = whole.clone();
        shown.truncate(shown.floor_char_boundary(limits::APPROVAL_SHOWN_BYTES));
        let clean = |text: String| self.conversation.clean(&text);
        let reason = if call.is_of_caller() {
            format!("{OF_CALLER} {}", approval.reason)
        } else {
            approval.reason
        };
        let request = ApprovalRequest {
            tool: call.tool.clone(),
            digest: approval.digest,
            reason: clean(reason),
            policies: approval.policies,
            parts: approval.parts.into_iter().map(clean).collect(),
            pattern: pattern.filter(|text| clean(text.clone()) == *text),
            preview: self.preview(call, input, started).await,
            agent: call.agent.clone(),
            visible: hides_only_words(&text, &whole),
            editable: shown == text,
            expires_at,
        };
        let pending = PendingQuestion {
            id,
            tool_use_id: call.tool_use_id.clone(),
            input: shown,
            asked_at: now,
            approval: Some(request),
        };
        Ok(Put::Asks(Box::new(pending), whole))
    }

    async fn preview(
        &self,
        call: &WaitingCall,
        input: &Value,
        started: &Started,
    ) -> Option<String> {
        let rules = started.rules.clone();
        let (tool, input) = (call.tool.clone(), input.clone());
        let redactor = self.conversation.redactor().clone();
        let looking = move || {
            preview(
                &tool,
                &input,
                &rules.files,
                &rules.workspace,
                &rules.working_directory,
                &redactor,
            )
        };
        let looked = tokio::task::spawn_blocking(looking).await;
        looked.unwrap_or_else(|error| {
            tracing::warn!(%error, "what an edit would change cannot be shown");
            None
        })
    }

    fn nobody_decided(&self) -> String {
        format!(
            "Nobody decided within {} s, which counts as no. Go on without it and say what is missing.",
            self.settings.approval_expiry.as_secs()
        )
    }

    /// What comes of a decision on the held call. Whatever is wrong with it is a denial: the first
    /// decision is the only one.
    pub(crate) fn decided(
        &self,
        held: &HeldQuestion,
        request: &ApprovalRequest,
        command: &Command,
        started: &Started,
    ) -> Settled {
        let deny = |reason: &str| Decision::Deny {
            reason: reason.to_owned(),
        };
        let (decision, way) = match &command.body {
            CommandBody::Decide {
                digest,
                decision,
                way,
                ..
            } if *digest == request.digest => (decision.clone(), *way),
            CommandBody::Decide { way, .. } => (deny("the decision was about another call"), *way),
            // No tool decides, so no answer to a question does.
            _ => (deny("an answer decides nothing"), Way::Clock),
        };
        let mut refused = None;
        let decision = match self.still_allowed(held, &decision, started) {
            Ok(()) => decision,
            Err(reason) => {
                refused = Some(reason.clone());
                Decision::Deny { reason }
            }
        };
        let (answer, decision) = match decision {
            Decision::AllowEdited { input } => match self.edited(held, &input, started) {
                Ok(edited) => (
                    Answer::AllowWith { input: edited },
                    Decision::AllowEdited { input },
                ),
                Err(reason) => {
                    refused = Some(reason.clone());
                    (denied(&reason), deny(&reason))
                }
            },
            Decision::Deny { reason } => (denied(&reason), Decision::Deny { reason }),
            Decision::Expire => (denied(&self.nobody_decided()), Decision::Expire),
            allowed @ (Decision::AllowOnce | Decision::AllowCall | Decision::AllowPattern) => {
                (Answer::Allow, allowed)
            }
        };
        let grant = match &decision {
            Decision::AllowCall => Some(Grant::Call(request.digest.clone())),
            Decision::AllowPattern => request.pattern.clone().map(Grant::Pattern),
            _ => None,
        };
        let grants = grant
            .filter(|grant| self.grants.len() < limits::GRANTS && !self.grants.contains(grant));
        Settled {
            answer,
            body: EventBody::ApprovalDecided {
                approval: held.pending.id.clone(),
                digest: request.digest.clone(),
                decision,
                way,
            },
            grants: grants.map(|grant| {
                let mut grants = self.grants.clone();
                grants.push(grant);
                grants
            }),
            refused,
        }
    }

    /// What a person allows is looked at once more: what is denied for good stays so.
    fn still_allowed(
        &self,
        held: &HeldQuestion,
        decision: &Decision,
        started: &Started,
    ) -> Result<(), String> {
        if !matches!(
            decision,
            Decision::AllowOnce | Decision::AllowCall | Decision::AllowPattern
        ) {
            return Ok(());
        }
        started
            .rules
            .may_run_approved(&held.as_call(&held.input), held.is_of_agent())
    }

    /// A call with the input that a person wrote: they allow what would need their approval, and nobody
    /// what is denied for good.
    fn edited(&self, held: &HeldQuestion, input: &str, started: &Started) -> Result<Value, String> {
        let edited: Value = serde_json::from_str(input)
            .ok()
            .filter(Value::is_object)
            .ok_or("the edited input is no JSON object")?;
        started
            .rules
            .may_run_approved(&held.as_call(&edited), held.is_of_agent())?;
        Ok(edited)
    }

    /// When the approval that waits counts as denied, and when that is looked at again.
    pub(crate) fn expiry(&self, started: &Started) -> Option<Instant> {
        let held = started.question.as_ref()?;
        let expires_at = held.pending.approval.as_ref()?.expires_at;
        let left = expires_at.0.saturating_sub(self.ports.now().0) + 1;
        let at = Instant::now() + Duration::from_millis(left);
        Some(
            started
                .expired
                .map_or(at, |last| at.max(last + EXPIRY_AGAIN)),
        )
    }

    /// Time is up: says so by a command, which comes as a decision does. One that came before counts.
    pub(crate) async fn expire(&self, started: &mut Started) {
        let Some(held) = &started.question else {
            return;
        };
        started.expired = Some(Instant::now());
        let key = &self.assignment.key;
        if let Err(error) = expire_approval(&*self.ports, key, &held.pending).await {
            tracing::warn!(%error, "an approval that nobody decided cannot be ended now");
        }
    }
}

fn denied(reason: &str) -> Answer {
    let reason = match reason.trim() {
        "" => DENIED.to_owned(),
        said => format!("The person who was asked does not allow this: {said}"),
    };
    Answer::Deny { reason }
}
