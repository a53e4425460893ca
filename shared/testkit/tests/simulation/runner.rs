//! A runner that follows the contract of the ports, without a CLI: it restores what its session goes
//! on from, works on messages, asks questions, takes checkpoints, and suspends.

use domain::{
    Command, CommandBody, CommandId, CommandOutcome, EventBody, Head, NewCheckpoint, QuestionId,
    SessionKey, State,
    checkpoint::{CheckpointTrigger, PendingQuestion},
    event::{TokenUsage, TurnEnd},
    history,
    ports::{AcquireError, Append, AppendError, Checkpoints, Clock, Inbox, Lease, SessionLog},
};
use testkit::{Fake, Random, append, checkpoint};

use crate::disk::{Disk, GRACE_MILLISECONDS, is_stored, put, surely};

/// After so long without a message, or an answer, it suspends.
const IDLE_MILLISECONDS: u64 = 4_000;

/// Why a runner stops.
enum Stop {
    /// It may not write any more.
    LeaseLost,
    /// The session has ended or is suspended, by its own hand.
    Over,
}

struct Runner<'a> {
    fake: &'a Fake,
    lease: Lease,
    /// As this runner left it; the store has the same.
    head: Head,
    disk: Disk,
    /// Taken and not finished.
    open: Vec<Command>,
}

/// Runs the session until it ends, is suspended, or is lost.
pub(crate) async fn run(fake: &Fake, key: &SessionKey, task: &str, random: &mut Random) {
    let (lease, head) = loop {
        let now = fake.now();
        match fake.acquire(key, task, "none", now.plus(10_000), now).await {
            Ok(acquired) => break acquired,
            Err(AcquireError::NotAvailable(_)) => return,
            Err(AcquireError::Unavailable(_)) => fake.sleep(50).await,
        }
    };
    // Another machine may run the same task: then its work is not ours.
    let mut runner = Runner {
        fake,
        lease,
        head,
        disk: Disk::default(),
        open: Vec::new(),
    };
    match runner.live(random).await {
        Ok(()) | Err(Stop::LeaseLost | Stop::Over) => {}
    }
}

impl Runner<'_> {
    async fn live(&mut self, random: &mut Random) -> Result<(), Stop> {
        self.resume().await?;
        loop {
            let idle_since = self.fake.now();
            let waiting = loop {
                let waiting = self.waiting().await;
                if !waiting.is_empty() {
                    break waiting;
                }
                if self.fake.now().since(idle_since) > IDLE_MILLISECONDS {
                    self.suspend(Vec::new()).await?;
                } else {
                    self.renew().await?;
                    self.fake.sleep(random.below(600)).await;
                }
            };
            let Some(taken) = self.take(waiting).await? else {
                continue;
            };
            self.obey(taken, random).await?;
        }
    }

    /// Restores the cut and says what is redone.
    async fn resume(&mut self) -> Result<(), Stop> {
        let key = self.lease.key.clone();
        let cut = self.head.cut_sequence;
        let tree = self.lease.tree_key();
        if let Some(id) = self.head.checkpoint.clone() {
            let record = surely(self.fake, async || self.fake.checkpoint(&key, &id).await).await;
            let restored = match record {
                Some(record) => {
                    Disk::restore(self.fake, &tree, &record.files, &record.conversation).await
                }
                None => None,
            };
            match restored {
                Some(disk) => self.disk = disk,
                None => return Err(self.must_be_lost().await),
            }
        }
        let tail: Vec<domain::Event> = surely(self.fake, async || {
            self.fake.read(&key, cut, usize::MAX).await
        })
        .await;
        let redone = self
            .waiting()
            .await
            .into_iter()
            .filter(|command| command.state != domain::CommandState::Queued)
            .filter(|command| command.to_take(self.lease.fence) && command.body.is_for_the_cli())
            .map(|command| command.id)
            .collect();
        let resumed = EventBody::SessionResumed {
            checkpoint: self.head.checkpoint.clone(),
            cut_sequence: cut,
            abandoned: history::abandoned(&tail),
            redone,
        };
        let state = match &self.head.question {
            Some(_) => State::Waiting,
            None => State::Idle,
        };
        self.write(vec![resumed], state).await
    }

    /// What the session goes on from is not there: then it was set back, or erased, meanwhile.
    async fn must_be_lost(&self) -> Stop {
        loop {
            let until = self.fake.now().plus(10_000);
            match self.fake.renew(&self.lease, until).await {
                Ok(()) => panic!("the checkpoint of the head is gone"),
                Err(AppendError::Unavailable(_)) => self.fake.sleep(50).await,
                Err(_) => return Stop::LeaseLost,
            }
        }
    }

    /// What is to be done with what was taken.
    async fn obey(&mut self, taken: Vec<Command>, random: &mut Random) -> Result<(), Stop> {
        if let Some(cancel) = taken
            .iter()
            .find(|command| matches!(command.body, CommandBody::Cancel { .. }))
        {
            while !self.end(State::Cancelled, cancel).await? {}
            return Err(Stop::Over);
        }
        let suspend = taken
            .iter()
            .any(|command| matches!(command.body, CommandBody::Suspend));
        let asked = taken
            .iter()
            .any(|command| matches!(command.body, CommandBody::Checkpoint { .. }));
        let messages: Vec<Command> = taken
            .into_iter()
            .filter(|command| command.body.is_for_the_cli())
            .collect();
        if !messages.is_empty() {
            self.turn(&messages, random).await?;
        } else if asked {
            let append = self.append(Vec::new(), self.head.state);
            self.cut(append, CheckpointTrigger::Request).await?;
        }
        if suspend {
            self.suspend(Vec::new()).await?;
        }
        Ok(())
    }

    async fn turn(&mut self, messages: &[Command], random: &mut Random) -> Result<(), Stop> {
        for step in 0..random.below(3) {
            let text = EventBody::Text {
                text: format!("step {step}"),
                agent: None,
            };
            self.segment().await;
            self.write(vec![text], State::Running).await?;
            self.fake.sleep(random.below(2_000)).await;
            if random.one_in(5) {
                // In the middle of the turn: what is open is not settled.
                let append = self.append(Vec::new(), State::Running);
                self.cut(append, CheckpointTrigger::Tool).await?;
            }
        }
        for message in messages {
            self.disk.work(message.id.as_str());
        }
        if random.one_in(4) && self.head.question.is_none() {
            return self.ask(random).await;
        }
        self.finish_turn(random).await
    }

    /// Stores a piece of the transcript. Nothing fences it: a runner that was replaced, and does not
    /// know it yet, stores it too.
    async fn segment(&self) {
        let (tree, session) = (self.lease.tree_key(), &self.lease.key.session);
        let name = format!("sessions/{session}/transcript/{}", Disk::new_id(self.fake));
        put(self.fake, &tree, &name, "a line".to_owned()).await;
    }

    /// Asks a person; without an answer in time the session is suspended with its question.
    async fn ask(&mut self, random: &mut Random) -> Result<(), Stop> {
        let name = format!("q{}", self.head.last_sequence);
        let question = PendingQuestion {
            id: QuestionId::parse(&name).expect("a valid name"),
            tool_use_id: name,
            input: "{}".to_owned(),
            asked_at: self.fake.now(),
            approval: None,
        };
        let asked = EventBody::QuestionAsked {
            question: question.id.clone(),
            tool_use_id: question.tool_use_id.clone(),
            input: question.input.clone(),
        };
        self.head.question = Some(question);
        self.write(vec![asked], State::Waiting).await?;
        // What comes now is looked at by the loop above; the answer ends the turn there.
        self.fake.sleep(random.below(500)).await;
        Ok(())
    }

    async fn waiting(&self) -> Vec<Command> {
        surely(self.fake, async || {
            let taken = self.head.commands_taken;
            self.fake.commands_after(&self.lease.key, taken, 20).await
        })
        .await
    }

    /// Takes what waits, and finishes at once what needs no turn; `None` when it changed meanwhile.
    async fn take(&mut self, waiting: Vec<Command>) -> Result<Option<Vec<Command>>, Stop> {
        let fence = self.lease.fence;
        let taken: Vec<Command> = waiting
            .iter()
            .filter(|command| command.to_take(fence))
            .cloned()
            .collect();
        let mut events = Vec::new();
        let mut question = self.head.question.clone();
        let mut finish = Vec::new();
        for command in &taken {
            match &command.body {
                CommandBody::Message { text, .. } => {
                    events.push(EventBody::MessageTaken { text: text.clone() });
                }
                CommandBody::Answer {
                    question: id,
                    answers,
                } => {
                    if question.as_ref().is_some_and(|waits| waits.id == *id) {
                        question = None;
                    }
                    events.push(EventBody::QuestionAnswered {
                        question: id.clone(),
                        answers: answers.clone(),
                    });
                }
                // Nothing in this world asks for approval.
                CommandBody::Decide { .. } => {
                    finish.push((
                        command.clone(),
                        CommandOutcome::Refused("nothing waits".to_owned()),
                    ));
                }
                // Nor runs anything of its own.
                CommandBody::Run { .. } | CommandBody::StopRun { .. } => {
                    finish.push((command.clone(), CommandOutcome::Refused("no".to_owned())));
                }
                CommandBody::Interrupt | CommandBody::ReadFile { .. } => {
                    finish.push((command.clone(), CommandOutcome::Interrupted(true)));
                }
                CommandBody::Suspend
                | CommandBody::Checkpoint { .. }
                | CommandBody::Cancel { .. } => {}
            }
        }
        let works = taken.iter().any(|command| command.body.is_for_the_cli());
        let state = match (works, &question) {
            (true, _) => State::Running,
            (false, Some(_)) => State::Waiting,
            (false, None) => State::Idle,
        };
        let mut append = self.append(events, state);
        append.question.clone_from(&question);
        append.take.clone_from(&waiting);
        append.finish = finish;
        let finished: Vec<u64> = append
            .finish
            .iter()
            .map(|(command, _)| command.ordinal)
            .collect();
        if !self.send(append).await? {
            return Ok(None);
        }
        self.head.question = question;
        self.open.extend(
            taken
                .iter()
                .filter(|command| !finished.contains(&command.ordinal))
                .cloned(),
        );
        Ok(Some(taken))
    }

    async fn finish_turn(&mut self, random: &mut Random) -> Result<(), Stop> {
        let turn = self.head.turn + 1;
        let end = TurnEnd {
            subtype: "success".to_owned(),
            is_error: false,
            text: "done".to_owned(),
            terminal_reason: None,
            total_cost_usd: 0.0,
            duration_milliseconds: 1,
            model_turns: 1,
            usage: TokenUsage::default(),
            messages: self.open.iter().map(|command| command.id.clone()).collect(),
        };
        let state = match self.head.question {
            Some(_) => State::Waiting,
            None => State::Idle,
        };
        let mut append = self.append(vec![EventBody::TurnEnded(end.clone())], state);
        append.turn = turn;
        if random.one_in(5) {
            // As with the strategy `manual`: a loss now does it all again.
            append.finish = self.outcomes(&CommandOutcome::Turn(end));
            assert!(self.send(append).await?, "it takes nothing");
            self.open.clear();
            return Ok(());
        }
        let question = self.head.question.take();
        append.question = None;
        if question.is_some() && state == State::Waiting {
            append.state = State::Idle;
        }
        self.cut(append, CheckpointTrigger::Turn).await?;
        Ok(())
    }

    fn outcomes(&self, turn: &CommandOutcome) -> Vec<(Command, CommandOutcome)> {
        let outcome = |command: &Command| match &command.body {
            CommandBody::Answer { .. } => CommandOutcome::Answered,
            CommandBody::Suspend => CommandOutcome::Suspended,
            CommandBody::Checkpoint { .. } => CommandOutcome::Refused("not now".to_owned()),
            _ => turn.clone(),
        };
        self.open
            .iter()
            .map(|command| (command.clone(), outcome(command)))
            .collect()
    }

    /// Takes a checkpoint with an append; false when a command came that the append does not allow.
    /// One at the end of a turn, or when nothing runs, settles everything.
    async fn cut(&mut self, mut append: Append, trigger: CheckpointTrigger) -> Result<bool, Stop> {
        let tree = self.lease.tree_key();
        // A turn that is under way, or waits for an answer, is not over: what it took is taken again.
        let settles = trigger != CheckpointTrigger::Tool && append.question.is_none();
        let mut anew = false;
        loop {
            let started = self.fake.now();
            let id = Disk::new_id(self.fake);
            let (mut generation, packs) = self.disk.store(self.fake, &tree, &id, anew).await;
            loop {
                let first_open = self.open.iter().map(|command| command.ordinal).min();
                let settled = match first_open {
                    Some(first) if !settles => first - 1,
                    _ => self.head.commands_taken,
                };
                let new = NewCheckpoint {
                    id: id.clone(),
                    files: id.clone(),
                    conversation: id.clone(),
                    trigger,
                    commands_settled: settled,
                    question: append.question.clone(),
                    generation,
                    ..checkpoint(self.fake, self.head.checkpoints + 1, Some(&self.head))
                };
                let mut sent = append.clone();
                sent.request_token = Disk::new_id(self.fake).to_string();
                sent.first = self.head.last_sequence.next();
                sent.events.push(domain::event::NewEvent {
                    turn: sent.turn,
                    time: sent.now,
                    cause: None,
                    body: EventBody::CheckpointCreated {
                        checkpoint: id.clone(),
                        ordinal: new.ordinal,
                        trigger,
                        files: 0,
                        bytes: 0,
                        new_bytes: 0,
                        message: None,
                        cut_sequence: None,
                    },
                });
                if settles {
                    let done = CommandOutcome::Checkpointed(id.clone());
                    sent.finish = self.outcomes(&done);
                }
                sent.checkpoint = Some(new);
                match self.try_send(sent).await? {
                    Sent::Written => {
                        self.head.checkpoints += 1;
                        self.head.checkpoint = Some(id);
                        self.disk.recorded(packs);
                        if settles {
                            self.open.clear();
                        }
                        return Ok(true);
                    }
                    Sent::LookAtInbox => return Ok(false),
                    Sent::SweepBegan(newer) => {
                        generation = newer;
                        let young = self.fake.now().since(started) < GRACE_MILLISECONDS / 2;
                        if !(young && is_stored(self.fake, &tree, &id).await) {
                            break;
                        }
                    }
                }
            }
            anew = true;
            append.now = self.fake.now();
            append.lease_until = append.now.plus(10_000);
        }
    }

    /// Takes a checkpoint and gives the machine back, unless a command came meanwhile.
    async fn suspend(&mut self, take: Vec<Command>) -> Result<(), Stop> {
        let mut append = self.append(Vec::new(), State::Suspended);
        append.take = take;
        let trigger = CheckpointTrigger::Suspend;
        if self.cut(append, trigger).await? {
            return Err(Stop::Over);
        }
        Ok(())
    }

    /// Ends the session; false when a message came between, which then has to be looked at.
    async fn end(&mut self, state: State, cancel: &Command) -> Result<bool, Stop> {
        let late = self.waiting().await;
        let queued = late
            .iter()
            .filter(|command| command.to_take(self.lease.fence));
        let unfinished: Vec<CommandId> = self
            .open
            .iter()
            .chain(queued)
            .filter(|command| command.body.is_for_the_cli())
            .map(|command| command.id.clone())
            .collect();
        let ended = EventBody::SessionEnded {
            state,
            reason: "over".to_owned(),
            unfinished,
        };
        let mut append = self.append(vec![ended], state);
        append.question = None;
        append.take = late;
        append.end_reason = Some("over".to_owned());
        append.finish = vec![(cancel.clone(), CommandOutcome::Cancelled)];
        self.send(append).await
    }

    async fn write(&mut self, events: Vec<EventBody>, state: State) -> Result<(), Stop> {
        let append = self.append(events, state);
        assert!(self.send(append).await?, "it takes nothing");
        Ok(())
    }

    fn append(&self, events: Vec<EventBody>, state: State) -> Append {
        let mut append = append(self.fake, self.head.last_sequence.next(), events);
        append.state = state;
        append.turn = self.head.turn;
        append.question.clone_from(&self.head.question);
        append
    }

    /// Sends an append until its outcome is known; false when the inbox has to be read again.
    async fn send(&mut self, append: Append) -> Result<bool, Stop> {
        match self.try_send(append).await? {
            Sent::Written => Ok(true),
            Sent::LookAtInbox => Ok(false),
            Sent::SweepBegan(_) => panic!("it has no checkpoint"),
        }
    }

    /// Sends an append until its outcome is known, numbered again when somebody else wrote.
    async fn try_send(&mut self, mut append: Append) -> Result<Sent, Stop> {
        loop {
            match self.fake.append(&self.lease, &append).await {
                Ok(last) => {
                    self.head.last_sequence = last;
                    self.head.state = append.state;
                    self.head.turn = append.turn;
                    let taken = append.take.last().map(|command| command.ordinal);
                    self.head.commands_taken = taken.unwrap_or(self.head.commands_taken);
                    return Ok(Sent::Written);
                }
                Err(AppendError::LeaseLost) => return Err(Stop::LeaseLost),
                Err(AppendError::SequenceTaken { last_sequence }) => {
                    self.head.last_sequence = last_sequence;
                    append.first = last_sequence.next();
                }
                Err(AppendError::CommandWithdrawn | AppendError::CommandCame) => {
                    return Ok(Sent::LookAtInbox);
                }
                Err(AppendError::SweepBegan { generation }) => {
                    return Ok(Sent::SweepBegan(generation));
                }
                Err(AppendError::Unavailable(_)) => self.fake.sleep(50).await,
            }
        }
    }

    async fn renew(&self) -> Result<(), Stop> {
        let until = self.fake.now().plus(10_000);
        match self.fake.renew(&self.lease, until).await {
            // A failed renewal is one heartbeat lost; the next one comes.
            Ok(()) | Err(AppendError::Unavailable(_)) => Ok(()),
            Err(_) => Err(Stop::LeaseLost),
        }
    }
}

/// What came of an append.
enum Sent {
    Written,
    /// A command came, or is not what it was.
    LookAtInbox,
    /// Its checkpoint has to be looked at again.
    SweepBegan(u64),
}
