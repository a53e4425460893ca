//! The AWS services that Shannon uses, in one local process, from `template.yaml`.

pub mod aws;
pub mod backup;
pub mod build;
pub mod claude_install;
pub mod command_line;
pub mod connect;
pub mod credentials;
pub mod edge;
pub mod encryption;
mod file_lock;
pub mod gateway;
pub mod iam;
pub mod invoker;
pub mod issuer;
pub mod lambda;
mod loopback_client;
pub mod offline_model;
pub mod process;
pub mod settings;
pub mod stack;
pub mod stdio;
pub mod template;
pub mod token;
pub mod try_session;
