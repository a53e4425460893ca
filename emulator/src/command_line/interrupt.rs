//! Ctrl-C and its relatives: the first asks for an orderly end, the second ends at once.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// A second signal so soon after the first is the same one: some programs that pass a signal on send
/// it to their child and to its process group.
const SAME: Duration = Duration::from_millis(500);

/// The signals of this process, from its start on.
pub(crate) struct Interrupts {
    asked: watch::Receiver<Option<i32>>,
}

impl Interrupts {
    /// Takes the signals over: none of them ends the process by itself any more, except the second.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (ask, asked) = watch::channel(None);
        tokio::spawn(async move {
            let number = next(&mut interrupt, &mut terminate, &mut hangup).await;
            ask.send_replace(Some(number));
            let again = next(&mut interrupt, &mut terminate, &mut hangup);
            // whether it came or not: from here on one counts
            drop(tokio::time::timeout(SAME, again).await);
            next(&mut interrupt, &mut terminate, &mut hangup).await;
            eprintln!("emulator: ended at once");
            // children are tied to the life of this process, so they end with it
            std::process::exit(130);
        });
        Ok(Self { asked })
    }

    /// Waits for the first signal; returns at once when it came already.
    pub(crate) async fn asked(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(Option::is_some).await.is_err() {
            // the task that listens ends only with the process
            std::future::pending::<()>().await;
        }
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        _ = hangup.recv() => SignalKind::hangup().as_raw_value(),
    }
}
