//! The settings that a runner uses, checked once at the start.

use std::path::PathBuf;
use std::time::Duration;

pub use domain::Tier;
pub use domain::checkpoint::CheckpointStrategy as Strategy;

/// Everything a session's supervision depends on. See `infra/settings.toml` for each.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// `SHANNON_GATEWAY_URL`, without a slash at its end.
    pub gateway_url: String,
    /// `SHANNON_CLAUDE_PATH`.
    pub claude_path: PathBuf,
    /// `SHANNON_CLAUDE_VERSION`.
    pub claude_version: String,
    /// `SHANNON_WORKSPACE_ROOTS`.
    pub workspace_roots: Vec<PathBuf>,
    /// `SHANNON_ALLOW_BYPASS_PERMISSIONS`.
    pub bypass_permitted: bool,
    /// `SHANNON_SAFETY_TIER`: the least strict tier.
    pub tier: Tier,
    /// `SHANNON_APPROVAL_EXPIRY_SECONDS`.
    pub approval_expiry: Duration,
    /// `SHANNON_MAX_UPLOAD_BYTES`.
    pub max_upload_bytes: u64,
    /// `SHANNON_MAX_TURNS`: the most a session may ask for.
    pub max_turns: u32,
    /// `SHANNON_MAX_BUDGET_USD`: the most a session may ask for.
    pub max_budget_usd: f64,
    /// `SHANNON_SESSION_TIMEOUT_SECONDS`, of running.
    pub session_timeout: Duration,
    /// `SHANNON_SILENCE_TIMEOUT_SECONDS`.
    pub silence_timeout: Duration,
    /// `SHANNON_IDLE_SUSPEND_SECONDS`.
    pub idle_time: Duration,
    /// `SHANNON_HEARTBEAT_SECONDS`.
    pub heartbeat: Duration,
    /// `SHANNON_LEASE_SECONDS`.
    pub lease: Duration,
    /// `SHANNON_STOP_TIMEOUT_SECONDS`.
    pub stop_timeout: Duration,
    /// `SHANNON_KILL_GRACE_SECONDS`.
    pub kill_grace: Duration,
    /// `SHANNON_CLONE_TIMEOUT_SECONDS`.
    pub clone_timeout: Duration,
    /// `SHANNON_CONNECT_TIMEOUT_SECONDS`.
    pub connect_timeout: Duration,
    /// `SHANNON_MODEL_TIMEOUT_SECONDS`.
    pub model_timeout: Duration,
    /// `SHANNON_RUNNER_BUFFER_BYTES`.
    pub buffer_bytes: usize,
    /// `SHANNON_STREAM_CHUNK_BYTES`.
    pub stream_chunk_bytes: usize,
    /// `SHANNON_MAX_LINE_BYTES`.
    pub max_line_bytes: usize,
    /// `SHANNON_APPEND_BATCH_MILLISECONDS`.
    pub append_batch: Duration,
    /// `SHANNON_APPEND_BATCH_BYTES`.
    pub append_batch_bytes: usize,
    /// `SHANNON_CHECKPOINT_STRATEGY`, of sessions that ask for none.
    pub checkpoint_strategy: Strategy,
    /// `SHANNON_CHECKPOINT_INTERVAL_SECONDS`.
    pub checkpoint_interval: Duration,
    /// `SHANNON_CHECKPOINT_COMPRESSION_LEVEL`.
    pub checkpoint_compression: i32,
    /// `SHANNON_TRANSCRIPT_FLUSH_MILLISECONDS`.
    pub transcript_flush: Duration,
    /// How long the CLI may take to answer `initialize`. Measured: 0.4 s; own bound.
    pub startup_timeout: Duration,
}

/// Default of [`RunnerSettings::startup_timeout`].
pub const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
