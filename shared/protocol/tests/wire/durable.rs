//! The part of a runner that takes checkpoints, asks and suspends; and what lies in checkpoints.

use domain::checkpoint::{CheckpointTrigger, PendingQuestion};
use domain::command::FileContent;
use domain::ports::{Append, Inbox, SessionLog};
use domain::workspace::RelativePath;
use domain::{
    CheckpointId, Command, CommandBody, CommandOutcome, EventBody, Head, NewCheckpoint, QuestionId,
    SessionKey, State, TreeKey, UnixMillis,
};
use protocol::{
    DiffLimits, SnapshotChange, SnapshotDiff, SnapshotError, SnapshotExport, Snapshots,
};

use crate::client::{FoundHere, Runner, principal};

/// Every file of every checkpoint holds its path and the checkpoint's manifest; from one checkpoint
/// to another `a.txt` changes. With so much context many files do, and with less in the sessions of
/// this owner.
const LONG_CONTEXT: usize = 20;
pub(crate) const LONG_OWNER: &str = "long";

pub(crate) fn long_diff(limits: DiffLimits) -> SnapshotDiff {
    let file = |number: usize| {
        format!(
            "diff --git a/{number} b/{number}\n{}",
            "+line\n".repeat(1000)
        )
    };
    let (mut patch, mut number) = (String::new(), 0);
    while number < 50 && patch.len() <= limits.patch_bytes {
        patch.push_str(&file(number));
        number += 1;
    }
    SnapshotDiff {
        patch,
        truncated: number < 50,
        stat: "50 files\n".to_owned(),
        ..SnapshotDiff::default()
    }
}

impl Snapshots for FoundHere {
    async fn file_at(
        &self,
        _tree: &TreeKey,
        _session: &SessionKey,
        manifest: &CheckpointId,
        path: &RelativePath,
        offset: u64,
        length: u64,
    ) -> Result<FileContent, SnapshotError> {
        if path.as_str() == "missing" {
            let reason = "path: the checkpoint holds no such file".to_owned();
            return Err(SnapshotError::Missing(reason));
        }
        let mut text = format!("{} at {manifest}", path.as_str());
        if path.as_str() == "long" {
            text = "\"line\"\n".repeat(20_000);
        }
        let from = usize::try_from(offset).expect("small").min(text.len());
        let length = usize::try_from(length).expect("small");
        let to = text.len().min(from + length);
        Ok(FileContent {
            bytes: text.as_bytes()[from..to].to_vec(),
            file_bytes: text.len() as u64,
        })
    }

    async fn diff(
        &self,
        _tree: &TreeKey,
        session: &SessionKey,
        old: &CheckpointId,
        new: &CheckpointId,
        limits: DiffLimits,
    ) -> Result<SnapshotDiff, SnapshotError> {
        if old == new {
            return Ok(SnapshotDiff::default());
        }
        let long = session.owner == principal(LONG_OWNER).owner;
        if long || limits.context_lines == LONG_CONTEXT {
            return Ok(long_diff(limits));
        }
        Ok(SnapshotDiff {
            changes: vec![SnapshotChange {
                path: "a.txt".to_owned(),
                old_path: None,
                change: "modified",
                lines: Some((1, 0)),
                binary: false,
            }],
            more_changes: 0,
            patch: format!(
                "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -0,0 +1 @@\n+{} lines around\n",
                limits.context_lines
            ),
            stat: "M a.txt | +1 -0\n".to_owned(),
            truncated: false,
        })
    }

    async fn export(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        manifest: &CheckpointId,
        since: Option<&CheckpointId>,
        valid_milliseconds: u64,
    ) -> Result<SnapshotExport, SnapshotError> {
        let (file_name, name) = match since {
            None => ("workspace.tar.zst", manifest.to_string()),
            Some(since) => ("workspace.patch", format!("{since}-{manifest}")),
        };
        Ok(SnapshotExport {
            url: format!(
                "https://bucket.example/{}/{}/{name}",
                tree.owner, session.session
            ),
            file_name: file_name.to_owned(),
            expires_at: UnixMillis(1_795_000_000_000).plus(valid_milliseconds),
            bytes: 12,
            sha256: "0".repeat(64),
            entries: since.is_none().then_some(3),
        })
    }
}

impl Runner {
    fn head(&self) -> Head {
        self.fake
            .peek_head(&self.lease.key)
            .expect("the session is there")
    }

    fn cut(&self, bodies: Vec<EventBody>, edit: impl FnOnce(&mut NewCheckpoint)) -> Append {
        let head = self.head();
        let mut new = testkit::checkpoint(&self.fake, head.checkpoints + 1, Some(&head));
        edit(&mut new);
        let mut append = testkit::append(&self.fake, head.last_sequence.next(), bodies);
        append.turn = head.turn.max(1);
        append.state = head.state;
        append.question = head.question;
        append.total_cost_usd = head.total_cost_usd;
        append.checkpoint = Some(new);
        append
    }

    /// Takes a checkpoint that says this.
    pub(crate) async fn checkpoint(&self, message: &str) -> CheckpointId {
        let text = EventBody::Text {
            text: message.to_owned(),
            agent: None,
        };
        let append = self.cut(vec![text], |new| new.message = Some(message.to_owned()));
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
        append.checkpoint.expect("it was made with one").id
    }

    /// The next command of a kind that is not finished, taken.
    async fn next(&self, kind: &str) -> Command {
        let find = || {
            let commands = self.fake.peek_commands(&self.lease.key);
            commands
                .into_iter()
                .find(|command| command.body.kind() == kind && command.outcome.is_none())
        };
        while find().is_none() {
            tokio::task::yield_now().await;
        }
        self.take().await;
        find().expect("it is still there")
    }

    /// Takes the next checkpoint that is asked for.
    pub(crate) async fn serve_checkpoint(&self) -> CheckpointId {
        let command = self.next("checkpoint").await;
        let CommandBody::Checkpoint {
            message,
            tags,
            pinned,
        } = command.body.clone()
        else {
            panic!("{command:?}")
        };
        let mut append = self.cut(Vec::new(), |new| {
            new.trigger = CheckpointTrigger::Request;
            new.message = message;
            new.tags = tags;
            new.pinned = pinned;
        });
        let id = append
            .checkpoint
            .as_ref()
            .expect("made with one")
            .id
            .clone();
        append.finish = vec![(command, CommandOutcome::Checkpointed(id.clone()))];
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
        id
    }

    /// Suspends the session, as it was asked to.
    pub(crate) async fn serve_suspend(&self) -> CheckpointId {
        let command = self.next("suspend").await;
        let changed = EventBody::StateChanged {
            from: self.head().state,
            to: State::Suspended,
        };
        let mut append = self.cut(vec![changed], |new| {
            new.trigger = CheckpointTrigger::Suspend
        });
        append.finish = vec![(command, CommandOutcome::Suspended)];
        append.state = State::Suspended;
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
        append.checkpoint.expect("it was made with one").id
    }

    /// Asks a person.
    pub(crate) async fn ask(&self, name: &str) {
        let head = self.head();
        let input = r#"{"questions":[{"question":"Which?","options":[{"label":"this"}]}]}"#;
        let question = QuestionId::parse(name).expect("a name");
        let asked = EventBody::QuestionAsked {
            question: question.clone(),
            tool_use_id: "toolu_ask".to_owned(),
            input: input.to_owned(),
        };
        let mut append = testkit::append(&self.fake, head.last_sequence.next(), vec![asked]);
        append.turn = head.turn.max(1);
        append.state = State::Waiting;
        append.total_cost_usd = head.total_cost_usd;
        append.question = Some(PendingQuestion {
            id: question,
            tool_use_id: "toolu_ask".to_owned(),
            input: input.to_owned(),
            asked_at: append.now,
            approval: None,
        });
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
    }

    /// Takes the next answer, and goes on with its turn.
    pub(crate) async fn serve_answer(&self) -> String {
        let command = self.next("answer").await;
        let CommandBody::Answer { question, answers } = command.body.clone() else {
            panic!("{command:?}")
        };
        let answered = EventBody::QuestionAnswered {
            question,
            answers: answers.clone(),
        };
        let head = self.head();
        let mut append = testkit::append(&self.fake, head.last_sequence.next(), vec![answered]);
        append.turn = head.turn.max(1);
        append.finish = vec![(command, CommandOutcome::Answered)];
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
        answers
    }

    /// Finishes an idle session's first message, so that the session may be suspended.
    pub(crate) async fn first_turn(&self) {
        self.take().await;
        let end = crate::client::turn_end("first", "done");
        self.finish("first", CommandOutcome::Turn(end)).await;
    }

    /// It keeps its lease for ten minutes.
    pub(crate) async fn lives(&self) {
        let until = self.fake.clock().now().plus(600_000);
        self.fake.renew(&self.lease, until).await.expect("renewed");
    }

    /// The commands that wait.
    pub(crate) async fn waiting(&self) -> usize {
        let head = self.head();
        self.fake
            .commands_after(&self.lease.key, head.commands_taken, 100)
            .await
            .expect("read")
            .len()
    }
}
