//! Checkpoints of real directories in the fake store.

mod bad_input;
mod damage;
mod faults;
mod incremental;
mod reading;
mod round_trip;
mod sweeping;
mod tree;
