//! One session of the drill: what it wrote before the loss, and that it goes on after it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DrillError;
use crate::try_session::Client;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(600);
/// Files that a session writes, one after the other and with a pause before each: five minutes of work at
/// least, of which nothing is too much, since it is interrupted when the session has come back.
const WRITES: usize = 150;
/// Seconds before each, so that many sessions write beside each other on a small machine.
const BEFORE_EACH: usize = 2;
/// Between two interruptions of a session that still works.
const INTERRUPT_AGAIN: Duration = Duration::from_secs(3);
/// One that it wrote before, which its checkpoint has.
const KEPT: &str = "/workspace/kept.txt";

/// A session at work.
pub(super) struct Worker {
    id: String,
    /// What it wrote into the kept file.
    marker: String,
    /// Its log, as far as it was read.
    log: Vec<Value>,
    cursor: Option<Value>,
}

/// A session that went on.
pub(super) struct WentOn {
    /// Events of before the backup, all of which came back.
    pub(super) events: usize,
    /// When its newest checkpoint in the backup was taken, milliseconds since 1970.
    pub(super) checkpoint_ms: u64,
}

impl Worker {
    /// Creates one that has written a file and has a checkpoint.
    pub(super) async fn create(client: &Client, number: usize) -> Result<Self, DrillError> {
        let marker = format!("kept by session {number}");
        let prompt = prompt(&[write(KEPT, &marker), "TEXT:kept".to_owned()]);
        let arguments = json!({
            "prompt": prompt, "permission_mode": "accept_edits",
            "client_token": format!("drill-{number}"),
        });
        let created = call(client, "create_session", arguments).await?;
        let mut worker = Self {
            id: created["session_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            marker,
            log: Vec::new(),
            cursor: None,
        };
        let kept = |log: &[Value]| of_kind(log, "checkpoint_created").count() > 0;
        worker.until(client, "a checkpoint", kept).await?;
        Ok(worker)
    }

    /// Gives it work that lasts until somebody interrupts it, and waits until it has written.
    pub(super) async fn work(mut self, client: &Client) -> Result<Self, DrillError> {
        let steps: Vec<String> = (0..WRITES)
            .map(|number| {
                let path = format!("/workspace/{number}.txt");
                format!("SLEEP:{BEFORE_EACH}:{}", write(&path, "written"))
            })
            .collect();
        self.send(client, &steps, "work").await?;
        let results = of_kind(&self.log, "tool_result").count();
        let at_work = |log: &[Value]| of_kind(log, "tool_result").count() > results;
        self.until(client, "its work", at_work).await?;
        Ok(self)
    }

    /// Whether it writes on after that time, in the turn in which it wrote before. What is read now is no
    /// part of what has to come back.
    pub(super) async fn writes_on(
        mut self,
        client: &Client,
        backup_ms: i64,
    ) -> Result<(Self, bool), DrillError> {
        let seen = self.log.len();
        let after = |event: &Value| event["time_unix_ms"].as_i64() > Some(backup_ms);
        let wrote = |log: &[Value]| of_kind(log, "tool_result").any(after);
        let over = |log: &[Value]| of_kind(log, "turn_ended").count() > 1;
        self.until(client, "one more file", |log| wrote(log) || over(log))
            .await?;
        let wrote = wrote(&self.log);
        self.log.truncate(seen);
        Ok((self, wrote))
    }

    /// The session has what was seen of it, and does what it is told next with the file that it kept.
    pub(super) async fn goes_on(
        mut self,
        client: &Client,
        backup_ms: i64,
    ) -> Result<WentOn, DrillError> {
        let seen = std::mem::take(&mut self.log);
        self.cursor = None;
        self.read_on(client).await?;
        self.compare(&seen)?;
        // What is sent to a turn that still runs becomes a part of it.
        self.until_it_rests(client).await?;
        let checkpoint_ms = of_kind(&self.log, "checkpoint_created")
            .filter_map(|event| event["time_unix_ms"].as_u64())
            // Those that it makes as it goes on are none that came back.
            .filter(|time| i64::try_from(*time).is_ok_and(|time| time <= backup_ms))
            .max()
            .ok_or_else(|| self.lost("its checkpoint is gone"))?;
        let read = json!({"file_path": KEPT});
        let steps = [format!("TOOL:Read:{read}"), "TEXT:gone on".to_owned()];
        self.send(client, &steps, "goes-on").await?;
        let (past, marker) = (self.log.len(), self.marker.clone());
        let has_read = |log: &[Value]| {
            of_kind(&log[past.min(log.len())..], "tool_result").any(|event| {
                let text = event["body"]["text"].as_str();
                text.is_some_and(|text| text.contains(&marker))
            })
        };
        self.until(client, "the file that it kept", has_read)
            .await?;
        Ok(WentOn {
            events: seen.len(),
            checkpoint_ms,
        })
    }

    fn compare(&self, seen: &[Value]) -> Result<(), DrillError> {
        for (number, event) in seen.iter().enumerate() {
            match self.log.get(number) {
                Some(found) if found == event => {}
                Some(_) => return Err(self.lost(&format!("event {} is another", number + 1))),
                None => {
                    let (left, had) = (self.log.len(), seen.len());
                    return Err(self.lost(&format!("{left} events are left of {had}")));
                }
            }
        }
        Ok(())
    }

    fn lost(&self, what: &str) -> DrillError {
        DrillError::Lost {
            session: self.id.clone(),
            what: what.to_owned(),
        }
    }

    async fn send(&self, client: &Client, steps: &[String], id: &str) -> Result<(), DrillError> {
        let arguments = json!({
            "session_id": self.id, "message": prompt(steps), "message_id": format!("drill-{id}"),
        });
        call(client, "send_message", arguments).await.map(drop)
    }

    /// Reads on in its log; gives its state.
    async fn read_on(&mut self, client: &Client) -> Result<String, DrillError> {
        loop {
            let mut arguments = json!({"session_id": self.id, "until": "event", "wait_seconds": 0});
            if let Some(cursor) = &self.cursor {
                arguments["cursor"] = Value::clone(cursor);
            }
            let mut answer = call(client, "wait_session", arguments).await?;
            if let Some(events) = answer["events"].as_array_mut() {
                self.log.append(events);
            }
            self.cursor = Some(answer["next_cursor"].take());
            if answer["more"] != true {
                return Ok(answer["state"].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    /// Reads on until it has come back, and no turn runs: what it was at is begun once more, and interrupted.
    async fn until_it_rests(&mut self, client: &Client) -> Result<(), DrillError> {
        let start = Instant::now();
        let mut interrupted: Option<Instant> = None;
        loop {
            let state = self.read_on(client).await?;
            if self.has_come_back() && (state == "idle" || state == "suspended") {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(DrillError::InVain {
                    session: self.id.clone(),
                    what: format!("the end of its turn ({state})"),
                });
            }
            // One that comes before the turn has begun stops nothing.
            if state == "running" && interrupted.is_none_or(|it| it.elapsed() > INTERRUPT_AGAIN) {
                let arguments = json!({"session_id": self.id});
                call(client, "interrupt_session", arguments).await?;
                interrupted = Some(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Whether a runner took it over, and has ended the turn that it was told to begin again.
    fn has_come_back(&self) -> bool {
        let mut kinds = self.log.iter().rev();
        let mut ended = false;
        kinds
            .find(|event| {
                ended |= event["kind"] == "turn_ended";
                event["kind"] == "session_resumed"
            })
            .is_some_and(|resumed| {
                let redone = resumed["body"]["redone"].as_array();
                ended || redone.is_none_or(Vec::is_empty)
            })
    }

    /// Reads on until `done` says so of its log.
    async fn until(
        &mut self,
        client: &Client,
        what: &str,
        done: impl Fn(&[Value]) -> bool,
    ) -> Result<(), DrillError> {
        let start = Instant::now();
        loop {
            let state = self.read_on(client).await?;
            if done(&self.log) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(DrillError::InVain {
                    session: self.id.clone(),
                    what: format!("{what} ({state})"),
                });
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

fn of_kind<'a>(log: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    log.iter().filter(move |event| event["kind"] == kind)
}

fn write(path: &str, content: &str) -> String {
    format!(
        "TOOL:Write:{}",
        json!({"file_path": path, "content": content})
    )
}

/// A prompt that the offline model follows.
fn prompt(steps: &[String]) -> String {
    format!("follow the script @@{}", steps.join(";;"))
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Result<Value, DrillError> {
    let answer = client.call_tool(tool, arguments).await?;
    if answer.is_error {
        return Err(DrillError::Refused {
            tool,
            text: answer.text,
        });
    }
    Ok(answer.structured)
}
