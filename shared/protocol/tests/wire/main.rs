//! MCP on the wire: requests as clients send them, answers as they come back, over fakes.

mod client;
mod legacy;
mod modern;
mod prompts;
mod refusals;
mod resources;
mod samples;
mod tasks;
mod tool_refusals;
mod tools;
