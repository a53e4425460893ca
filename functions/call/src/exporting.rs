//! A checkpoint's files on their way out: packed on a thread of their own, stored piece by piece, so
//! that the memory this takes does not grow with them.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use checkpoint::{ExportError, Exported, Manifest, RootName, Snapshots};
use domain::TreeKey;
use domain::ports::Unavailable;
use protocol::SnapshotError;
use store::{ObjectWriter, Store, WrittenObject};
use tokio::task::spawn_blocking;

/// Bytes of a piece. Three of them are in memory at most: one that is filled, one that waits, and
/// one that is sent. Own: 10,000 pieces, the most of one object, are 80 GiB.
const PIECE_BYTES: usize = 8 * 1024 * 1024;

/// Packs the files of a checkpoint into an object. Cut off anywhere, nothing is visible, and the
/// thread ends at its next piece; done twice, it is the same object.
pub(super) async fn archive(
    store: &Store,
    tree: &TreeKey,
    manifest: Manifest,
    mut object: ObjectWriter<'_>,
) -> Result<(WrittenObject, Exported), SnapshotError> {
    let (sender, mut pieces) = sync_channel(1);
    let runtime = tokio::runtime::Handle::current();
    let (of, tree) = (store.clone(), tree.clone());
    let packing = spawn_blocking(move || {
        let snapshots = Snapshots::new(&of, tree);
        let packed = snapshots.export(&manifest, RootName::Workspace, Pieces::new(sender));
        // Only what is left of the pieces goes on: that the sender goes is how the end is seen.
        runtime
            .block_on(packed)
            .map(|(rest, exported)| (rest.filled, exported))
    });
    while let (Some(piece), rest) = next(pieces).await? {
        pieces = rest;
        object.piece(piece).await?;
    }
    let packed = packing.await.map_err(|error| interrupted(error.into()))?;
    let (rest, exported) = packed.map_err(|error| match error {
        // Whoever asked adds which checkpoint is whole.
        ExportError::Damaged(damage) => SnapshotError::Damaged(damage.to_string()),
        ExportError::Unavailable(unavailable) => SnapshotError::Unavailable(unavailable),
        ExportError::Write(error) => interrupted(error.into()),
    })?;
    let written = object.finish(rest).await?;
    Ok((written, exported))
}

/// The next piece, or none when the thread has ended.
async fn next(
    pieces: Receiver<Vec<u8>>,
) -> Result<(Option<Vec<u8>>, Receiver<Vec<u8>>), SnapshotError> {
    spawn_blocking(move || (pieces.recv().ok(), pieces))
        .await
        .map_err(|error| interrupted(error.into()))
}

fn interrupted(source: Box<dyn std::error::Error + Send + Sync>) -> SnapshotError {
    SnapshotError::Unavailable(Unavailable {
        attempted: "pack the files",
        outcome_unknown: false,
        source,
    })
}

/// Takes what is written and hands it on in pieces; what is left at the end stays in `filled`.
struct Pieces {
    filled: Vec<u8>,
    pieces: SyncSender<Vec<u8>>,
}

impl Pieces {
    fn new(pieces: SyncSender<Vec<u8>>) -> Self {
        Self {
            filled: Vec::new(),
            pieces,
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.filled.len());
        self.filled.extend_from_slice(&bytes[..taken]);
        if self.filled.len() == PIECE_BYTES {
            let piece = std::mem::take(&mut self.filled);
            let gone = |_| io::Error::other("nobody stores it any more");
            self.pieces.send(piece).map_err(gone)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_and_the_rest_stays() {
        let (sender, receiver) = sync_channel(8);
        let mut pieces = Pieces::new(sender);
        let bytes: Vec<u8> = (0..=250).cycle().take(2 * PIECE_BYTES + 5).collect();
        for part in bytes.chunks(1_000_003) {
            pieces.write_all(part).expect("taken");
        }
        let mut whole: Vec<u8> = Vec::new();
        for piece in receiver.try_iter() {
            assert_eq!(piece.len(), PIECE_BYTES);
            whole.extend(piece);
        }
        assert_eq!(pieces.filled.len(), 5);
        whole.extend(pieces.filled);
        assert!(whole == bytes);
    }

    #[test]
    fn nothing_is_packed_for_nobody() {
        let (sender, receiver) = sync_channel(1);
        drop(receiver);
        let mut pieces = Pieces::new(sender);
        assert!(pieces.write_all(&vec![0; PIECE_BYTES]).is_err());
    }
}
