//! The loop while the CLI lives: its lines, and watchdogs.

use std::time::Duration;

use claude::control;
use claude::lines::Piece;
use claude::message::parse;
use domain::checkpoint::CheckpointTrigger;
use domain::event::EventBody;
use domain::{State, Transition};
use tokio::time::Instant;

use super::conversation::{Effect, shorten};
use super::questions::HeldQuestion;
use super::starting::Started;
use super::suspending::Suspend;
use super::{End, Ports, Stop, Supervision};
use crate::cli::Heard;
use crate::disk;
use crate::journal::Entry;
use crate::objects::SessionObjects;

/// How long the CLI may take to react to an interrupt before it is ended. Measured: 35 ms.
const INTERRUPT_TIME: Duration = Duration::from_secs(15);

/// Commands that one append finishes at the most.
const FINISHED_AT_ONCE: usize = domain::limits::COMMANDS_PER_APPEND / 2;

/// Clocks of one run of the CLI.
struct Watch {
    last_line: Instant,
    /// When the watchdog interrupted it, if it did.
    interrupted: Option<Instant>,
    running_since: Option<Instant>,
}

impl Watch {
    fn heard(&mut self) {
        self.last_line = Instant::now();
        self.interrupted = None;
    }
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Works until there is a reason to stop.
    pub(crate) async fn work(&mut self, started: &mut Started) -> Stop {
        let mut watch = Watch {
            last_line: Instant::now(),
            interrupted: None,
            running_since: None,
        };
        loop {
            while let Some(heard) = started.early.pop() {
                watch.heard();
                if let Err(stop) = self.hear(Some(heard), started).await {
                    return stop;
                }
            }
            // After what was heard early: the deadline below depends on the state.
            self.keep_time(started, &mut watch);
            if let Err(stop) = self.cut_if_due(started).await {
                return stop;
            }
            self.let_calls_go(started);
            match self.serve_line(started).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(stop) => return stop,
            }
            if self.conversation.cli_rests() {
                // A caller's command may run for longer than the CLI may be silent.
                watch.last_line = Instant::now();
            }
            if let Some(command) = self.pending.pop_front() {
                if let Err(stop) = self.obey(command, started).await {
                    return stop;
                }
                // It may have asked for a checkpoint, which no deadline brings on an idle session.
                continue;
            }
            let full = self.journal.is_full();
            if full {
                // It may have much to say: nobody listens.
                watch.last_line = Instant::now();
            }
            let (wake, at_wake) = self.next_deadline(started, &watch);
            let done = tokio::select! {
                () = self.journal.lost() => return Stop::LeaseLost,
                () = Self::stopped(&mut self.stop) => return self.asked_to_stop(started).await,
                () = self.journal.room(), if full => Ok(()),
                heard = started.early.next(&mut started.cli.heard), if !full => {
                    watch.heard();
                    self.hear(heard, started).await
                }
                Some(asked) = started.gate.recv() => self.gate_asked(asked, started).await,
                Some(command) = self.commands.recv() => {
                    self.remember(command);
                    Ok(())
                }
                moved = self.runs.moved() => self.run_moved(moved, started).await,
                () = tokio::time::sleep_until(wake) => self.wake(at_wake, started, &mut watch).await,
            };
            if let Err(stop) = done {
                return stop;
            }
        }
    }

    fn keep_time(&mut self, started: &mut Started, watch: &mut Watch) {
        let running = self.conversation.state == State::Running;
        match (running, watch.running_since) {
            (true, None) => {
                watch.running_since = Some(Instant::now());
                watch.last_line = Instant::now();
            }
            (false, Some(since)) => {
                self.ran += since.elapsed();
                watch.running_since = None;
                started.idle_since = Instant::now();
            }
            _ => {}
        }
        self.running.send_replace(running);
        self.assignment.queue.taken(self.taken);
    }

    /// A question is held as soon as the CLI asks, which may be a moment before it has mirrored the results
    /// of the calls before it: then that moment is waited for, since only a quiet session can be suspended.
    async fn asked_to_stop(&mut self, started: &mut Started) -> Stop {
        let stopped = *started.stopped.get_or_insert_with(Instant::now);
        let asks = self.conversation.state == State::Waiting && started.question.is_some();
        if asks && !self.is_kept_busy(started) && started.calls.can_become_quiet() {
            let deadline = stopped + self.quiet_time();
            let is_quiet = |started: &Started| started.calls.is_quiet();
            if let Err(stop) = self.hear_while_not(is_quiet, deadline, started).await {
                return stop;
            }
        }
        let waits = self.conversation.state == State::Waiting && !self.must_stay(started);
        if self.conversation.state == State::Idle || waits {
            Stop::Suspend(Suspend {
                trigger: CheckpointTrigger::Stop,
                command: None,
            })
        } else {
            Stop::Leave
        }
    }

    /// A subagent waits or works, whose calls cannot be deferred; or a message waits behind a
    /// question, with which the CLI would go on as soon as the question is deferred; or the CLI works
    /// beside a question that is not its own; or a caller's command runs.
    pub(super) fn must_stay(&self, started: &Started) -> bool {
        self.is_kept_busy(started) || !started.calls.is_quiet()
    }

    fn is_kept_busy(&self, started: &Started) -> bool {
        let asks = started.question.as_ref();
        let behind = asks.is_some() && self.conversation.has_queued();
        let beside =
            asks.is_some_and(|held| held.call.is_of_caller()) && !self.conversation.cli_rests();
        asks.is_some_and(HeldQuestion::is_of_agent) || behind || beside || self.runs.is_running()
    }

    fn next_deadline(&self, started: &Started, watch: &Watch) -> (Instant, Wake) {
        let cut = self.next_cut(started).map(|at| (at, Wake::Cut));
        let Some(since) = watch.running_since else {
            let idle = started.idle_since + self.settings.idle_time;
            let mut next = (idle, Wake::IdleTimeElapsed);
            if let Some(expiry) = self.expiry(started).filter(|expiry| *expiry < idle) {
                next = (expiry, Wake::ApprovalExpired);
            }
            return cut.filter(|cut| cut.0 < next.0).unwrap_or(next);
        };
        let left = self.settings.session_timeout.saturating_sub(self.ran);
        let mut next = (since + left, Wake::RanOutOfTime);
        if self.conversation.cli_rests() {
            return cut.filter(|cut| cut.0 < next.0).unwrap_or(next);
        }
        let silence = match watch.interrupted {
            Some(at) => (at + INTERRUPT_TIME, Wake::Unresponsive),
            None => (
                watch.last_line + self.settings.silence_timeout,
                Wake::Silent,
            ),
        };
        if silence.0 < next.0 {
            next = silence;
        }
        cut.filter(|cut| cut.0 < next.0).unwrap_or(next)
    }

    async fn wake(
        &mut self,
        wake: Wake,
        started: &mut Started,
        watch: &mut Watch,
    ) -> Result<(), Stop> {
        match wake {
            Wake::Cut => Ok(()),
            Wake::ApprovalExpired => {
                self.expire(started).await;
                Ok(())
            }
            Wake::IdleTimeElapsed if self.must_stay(started) => {
                started.stay_idle();
                Ok(())
            }
            Wake::IdleTimeElapsed => Err(Stop::Suspend(Suspend {
                trigger: CheckpointTrigger::Suspend,
                command: None,
            })),
            Wake::RanOutOfTime => Err(Stop::End(End {
                transition: Transition::RanOutOfTime,
                reason: format!(
                    r#"it ran for {} s, which is as long as it may (SHANNON_SESSION_TIMEOUT_SECONDS): fork_session {{"session_id":"{}"}} goes on from its newest checkpoint"#,
                    self.settings.session_timeout.as_secs(),
                    self.assignment.key.session
                ),
            })),
            Wake::Silent => {
                let words = format!(
                    "the claude CLI said nothing for {} s (SHANNON_SILENCE_TIMEOUT_SECONDS); its turn is interrupted",
                    self.settings.silence_timeout.as_secs()
                );
                let notice = self.conversation.notice("silent", &words, self.ports.now());
                self.note(notice);
                started.cli.tell(control::interrupt("silent"));
                watch.interrupted = Some(Instant::now());
                Ok(())
            }
            Wake::Unresponsive => Err(End::broke_down(format!(
                "the claude CLI said nothing for {} s, and did not react to an interrupt",
                (self.settings.silence_timeout + INTERRUPT_TIME).as_secs()
            ))),
        }
    }

    pub(crate) async fn hear(
        &mut self,
        heard: Option<Heard>,
        started: &mut Started,
    ) -> Result<(), Stop> {
        let now = self.ports.now();
        let line = match heard {
            None | Some(Heard::Closed) => return Err(self.cli_ended(started).await),
            Some(Heard::Warning { text, more }) => {
                let text = self.conversation.warned(&text);
                started.remember_warnings(&text);
                let text = match more {
                    0 => text,
                    more => format!("{}\n[{more} more lines]", shorten(&text, 1900)),
                };
                if !text.trim().is_empty() {
                    let notice = self.conversation.notice("cli_warning", &text, now);
                    self.note(notice);
                }
                return Ok(());
            }
            Some(Heard::Output(Piece::TooLong { bytes })) => {
                let words = format!(
                    "the CLI printed a line of {bytes} bytes, which is more than SHANNON_MAX_LINE_BYTES; it was skipped"
                );
                let notice = self.conversation.notice("long_line", &words, now);
                self.note(notice);
                return Ok(());
            }
            Some(Heard::Output(Piece::Line(line))) => line,
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let message = match parse(&line) {
            Ok(message) => message,
            Err(_) => {
                let text = self.conversation.stray(&line);
                started.remember_words(&text);
                let words = format!("the CLI printed a line that is not of its protocol: {text}");
                let notice = self.conversation.notice("unknown_line", &words, now);
                self.note(notice);
                return Ok(());
            }
        };
        for effect in self.conversation.read(message, now) {
            self.carry_out(effect, started).await?;
        }
        Ok(())
    }

    pub(crate) async fn carry_out(
        &mut self,
        effect: Effect,
        started: &mut Started,
    ) -> Result<(), Stop> {
        match effect {
            Effect::Note(entry) => self.note(entry),
            Effect::TurnBegan => self.renew_policies(started).await?,
            Effect::TurnEnded(entry) => {
                // The question of a subagent outlives the turn where the subagent does.
                if !(asks_for_agent(started) && started.calls.agents_go_on()) {
                    self.question_is_gone(started);
                }
                self.end_turn(entry, started).await?;
                if self.conversation.has_queued() {
                    // The CLI begins the next turn by itself.
                    self.renew_policies(started).await?;
                }
            }
            Effect::TurnDeferred => {
                started.calls.turn_over();
                started.turn_deferred = true;
            }
            Effect::Background(tasks) => {
                started.calls.background(&tasks);
                if asks_for_agent(started) && !started.calls.has_agents() {
                    self.question_is_gone(started);
                }
            }
            // A subagent goes on beside the conversation, and waits for a person.
            Effect::WentIdle if asks_for_agent(started) && started.calls.agents_go_on() => {}
            Effect::WentIdle => {
                started.calls.idle();
                self.question_is_gone(started);
            }
            Effect::Show(text) => self.journal.show(text),
            Effect::Asked(asked) => self.answer(&asked, started),
            Effect::Unanswerable {
                request_id,
                subtype,
            } => {
                let words = format!("requests of kind {subtype} are not answered here");
                started.cli.tell(control::unsupported(&request_id, &words));
            }
            Effect::Keep(mirror) => match started.keep(&mirror).await {
                Ok(entries) => {
                    let raw = mirror.entries.iter();
                    for counted in raw.filter_map(|entry| claude::transcript::cost(entry.get())) {
                        self.conversation.costs.hear(counted);
                    }
                    started.calls.mirrored(&entries);
                }
                Err(error) => {
                    let problem = "the session's transcript cannot be kept";
                    return Err(End::broke_down(disk::describe(problem, &error)));
                }
            },
            Effect::Answered(answer) => {
                if !answer.succeeded() {
                    tracing::warn!(
                        request = answer.request_id,
                        error = answer.error,
                        "the CLI refused a request"
                    );
                }
            }
            Effect::CannotStart(reason) => {
                return Err(End::broke_down(format!(
                    "the claude CLI could not start: {reason}"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn note(&self, entry: Entry) {
        let entry = self.note_rest(entry);
        if !entry.events.is_empty() || !entry.finish.is_empty() || entry.state.is_some() {
            self.journal.note(entry);
        }
    }

    /// One transaction finishes so many commands: writes the rest, and gives what is left.
    pub(crate) fn note_rest(&self, mut entry: Entry) -> Entry {
        while entry.finish.len() > FINISHED_AT_ONCE {
            let rest = entry
                .finish
                .split_off(entry.finish.len() - FINISHED_AT_ONCE);
            self.journal.note(Entry {
                finish: rest,
                ..Entry::default()
            });
        }
        entry
    }

    pub(crate) async fn files_changed(&self, started: &mut Started) -> Option<EventBody> {
        let before = started.baseline.take()?;
        let workspace = started.sandbox.directories().workspace.outside.clone();
        let looked = tokio::task::spawn_blocking(move || before.compare(&workspace)).await;
        match looked {
            Ok((now, event)) => {
                started.baseline = Some(now);
                event
            }
            Err(error) => {
                tracing::error!(%error, "the workspace could not be looked at");
                None
            }
        }
    }

    async fn cli_ended(&mut self, started: &mut Started) -> Stop {
        let status = started.cli.ended_within(self.settings.kill_grace).await;
        let how = match status.map(|status| (status.code(), status)) {
            Some((Some(code), _)) => format!("exit code {code}"),
            Some((None, status)) => status.to_string(),
            None => "it closed its output and did not end".to_owned(),
        };
        End::broke_down(format!(
            "the claude CLI ended unexpectedly ({how}){}",
            started.said()
        ))
    }
}

fn asks_for_agent(started: &Started) -> bool {
    let asks = started.question.as_ref();
    asks.is_some_and(HeldQuestion::is_of_agent)
}

/// What a deadline means.
#[derive(Clone, Copy)]
enum Wake {
    Cut,
    ApprovalExpired,
    IdleTimeElapsed,
    RanOutOfTime,
    Silent,
    Unresponsive,
}
