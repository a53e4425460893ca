//! The session runner: one process per running session. It supervises the real `claude` CLI,
//! writes what happens into the session's log, and lets nothing of the session outlive it.

pub mod cli;
pub mod credentials;
mod disk;
pub mod files_changed;
pub mod find_claude;
pub mod gate_helper;
pub mod gate_server;
pub mod git_credential;
pub mod granted;
pub mod heartbeat;
pub mod journal;
pub mod load;
pub mod objects;
mod place;
pub mod preview;
pub mod relay;
pub mod sandbox;
pub mod settings;
pub mod shell_command;
pub mod spilled;
pub mod supervisor;
pub mod task;
pub mod transcript;
pub mod workspace;
