//! Questions to a person, and calls on which a person decides: held at the gate until the answer comes.
//!
//! ```text
//! the gate asks ─→ waiting ─ answer ───────────────→ the call goes on with the answers in it
//!                    └─ too long, or a stop ─→ deferred: the next runner is asked again
//! ```
//! A question is known by its id. A runner that goes on from an earlier cut is asked once more, by a
//! call with another id but the same words: that is the same question, and an answer that was given
//! meanwhile answers it.

use claude::gate::{Answer, answered_input};
use domain::checkpoint::PendingQuestion;
use domain::event::EventBody;
use domain::{Command, CommandBody, CommandOutcome, Decision, Grant, QuestionId, State, limits};
use serde_json::Value;

use super::approvals::Put;
use super::starting::Started;
use super::{Ports, Stop, Supervision};
use crate::gate_server::{WaitingCall, is_of_caller};
use crate::journal::Entry;
use crate::objects::SessionObjects;

/// Told to other calls of a message whose question is deferred: only one call survives that.
pub(crate) const PROPOSE_AGAIN: &str =
    "The session is being suspended until a person has answered. Propose this call again then.";

/// The question that holds the turn up.
pub(crate) struct HeldQuestion {
    pub(crate) pending: PendingQuestion,
    pub(crate) input: Value,
    pub(crate) call: WaitingCall,
}

impl HeldQuestion {
    /// The held call, with this input.
    pub(crate) fn as_call<'a>(&'a self, input: &'a Value) -> policy::Call<'a> {
        policy::Call {
            tool: &self.call.tool,
            input,
            cli_mode: self.call.cli_mode.as_deref(),
        }
    }

    /// A subagent asks: its call cannot be deferred.
    pub(crate) fn is_of_agent(&self) -> bool {
        self.call.agent.is_some()
    }
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// The gate holds a question. One is open at a time; others wait behind it.
    pub(crate) async fn ask(
        &mut self,
        mut call: WaitingCall,
        started: &mut Started,
    ) -> Result<(), Stop> {
        if started.question.is_some() {
            started.later.push_back(call);
            return Ok(());
        }
        let input = call.question.take().unwrap_or_default();
        let asked = match call.approval.take() {
            None => self.question(&call, &input),
            Some(approval) => match self.approval(&call, &input, *approval, started).await? {
                Put::Asks(pending, whole) => Ok((*pending, whole)),
                Put::Goes => {
                    started.hold(call);
                    return Ok(());
                }
                Put::Denied(reason) => Err(reason),
            },
        };
        let (pending, whole) = match asked {
            Ok(asked) => asked,
            Err(reason) => {
                call.answer(Answer::Deny { reason });
                return Ok(());
            }
        };
        let id = pending.id.clone();
        let entry = self.conversation.asked(&pending, &whole, self.ports.now());
        self.journal.note(entry);
        self.question_on_head = true;
        started.question = Some(HeldQuestion {
            pending,
            input,
            call,
        });
        let early = self.early_answers.iter().position(
            |command| matches!(&command.body, CommandBody::Answer { question: about, .. } | CommandBody::Decide { approval: about, .. } if *about == id),
        );
        if let Some(at) = early {
            let command = self.early_answers.remove(at);
            self.answer_question(&command, false, started).await?;
        }
        Ok(())
    }

    /// The question that a call asks, and its input; or why it is not asked.
    fn question(
        &mut self,
        call: &WaitingCall,
        input: &Value,
    ) -> Result<(PendingQuestion, String), String> {
        let text = input.to_string();
        if text.len() > limits::QUESTION_BYTES {
            return Err(format!(
                "The question is too long ({} bytes of {}). Ask shorter.",
                text.len(),
                limits::QUESTION_BYTES
            ));
        }
        let text = self.conversation.clean(&text);
        let known = self.known_questions.iter().position(|known| {
            let same = known.tool_use_id == call.tool_use_id || known.input == text;
            same && known.approval.is_none()
        });
        let id = match known {
            Some(at) => self.known_questions.remove(at).id,
            None => self.new_question_id("que"),
        };
        let pending = PendingQuestion {
            id,
            tool_use_id: call.tool_use_id.clone(),
            input: text.clone(),
            asked_at: self.ports.now(),
            approval: None,
        };
        Ok((pending, text))
    }

    pub(crate) fn new_question_id(&self, kind: &str) -> QuestionId {
        let id = format!(
            "{kind}_{}",
            &domain::ids::base32(&self.ports.random())[..26]
        );
        // Its rule allows exactly these characters.
        QuestionId::parse(&id).expect("a question id")
    }

    /// Carries an answer out; `false` when it was withdrawn meanwhile. `take` unless this runner has
    /// taken it already.
    pub(crate) async fn answer_question(
        &mut self,
        command: &Command,
        take: bool,
        started: &mut Started,
    ) -> Result<bool, Stop> {
        let (CommandBody::Answer { question, .. }
        | CommandBody::Decide {
            approval: question, ..
        }) = &command.body
        else {
            return Ok(true);
        };
        let waits = |held: &&HeldQuestion| held.pending.id == *question;
        let held = started.question.as_ref().filter(waits);
        if held.is_some_and(|held| held.pending.approval.is_some()) {
            // It may have waited for days: what was stored meanwhile counts for it.
            self.renew_policies(started).await?;
        }
        let Some(held) = started.question.as_ref().filter(waits) else {
            let awaited = self
                .known_questions
                .iter()
                .any(|known| known.id == *question);
            if awaited && take {
                // The turn that asks it is being run again.
                let taken = self
                    .write(Entry {
                        take: vec![command.clone()],
                        ..Entry::default()
                    })
                    .await?;
                if taken {
                    self.early_answers.push(command.clone());
                }
                return Ok(taken);
            }
            let words = "that question is not open (any more)".to_owned();
            return self
                .finish_answer(command, take, CommandOutcome::Refused(words))
                .await;
        };
        let settled = match &held.pending.approval {
            None => answered(held, command),
            Some(request) => Ok(self.decided(held, request, command, started)),
        };
        let settled = match settled {
            Ok(settled) => settled,
            Err(words) => {
                return self
                    .finish_answer(command, take, CommandOutcome::Refused(words))
                    .await;
            }
        };
        let now = self.ports.now();
        let mut entry = self
            .conversation
            .answered(Some(command), self.cleaned(settled.body), now);
        entry.grants.clone_from(&settled.grants);
        entry.take = take.then(|| command.clone()).into_iter().collect();
        let outcome = match settled.refused {
            None => CommandOutcome::Answered,
            Some(words) => CommandOutcome::Refused(words),
        };
        entry.finish = vec![(command.clone(), outcome)];
        if !self.write(entry).await? {
            return Ok(false);
        }
        if let Some(grants) = settled.grants {
            self.grants = grants;
            if let Err(error) = started.rules.granted.set(&self.grants) {
                tracing::error!(%error, "what was granted does not count");
            }
        }
        self.go_on_with(settled.answer, started).await?;
        Ok(true)
    }

    /// The question is answered, and the log says so: the held call goes on, and the next one is asked
    /// about.
    pub(crate) async fn go_on_with(
        &mut self,
        answer: Answer,
        started: &mut Started,
    ) -> Result<(), Stop> {
        self.conversation.state = State::Running;
        self.question_on_head = false;
        if let Some(held) = started.question.take() {
            let mut call = held.call;
            match answer {
                denied @ Answer::Deny { .. } => call.answer(denied),
                allowed => {
                    call.allow(allowed);
                    started.hold(call);
                }
            }
        }
        // Until one of them holds the turn up: others may be settled by now.
        while started.question.is_none()
            && let Some(next) = started.later.pop_front()
        {
            Box::pin(self.ask(next, started)).await?;
        }
        Ok(())
    }

    /// Without what nobody may read in a log.
    fn cleaned(&self, body: EventBody) -> EventBody {
        match body {
            EventBody::QuestionAnswered { question, answers } => EventBody::QuestionAnswered {
                question,
                answers: self.conversation.clean(&answers),
            },
            EventBody::ApprovalDecided {
                approval,
                digest,
                decision,
                way,
            } => EventBody::ApprovalDecided {
                approval,
                digest,
                decision: match decision {
                    Decision::Deny { reason } => Decision::Deny {
                        reason: self.conversation.clean(&reason),
                    },
                    Decision::AllowEdited { input } => Decision::AllowEdited {
                        input: self.conversation.clean(&input),
                    },
                    other => other,
                },
                way,
            },
            other => other,
        }
    }

    async fn finish_answer(
        &mut self,
        command: &Command,
        take: bool,
        outcome: CommandOutcome,
    ) -> Result<bool, Stop> {
        let entry = Entry {
            take: take.then(|| command.clone()).into_iter().collect(),
            finish: vec![(command.clone(), outcome)],
            ..Entry::default()
        };
        self.write(entry).await
    }

    /// The turn is over without an answer: it was interrupted, or asked otherwise this time.
    pub(crate) fn question_is_gone(&mut self, started: &mut Started) {
        started.later.retain(WaitingCall::is_of_caller);
        // A caller's command waits whatever becomes of the turn.
        let of_caller = |held: &HeldQuestion| held.call.is_of_caller();
        let stays = started.question.as_ref().is_some_and(of_caller);
        if !stays && started.question.take().is_some() {
            let entry = self
                .conversation
                .change_to(State::Running, self.ports.now());
            self.journal.note(entry);
        }
        let of_callers = self.questions_of_callers();
        self.known_questions
            .retain(|known| of_callers.contains(&known.id));
        let stays = stays || !of_callers.is_empty();
        if !stays && std::mem::take(&mut self.question_on_head) {
            self.journal.note(Entry {
                question: Some(None),
                ..Entry::default()
            });
        }
        let words = "the turn ended without that question".to_owned();
        let early = std::mem::take(&mut self.early_answers);
        let (kept, early): (Vec<Command>, Vec<Command>) =
            early.into_iter().partition(|command| match &command.body {
                CommandBody::Decide { approval, .. } => of_callers.contains(approval),
                _ => false,
            });
        self.early_answers = kept;
        self.note(Entry {
            finish: early
                .into_iter()
                .map(|command| (command, CommandOutcome::Refused(words.clone())))
                .collect(),
            ..Entry::default()
        });
    }

    /// The question that a later runner will be asked about again.
    /// That of a caller's command is no part of the conversation: it stays with the session's head.
    pub(crate) fn deferred_question(&self, started: &Started) -> Option<PendingQuestion> {
        let deferred = started.deferred.clone();
        deferred.filter(|question| !is_of_caller(&question.tool_use_id))
    }
}

/// What comes of an answer or a decision.
pub(crate) struct Settled {
    /// What the gate says.
    pub(crate) answer: Answer,
    /// What the log says.
    pub(crate) body: EventBody,
    /// What counts as granted from here on, when that changes.
    pub(crate) grants: Option<Vec<Grant>>,
    /// Why it did not come to what was decided.
    pub(crate) refused: Option<String>,
}

fn answered(held: &HeldQuestion, command: &Command) -> Result<Settled, String> {
    let CommandBody::Answer { question, answers } = &command.body else {
        return Err("this is no approval: answer_question answers it".to_owned());
    };
    let input = answered_input(&held.input, answers).map_err(|error| {
        format!("the answers must be an object from each question's text to its answer: {error}")
    })?;
    Ok(Settled {
        answer: Answer::AllowWith { input },
        body: EventBody::QuestionAnswered {
            question: question.clone(),
            answers: answers.clone(),
        },
        grants: None,
        refused: None,
    })
}

impl super::conversation::Conversation {
    /// The entry with which a question begins to wait.
    #[must_use]
    pub fn asked(
        &mut self,
        pending: &PendingQuestion,
        whole: &str,
        now: domain::UnixMillis,
    ) -> Entry {
        let mut entry = Entry::default();
        if self.state != State::Provisioning {
            let running = self.change_to(State::Running, now);
            entry.events.extend(running.events);
        }
        let tool_use_id = pending.tool_use_id.clone();
        let body = match &pending.approval {
            None => EventBody::QuestionAsked {
                question: pending.id.clone(),
                tool_use_id,
                input: whole.to_owned(),
            },
            Some(request) => EventBody::ApprovalRequested {
                approval: pending.id.clone(),
                tool_use_id,
                input: whole.to_owned(),
                request: request.clone(),
            },
        };
        entry.events.push(self.event(now, None, body));
        let waiting = self.change_to(State::Waiting, now);
        entry.events.extend(waiting.events);
        entry.state = Some(State::Waiting);
        entry.question = Some(Some(pending.clone()));
        entry
    }

    /// The entry with which the turn goes on; write it before the call goes.
    #[must_use]
    pub fn answered(
        &self,
        command: Option<&Command>,
        body: EventBody,
        now: domain::UnixMillis,
    ) -> Entry {
        let change = EventBody::StateChanged {
            from: self.state,
            to: State::Running,
        };
        Entry {
            events: vec![
                self.event(now, command, body),
                self.event(now, command, change),
            ],
            state: Some(State::Running),
            question: Some(None),
            ..Entry::default()
        }
    }
}
