//! MCP on the wire: requests as clients send them, answers as they come back, over fakes.

mod asking;
mod bridge;
mod client;
mod legacy;
mod modern;
mod refusals;
mod samples;
mod tasks;
mod tool_refusals;
mod tools;
