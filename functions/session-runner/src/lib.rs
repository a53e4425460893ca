//! The session runner: one process per running session. It supervises the real `claude` CLI,
//! writes what happens into the session's log, and lets nothing of the session outlive it.

pub mod find_claude;
pub mod gate_helper;
pub mod sandbox;
