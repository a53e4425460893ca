//! MCP on the wire: requests as clients send them, answers as they come back, over fakes.

mod approvals;
mod asking;
mod audit;
mod bridge;
mod challenges;
mod checkpoints;
mod client;
mod commands;
mod contents;
mod durable;
mod foreign;
mod fuzz;
mod legacy;
mod listen;
mod modern;
mod policy;
mod prompts;
mod questions;
mod rates;
mod refusals;
mod resources;
mod samples;
mod tasks;
mod tool_refusals;
mod tools;
