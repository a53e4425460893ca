//! The threads that the engine runs on. Its expression parser recurses: with the usual 2 MiB of stack a
//! deeply nested expression aborts the process. 64 MiB are reserved, not used, until needed.

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Answer, DocumentDatabase};

const STACK_BYTES: usize = 64 * 1024 * 1024;
/// The engine works on one request at a time; the second thread parses and writes JSON meanwhile.
const THREADS: usize = 2;

type Question = Box<dyn FnOnce(&dyn DocumentDatabase) + Send>;

enum Job {
    Execute(String, Bytes, oneshot::Sender<Answer>),
    Ask(Question),
}

/// Cheap to clone; the threads end when the last clone is gone.
#[derive(Clone)]
pub(super) struct Threads(mpsc::Sender<Job>);

impl Threads {
    pub(super) fn start(engine: Arc<dyn DocumentDatabase>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..THREADS {
            let (engine, receiver) = (Arc::clone(&engine), Arc::clone(&receiver));
            std::thread::Builder::new()
                .name(format!("dynamodb-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    loop {
                        let job = receiver
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .recv();
                        match job {
                            Ok(job) => work(&*engine, job),
                            Err(mpsc::RecvError) => return,
                        }
                    }
                })?;
        }
        Ok(Self(sender))
    }

    /// One operation. Begun, it runs to its end even if nobody waits for the answer any more.
    pub(super) async fn execute(&self, operation: &str, body: Bytes) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let job = Job::Execute(operation.to_owned(), body, sender);
        let gone = || {
            Answer::error(
                500,
                "InternalServerError",
                "the DynamoDB engine has stopped",
            )
        };
        if self.0.send(job).is_err() {
            return gone();
        }
        receiver.await.unwrap_or_else(|_| gone())
    }

    /// Anything else of the engine. Begun, it runs to its end even if nobody waits any more.
    ///
    /// # Errors
    /// The engine has stopped, or it panicked.
    pub(super) async fn ask<A: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn DocumentDatabase) -> A + Send + 'static,
    ) -> Result<A, String> {
        let (sender, receiver) = oneshot::channel();
        let gone = || "the DynamoDB engine has stopped".to_owned();
        let job = Job::Ask(Box::new(move |engine| {
            // Whoever asked may be gone; it is done all the same.
            drop(sender.send(question(engine)));
        }));
        self.0.send(job).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }
}

fn work(engine: &dyn DocumentDatabase, job: Job) {
    // The engine's state is SQLite: a panic leaves no half transaction behind.
    let caught = |what: Box<dyn std::any::Any + Send>| {
        let text = what
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| what.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        tracing::error!(text, "DynamoDB engine panicked");
        text
    };
    match job {
        Job::Execute(operation, body, sender) => {
            let run = AssertUnwindSafe(|| engine.execute(&operation, &body));
            let answer = std::panic::catch_unwind(run)
                .unwrap_or_else(|what| Answer::error(500, "InternalServerError", &caught(what)));
            // The client may be gone; the operation is done all the same.
            drop(sender.send(answer));
        }
        Job::Ask(question) => {
            if let Err(what) = std::panic::catch_unwind(AssertUnwindSafe(|| question(engine))) {
                caught(what);
            }
        }
    }
}
