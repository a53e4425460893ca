//! The AWS services that Shannon uses, in one local process, from `template.yaml`.

pub mod credentials;
pub mod invoker;
pub mod offline_model;
pub mod process;
pub mod template;
