//! MCP on the wire: modern requests (2026-07-28) and those of the initialize era, the tools with
//! their schemas, and the tasks extension. The only crate that names `rmcp`.
//!
//! An [`Edge`] is one request class: a front filter in front of rmcp's stateless HTTP service and a
//! back filter behind it. What a request does is [`Work`]: nothing ([`Listings`]), turns as tasks
//! ([`Turns`]), or everything ([`Sessions`]). Nothing is kept between two requests.

mod answer;
mod back;
mod class;
mod edge;
mod front;
mod server;
mod settings;
mod show;
mod task;
mod timestamp;
mod tools;
mod work;

pub use answer::Body;
pub use class::{Class, METHODS};
pub use edge::Edge;
pub use settings::EdgeSettings;
pub use tools::find_claude_binary::{ClaudeFinder, FoundClaude, RunnerReport};
pub use work::{Listings, Ports, Sessions, Turns, Work};
