//! The sweep over overdue sessions.

use domain::{
    ports::{Clock, Compute, Inbox, SessionDirectory, SlotLimits, Unavailable},
    use_cases::reconcile_session,
};

use crate::Answer;

/// Sessions of one sweep; what is left is there in a minute. Own: about ten calls each fit the
/// time below.
const SESSIONS: usize = 200;
/// The function has 60 s.
const MILLISECONDS: u64 = 40_000;

/// Looks at overdue sessions, oldest first, until none is left or the time is up. One that cannot
/// be looked at does not keep the others waiting.
///
/// # Errors
/// [`Unavailable`] when not even the list can be read.
pub(crate) async fn sweep<P>(ports: &P, slots: SlotLimits) -> Result<Answer, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let started = ports.now();
    let mut answer = Answer::default();
    for key in ports.overdue(started, SESSIONS).await? {
        if ports.now().since(started) > MILLISECONDS {
            tracing::warn!(?answer, "the sweep ran out of time; the next one goes on");
            break;
        }
        match reconcile_session(ports, slots, &key).await {
            Ok(reconciled) => {
                tracing::info!(session = %key.session, ?reconciled, "looked at a session");
                answer.count(reconciled);
            }
            Err(error) => {
                tracing::warn!(
                    session = %key.session,
                    error = &error as &dyn std::error::Error,
                    "could not look at a session; the next sweep does"
                );
                answer.failed += 1;
            }
        }
    }
    Ok(answer)
}
