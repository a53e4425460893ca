//! What a checkpoint holds: entries of a tree, and where their bytes are.

use crate::{codec::Hash, path::RelativePath};

/// A pack, by the hash of its bytes.
pub(crate) type PackId = Hash;

/// Bytes of a pack that were compressed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Frame {
    pub(crate) pack: PackId,
    pub(crate) offset: u64,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

/// A part of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent<F> {
    /// So many zeros, which take no space on disk.
    Hole(u64),
    /// A chunk.
    Chunk(Chunk<F>),
}

/// Bytes that were found by content, and where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<F> {
    pub(crate) hash: Hash,
    pub(crate) frame: F,
    /// In the unpacked frame.
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// A file, directory or symbolic link. `F` says where a frame is: once stored, a [`Frame`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<F = Frame> {
    pub(crate) path: RelativePath,
    /// Nanoseconds since 1970 on the clock of who changed it.
    pub(crate) mtime: i64,
    pub(crate) node: Node<F>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node<F> {
    /// Permission bits only: set-uid, set-gid and sticky are never kept.
    Directory { mode: u16 },
    File {
        mode: u16,
        size: u64,
        extents: Vec<Extent<F>>,
    },
    /// Never followed; its target is any text.
    Symlink { target: Vec<u8> },
}

/// The permission bits that are kept.
pub(crate) const MODE_BITS: u64 = 0o777;

impl<F: Clone> Node<F> {
    /// The same node with its frames elsewhere.
    pub(crate) fn map<G, E>(self, mut place: impl FnMut(F) -> Result<G, E>) -> Result<Node<G>, E> {
        Ok(match self {
            Self::Directory { mode } => Node::Directory { mode },
            Self::Symlink { target } => Node::Symlink { target },
            Self::File {
                mode,
                size,
                extents,
            } => Node::File {
                mode,
                size,
                extents: extents
                    .into_iter()
                    .map(|extent| {
                        Ok(match extent {
                            Extent::Hole(length) => Extent::Hole(length),
                            Extent::Chunk(chunk) => Extent::Chunk(Chunk {
                                hash: chunk.hash,
                                frame: place(chunk.frame)?,
                                offset: chunk.offset,
                                length: chunk.length,
                            }),
                        })
                    })
                    .collect::<Result<_, E>>()?,
            },
        })
    }
}

impl<F> Node<F> {
    /// Its chunks, in order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Chunk<F>> {
        let extents = match self {
            Self::File { extents, .. } => extents.as_slice(),
            _ => &[],
        };
        extents.iter().filter_map(|extent| match extent {
            Extent::Hole(_) => None,
            Extent::Chunk(chunk) => Some(chunk),
        })
    }

    /// Whether both have the same content; where it is stored does not matter.
    pub(crate) fn same_content<G>(&self, other: &Node<G>) -> bool {
        match (self, other) {
            (Self::Directory { .. }, Node::Directory { .. }) => true,
            (Self::Symlink { target }, Node::Symlink { target: other }) => target == other,
            (
                Self::File { size, extents, .. },
                Node::File {
                    size: other_size,
                    extents: others,
                    ..
                },
            ) => {
                size == other_size
                    && extents.len() == others.len()
                    && extents.iter().zip(others).all(|pair| match pair {
                        (Extent::Hole(left), Extent::Hole(right)) => left == right,
                        (Extent::Chunk(left), Extent::Chunk(right)) => left.hash == right.hash,
                        _ => false,
                    })
            }
            _ => false,
        }
    }
}
