//! For tests only: a fake for every port, the contracts that fakes and real stores both pass,
//! builders, fault injection, and a seeded scheduler.
//!
//! [`Fake`] keeps everything in memory and follows the contract of `domain::ports` to the letter;
//! clones share the same world. [`contracts`] are the same expectations as code: whatever
//! implements a port is run through them.

mod builders;
mod clock;
pub mod contracts;
mod executable;
mod fake;
mod random;
mod scheduler;
mod written;

pub use builders::{
    append, approval_request, caller, checkpoint, deployment, event, message, new_command,
    new_fork, new_session, owner, spec,
};
pub use clock::FakeClock;
pub use executable::executable;
pub use fake::{Fake, FaultTime, StartedTask};
pub use random::Random;
pub use scheduler::{Scheduler, join_all, yield_once};
pub use written::Written;
