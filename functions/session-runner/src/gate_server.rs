//! The runner's side of the gate: answers the helper that the CLI starts before each tool call.
//!
//! The socket lies in a directory that the session can read and not write. Whoever connects is the
//! session; all it can do is ask. A connection that sends no tool call, or too much, is closed
//! without an answer, which blocks the call.
//!
//! What the rules refuse is refused here. Every other call waits for the supervisor, which alone
//! lets calls go: while it takes a checkpoint, none runs, and where a person decides, it asks them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use claude::gate::{ASK_TOOL, Answer, ToolCall};
use domain::{CallDigest, CommandId, PermissionMode};
use policy::check::{Caller, Checked, Outcome, check};
use policy::rules::Policies;
use policy::{Call, Files, Place, Surroundings};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::granted::Granted;
use crate::workspace::tree::Tree;

/// Largest question: a call that writes a big file.
const QUESTION_BYTES: u64 = 256 * 1024 * 1024;
/// How long a question may take to arrive.
const QUESTION_TIME: Duration = Duration::from_secs(60);

/// What the session may do: its policies, and what they are asked about it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The policies, and what a person allowed.
    pub granted: Granted,
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

/// What the CLI calls the tool that runs shell commands.
pub(crate) const SHELL: &str = "Bash";

/// Why a person is asked about a command of which only the policies think that it just reads.
const NOT_AGREED: &str = "Claude Code itself does not know this command to be one that only reads.";

/// The same of a command of a caller, which Claude Code does not see.
const NOT_READ_TWICE: &str = "By the policies it only reads; no second reader agrees, since Claude Code does \
    not see a caller's command.";

/// The CLI's permission mode of a caller's command: to the policies it is as in `default`, but the CLI
/// judges nothing.
pub(crate) const CALLER_MODE: &str = "caller";

/// Begins the ids of what a caller runs; the CLI's have no colon.
const OF_CALLER: &str = "command:";

/// The id under which the gate knows a command of a caller.
pub(crate) fn id_of_command(command: &CommandId) -> String {
    format!("{OF_CALLER}{command}")
}

/// It is such an id.
pub(crate) fn is_of_caller(tool_use_id: &str) -> bool {
    tool_use_id.starts_with(OF_CALLER)
}

/// Told to the model where only the CLI itself found out that a person has to decide.
const PROPOSE_FOR_APPROVAL: &str = "A person has to decide on this. Make exactly this call again: then \
    they are asked.";

/// What the gate says to a call.
#[derive(Debug)]
pub enum Decided {
    /// It goes, once the supervisor lets it.
    Goes {
        /// How.
        answer: Answer,
        /// The policies that say so; none where a person did.
        policies: Vec<String>,
    },
    /// A person decides.
    Asks(Box<Approval>),
    /// It does not run.
    Refused(Refusal),
}

/// What a person has to know about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Which call.
    pub digest: CallDigest,
    /// Why it does not run by itself.
    pub reason: String,
    /// The policies that say so.
    pub policies: Vec<String>,
    /// What it consists of.
    pub parts: Vec<String>,
    /// The policies that would let calls like it run.
    pub pattern: Option<String>,
}

impl Rules {
    fn check(&self, call: &Call<'_>, policies: &Policies, subagent: bool) -> Checked {
        fn texts(list: &[String]) -> Vec<&str> {
            list.iter().map(String::as_str).collect()
        }
        let as_default = |mode| if mode == CALLER_MODE { "default" } else { mode };
        let call = &Call {
            tool: call.tool,
            input: call.input,
            cli_mode: call.cli_mode.map(as_default),
        };
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
        check(call, &caller, policies, &surroundings, &files)
    }

    /// Decides on a call. A subagent makes it if `subagent`.
    ///
    /// A shell command that runs only because it reads is read twice: the policies and the CLI, which
    /// knows what is read-only by its own parser, must agree on that. What a person allowed for the
    /// session runs; what is denied stays denied.
    #[must_use]
    pub fn decide(&self, call: &Call<'_>, tool_use_id: &str, subagent: bool) -> Decided {
        let policies = self.granted.policies();
        let checked = self.check(call, &policies, subagent);
        let judged = call.tool == SHELL && checked.only_reads();
        // What a person allows a caller is not allowed to the model, nor the other way round.
        let digest = if is_of_caller(tool_use_id) {
            CallDigest::of("run_command", &call.input.to_string())
        } else {
            policy::approval::digest(call)
        };
        let reason = match checked.outcome {
            Outcome::Deny => {
                return Decided::Refused(Refusal {
                    tool_use_id: tool_use_id.to_owned(),
                    tool: call.tool.to_owned(),
                    reason: checked.reason,
                    policies: checked.policies,
                });
            }
            _ if self.granted.allows(&digest) => {
                return Decided::Goes {
                    answer: Answer::Allow,
                    policies: Vec::new(),
                };
            }
            // Only in this mode the CLI judges at all.
            Outcome::Allow if judged && call.cli_mode == Some("default") => {
                if !self.granted.must_ask(&digest) {
                    return Decided::Goes {
                        answer: Answer::Judge,
                        policies: checked.policies,
                    };
                }
                NOT_AGREED.to_owned()
            }
            Outcome::Allow if judged && is_of_caller(tool_use_id) => NOT_READ_TWICE.to_owned(),
            Outcome::Allow if judged => NOT_AGREED.to_owned(),
            Outcome::Allow => {
                return Decided::Goes {
                    answer: Answer::Allow,
                    policies: checked.policies,
                };
            }
            Outcome::Ask => checked.reason.clone(),
        };
        let pattern = policy::approval::pattern(call, &checked, policies.tier()).filter(|text| {
            let with = policies.with(text);
            with.is_some_and(|with| self.check(call, &with, subagent).outcome == Outcome::Allow)
        });
        Decided::Asks(Box::new(Approval {
            digest,
            reason,
            policies: checked.policies.clone(),
            parts: policy::approval::lines(&checked),
            pattern,
        }))
    }

    /// Decides when the CLI would ask a person, although the gate was asked before: of a command the
    /// CLI did not agree that it only reads. The next time this call is made, the gate asks.
    ///
    /// # Errors
    /// It does not run now.
    pub fn decide_prompt(&self, call: &Call<'_>, tool_use_id: &str) -> Result<(), Refusal> {
        let (reason, policies) = match self.decide(call, tool_use_id, false) {
            Decided::Goes {
                answer: Answer::Allow,
                ..
            } => return Ok(()),
            Decided::Refused(refusal) => return Err(refusal),
            Decided::Asks(approval) => (PROPOSE_FOR_APPROVAL, approval.policies),
            Decided::Goes { policies, .. } => (PROPOSE_FOR_APPROVAL, policies),
        };
        self.granted.ask_about(policy::approval::digest(call));
        Err(Refusal {
            tool_use_id: tool_use_id.to_owned(),
            tool: call.tool.to_owned(),
            reason: reason.to_owned(),
            policies,
        })
    }

    /// Whether a call may run because a person allows it, or wrote its input: nothing denies it for good.
    /// Looked at again with the decision, because files may have become links meanwhile.
    ///
    /// # Errors
    /// Why it may not.
    pub fn may_run_approved(&self, call: &Call<'_>, subagent: bool) -> Result<(), String> {
        let checked = self.check(call, &self.granted.policies(), subagent);
        if checked.outcome == Outcome::Deny {
            Err(checked.reason)
        } else {
            Ok(())
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
    /// The CLI's own permission mode for this call.
    pub cli_mode: Option<String>,
    /// Its input, when it waits for a person.
    pub question: Option<Value>,
    /// Whether it may run is what a person is asked.
    pub approval: Option<Box<Approval>>,
    /// The policies that let it go; none where a person did.
    pub policies: Vec<String>,
    allowed: Answer,
    reply: oneshot::Sender<Answer>,
}

impl WaitingCall {
    /// A command of a caller, and where the answer comes.
    pub(crate) fn of_caller(
        command: &CommandId,
        input: &Value,
        approval: Option<Box<Approval>>,
        policies: Vec<String>,
    ) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let call = WaitingCall {
            tool_use_id: id_of_command(command),
            tool: SHELL.to_owned(),
            agent: None,
            cli_mode: Some(CALLER_MODE.to_owned()),
            question: approval.is_some().then(|| input.clone()),
            approval,
            policies,
            allowed: Answer::Allow,
            reply,
        };
        (call, answer)
    }

    /// A caller's command, and no call of the CLI.
    pub(crate) fn is_of_caller(&self) -> bool {
        is_of_caller(&self.tool_use_id)
    }

    /// The session is being suspended: it is to be asked about again then.
    pub(crate) fn put_off(self, propose_again: &str) {
        let answer = if self.is_of_caller() {
            Answer::Defer
        } else {
            Answer::Deny {
                reason: propose_again.to_owned(),
            }
        };
        self.answer(answer);
    }

    /// It will be let go like this.
    pub fn allow(&mut self, allowed: Answer) {
        self.allowed = allowed;
    }

    /// Lets it go as it was decided.
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
        Decided::Goes {
            answer: Answer::Allow,
            policies: Vec::new(),
        }
    } else {
        rules.decide(&asked_about, &tool_use_id, call.agent_id.is_some())
    };
    let (allowed, policies, approval) = match decided {
        Decided::Goes { answer, policies } => (answer, policies, None),
        Decided::Asks(approval) => (Answer::Allow, Vec::new(), Some(approval)),
        Decided::Refused(refusal) => {
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
        cli_mode: call.permission_mode.clone(),
        question: (asks || approval.is_some()).then_some(call.tool_input),
        approval,
        policies,
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
    use domain::Tier;

    use super::*;

    fn rules(workspace: &Path) -> Arc<Rules> {
        Arc::new(Rules {
            granted: Granted::new(Tier::Review, policy::stored::Stored::default(), &[]).unwrap(),
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
                    Asked::Waits(call) if call.approval.is_some() => call.answer(Answer::Defer),
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
        let through_a_link = call("Read", r#"{"file_path":"/workspace/etc/passwd"}"#);
        let (reply, refused) = ask(rules.clone(), &through_a_link).await;
        assert_eq!((reply, refused), (Answer::Defer.to_reply(), vec![]));
        let (reply, refused) = ask(rules, &call("Bash", r#"{"command":"rm -rf /"}"#)).await;
        assert!(matches!(
            Answer::from_reply(&reply),
            Ok(Answer::Deny { .. })
        ));
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].policies, ["denials/destroying-roots"]);
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
