//! The Claude Code CLI on the wire.
//!
//! Everything the system knows about the `claude` program is in this crate: where it may be
//! installed ([`locate`]), how it is started ([`launch`]), what it prints ([`lines`],
//! [`message`]), what it is told ([`control`]), how it asks before each
//! tool call ([`gate`]), and where its transcript can be cut ([`transcript`]).
//! Nothing here decides anything; `policy` decides and `session-runner` acts.
//!
//! The facts were measured with version [`SUPPORTED_VERSION`]. The CLI is released almost daily,
//! so reading is tolerant: what is unknown is kept as bytes and is never an error.

pub mod control;
pub mod gate;
pub mod launch;
pub mod lines;
pub mod locate;
pub mod message;
pub mod transcript;

/// The one CLI version this build was measured against. A deployment may name another one
/// (`SHANNON_CLAUDE_VERSION`), at its own risk.
pub const SUPPORTED_VERSION: &str = "2.1.328";
