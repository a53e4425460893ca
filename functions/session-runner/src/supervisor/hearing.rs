//! What the CLI says while the supervisor has no ear for it: before it is ready, and while a
//! checkpoint is taken. Everything is heard later, in order; what it mirrors is stored at once.

use std::collections::VecDeque;

use claude::lines::Piece;
use claude::message::{Message, TranscriptMirror, parse};
use claude::transcript::Entry;

use super::starting::Started;
use crate::cli::{Heard, Hearing, LINE_BYTES};
use crate::spilled;

/// What was heard and is not taken in yet.
#[derive(Debug)]
pub(crate) struct Early {
    heard: VecDeque<Heard>,
    bytes: usize,
    /// Bytes that are kept for later. With more the CLI waits.
    most_bytes: usize,
    /// Nothing more will come.
    ended: bool,
}

impl Early {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Early {
            heard: VecDeque::new(),
            bytes: 0,
            most_bytes,
            ended: false,
        }
    }

    pub(crate) fn push(&mut self, heard: Heard) {
        self.bytes += weight(&heard);
        self.ended |= matches!(heard, Heard::Closed);
        self.heard.push_back(heard);
    }

    pub(crate) fn pop(&mut self) -> Option<Heard> {
        let heard = self.heard.pop_front()?;
        self.bytes -= weight(&heard);
        Some(heard)
    }

    /// What the CLI says next, of which `rest` is what was not heard yet. Cut off, nothing is lost.
    pub(crate) async fn next(&mut self, rest: &mut Hearing) -> Option<Heard> {
        match self.pop() {
            Some(heard) => Some(heard),
            None => rest.recv().await,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_full(&self) -> bool {
        self.ended || self.bytes >= self.most_bytes
    }
}

fn weight(heard: &Heard) -> usize {
    let text = match heard {
        Heard::Output(Piece::Line(line)) => line.len(),
        Heard::Warning { text, .. } => text.len(),
        Heard::Output(Piece::TooLong { .. }) | Heard::Closed => 0,
    };
    LINE_BYTES + text
}

fn mirror(heard: &Heard) -> Option<TranscriptMirror> {
    let Heard::Output(Piece::Line(line)) = heard else {
        return None;
    };
    match parse(line) {
        Ok(Message::Transcript(mirror)) => Some(mirror),
        _ => None,
    }
}

impl Started {
    /// Stores the mirrored entries that wait to be heard.
    ///
    /// # Errors
    /// The disk's: the transcript is not whole any more.
    pub(crate) fn send_early(&mut self) -> std::io::Result<()> {
        let mirrors = self.early.heard.iter().filter_map(mirror);
        let rest: Vec<TranscriptMirror> = mirrors.skip(self.transcript.sent_ahead()).collect();
        for mirror in &rest {
            self.transcript.send_ahead(mirror)?;
        }
        Ok(())
    }

    /// Keeps for later what the CLI says now, and stores it if it is of the transcript. Follows
    /// [`Started::send_early`]. Cut off, nothing is lost; never returns when the CLI has ended or has
    /// said very much.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn hear_ahead(&mut self) -> std::io::Result<()> {
        if self.early.is_full() {
            std::future::pending::<()>().await;
        }
        let heard = self.cli.heard.recv().await.unwrap_or(Heard::Closed);
        if let Some(mirror) = mirror(&heard) {
            self.transcript.send_ahead(&mirror)?;
        }
        self.early.push(heard);
        Ok(())
    }

    /// Takes over what the CLI mirrored, and large results that it names there.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn keep(&mut self, mirror: &TranscriptMirror) -> std::io::Result<Vec<Entry>> {
        let entries = self.transcript.add(mirror)?;
        let mut lines = mirror.entries.iter();
        if lines.any(|line| line.get().contains(spilled::RESULTS)) {
            let directories = self.sandbox.directories();
            let projects = directories.claude.outside.join("projects");
            let kept = directories.private.join("claude");
            let keeping = move || spilled::keep(&projects, &kept);
            let found = tokio::task::spawn_blocking(keeping).await;
            self.transcript
                .add_spilled(&found.map_err(std::io::Error::other)??);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_kept_for_later_up_to_the_limit_too() {
        let mut early = Early::new(1000);
        let lines = [Piece::Line(Vec::new()), Piece::TooLong { bytes: 5000 }];
        let mut kept = 0;
        while !early.is_full() {
            early.push(Heard::Output(lines[kept % 2].clone()));
            kept += 1;
        }
        assert_eq!(kept, 1000_usize.div_ceil(LINE_BYTES));
        for _ in 0..kept {
            assert!(early.pop().is_some());
        }
        assert!(!early.is_full() && early.pop().is_none() && early.bytes == 0);
    }
}
