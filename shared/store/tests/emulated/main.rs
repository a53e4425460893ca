//! The store on the emulated services, through the real AWS SDK: it keeps the contracts of the
//! ports, and a few things that only it has.

mod contracts;
mod events;
mod failures;
mod lifetimes;
mod lost_answers;
mod outside;
mod services;
mod usage;
