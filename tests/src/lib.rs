//! Shannon from outside: what the structure checks and the end-to-end tests share.
//!
//! Nothing here is part of a deployment. The modules start the built emulator, speak MCP to it
//! with a client of our own that can also send bad input, and install the clients that we did
//! not write into a cache. Tests may know every crate; no crate may know this one.

pub mod alarms;
pub mod approver;
pub mod checkout;
pub mod clock;
pub mod costs;
pub mod installed;
pub mod loopback;
pub mod mcp;
pub mod metric_filters;
pub mod metric_math;
pub mod nginx;
pub mod on_port;
pub mod private_git;
pub mod process;
pub mod script;
pub mod service;
pub mod session;
pub mod ssh;
pub mod stack;
pub mod stream;
pub mod translated;
