//! Notices: what somebody who does not look at a session should hear about it. A notice says which
//! session and what kind of thing happened; nothing that was said in the session is in it.

use sha2::{Digest, Sha256};

use crate::{Head, QuestionId, SessionKey, State, UnixMillis, ids::base32};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoticeKind {
    /// The session ended: its time was over, or somebody cancelled it.
    SessionFinished,
    /// The session ended because it could not go on, or ran for too long.
    SessionFailed,
    /// A turn ended, and the session has nothing to do for now.
    TurnFinished,
    /// A person is asked something, and the turn waits for the answer.
    QuestionAsked,
    /// A person has to decide about a tool call.
    ApprovalNeeded,
    /// A turn ended and the session has spent what it may.
    BudgetReached,
}

impl NoticeKind {
    /// As receivers read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionFinished => "session.finished",
            Self::SessionFailed => "session.failed",
            Self::TurnFinished => "session.turn_finished",
            Self::QuestionAsked => "session.question_asked",
            Self::ApprovalNeeded => "session.approval_needed",
            Self::BudgetReached => "session.budget_reached",
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same for the same thing, however often it is told: receivers drop what they know.
    pub id: String,
    /// What happened.
    pub kind: NoticeKind,
    /// To which session; its owner is who is told.
    pub key: SessionKey,
    /// Its title.
    pub title: String,
    /// Where it is now.
    pub state: State,
    /// When, on the clock of whoever changed the session.
    pub time: UnixMillis,
    /// What waits for a person, if something does.
    pub question: Option<QuestionId>,
}

/// Start of the ids of questions that are approvals.
const APPROVAL: &str = "apr_";

/// What is to be told about a change of a head. The same change gives the same notices.
#[must_use]
pub fn notices(old: &Head, new: &Head) -> Vec<Notice> {
    let mut notices = Vec::new();
    if new.state.is_ended() && !old.state.is_ended() {
        let kind = match new.state {
            State::Failed | State::TimedOut => NoticeKind::SessionFailed,
            _ => NoticeKind::SessionFinished,
        };
        notices.push(notice(new, kind, None, ""));
    }
    let asked = |head: &Head| head.question.as_ref().map(|asked| asked.id.clone());
    if let Some(question) = asked(new).filter(|it| asked(old).as_ref() != Some(it))
        && new.state == State::Waiting
    {
        let kind = if question.as_str().starts_with(APPROVAL) {
            NoticeKind::ApprovalNeeded
        } else {
            NoticeKind::QuestionAsked
        };
        let what = question.as_str().to_owned();
        notices.push(notice(new, kind, Some(question), &what));
    }
    // The cost is written with the end of a turn, often in a change before this one.
    if matches!(old.state, State::Running | State::Waiting) && new.state == State::Idle {
        let kind = if new.total_cost_usd >= new.spec.max_budget_usd {
            NoticeKind::BudgetReached
        } else {
            NoticeKind::TurnFinished
        };
        // Only one change has this as its last event.
        let last = new.last_sequence.0.to_string();
        notices.push(notice(new, kind, None, &last));
    }
    notices
}

fn notice(head: &Head, kind: NoticeKind, question: Option<QuestionId>, which: &str) -> Notice {
    let SessionKey { owner, session } = &head.key;
    let named = format!("{owner}\n{session}\n{}\n{which}", kind.as_str());
    let digest = base32(&Sha256::digest(named));
    Notice {
        id: format!("ntc_{}", &digest[..26]),
        kind,
        key: head.key.clone(),
        title: head.title.clone(),
        state: head.state,
        time: head.updated_at,
        question,
    }
}
