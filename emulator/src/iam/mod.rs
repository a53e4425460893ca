//! Identity and access management: what a role of the template may do. Pure: a request is an action,
//! a resource and what is known about the call; a decision follows from the policies alone.
//!
//! What is not understood of a policy is an error, so that nothing is permitted here that AWS would
//! refuse. Facts: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements".

mod condition;
mod decision;
mod document;
mod managed;
mod pattern;
mod role;
#[cfg(test)]
mod tests;

pub use self::{
    decision::{Context, Decision, Grant, Request, decide},
    document::{Document, DocumentError},
    managed::managed_policy,
    role::{Policy, Role, Trust},
};
