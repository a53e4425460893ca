//! What the instances keep for clients of the initialize era: small files in a directory that all
//! instances share. What must happen once is a file that is made or removed once.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use domain::client_session::RoundId;
use domain::ports::{
    Claim, ClientSession, ClientSessions, ClientStream, Clock, IdSource, Posted, PostedMessages,
    ReplyMailbox, Rounds, StreamEvents, Unavailable, Withdrawals,
};
use domain::{ClientKey, OwnerId, UnixMillis};
use serde_json::{Value, json};

use crate::shelf;

/// A directory. Nothing in it expires: a run takes minutes.
#[derive(Clone, Debug)]
pub(crate) struct Clients(PathBuf);

type Outcome<T> = Result<T, Unavailable>;

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Unavailable {
    Unavailable {
        attempted: "use the fixtures' directory",
        outcome_unknown: true,
        source: error.into(),
    }
}

impl Clients {
    /// Makes the directory when it is not there.
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    /// The file of some names, which all are of the product's making.
    fn path(&self, key: &ClientKey, names: &[&str]) -> PathBuf {
        let owner = &key.owner.as_str()[..8];
        let client = key.session.as_str();
        self.0.join(format!("{owner}-{client}-{}", names.join("-")))
    }

    fn read(path: &PathBuf) -> Outcome<Option<Value>> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes a file as a whole, in the place of whatever was there.
    fn write(&self, path: &PathBuf, document: &Value) -> Outcome<()> {
        let beside = self.0.join(shelf::unique());
        fs::write(&beside, document.to_string())
            .and_then(|()| fs::rename(&beside, path))
            .map_err(failed)
    }

    /// Makes a file that is not there; says whether it did.
    fn make(&self, path: &PathBuf, document: &Value) -> Outcome<bool> {
        let beside = self.0.join(shelf::unique());
        let mut file = fs::File::create(&beside).map_err(failed)?;
        file.write_all(document.to_string().as_bytes())
            .map_err(failed)?;
        let linked = fs::hard_link(&beside, path);
        fs::remove_file(&beside).map_err(failed)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn remove(path: &PathBuf) -> Outcome<bool> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

fn text(document: &Value, name: &str) -> String {
    document[name].as_str().unwrap_or_default().to_owned()
}

fn millis(document: &Value, name: &str) -> UnixMillis {
    UnixMillis(document[name].as_u64().unwrap_or_default())
}

impl Clock for Clients {
    fn now(&self) -> UnixMillis {
        UnixMillis(shelf::now())
    }

    async fn sleep(&self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

impl IdSource for Clients {
    fn random(&self) -> [u8; 17] {
        let (one, two) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let mut bytes = [0; 17];
        bytes[..16].copy_from_slice(one.as_bytes());
        bytes[16] = two.as_bytes()[0];
        bytes
    }
}

impl ClientSessions for Clients {
    async fn open(&self, key: &ClientKey, session: &ClientSession) -> Outcome<()> {
        let document =
            json!({"introduction": session.introduction, "expires_at": session.expires_at.0});
        self.make(&self.path(key, &["client"]), &document).map(drop)
    }

    async fn client(&self, key: &ClientKey) -> Outcome<Option<ClientSession>> {
        let found = Self::read(&self.path(key, &["client"]))?;
        Ok(found.map(|found| ClientSession {
            introduction: text(&found, "introduction"),
            expires_at: millis(&found, "expires_at"),
        }))
    }

    async fn introduce(&self, key: &ClientKey, introduction: &str) -> Outcome<bool> {
        let path = self.path(key, &["client"]);
        let Some(mut found) = Self::read(&path)? else {
            return Ok(false);
        };
        found["introduction"] = introduction.into();
        self.write(&path, &found).map(|()| true)
    }

    async fn keep(&self, _key: &ClientKey, _expires_at: UnixMillis) -> Outcome<()> {
        Ok(())
    }

    async fn close(&self, key: &ClientKey) -> Outcome<bool> {
        Self::remove(&self.path(key, &["client"]))
    }
}

impl ReplyMailbox for Clients {
    async fn await_reply(&self, key: &ClientKey, request: &str, _: UnixMillis) -> Outcome<()> {
        self.make(&self.path(key, &["awaited", request]), &Value::Null)
            .map(drop)
    }

    async fn deliver(&self, key: &ClientKey, request: &str, reply: &str) -> Outcome<bool> {
        if !self.path(key, &["awaited", request]).exists() {
            return Ok(false);
        }
        let path = self.path(key, &["reply", request]);
        Ok(self.make(&path, &reply.into())? || Self::read(&path)? == Some(reply.into()))
    }

    async fn reply(&self, key: &ClientKey, request: &str) -> Outcome<Option<String>> {
        let found = Self::read(&self.path(key, &["reply", request]))?;
        Ok(found.and_then(|reply| reply.as_str().map(str::to_owned)))
    }
}

impl Withdrawals for Clients {
    async fn allow_withdrawal(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
        _: UnixMillis,
    ) -> Outcome<()> {
        let document = json!({"worker": worker, "withdrawn": false});
        self.write(&self.path(key, &["working", request]), &document)
    }

    async fn withdraw(&self, key: &ClientKey, request: &str) -> Outcome<bool> {
        let path = self.path(key, &["working", request]);
        let Some(mut found) = Self::read(&path)? else {
            return Ok(false);
        };
        found["withdrawn"] = true.into();
        self.write(&path, &found).map(|()| true)
    }

    async fn is_withdrawn(&self, key: &ClientKey, request: &str, worker: &str) -> Outcome<bool> {
        let found = Self::read(&self.path(key, &["working", request]))?;
        Ok(found.is_some_and(|found| found["worker"] == worker && found["withdrawn"] == true))
    }

    async fn end_withdrawal(&self, key: &ClientKey, request: &str, worker: &str) -> Outcome<()> {
        let path = self.path(key, &["working", request]);
        match Self::read(&path)? {
            Some(found) if found["worker"] == worker => Self::remove(&path).map(drop),
            _ => Ok(()),
        }
    }
}

impl StreamEvents for Clients {
    async fn note_stream(
        &self,
        key: &ClientKey,
        stream: &str,
        state: &ClientStream,
    ) -> Outcome<()> {
        let document = json!({
            "request": state.request, "written_until": state.written_until.0,
            "complete": state.complete, "expires_at": state.expires_at.0,
        });
        self.write(&self.path(key, &["stream", stream]), &document)
    }

    async fn stream(&self, key: &ClientKey, stream: &str) -> Outcome<Option<ClientStream>> {
        let found = Self::read(&self.path(key, &["stream", stream]))?;
        Ok(found.map(|found| ClientStream {
            request: text(&found, "request"),
            written_until: millis(&found, "written_until"),
            complete: found["complete"] == true,
            expires_at: millis(&found, "expires_at"),
        }))
    }

    async fn keep_message(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
        message: &str,
        _: UnixMillis,
    ) -> Outcome<()> {
        let path = self.path(key, &["message", stream, &position.to_string()]);
        self.make(&path, &message.into()).map(drop)
    }

    async fn messages_after(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
    ) -> Outcome<Vec<(u64, String)>> {
        let mut messages = Vec::new();
        for next in position + 1.. {
            let path = self.path(key, &["message", stream, &next.to_string()]);
            match Self::read(&path)? {
                Some(message) => {
                    messages.push((next, message.as_str().unwrap_or_default().to_owned()));
                }
                None => break,
            }
        }
        Ok(messages)
    }
}

impl PostedMessages for Clients {
    async fn post(&self, key: &ClientKey, name: &str, message: &str, _: UnixMillis) -> Outcome<()> {
        self.make(&self.path(key, &["posted", name]), &message.into())
            .map(drop)
    }

    async fn take_posted(&self, key: &ClientKey, taker: &str) -> Outcome<Vec<Posted>> {
        let prefix = self.path(key, &["posted", ""]);
        let prefix = prefix.to_string_lossy();
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some(name) = path.to_string_lossy().strip_prefix(&*prefix) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        let mut taken = Vec::new();
        for name in names {
            let claim = self.path(key, &["taken", &name]);
            let mine = self.make(&claim, &taker.into())?
                || Self::read(&claim)?.is_some_and(|of| of == taker);
            let message = Self::read(&self.path(key, &["posted", &name]))?;
            if let (true, Some(message)) = (mine, message) {
                let message = message.as_str().unwrap_or_default().to_owned();
                taken.push(Posted { name, message });
            }
        }
        Ok(taken)
    }

    async fn remove_posted(&self, key: &ClientKey, _taker: &str, name: &str) -> Outcome<()> {
        // Its claim stays, so that nobody takes it who looked a moment ago.
        Self::remove(&self.path(key, &["posted", name])).map(drop)
    }
}

impl Rounds for Clients {
    async fn claim(
        &self,
        _owner: &OwnerId,
        round: &RoundId,
        answers_digest: &str,
        _: UnixMillis,
    ) -> Outcome<Claim> {
        let claimed = self.0.join(format!("claim-{}", round.as_str()));
        if self.make(&claimed, &answers_digest.into())? {
            return Ok(Claim::Open);
        }
        if Self::read(&claimed)? != Some(answers_digest.into()) {
            return Ok(Claim::Different);
        }
        let outcome = Self::read(&self.0.join(format!("outcome-{}", round.as_str())))?;
        Ok(match outcome.as_ref().and_then(Value::as_str) {
            Some(outcome) => Claim::Settled(outcome.to_owned()),
            None => Claim::Open,
        })
    }

    async fn settle(&self, _owner: &OwnerId, round: &RoundId, outcome: &str) -> Outcome<String> {
        let path = self.0.join(format!("outcome-{}", round.as_str()));
        self.make(&path, &outcome.into())?;
        let recorded = Self::read(&path)?;
        let recorded = recorded.as_ref().and_then(Value::as_str);
        Ok(recorded.unwrap_or(outcome).to_owned())
    }
}
