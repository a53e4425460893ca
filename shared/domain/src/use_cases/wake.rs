//! Waking a suspended session because there is something for it to do.

use crate::{
    Deployment, Head, SessionKey, State,
    ports::{Clock, Compute, ControlError, SessionDirectory, SlotLimits, Unavailable},
};

use super::observe;

/// How often a session that moves on under us is looked at again. Own; the sweep goes on.
const ATTEMPTS: usize = 5;

/// What waking gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Woken {
    /// A runner has it, or one was asked for.
    Awake(Head),
    /// No slot is free: it stays suspended, and the sweep wakes it when there is one.
    NoSlot(Head),
    /// Nothing waits in it, or it has ended: it stays as it is.
    Nothing(Head),
    /// It is gone.
    Gone,
}

impl Deployment {
    /// How many sessions may hold compute.
    #[must_use]
    pub const fn slots(&self) -> SlotLimits {
        SlotLimits {
            deployment: self.max_sessions,
            owner: self.max_sessions_per_owner,
        }
    }
}

/// Wakes a suspended session in which a command waits: it takes a slot, its fence rises, and a
/// runner is started. Of many at once one wakes it. Cut after the change, the sweep repeats the
/// start; cut before, it finds the session by what waits in it.
///
/// # Errors
/// [`Unavailable`]: the sweep wakes it.
pub(super) async fn wake<P>(
    ports: &P,
    slots: SlotLimits,
    key: &SessionKey,
) -> Result<Woken, Unavailable>
where
    P: SessionDirectory + Compute + Clock,
{
    for _ in 0..ATTEMPTS {
        let Some(head) = ports.head(key).await? else {
            return Ok(Woken::Gone);
        };
        if head.state != State::Suspended {
            return Ok(if head.state.is_ended() {
                Woken::Nothing(head)
            } else {
                Woken::Awake(head)
            });
        }
        if !head.has_queued() {
            return Ok(Woken::Nothing(head));
        }
        match observe::ask_for_runner(ports, &head, slots).await {
            Ok(head) => return Ok(Woken::Awake(head)),
            Err(ControlError::Changed) => {}
            Err(ControlError::DeploymentFull | ControlError::OwnerFull) => {
                ports.postpone(key, ports.now()).await?;
                return Ok(Woken::NoSlot(head));
            }
            Err(ControlError::Unavailable(unavailable)) => return Err(unavailable),
        }
    }
    match ports.head(key).await? {
        Some(head) => Ok(Woken::Nothing(head)),
        None => Ok(Woken::Gone),
    }
}
