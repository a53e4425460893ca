//! A world for one session: every port in memory, a scripted [`model`] behind a gateway on loopback,
//! and the real `claude` CLI or a script that pretends to be one.

pub(crate) mod installed;
mod model;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::ports::{Clock, ControlChange, Inbox, NewCommand, SessionDirectory, SessionLog};
use domain::{
    Command, CommandBody, CommandId, Event, EventBody, Head, Sequence, SessionKey, SessionSpec,
    Transition, UploadId,
};
use session_runner::objects::{DownloadError, PutError, SessionObjects};
use session_runner::sandbox::plan::Isolation;
use session_runner::settings::RunnerSettings;
use session_runner::supervisor::{self, Assignment, Outcome};
use testkit::{Fake, FaultTime};
use tokio::sync::watch;

pub(crate) use self::model::{TOKEN, model, model_beside, script};

/// Objects in memory: uploads by id, and what the runner wrote.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) uploads: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub(crate) written: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// How many were to be written, and which of them fails, once.
    pub(crate) puts: Arc<Mutex<usize>>,
    pub(crate) failing_put: Arc<Mutex<Option<(usize, FaultTime)>>>,
    /// Downloads wait while it is true.
    pub(crate) held: watch::Sender<bool>,
}

impl SessionObjects for Memory {
    async fn download(
        &self,
        upload: &UploadId,
        file: &Path,
        most: u64,
    ) -> Result<u64, DownloadError> {
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.expect("a sender");
        let bytes = self
            .uploads
            .lock()
            .expect("no panic")
            .get(upload.as_str())
            .cloned();
        let bytes = bytes.ok_or(DownloadError::Missing)?;
        if bytes.len() as u64 > most {
            return Err(DownloadError::TooLarge);
        }
        std::fs::write(file, &bytes)?;
        Ok(bytes.len() as u64)
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PutError> {
        let number = {
            let mut puts = self.puts.lock().expect("no panic");
            *puts += 1;
            *puts
        };
        let mut failing = self.failing_put.lock().expect("no panic");
        let fault = failing.take_if(|(put, _)| *put == number);
        if !matches!(fault, Some((_, FaultTime::Before))) {
            let mut written = self.written.lock().expect("no panic");
            written.insert(name.to_owned(), bytes);
        }
        match fault {
            Some(_) => Err(PutError("an injected fault".to_owned())),
            None => Ok(()),
        }
    }
}

/// One session under supervision.
pub(crate) struct World {
    pub(crate) ports: Fake,
    pub(crate) key: SessionKey,
    pub(crate) objects: Memory,
    pub(crate) base: tempfile::TempDir,
    pub(crate) settings: RunnerSettings,
    pub(crate) assignment: Assignment,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) running: Option<tokio::task::JoinHandle<Outcome>>,
    /// So many there were, this one included.
    machines: usize,
}

pub(crate) fn settings(gateway_url: String, claude: PathBuf) -> RunnerSettings {
    let seconds = Duration::from_secs;
    RunnerSettings {
        gateway_url,
        claude_path: claude,
        claude_version: claude::SUPPORTED_VERSION.to_owned(),
        workspace_roots: vec![],
        bypass_permitted: true,
        tier: domain::Tier::Review,
        approval_expiry: seconds(600),
        max_upload_bytes: 100 * 1024 * 1024,
        max_turns: 50,
        max_budget_usd: 5.0,
        session_timeout: seconds(120),
        silence_timeout: seconds(60),
        idle_time: seconds(60),
        heartbeat: seconds(3),
        lease: seconds(10),
        stop_timeout: seconds(60),
        kill_grace: seconds(5),
        clone_timeout: seconds(30),
        connect_timeout: seconds(5),
        model_timeout: seconds(60),
        buffer_bytes: 4 * 1024 * 1024,
        stream_chunk_bytes: 16 * 1024,
        max_line_bytes: 64 * 1024 * 1024,
        append_batch: Duration::from_millis(10),
        append_batch_bytes: 32 * 1024,
        checkpoint_strategy: session_runner::settings::Strategy::Smart,
        checkpoint_interval: seconds(240),
        checkpoint_compression: 3,
        transcript_flush: Duration::from_millis(200),
        startup_timeout: seconds(30),
    }
}

impl World {
    /// A session whose first message is `prompt`.
    pub(crate) async fn new(
        gateway: String,
        claude: PathBuf,
        spec: SessionSpec,
        prompt: &str,
    ) -> Self {
        let ports = Fake::new(7);
        // Virtual time follows real time here: the CLI is a real process.
        ports.clock().hold();
        let clock = ports.clock().clone();
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(5));
            loop {
                interval.tick().await;
                clock.advance(5);
            }
        });
        let owner = testkit::owner("owner");
        let mut new = testkit::new_session(&ports, &owner);
        new.spec = spec;
        new.first_message.1 = testkit::message(prompt);
        let head = ports.create(new).await.expect("a session").head;
        let base = tempfile::tempdir().expect("a directory");
        let (stop, stopped) = watch::channel(false);
        World {
            key: head.key.clone(),
            objects: Memory::default(),
            settings: settings(gateway, claude),
            assignment: Assignment {
                key: head.key,
                task: "task-1".to_owned(),
                session_token: TOKEN.to_owned().into(),
                secrets: vec![],
                isolation: if cfg!(target_os = "linux") {
                    Isolation::Namespaces
                } else {
                    Isolation::None
                },
                base: base.path().to_owned(),
                runner_program: PathBuf::from(env!("CARGO_BIN_EXE_session-runner")),
                claude: tokio::sync::watch::channel(None).0,
                queue: session_runner::load::Queue::default(),
            },
            base,
            ports,
            stop,
            stopped,
            running: None,
            machines: 1,
        }
    }

    /// Starts the runner.
    pub(crate) fn start(&mut self) {
        let (ports, objects) = (Arc::new(self.ports.clone()), self.objects.clone());
        let (settings, assignment) = (self.settings.clone(), self.assignment.clone());
        self.running = Some(tokio::spawn(supervisor::run(
            ports,
            objects,
            settings,
            assignment,
            self.stopped.clone(),
        )));
    }

    /// What SIGTERM does.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// How the run ended.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let running = self.running.take().expect("it runs");
        tokio::time::timeout(Duration::from_secs(90), running)
            .await
            .expect("an end")
            .expect("no panic")
    }

    pub(crate) async fn head(&self) -> Head {
        self.ports
            .head(&self.key)
            .await
            .expect("a world")
            .expect("a session")
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut after = Sequence(0);
        loop {
            let more = self
                .ports
                .read(&self.key, after, usize::MAX)
                .await
                .expect("a log");
            match more.last() {
                Some(last) => after = last.sequence,
                None => return events,
            }
            events.extend(more);
        }
    }

    /// Waits for an event and gives the log until then.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&EventBody) -> bool,
    ) -> Vec<Event> {
        let start = std::time::Instant::now();
        loop {
            let events = self.events().await;
            if events.iter().any(|event| wanted(&event.body)) {
                return events;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "no {what} in {:#?}",
                bodies(&events)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the session is idle after `count` turns.
    pub(crate) async fn idle_after(&self, count: usize) -> Vec<Event> {
        let start = std::time::Instant::now();
        loop {
            let events = self.events().await;
            let turns = events
                .iter()
                .filter(|event| matches!(event.body, EventBody::TurnEnded(_)))
                .count();
            let state = self.head().await.state;
            if turns >= count && state == domain::State::Idle {
                return events;
            }
            assert!(!state.is_ended(), "it ended: {:#?}", bodies(&events));
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "not idle after {count} turns: {:#?}",
                bodies(&events)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A change of the session that its runner does not make.
    pub(crate) async fn control(&self, transition: Transition) {
        loop {
            let change = ControlChange {
                based_on: self.head().await,
                transition,
                reason: "tested".to_owned(),
                events: vec![],
                rewind: None,
                slots: testkit::deployment().slots(),
                now: self.ports.now(),
            };
            if self.ports.control(change).await.is_ok() {
                return;
            }
        }
    }

    /// The session is woken, on a machine that has nothing of it.
    pub(crate) async fn wake_elsewhere(&mut self) {
        self.control(Transition::WasWoken).await;
        self.move_elsewhere();
    }

    /// The next runner is started on a machine that has nothing of the session.
    pub(crate) fn move_elsewhere(&mut self) {
        self.machines += 1;
        self.base = tempfile::tempdir().expect("a directory");
        self.assignment.base = self.base.path().to_owned();
        self.assignment.task = format!("task-{}", self.machines);
        (self.stop, self.stopped) = watch::channel(false);
    }

    /// The machine is gone with its runner.
    pub(crate) async fn vanish(&mut self) {
        let running = self.running.take().expect("it runs");
        running.abort();
        let _ = running.await;
        self.control(Transition::RunnerVanished).await;
    }

    /// The same, and the next one is asked for.
    pub(crate) async fn lose(&mut self) {
        self.vanish().await;
        self.wake_elsewhere().await;
    }

    pub(crate) async fn send(&self, id: &str, body: CommandBody) -> Command {
        let now = testkit::new_command(&self.ports, id, body.clone()).now;
        let command = NewCommand {
            id: CommandId::parse(id).expect("an id"),
            body,
            now,
            max_queued: 100,
        };
        self.ports
            .enqueue(&self.key, command)
            .await
            .expect("accepted")
            .command
    }

    pub(crate) async fn command(&self, id: &str) -> Command {
        let id = CommandId::parse(id).expect("an id");
        self.ports
            .command(&self.key, &id)
            .await
            .expect("a world")
            .expect("a command")
    }
}

pub(crate) fn bodies(events: &[Event]) -> Vec<&EventBody> {
    events.iter().map(|event| &event.body).collect()
}

/// The results of tools, in order.
pub(crate) fn results(events: &[Event]) -> Vec<(bool, String)> {
    let results = events.iter().filter_map(|event| match &event.body {
        EventBody::ToolResult { is_error, text, .. } => Some((*is_error, text.clone())),
        _ => None,
    });
    results.collect()
}
