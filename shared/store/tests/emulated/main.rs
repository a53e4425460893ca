//! The store on the emulated services, through the real AWS SDK: it keeps the contracts of the
//! ports, and a few things that only it has.

mod audit;
mod contracts;
mod disturbed;
mod encryption;
mod erasing;
mod events;
mod failures;
mod git_credentials;
mod lifetimes;
mod line;
mod lost_answers;
mod outage;
mod outside;
mod policies;
mod probes;
mod services;
mod topic;
mod usage;
