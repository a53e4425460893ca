//! What the platform is: types, the session's state machine, use cases, ports and limits.
//!
//! Nothing here does I/O, reads a clock, an environment or randomness, or knows a transport:
//! those come in through [`ports`]. Nothing here is serialisable either: wire types belong to
//! `protocol` and `claude`, stored types to `store`.

pub mod api_key;
pub mod approval;
pub mod audit;
pub mod authorization;
pub mod chain;
pub mod checkpoint;
pub mod client_session;
pub mod command;
pub mod deployment;
pub mod event;
pub mod git_credential;
pub mod history;
pub mod ids;
pub mod limits;
pub mod notice;
pub mod policy_book;
pub mod ports;
pub mod rate;
pub mod release;
pub mod roles;
pub mod session;
pub mod session_token;
pub mod state;
pub mod upload;
pub mod use_cases;
pub mod workspace;

pub use api_key::{ApiKey, KeyRecord};
pub use approval::{ApprovalLink, ApprovalRequest, CallDigest, Decision, Grant};
pub use authorization::{Authorized, Principal, Scope};
pub use chain::ChainDigest;
pub use checkpoint::{Checkpoint, NewCheckpoint};
pub use client_session::{ClientKey, ClientSessionId};
pub use command::{Command, CommandBody, CommandOutcome, CommandState};
pub use deployment::{Deployment, Retention, Subagent};
pub use event::{Event, EventBody};
pub use git_credential::{GitCredential, GitCredentialRecord, GitHost};
pub use ids::{
    CheckpointId, CommandId, Cursor, FencingToken, KeyId, KeyName, OwnerId, PolicyName, QuestionId,
    RefName, Sequence, SessionId, SessionKey, TaskId, TreeId, TreeKey, UnixMillis, UploadId,
};
pub use policy_book::{PolicyBook, PolicyScope, StoredPolicy};
pub use session::{Head, PermissionMode, SessionSpec, Tier};
pub use state::{State, Transition};
