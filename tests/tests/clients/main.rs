//! The stack with clients that we did not write, all against one running stack.
//!
//! They come from npm and PyPI into the cache; what cannot be installed fails the test.

mod asking;
mod cargo_lambda;
mod claude_code;
mod inspector;
mod login;
mod mcp_remote;
mod python;
mod stdio;
