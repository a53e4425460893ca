//! The store on the emulated services, through the real AWS SDK: it keeps the contracts of the
//! ports, and a few things that only it has.

mod contracts;
mod services;
