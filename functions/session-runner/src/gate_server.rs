//! The runner's side of the gate: answers the helper that the CLI starts before each tool call.
//!
//! The socket lies in a directory that the session can read and not write. Whoever connects is the
//! session; all it can do is ask. A connection that sends no tool call, or too much, is closed
//! without an answer, which blocks the call.
//!
//! What the rules refuse is refused here. Every other call waits for the supervisor, which alone
//! lets calls go: while it takes a checkpoint, none runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use claude::gate::{ASK_TOOL, Answer, ToolCall};
use domain::{PermissionMode, Tier};
use policy::check::{Caller, Checked, Outcome, check};
use policy::rules::{Policies, Unusable};
use policy::{Call, Files, Place, Surroundings};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::workspace::tree::Tree;

/// Largest question: a call that writes a big file.
const QUESTION_BYTES: u64 = 256 * 1024 * 1024;
/// How long a question may take to arrive.
const QUESTION_TIME: Duration = Duration::from_secs(60);

/// What the session may do: its policies, and what they are asked about it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Those of its tier.
    pub policies: Policies,
    /// Whose it is.
    pub owner: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its mode.
    pub mode: PermissionMode,
    /// The deployment permits `bypass`.
    pub bypass_permitted: bool,
    /// Where its workspace comes from.
    pub origin: String,
    /// The workspace as the session sees it.
    pub workspace: String,
    /// Where it works, as it sees it.
    pub working_directory: String,
    /// Its home directory, as it sees it.
    pub home: String,
    /// What it may read besides.
    pub readable: Vec<String>,
    /// Where the gate's own files lie, as it sees them.
    pub protected: Vec<String>,
    /// See [`Place::git_is_trusted`].
    pub git_is_trusted: bool,
    /// The workspace as the runner sees it.
    pub files: PathBuf,
}

struct WorkspaceFiles<'a>(&'a Path);

impl Files for WorkspaceFiles<'_> {
    fn meets_link(&self, components: &[&str]) -> bool {
        Tree::open(self.0).map_or(true, |tree| tree.meets_link(components))
    }
}

/// The policies of a tier.
///
/// # Errors
/// Those of this program cannot be used; then nothing may run.
pub fn policies(tier: Tier) -> Result<Policies, Unusable> {
    Policies::new(tier, &[])
}

/// What the CLI calls the tool that runs shell commands.
const SHELL: &str = "Bash";

/// Told to the model about a command of which only the policies think that it just reads.
const NOT_AGREED: &str = "This needs a person's approval: Claude Code itself does not know this \
    command to be one that only reads.";

/// Told to the model about a call on which a person has to decide.
const NO_PERSON: &str = "Approvals are not available in this session, so it does not run. Do not \
    retry it. Go on without it and tell what you would have done; the person can start a session \
    with permission_mode \"accept_edits\" (file edits in the workspace) or \"bypass\" (everything, \
    where permitted).";

impl Rules {
    /// Decides on a call. A subagent makes it if `subagent`.
    #[must_use]
    pub fn check(&self, call: &Call<'_>, subagent: bool) -> Checked {
        fn texts(list: &[String]) -> Vec<&str> {
            list.iter().map(String::as_str).collect()
        }
        let (tags, readable) = (texts(&self.tags), texts(&self.readable));
        let protected = texts(&self.protected);
        let caller = Caller {
            owner: &self.owner,
            tags: &tags,
            mode: self.mode,
            bypass_permitted: self.bypass_permitted,
            origin: &self.origin,
            subagent,
        };
        let surroundings = Surroundings {
            place: Place {
                workspace: &self.workspace,
                working_directory: &self.working_directory,
                readable: &readable,
                git_is_trusted: self.git_is_trusted,
            },
            home: &self.home,
            protected: &protected,
        };
        let files = WorkspaceFiles(&self.files);
        check(call, &caller, &self.policies, &surroundings, &files)
    }

    /// Decides on a call: how it is let go, or what the model is told and the log names.
    ///
    /// A shell command that runs only because it reads is read twice: the policies and the CLI, which
    /// knows what is read-only by its own parser, must agree on that.
    ///
    /// # Errors
    /// It does not run.
    pub fn decide(
        &self,
        call: &Call<'_>,
        tool_use_id: &str,
        subagent: bool,
    ) -> Result<Answer, Refusal> {
        let checked = self.check(call, subagent);
        let judged = call.tool == SHELL && checked.only_reads();
        let reason = match checked.outcome {
            // Only in this mode the CLI judges at all.
            Outcome::Allow if judged && call.cli_mode == Some("default") => {
                return Ok(Answer::Judge);
            }
            Outcome::Allow if judged => format!("{NOT_AGREED} {NO_PERSON}"),
            Outcome::Allow => return Ok(Answer::Allow),
            Outcome::Ask => format!("{} {NO_PERSON}", checked.reason),
            Outcome::Deny => checked.reason,
        };
        Err(Refusal {
            tool_use_id: tool_use_id.to_owned(),
            tool: call.tool.to_owned(),
            reason,
            policies: checked.policies,
        })
    }

    /// Decides when the CLI would ask a person, although the gate was asked before: a command of which
    /// it did not agree that it only reads does not run.
    ///
    /// # Errors
    /// It does not run.
    pub fn decide_prompt(&self, call: &Call<'_>, tool_use_id: &str) -> Result<(), Refusal> {
        match self.decide(call, tool_use_id, false)? {
            Answer::Allow => Ok(()),
            _ => Err(Refusal {
                tool_use_id: tool_use_id.to_owned(),
                tool: call.tool.to_owned(),
                reason: format!("{NOT_AGREED} {NO_PERSON}"),
                policies: Vec::new(),
            }),
        }
    }
}

/// A call that the gate refused, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Id of the call.
    pub tool_use_id: String,
    /// Name of the tool.
    pub tool: String,
    /// What the model is told.
    pub reason: String,
    /// The policies that decided.
    pub policies: Vec<String>,
}

/// A call that the rules let go, and that waits for the supervisor. Dropped, it is blocked.
#[derive(Debug)]
pub struct WaitingCall {
    /// Id of the call.
    pub tool_use_id: String,
    /// Name of the tool.
    pub tool: String,
    /// The subagent that makes it.
    pub agent: Option<String>,
    /// Its input, when it asks a person.
    pub question: Option<Value>,
    allowed: Answer,
    reply: oneshot::Sender<Answer>,
}

impl WaitingCall {
    /// Lets it go as the rules decided.
    pub fn let_go(self) {
        let _ = self.reply.send(self.allowed);
    }

    /// Answers it.
    pub fn answer(self, answer: Answer) {
        // The CLI may have given it up.
        let _ = self.reply.send(answer);
    }
}

/// What the gate tells the supervisor.
#[derive(Debug)]
pub enum Asked {
    /// A call was refused.
    Refused(Refusal),
    /// A call waits.
    Waits(WaitingCall),
}

/// Answers until the listener's task is aborted. Refusals also go to `asked`, before the answer.
pub async fn serve(listener: UnixListener, rules: Arc<Rules>, asked: mpsc::UnboundedSender<Asked>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (rules, asked) = (rules.clone(), asked.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &rules, &asked).await {
                        tracing::warn!(%error, "a question to the gate was not answered, so the call is blocked");
                    }
                });
            }
            Err(error) => {
                // Descriptors may be used up for a moment; the helpers wait.
                tracing::warn!(%error, "the gate cannot take a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(
    mut stream: UnixStream,
    rules: &Rules,
    asked: &mpsc::UnboundedSender<Asked>,
) -> std::io::Result<()> {
    let mut question = Vec::new();
    let mut limited = (&mut stream).take(QUESTION_BYTES);
    tokio::time::timeout(QUESTION_TIME, limited.read_to_end(&mut question)).await??;
    let call = ToolCall::from_hook_input(&question).map_err(std::io::Error::other)?;
    // A question is no action in any mode: the person decides what comes of it.
    let asks = call.tool_name == ASK_TOOL;
    let tool_use_id = call.tool_use_id.unwrap_or_default();
    let asked_about = Call {
        tool: &call.tool_name,
        input: &call.tool_input,
        cli_mode: call.permission_mode.as_deref(),
    };
    let decided = if asks {
        Ok(Answer::Allow)
    } else {
        rules.decide(&asked_about, &tool_use_id, call.agent_id.is_some())
    };
    let allowed = match decided {
        Ok(allowed) => allowed,
        Err(refusal) => {
            let reason = refusal.reason.clone();
            // A supervisor that is gone ends the session anyway; the answer stays no.
            let _ = asked.send(Asked::Refused(refusal));
            return reply(stream, &Answer::Deny { reason }).await;
        }
    };
    let (sender, answer) = oneshot::channel();
    let waiting = WaitingCall {
        tool_use_id,
        tool: call.tool_name,
        agent: call.agent_id,
        question: asks.then_some(call.tool_input),
        allowed,
        reply: sender,
    };
    asked
        .send(Asked::Waits(waiting))
        .map_err(|_| std::io::Error::other("the session ends"))?;
    let answer = answer.await.map_err(std::io::Error::other)?;
    reply(stream, &answer).await
}

async fn reply(mut stream: UnixStream, answer: &Answer) -> std::io::Result<()> {
    stream.write_all(&answer.to_reply()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(workspace: &Path) -> Arc<Rules> {
        Arc::new(Rules {
            policies: policies(Tier::Review).unwrap(),
            owner: "owner".to_owned(),
            tags: vec![],
            mode: PermissionMode::Review,
            bypass_permitted: false,
            origin: "empty".to_owned(),
            workspace: "/workspace".to_owned(),
            working_directory: "/workspace".to_owned(),
            home: "/home/session".to_owned(),
            readable: vec![],
            protected: vec![],
            git_is_trusted: true,
            files: workspace.to_owned(),
        })
    }

    async fn ask(rules: Arc<Rules>, question: &[u8]) -> (Vec<u8>, Vec<Refusal>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate.sock");
        let (sender, mut asked) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(UnixListener::bind(&path).unwrap(), rules, sender));
        let supervisor = tokio::spawn(async move {
            let mut refused = Vec::new();
            while let Some(asked) = asked.recv().await {
                match asked {
                    Asked::Refused(refusal) => refused.push(refusal),
                    Asked::Waits(call) if call.tool == "Edit" => drop(call),
                    Asked::Waits(call) => call.let_go(),
                }
            }
            refused
        });
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(question).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        server.abort();
        (reply, supervisor.await.unwrap())
    }

    fn call(tool: &str, input: &str) -> Vec<u8> {
        format!(r#"{{"hook_event_name":"PreToolUse","tool_name":"{tool}","tool_use_id":"t","permission_mode":"default","tool_input":{input}}}"#)
            .into_bytes()
    }

    #[tokio::test]
    async fn decisions_reach_the_helper_and_refusals_the_log() {
        let workspace = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", workspace.path().join("etc")).unwrap();
        let rules = rules(workspace.path());
        let (reply, refused) = ask(rules.clone(), &call("Read", r#"{"file_path":"a"}"#)).await;
        assert_eq!((reply, refused), (Answer::Allow.to_reply(), vec![]));
        let (reply, refused) = ask(rules.clone(), &call("Bash", r#"{"command":"ls"}"#)).await;
        assert_eq!((reply, refused), (Answer::Judge.to_reply(), vec![]));
        let (reply, refused) = ask(
            rules,
            &call("Read", r#"{"file_path":"/workspace/etc/passwd"}"#),
        )
        .await;
        assert!(matches!(
            Answer::from_reply(&reply),
            Ok(Answer::Deny { .. })
        ));
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].policies, ["tiers/review/a-person-decides"]);
    }

    #[tokio::test]
    async fn a_call_that_the_supervisor_drops_is_blocked() {
        let workspace = tempfile::tempdir().unwrap();
        let mut rules = Rules::clone(&rules(workspace.path()));
        rules.mode = PermissionMode::AcceptEdits;
        let question = call("Edit", r#"{"file_path":"a"}"#);
        let (reply, refused) = ask(Arc::new(rules), &question).await;
        assert_eq!((reply, refused), (vec![], vec![]));
    }

    #[tokio::test]
    async fn what_is_no_question_gets_no_answer() {
        let workspace = tempfile::tempdir().unwrap();
        for question in [&b""[..], b"{}", b"garbage"] {
            let (reply, refused) = ask(rules(workspace.path()), question).await;
            assert_eq!((reply, refused), (vec![], vec![]));
        }
    }
}
