//! What holds about the sources themselves: who may know whom, one name for one thing, house rules.
//!
//! These tests need no network and no running stack.

mod events;
mod house_rules;
mod layering;
mod names;
mod operations;
mod routing;
mod settings;
