//! Lambda and API Gateway with real functions on the unmodified runtime.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod echo;
mod function;
mod gateway;
mod instances;
