//! Keeps the CLI, and all that it starts, away from the runner and from the machine.
//!
//! | isolation | what the session sees | who it is | how all of it dies |
//! | --- | --- | --- | --- |
//! | `namespaces` (Linux) | a root of its own: system programs read-only, its own files | uid 1000 in namespaces of its own | with its process namespace |
//! | `uid` (a container, as root) | the container | a uid of its own, no new privileges | by that uid |
//! | `none` | the machine | the runner's user | process by process: a stage stays beside it and knows them ([`bare`]) |
//!
//! Each stage is this same program started again with one thread ([`stages`]): unsharing a user
//! namespace needs that, and it needs no unsafe code. A stage has an empty environment; what it
//! has to do stands in a [`plan::Plan`] that only the runner's user can read.

pub mod launch;
pub mod plan;
pub mod session;
pub mod stages;

mod bare;
mod processes;

#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod user;
