//! The runner as a whole, in the real sandbox: with the real CLI, or with a script for what that one
//! never should do. One program, so that it is linked once and tests that wait do so side by side.

mod apart;
mod approvals;
mod commands;
mod cuts;
mod durable;
mod failures;
mod faults;
mod gate;
mod hostile;
mod killed;
mod limits;
mod policies;
mod real_cli;
mod support;
mod wakes;
