//! The emulated AWS services, called by clients that were not written for them: the AWS SDK for Rust,
//! boto3, and plain HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backups;
mod boto3;
mod dynamodb;
mod ecs;
mod encryption;
mod endpoint;
mod events;
mod harness;
mod permissions;
mod plain_http;
mod s3;
mod s3_access;
mod s3_crash;
mod s3_locks;
mod s3_multipart;
mod s3_versions;
mod session_role;
mod streams;
