//! A long session whose runner, the real program, is killed again and again: it comes back on another
//! machine each time, and at its end it is as if nothing had happened. With the real CLI in the real
//! sandbox, the emulated DynamoDB and S3, and a scripted model.
//!
//! `SHANNON_TEST_KILLS` says how often, `SHANNON_TEST_SEED` when.

mod cloud;
mod conversation;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{TOKEN, installed::real_claude, model_beside};
use domain::ports::{
    Clock, ControlChange, Inbox, NewCommand, SessionDirectory, SessionLog, SlotLimits,
};
use domain::{
    CommandBody, CommandId, EventBody, Head, PermissionMode, Sequence, SessionKey, State,
    Transition,
};
use store::Store;

use self::cloud::Cloud;
use self::conversation::{conversations, turn};

const TURNS: usize = 20;
/// Longest time for everything; a session that stands still fails long before a person gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Longest time between a start and a kill.
const MOST_PAUSE: Duration = Duration::from_secs(2);

/// A runner on a machine that has nothing of the session.
struct Machine {
    runner: Child,
    directory: tempfile::TempDir,
}

impl Machine {
    fn start(cloud: &Cloud, session: &Session) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = std::fs::File::create(directory.path().join("log")).expect("a file");
        let runner = Command::new(env!("CARGO_BIN_EXE_session-runner"))
            .env_clear()
            .envs(cloud.environment())
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("TMPDIR", directory.path())
            .env("SHANNON_OWNER", session.key.owner.as_str())
            .env("SHANNON_SESSION", session.key.session.as_str())
            .env("SHANNON_SESSION_TOKEN", TOKEN)
            .env("SHANNON_GATEWAY_URL", &session.gateway)
            .env("SHANNON_CLAUDE_PATH", &session.claude)
            .env("SHANNON_ALLOW_BYPASS_PERMISSIONS", "true")
            .env("SHANNON_SESSION_ISOLATION", isolation())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("a runner");
        Self { runner, directory }
    }

    /// What `kill -9` does. Whatever it had started ends with it.
    fn kill(mut self) {
        self.runner.kill().expect("killed");
        self.runner.wait().expect("over");
    }

    /// What SIGTERM does.
    fn stop(mut self) -> String {
        let id = i32::try_from(self.runner.id()).expect("a small number");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(id),
            nix::sys::signal::Signal::SIGTERM,
        )
        .expect("told");
        let status = self.runner.wait().expect("over");
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }

    /// The directory of the session on this machine.
    fn place(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.directory.path()).expect("a directory");
        let mut places = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("shannon-"));
        places.next().expect("a session's directory").path()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

fn isolation() -> &'static str {
    if cfg!(target_os = "linux") {
        "namespaces"
    } else {
        "none"
    }
}

/// The session, as those who are not its runner see it.
struct Session {
    store: Store,
    key: SessionKey,
    gateway: String,
    claude: PathBuf,
}

impl Session {
    async fn head(&self) -> Head {
        let head = self.store.head(&self.key).await;
        head.expect("read").expect("a session")
    }

    async fn send(&self, id: &str, body: CommandBody) {
        let command = NewCommand {
            id: CommandId::parse(id).expect("an id"),
            body,
            now: self.store.now(),
            max_queued: 100,
        };
        self.store
            .enqueue(&self.key, command)
            .await
            .expect("accepted");
    }

    /// Its runner is gone, and another one is wanted.
    async fn lost(&self) {
        for transition in [Transition::RunnerVanished, Transition::WasWoken] {
            loop {
                let change = ControlChange {
                    rewind: None,
                    slots: SlotLimits::NONE,
                    based_on: self.head().await,
                    transition,
                    reason: "killed".to_owned(),
                    events: vec![],
                    now: self.store.now(),
                };
                if self.store.control(change).await.is_ok() {
                    break;
                }
            }
        }
    }

    async fn log(&self) -> Vec<EventBody> {
        let mut bodies = Vec::new();
        let mut after = Sequence(0);
        loop {
            let events = self.store.read(&self.key, after, usize::MAX).await;
            let events = events.expect("a log");
            let Some(last) = events.last() else {
                return bodies;
            };
            after = last.sequence;
            bodies.extend(events.into_iter().map(|event| event.body));
        }
    }
}

/// What is left of a session: its files, and what was said.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    files: BTreeMap<String, String>,
    said: Vec<String>,
    said_by_agents: Vec<Vec<String>>,
}

/// How it came there.
struct Way {
    took: Duration,
    /// Messages that had been sent when each of the kills came.
    kills: Vec<usize>,
}

/// The scripted model behind a gateway that hands out the session's own credentials.
async fn gateway(cloud: &Cloud, head: &Head) -> String {
    let (role, key, tree) = (
        cloud.session_role().await,
        head.key.clone(),
        head.tree_key(),
    );
    let give = axum::routing::post(move || {
        let (role, key, tree) = (role.clone(), key.clone(), tree.clone());
        async move {
            let given = role.credentials(&key, &tree).await.expect("credentials");
            axum::Json(serde_json::json!({
                "access_key_id": given.access_key_id,
                "secret_access_key": given.secret_access_key,
                "session_token": given.session_token,
                "expires_at_unix_ms": given.expires_at.0,
            }))
        }
    });
    model_beside(axum::Router::new().route("/model/session-credentials", give)).await
}

/// Runs the whole session; its runner is killed after each pause. Kills that are left when all turns
/// are done come then. That a runner is lost is said here at once, as an ECS stop event does; that a
/// lease which is not renewed ends says the same is tested elsewhere.
async fn whole_session(mut pauses: Vec<Duration>) -> (Left, Way) {
    let cloud = Cloud::start().await;
    let store = cloud.store().await;
    let mut new = testkit::new_session(&store, &testkit::owner("owner"));
    new.spec.permission_mode = PermissionMode::Bypass;
    new.first_message.1 = testkit::message(&turn(1));
    let head = store.create(new).await.expect("a session").head;
    let session = Session {
        gateway: gateway(&cloud, &head).await,
        key: head.key,
        store,
        claude: real_claude().await,
    };
    let started = Instant::now();
    let mut machine = Machine::start(&cloud, &session);
    let mut kill_at = pauses.pop().map(|pause| Instant::now() + pause);
    let mut sent = 1;
    let mut answered = Vec::new();
    let mut kills = Vec::new();
    loop {
        let head = session.head().await;
        let gone = machine.runner.try_wait().expect("a child").is_some();
        if gone || started.elapsed() > PATIENCE || head.state.is_ended() {
            let log = session.log().await;
            panic!(
                "{} after turn {sent}: {log:#?}\n{}",
                head.state,
                machine.log()
            );
        }
        if let Some(question) = &head.question
            && !answered.contains(&question.id)
        {
            answered.push(question.id.clone());
            let answer = CommandBody::Answer {
                question: question.id.clone(),
                answers: r#"{"Which colour?":"Blue"}"#.to_owned(),
            };
            session.send(&format!("a{}", answered.len()), answer).await;
        }
        let settled = head.commands_settled == head.commands_accepted;
        if head.state == State::Idle && settled && !head.has_queued() {
            if sent < TURNS {
                sent += 1;
                let message = testkit::message(&turn(sent));
                session.send(&format!("m{sent}"), message).await;
            } else if kill_at.is_none() {
                break;
            }
        }
        let pause = Duration::from_millis(100);
        let moment = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        tokio::time::sleep(moment.map_or(pause, |moment| moment.min(pause))).await;
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            machine.kill();
            kills.push(sent);
            session.lost().await;
            machine = Machine::start(&cloud, &session);
            kill_at = pauses.pop().map(|pause| Instant::now() + pause);
        }
    }
    let took = started.elapsed();
    let place = machine.place();
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(place.join("workspace")).expect("files") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path()).expect("a text");
        files.insert(name, text);
    }
    let (said, said_by_agents) = conversations(&place.join("var/shannon/transcript"));
    machine.stop();
    assert_eq!(session.head().await.state, State::Suspended);
    let left = Left {
        files,
        said,
        said_by_agents,
    };
    (left, Way { took, kills })
}

/// Pauses between nothing and `most`; in proportion to it, the same for the same seed.
fn pauses(seed: u64, count: usize, most: Duration) -> Vec<Duration> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..count)
        .map(|_| most * u32::try_from(next() % 2_000).expect("small") / 2_000)
        .collect()
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_runner_is_killed_fifty_times_is_as_if_it_had_not_been() {
    let seed = number("SHANNON_TEST_SEED", 7);
    let kills = usize::try_from(number("SHANNON_TEST_KILLS", 50)).expect("a small number");
    let (undisturbed, way) = whole_session(Vec::new()).await;
    assert_eq!(undisturbed.files["log"].lines().count(), 24);
    assert_eq!(undisturbed.said_by_agents.len(), 4);
    // A start and a turn together take about a twelfth of it, so most starts are killed before the
    // end of a turn, and the turns outlast the kills on a quick machine too.
    let most = MOST_PAUSE.min(way.took / 14);
    let (killed, way) = whole_session(pauses(seed, kills, most)).await;
    assert_eq!(killed, undisturbed, "seed {seed}");
    let before_last = way.kills.iter().filter(|sent| **sent < TURNS).count();
    assert_eq!(way.kills.len(), kills);
    assert!(
        before_last * 5 >= kills * 4,
        "four of five kills should come before the last turn: {:?}",
        way.kills
    );
}
