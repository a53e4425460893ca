//! A caller's command from its begin, which the log knows first, to its end.

use std::path::Path;
use std::time::Duration;

use domain::event::{EventBody, RunEnd, RunHow};
use domain::{Command, CommandBody, CommandOutcome, State, UnixMillis};
use tokio::time::{Instant, sleep_until};

use super::super::starting::{Started, describe};
use super::super::{Ports, Stop, Supervision};
use super::{Current, Stage};
use crate::gate_server::{SHELL, id_of_command};
use crate::journal::Entry;
use crate::objects::SessionObjects;
use crate::shell_command::ShellCommand;

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Runs it: first the log says so.
    pub(super) async fn begin_run(
        &mut self,
        command: Command,
        script: &str,
        started: &mut Started,
    ) -> Result<(), Stop> {
        let CommandBody::Run {
            timeout_seconds, ..
        } = command.body
        else {
            return Ok(());
        };
        let before = self.journal.last();
        let body = EventBody::CommandStarted {
            command: self.conversation.clean(script),
            timeout_seconds,
        };
        let event = self
            .conversation
            .event(self.ports.now(), Some(&command), body);
        let entry = Entry {
            events: vec![event],
            ..Entry::default()
        };
        if !self.write(entry).await? {
            // It took nothing that could have been withdrawn.
            self.runs.line.push_front(command);
            return Ok(());
        }
        let process = ShellCommand::start(
            &started.sandbox,
            script,
            started.command_environment.clone(),
            Path::new(&started.rules.working_directory),
            self.conversation.redactor(),
            Duration::from_secs(timeout_seconds.into()),
        );
        match process {
            Ok(process) => {
                self.runs.current = Some(Current {
                    command,
                    stage: Stage::Runs {
                        process: Box::new(process),
                        before,
                    },
                });
                Ok(())
            }
            Err(error) => {
                let end = RunEnd {
                    how: RunHow::Failed,
                    exit_code: None,
                    duration_milliseconds: 0,
                    reason: Some(describe(&error)),
                };
                started.calls.ended(&id_of_command(&command.id));
                let body = EventBody::CommandEnded {
                    end: end.clone(),
                    stdout: String::new(),
                    stderr: String::new(),
                    stdout_bytes: 0,
                    stderr_bytes: 0,
                };
                let entry = self.last_of(&command, body, CommandOutcome::Ran(end));
                self.write(entry).await.map(drop)
            }
        }
    }

    /// Ends the one that runs, if one does: by now, or once it has ended by itself before `until`.
    /// `goes_on`: the session does, and keeps what came of it.
    pub(in super::super) async fn end_run(
        &mut self,
        stop: Option<(&str, Instant)>,
        goes_on: bool,
        started: &mut Started,
    ) -> Result<(), Stop> {
        let Some((command, mut process)) = self.runs.take_running() else {
            return Ok(());
        };
        if let Some((reason, until)) = stop {
            tokio::select! {
                () = process.ended() => {}
                () = self.journal.lost() => {}
                () = sleep_until(until) => {}
            }
            // One that has ended stays so.
            process.stop(reason);
        }
        let ended = process.end().await;
        started.calls.ended(&id_of_command(&command.id));
        let body = EventBody::CommandEnded {
            end: ended.end.clone(),
            stdout: ended.stdout.text,
            stderr: ended.stderr.text,
            stdout_bytes: ended.stdout.bytes,
            stderr_bytes: ended.stderr.bytes,
        };
        let entry = self.last_of(&command, body, CommandOutcome::Ran(ended.end));
        if goes_on {
            return self.keep_work(entry, started).await;
        }
        self.write(entry).await.map(drop)
    }

    /// Kills the one that runs, and says nothing: the session is not ours any more.
    pub(in super::super) async fn kill_run(&mut self) {
        if let Some((_, process)) = self.runs.take_running() {
            process.end().await;
        }
    }

    pub(super) async fn deny_run(
        &mut self,
        command: &Command,
        reason: &str,
        policies: Vec<String>,
    ) -> Result<(), Stop> {
        let body = EventBody::ToolDenied {
            tool_use_id: id_of_command(&command.id),
            tool: SHELL.to_owned(),
            reason: self.conversation.clean(reason),
            policies,
        };
        let outcome = CommandOutcome::Refused(reason.to_owned());
        let entry = self.last_of(command, body, outcome);
        self.write(entry).await.map(drop)
    }

    /// The last entry of the current command; the session rests with it when nothing else is to do.
    fn last_of(&mut self, command: &Command, body: EventBody, outcome: CommandOutcome) -> Entry {
        let now = self.ports.now();
        let event = self.conversation.event(now, Some(command), body);
        let mut entry = self.rests(now);
        entry.events.insert(0, event);
        entry.finish = vec![(command.clone(), outcome)];
        self.forget_question_of(command, &mut entry);
        entry
    }

    /// No command of a caller is under way: the session is idle if nothing else is to do.
    pub(super) fn rests(&mut self, now: UnixMillis) -> Entry {
        self.conversation.caller_runs = self.runs.are_before();
        let busy = self.conversation.caller_runs || !self.conversation.cli_rests();
        if busy || self.conversation.state != State::Running {
            return Entry::default();
        }
        self.conversation.change_to(State::Idle, now)
    }

    /// Nobody decides any more about a command that has ended or will not run.
    pub(super) fn forget_question_of(&mut self, command: &Command, entry: &mut Entry) {
        let id = id_of_command(&command.id);
        let before = self.known_questions.len();
        let mut gone = Vec::new();
        self.known_questions.retain(|known| {
            let stays = known.tool_use_id != id;
            if !stays {
                gone.push(known.id.clone());
            }
            stays
        });
        // A decision that came for it has nothing to decide any more.
        let is_late = |answer: &mut Command| {
            let CommandBody::Decide { approval, .. } = &answer.body else {
                return false;
            };
            gone.contains(approval)
        };
        let late: Vec<Command> = self.early_answers.extract_if(.., is_late).collect();
        entry.finish.extend(late.into_iter().map(|answer| {
            let words = "It was settled without this decision.".to_owned();
            (answer, CommandOutcome::Refused(words))
        }));
        // One that is held meanwhile is on the head instead.
        let waits = self.conversation.state == State::Waiting;
        let forgotten = self.known_questions.len() < before;
        if forgotten && !waits && std::mem::take(&mut self.question_on_head) {
            entry.question = Some(None);
        }
    }
}
