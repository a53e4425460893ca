//! MCP on the wire: modern requests (2026-07-28) and those of the initialize era, the tools with
//! their schemas, resources and prompts, and the tasks extension. The only crate that names `rmcp`.
//!
//! An [`Edge`] is one request class: a front that checks every request, the modern era served
//! directly, the initialize era through rmcp, and a back that makes the answer JSON or a stream.
//! What a request does is [`Work`], one seam for both eras: nothing ([`Listings`]), lists
//! ([`Catalog`]), turns as tasks ([`Turns`]), what is read ([`Reads`]), or everything ([`Sessions`]). Nothing is kept between two requests.

mod answer;
pub mod approval;
mod ask;
mod asked;
mod back;
mod challenge;
mod class;
mod description;
mod edge;
mod files;
mod front;
mod headers;
mod history;
mod legacy;
mod listen;
mod modern;
mod prompts;
mod protected;
mod question;
mod rates;
mod rendered;
mod resources;
mod server;
mod settings;
mod show;
mod snapshots;
mod subscription;
mod task;
mod timestamp;
mod tools;
mod trace;
mod work;

pub use answer::Body;
pub use ask::{AskPorts, Asking, Asks, Begun, Caller, NO_ANSWER, NotAnswered, Outcome, Round};
pub use asked::{Asked, Notices, Progress};
pub use challenge::METADATA_PATH;
pub use class::{Class, METHODS};
pub use description::Description;
pub use edge::Edge;
pub use legacy::{
    Alone, Bridge, Bridged, ClientPorts, ClientSessionSettings, NoSessions, Sessioned,
};
pub use listen::Watched;
pub use protected::ProtectedResource;
pub use rates::{
    Held, Later, Limited, Limiter, Place, RateSettings, Standing, TooOften, Unlimited,
};
pub use settings::EdgeSettings;
pub use snapshots::{
    DiffLimits, SnapshotChange, SnapshotDiff, SnapshotError, SnapshotExport, Snapshots,
};
pub use subscription::{Accepted, Filter, Subscription};
pub use timestamp::to_rfc3339 as rfc3339;
pub use tools::check_policy::{PolicyChecker, PolicyQuestion};
pub use tools::find_claude_binary::{ClaudeFinder, FoundClaude, RunnerReport};
pub use work::{Catalog, Listings, Ports, Reads, Sessions, ToolCall, Turns, Work};
