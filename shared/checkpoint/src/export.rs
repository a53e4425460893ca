//! A root of a checkpoint as a compressed tar archive.

use std::io::{self, Write};

use domain::ports::{TreeObjects, Unavailable};
use tar::{Builder, EntryType, Header};
use thiserror::Error;

use crate::{
    Snapshots,
    entry::{Entry, Extent, Frame, Node},
    manifest::{Manifest, RootName},
    objects::{Damage, ReadError, damaged, pack_name},
    part::Order,
};

/// Longest name that a header of the archive holds; longer ones go before it.
const HEADER_NAME_BYTES: usize = 100;
/// Frames that are kept while files are written in the order of their names.
const FRAMES: usize = 8;

/// Why an export stopped. What was written is of no use.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Where it goes cannot be written.
    #[error("could not write the archive")]
    Write(#[source] io::Error),
    /// Export another checkpoint.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(damage) => Self::Damaged(damage),
            ReadError::Unavailable(unavailable) => Self::Unavailable(unavailable),
            // Only a manifest is ever unknown, and it is there.
            ReadError::Unknown(id) => Self::Damaged(Damage {
                object: id.to_string(),
                file: None,
                what: "it is gone",
            }),
        }
    }
}

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl<O: TreeObjects> Snapshots<'_, O> {
    /// Writes a root as a `.tar.zst`: the same tree gives the same bytes. Some 30 MiB are in memory,
    /// whatever the size. Holes become zeros. Between fetches it compresses and writes on the thread
    /// that polls it, at most 2 MiB at a time. Gives the writer back, flushed.
    ///
    /// # Errors
    /// [`ExportError`].
    pub async fn export<W: Write + Send>(
        &self,
        manifest: &Manifest,
        root: RootName,
        writer: W,
    ) -> Result<(W, Exported), ExportError> {
        let encoder = zstd::stream::write::Encoder::new(writer, 3).map_err(ExportError::Write)?;
        let mut archive = Builder::new(encoder);
        let mut exported = Exported::default();
        let mut order = Order::default();
        let mut frames = Vec::new();
        for part in manifest.roots.get(&root).map_or(&[][..], Vec::as_slice) {
            for (entries, _) in self.parts(std::slice::from_ref(part)).await? {
                for entry in &entries {
                    order
                        .accept(entry)
                        .map_err(|malformed| damaged(pack_name(&part.pack), malformed))?;
                    header(&mut archive, entry).map_err(ExportError::Write)?;
                    exported.entries += 1;
                    if let Node::File { size, extents, .. } = &entry.node {
                        exported.bytes = exported.bytes.saturating_add(*size);
                        let file = format!("{}/{}", root.as_str(), entry.path);
                        for extent in extents {
                            self.extent(extent, &file, &mut frames, archive.get_mut())
                                .await?;
                        }
                        let padding = size.next_multiple_of(512) - size;
                        zeros(archive.get_mut(), padding).map_err(ExportError::Write)?;
                    }
                }
            }
        }
        let finish = || -> io::Result<W> {
            let mut writer = archive.into_inner()?.finish()?;
            writer.flush()?;
            Ok(writer)
        };
        Ok((finish().map_err(ExportError::Write)?, exported))
    }

    async fn extent<W: Write + Send>(
        &self,
        extent: &Extent<Frame>,
        file: &str,
        frames: &mut Vec<(Frame, Vec<u8>)>,
        out: &mut W,
    ) -> Result<(), ExportError> {
        let written = match extent {
            Extent::Hole(length) => zeros(out, *length),
            Extent::Chunk(chunk) => out.write_all(self.chunk(chunk, file, frames, FRAMES).await?),
        };
        written.map_err(ExportError::Write)
    }
}

fn zeros(out: &mut impl Write, mut count: u64) -> io::Result<()> {
    let zeros = [0; 16 << 10];
    while count > 0 {
        let now = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(zeros.len());
        out.write_all(&zeros[..now])?;
        count -= now as u64;
    }
    Ok(())
}

fn header(archive: &mut Builder<impl Write>, entry: &Entry) -> io::Result<()> {
    let mut header = Header::new_ustar();
    let path = entry.path.as_bytes();
    let target: &[u8] = match &entry.node {
        Node::Symlink { target } => target,
        _ => b"",
    };
    let (kind, mode, size) = match &entry.node {
        Node::Directory { mode } => (EntryType::Directory, *mode, 0),
        Node::File { mode, size, .. } => (EntryType::Regular, *mode, *size),
        Node::Symlink { .. } => (EntryType::Symlink, 0o777, 0),
    };
    header.set_entry_type(kind);
    header.set_mode(mode.into());
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    let seconds = entry.mtime.div_euclid(1_000_000_000);
    header.set_mtime(u64::try_from(seconds).unwrap_or(0));
    let mtime = time(entry.mtime);
    let mut before: Vec<(&str, &[u8])> = vec![("mtime", mtime.as_bytes())];
    if path.len() > HEADER_NAME_BYTES {
        before.push(("path", path));
    }
    if target.len() > HEADER_NAME_BYTES {
        before.push(("linkpath", target));
    }
    let ustar = header
        .as_ustar_mut()
        .ok_or_else(|| io::Error::other("a new header has another format"))?;
    let fill = |field: &mut [u8], bytes: &[u8]| {
        let length = bytes.len().min(field.len());
        field[..length].copy_from_slice(&bytes[..length]);
    };
    fill(&mut ustar.name, path);
    fill(&mut ustar.linkname, target);
    header.set_cksum();
    archive.append_pax_extensions(before)?;
    archive.get_mut().write_all(header.as_bytes())
}

/// Seconds with a fraction, as in the archive's format.
fn time(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (seconds, rest) = (
        nanoseconds.unsigned_abs() / 1_000_000_000,
        nanoseconds.unsigned_abs() % 1_000_000_000,
    );
    format!("{sign}{seconds}.{rest:09}")
}
