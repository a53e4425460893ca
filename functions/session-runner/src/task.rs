//! The program as a task: what it reads from its environment, and how a signal reaches the
//! supervision.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boot::{Boot, Settings, SettingsError, StartError};
use domain::ports::{Clock, SessionDirectory};
use domain::{OwnerId, SessionId, SessionKey};
use store::{ObjectError, RunnerFacts, Store, StoreSettings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::credentials::FromGateway;
use crate::load::{Load, Processors, Queue};
use crate::objects::{DownloadError, PutError, SessionObjects};
use crate::place::{self, SessionPlace};
use crate::relay::SessionToken;
use crate::sandbox::plan::Isolation;
use crate::settings::{RunnerSettings, STARTUP_TIMEOUT, Strategy};
use crate::supervisor::{self, Assignment, Claude, Outcome};

/// Where ECS tells a task about itself.
const METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// Environment variables whose values must not reach an event.
const SECRETS: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// What is left of the stop timeout for the process to end.
const LAST_MOMENT: Duration = Duration::from_secs(3);

/// Runs the session that the environment names.
///
/// # Errors
/// [`StartError`] when settings are wrong, or the session's directories cannot be made.
pub async fn run(boot: Boot) -> Result<(), StartError> {
    let settings = &boot.settings;
    let runner_settings = runner_settings(settings)?;
    let key = SessionKey {
        owner: parsed(settings, "SHANNON_OWNER", OwnerId::parse)?,
        session: parsed(settings, "SHANNON_SESSION", SessionId::parse)?,
    };
    let isolation = settings.text("SHANNON_SESSION_ISOLATION")?;
    let isolation = Isolation::parse(isolation).ok_or_else(|| SettingsError::Invalid {
        name: "SHANNON_SESSION_ISOLATION".to_owned(),
        problem: format!("{isolation:?} is not a kind of isolation"),
        allowed: "namespaces, uid or none".to_owned(),
    })?;
    let token = settings.secret("SHANNON_SESSION_TOKEN")?;
    let session_token = SessionToken::from(token.expose().to_owned());
    let (url, timeout) = (
        &runner_settings.gateway_url,
        runner_settings.connect_timeout,
    );
    let source = FromGateway::new(url, timeout, session_token.clone())
        .map_err(|error| StartError::Part(error.into()))?;
    let store_settings = StoreSettings {
        table: settings.text("SHANNON_TABLE")?.to_owned(),
        bucket: settings.text("SHANNON_BUCKET")?.to_owned(),
        retention_days: boot.deployment.retention_days,
        keep_deltas_hours: settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
        audit_retention_days: boot.deployment.audit_retention_days,
        compute: None,
    };
    let connecting = Store::connect_as(store_settings, source);
    let (store, task) = tokio::join!(connecting, Task::read());
    let place = SessionPlace::make(isolation).map_err(|error| StartError::Part(error.into()))?;
    let (claude_sender, claude) = watch::channel(None);
    let queue = Queue::default();
    let processors = Processors::of_task(task.processors);
    let load = Load::new(
        key.session.clone(),
        place.path.clone(),
        processors,
        queue.clone(),
    );
    tokio::spawn(load.watch());
    let assignment = Assignment {
        task: task.name,
        queue,
        claude: claude_sender,
        session_token,
        secrets: SECRETS
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .collect(),
        isolation,
        base: place.path.clone(),
        runner_program: std::env::current_exe().map_err(|error| StartError::Part(error.into()))?,
        key: key.clone(),
    };
    tracing::info!(session = %key.session, task = assignment.task, isolation = isolation.as_str(), "session runner");
    tokio::spawn(note_claude(
        store.clone(),
        runner_settings.claude_path.clone(),
        claude,
    ));
    tokio::task::spawn_blocking(|| place::remove_abandoned(&std::env::temp_dir()));
    let (stop_sender, stop) = watch::channel(false);
    listen_for_signals(stop_sender).map_err(StartError::Serve)?;
    let objects = StoreObjects {
        store: store.clone(),
        key,
        tree: Arc::default(),
    };
    let stop_timeout = runner_settings.stop_timeout;
    let supervised = supervisor::run(
        Arc::new(store),
        objects,
        runner_settings,
        assignment,
        stop.clone(),
    );
    let outcome = tokio::select! {
        outcome = supervised => Some(outcome),
        () = too_late(stop, stop_timeout) => None,
    };
    match outcome {
        Some(Outcome::Suspended) => tracing::info!("the session is suspended"),
        Some(Outcome::Left) => tracing::info!("the session goes on elsewhere"),
        Some(Outcome::Ended(state)) => tracing::info!(%state, "the session has ended"),
        Some(Outcome::NotOurs(why)) => tracing::warn!(why, "the session is not for this runner"),
        Some(Outcome::LeaseLost) => {
            return Err(StartError::Part("the lease of the session was lost".into()));
        }
        None => {
            return Err(StartError::Part(
                "the session did not end within the stop timeout".into(),
            ));
        }
    }
    Ok(())
}

fn parsed<T, E: std::fmt::Display>(
    settings: &Settings,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, StartError> {
    let text = settings.text(name)?;
    parse(text).map_err(|error| {
        StartError::Settings(SettingsError::Invalid {
            name: name.to_owned(),
            problem: error.to_string(),
            allowed: "what RunTask was given".to_owned(),
        })
    })
}

fn runner_settings(settings: &Settings) -> Result<RunnerSettings, SettingsError> {
    let seconds = |name: &str| settings.integer(name).map(Duration::from_secs);
    let bytes = |name: &str| {
        settings
            .integer(name)
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    };
    Ok(RunnerSettings {
        gateway_url: settings
            .text("SHANNON_GATEWAY_URL")?
            .trim_end_matches('/')
            .to_owned(),
        claude_path: PathBuf::from(settings.text("SHANNON_CLAUDE_PATH")?),
        claude_version: settings.text("SHANNON_CLAUDE_VERSION")?.to_owned(),
        workspace_roots: settings
            .list("SHANNON_WORKSPACE_ROOTS")?
            .into_iter()
            .map(PathBuf::from)
            .collect(),
        bypass_permitted: settings.boolean("SHANNON_ALLOW_BYPASS_PERMISSIONS")?,
        tier: settings.tier()?,
        approval_expiry: seconds("SHANNON_APPROVAL_EXPIRY_SECONDS")?,
        max_upload_bytes: settings.integer("SHANNON_MAX_UPLOAD_BYTES")?,
        max_turns: settings.count("SHANNON_MAX_TURNS")?,
        max_budget_usd: settings.decimal("SHANNON_MAX_BUDGET_USD")?,
        session_timeout: seconds("SHANNON_SESSION_TIMEOUT_SECONDS")?,
        silence_timeout: seconds("SHANNON_SILENCE_TIMEOUT_SECONDS")?,
        idle_time: seconds("SHANNON_IDLE_SUSPEND_SECONDS")?,
        heartbeat: seconds("SHANNON_HEARTBEAT_SECONDS")?,
        lease: seconds("SHANNON_LEASE_SECONDS")?,
        stop_timeout: seconds("SHANNON_STOP_TIMEOUT_SECONDS")?,
        kill_grace: seconds("SHANNON_KILL_GRACE_SECONDS")?,
        clone_timeout: seconds("SHANNON_CLONE_TIMEOUT_SECONDS")?,
        connect_timeout: seconds("SHANNON_CONNECT_TIMEOUT_SECONDS")?,
        model_timeout: seconds("SHANNON_MODEL_TIMEOUT_SECONDS")?,
        buffer_bytes: bytes("SHANNON_RUNNER_BUFFER_BYTES")?,
        stream_chunk_bytes: bytes("SHANNON_STREAM_CHUNK_BYTES")?,
        max_line_bytes: bytes("SHANNON_MAX_LINE_BYTES")?,
        append_batch: Duration::from_millis(settings.integer("SHANNON_APPEND_BATCH_MILLISECONDS")?),
        append_batch_bytes: bytes("SHANNON_APPEND_BATCH_BYTES")?,
        checkpoint_strategy: strategy(settings)?,
        checkpoint_interval: seconds("SHANNON_CHECKPOINT_INTERVAL_SECONDS")?,
        // From 1 to 19: the table says so.
        checkpoint_compression: settings
            .count("SHANNON_CHECKPOINT_COMPRESSION_LEVEL")?
            .cast_signed(),
        transcript_flush: Duration::from_millis(
            settings.integer("SHANNON_TRANSCRIPT_FLUSH_MILLISECONDS")?,
        ),
        startup_timeout: STARTUP_TIMEOUT,
    })
}

fn strategy(settings: &Settings) -> Result<Strategy, SettingsError> {
    const NAME: &str = "SHANNON_CHECKPOINT_STRATEGY";
    let text = settings.text(NAME)?;
    Strategy::parse(text).ok_or_else(|| SettingsError::Invalid {
        name: NAME.to_owned(),
        problem: format!("{text:?} is not a strategy"),
        allowed: "smart, turn, interval or manual".to_owned(),
    })
}

/// What ECS says of the task that this process is.
struct Task {
    /// The last part of its ARN. A runner that no ECS started names itself after its process.
    name: String,
    /// How many processors it may use, where that is bounded.
    processors: Option<f64>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "TaskARN")]
    arn: String,
    #[serde(default)]
    limits: Limits,
}

#[derive(Default, serde::Deserialize)]
struct Limits {
    #[serde(rename = "CPU")]
    processors: Option<f64>,
}

impl Task {
    async fn read() -> Self {
        let own = Self {
            name: format!("process-{}", std::process::id()),
            processors: None,
        };
        let Ok(url) = std::env::var(METADATA) else {
            return own;
        };
        match metadata(&url).await {
            Ok(read) => read.into(),
            Err(problem) => {
                // Only a name; the session runs under the other one just as well.
                tracing::warn!(problem, "the task metadata cannot be read");
                own
            }
        }
    }
}

impl From<Metadata> for Task {
    fn from(read: Metadata) -> Self {
        let name = read.arn.rsplit('/').next().unwrap_or(&read.arn);
        Self {
            name: name.to_owned(),
            processors: read.limits.processors,
        }
    }
}

async fn metadata(url: &str) -> Result<Metadata, String> {
    let client =
        boot::outbound::client(url, Duration::from_secs(2)).map_err(|error| error.to_string())?;
    let request = client
        .get(format!("{url}/task"))
        .timeout(Duration::from_secs(5));
    let answer = request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    answer
        .map_err(|error| error.to_string())?
        .json()
        .await
        .map_err(|error| error.to_string())
}

/// Tells `find_claude_binary` of this deployment what runners have, once the CLI has said so.
async fn note_claude(store: Store, path: PathBuf, mut claude: watch::Receiver<Option<Claude>>) {
    let ready = claude.wait_for(Option::is_some).await;
    let Some(claude) = ready.ok().and_then(|claude| claude.clone()) else {
        // It never became ready.
        return;
    };
    let facts = RunnerFacts {
        claude_version: claude.version,
        claude_path: path.display().to_string(),
        agents: claude.agents,
        noted_at: store.now(),
    };
    if let Err(error) = store.note_runner(&facts).await {
        tracing::warn!(%error, "what this runner has was not noted");
    }
}

fn listen_for_signals(stop: watch::Sender<bool>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("asked to stop");
            stop.send_replace(true);
        }
    });
    Ok(())
}

async fn too_late(mut stop: watch::Receiver<bool>, timeout: Duration) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(timeout.saturating_sub(LAST_MOMENT)).await;
}

#[derive(Clone)]
struct StoreObjects {
    store: Store,
    key: SessionKey,
    /// Under which the session's objects lie; read with the first that is written.
    tree: Arc<tokio::sync::OnceCell<domain::TreeKey>>,
}

impl StoreObjects {
    async fn tree(&self) -> Result<&domain::TreeKey, PutError> {
        let read = async || match self.store.head(&self.key).await {
            Ok(Some(head)) => Ok(head.tree_key()),
            Ok(None) => Err(PutError("the session is gone".to_owned())),
            Err(error) => Err(PutError(error.to_string())),
        };
        self.tree.get_or_try_init(read).await
    }
}

impl SessionObjects for StoreObjects {
    async fn download(
        &self,
        upload: &domain::UploadId,
        file: &Path,
        most_bytes: u64,
    ) -> Result<u64, DownloadError> {
        match self
            .store
            .download_upload(&self.key.owner, upload, file, most_bytes)
            .await
        {
            Ok(bytes) => Ok(bytes),
            Err(ObjectError::Missing) => Err(DownloadError::Missing),
            Err(ObjectError::TooLarge(_)) => Err(DownloadError::TooLarge),
            Err(ObjectError::Disk(error)) => Err(DownloadError::Disk(error)),
            Err(ObjectError::Unavailable(error)) => {
                Err(DownloadError::Unavailable(error.to_string()))
            }
        }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PutError> {
        let tree = self.tree().await?;
        self.store
            .put_session_object(tree, &self.key, name, bytes)
            .await
            .map_err(|error| PutError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runner_that_is_stopped_has_its_time_and_no_more() {
        let (sender, stop) = watch::channel(false);
        let timeout = LAST_MOMENT + Duration::from_millis(200);
        let end = tokio::spawn(too_late(stop, timeout));
        tokio::task::yield_now().await;
        assert!(!end.is_finished(), "nobody has asked it to stop");
        let asked = std::time::Instant::now();
        sender.send_replace(true);
        let waited = tokio::time::timeout(Duration::from_secs(60), end).await;
        assert!(matches!(waited, Ok(Ok(()))));
        assert!(asked.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn a_task_knows_its_name_and_what_it_may_use() {
        let read = |text: &str| serde_json::from_str::<Metadata>(text).map(Task::from);
        let arn = r#""TaskARN":"arn:aws:ecs:eu-west-1:1:task/shannon/0123ab""#;
        let task = read(&format!(
            r#"{{{arn},"Limits":{{"CPU":0.25,"Memory":512}}}}"#
        ));
        let task = task.expect("as Fargate says it");
        assert_eq!((&*task.name, task.processors), ("0123ab", Some(0.25)));
        for none in ["", r#","Limits":{}"#] {
            let task = read(&format!("{{{arn}{none}}}")).expect("without a bound");
            assert_eq!(task.processors, None);
        }
        assert!(read("{}").is_err());
    }

    /// Each variable reaches the place where it is used.
    #[test]
    fn every_setting_arrives() {
        let wiring = [
            ("SHANNON_GATEWAY_URL", "http://gateway/"),
            ("SHANNON_CLAUDE_PATH", "/opt/claude"),
        ];
        let read = |name: &str, value: &str| {
            let given = wiring.into_iter().chain([(name, value)]);
            let settings = Settings::read(given.map(|(name, value)| (name.into(), value.into())));
            runner_settings(&settings.expect("allowed values")).expect("all there is")
        };
        let usual = read("SHANNON_GATEWAY_URL", "http://gateway/");
        assert_eq!(usual.gateway_url, "http://gateway");
        let shown = |settings: &RunnerSettings| format!("{settings:?}");
        for (name, value, expected) in [
            ("CLAUDE_VERSION", "9.8.7", "claude_version: \"9.8.7\""),
            (
                "WORKSPACE_ROOTS",
                "/a:/b",
                "workspace_roots: [\"/a\", \"/b\"]",
            ),
            ("ALLOW_BYPASS_PERMISSIONS", "true", "bypass_permitted: true"),
            ("APPROVAL_EXPIRY_SECONDS", "62", "approval_expiry: 62s"),
            ("MAX_UPLOAD_BYTES", "1048577", "max_upload_bytes: 1048577"),
            ("MAX_TURNS", "77", "max_turns: 77"),
            ("MAX_BUDGET_USD", "0.75", "max_budget_usd: 0.75"),
            ("SESSION_TIMEOUT_SECONDS", "61", "session_timeout: 61s"),
            ("SILENCE_TIMEOUT_SECONDS", "401", "silence_timeout: 401s"),
            ("IDLE_SUSPEND_SECONDS", "11", "idle_time: 11s"),
            ("HEARTBEAT_SECONDS", "2", "heartbeat: 2s"),
            ("LEASE_SECONDS", "59", "lease: 59s"),
            ("STOP_TIMEOUT_SECONDS", "12", "stop_timeout: 12s"),
            ("KILL_GRACE_SECONDS", "29", "kill_grace: 29s"),
            ("CLONE_TIMEOUT_SECONDS", "13", "clone_timeout: 13s"),
            ("CONNECT_TIMEOUT_SECONDS", "14", "connect_timeout: 14s"),
            ("MODEL_TIMEOUT_SECONDS", "31", "model_timeout: 31s"),
            ("RUNNER_BUFFER_BYTES", "1048579", "buffer_bytes: 1048579"),
            ("STREAM_CHUNK_BYTES", "4097", "stream_chunk_bytes: 4097"),
            ("MAX_LINE_BYTES", "1048578", "max_line_bytes: 1048578"),
            (
                "CHECKPOINT_COMPRESSION_LEVEL",
                "19",
                "checkpoint_compression: 19",
            ),
            ("APPEND_BATCH_MILLISECONDS", "99", "append_batch: 99ms"),
            ("APPEND_BATCH_BYTES", "1025", "append_batch_bytes: 1025"),
        ] {
            let changed = shown(&read(&format!("SHANNON_{name}"), value));
            assert!(changed.contains(expected), "{name}: {changed}");
            assert!(!shown(&usual).contains(expected), "{name} is so by default");
        }
    }
}
