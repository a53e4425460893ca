//! Sizes of the stored format. Stored checkpoints depend on the upper bounds: they may only grow.

/// A file below this is cut finely.
pub(crate) const LARGE_FILE_BYTES: u64 = 64 << 20;
/// Smallest, average and largest chunk of a file, finely cut: the tail of a transcript that grew,
/// and the surroundings of an edit, cost about an average chunk.
pub(crate) const FINE: (usize, usize, usize) = (16 << 10, 64 << 10, 256 << 10);
/// The same for large files: 4 GiB give some 8,000 chunks.
pub(crate) const COARSE: (usize, usize, usize) = (128 << 10, 512 << 10, 2 << 20);
/// Largest chunk of any file.
pub(crate) const CHUNK_BYTES: usize = 2 << 20;
/// A frame (what is compressed together, and what a read of one small file fetches) is closed when
/// it holds this much. Own: measured on source trees, 1 MiB costs 6 % more than one endless stream,
/// and 256 KiB 13 %.
pub(crate) const FRAME_BYTES: usize = 1 << 20;
/// Largest frame that is read.
pub(crate) const FRAME_BYTES_MOST: usize = 16 << 20;
/// A pack is closed when it holds this much: one request per 8 MiB.
pub(crate) const PACK_BYTES: usize = 8 << 20;
/// Largest pack that is read.
pub(crate) const PACK_BYTES_MOST: u64 = 64 << 20;
/// A pack is also closed when so many entries wait for it: a million tiny files fit one pack, and
/// bounded memory matters more than a few more requests.
pub(crate) const WAITING_ENTRIES: usize = 50_000;
/// Packs that are on their way to the store at the same time; bounds memory.
pub(crate) const UPLOADS: usize = 2;
/// Ranges that are fetched at the same time on restore; bounds memory.
pub(crate) const DOWNLOADS: usize = 3;
/// A part of a manifest ends behind a path of which one in so many ends one.
pub(crate) const PART_ENTRIES: u64 = 256;
/// And at the latest behind so many entries or so many bytes.
pub(crate) const PART_ENTRIES_MOST: usize = 2_048;
/// See [`PART_ENTRIES_MOST`].
pub(crate) const PART_BYTES: usize = 512 << 10;
/// Largest part that is read: one file of 100 GiB is one entry of some 9 MiB.
pub(crate) const PART_BYTES_MOST: usize = 64 << 20;
/// Largest manifest object that is read, and what it may unpack to.
pub(crate) const MANIFEST_BYTES_MOST: usize = 64 << 20;
/// Roots of one checkpoint.
pub(crate) const ROOTS: usize = 16;
/// Tags of one checkpoint; as of a session.
pub(crate) const TAGS: usize = domain::limits::TAGS;
/// Longest text of a manifest (message, author, a tag).
pub(crate) const TEXT_BYTES: usize = 16 << 10;
/// Skipped files that are named; more are counted.
pub(crate) const SKIPPED_NAMED: usize = 50;
/// Longest `.shannonignore` that is read.
pub(crate) const IGNORE_FILE_BYTES: usize = 64 << 10;
/// Times that a file which changes while it is read is read, before it is taken as it is.
pub(crate) const READ_ATTEMPTS: usize = 3;
/// What stamps of files on the machine's disks may lag behind its clock: two ticks at 100 Hz.
pub(crate) const CLOCK_TICK_NANOSECONDS: i64 = 20_000_000;
/// Handles of nested directories that are kept open.
pub(crate) const OPEN_DIRECTORIES: usize = 64;
/// Files and pieces that a restore plans at a time; bounds memory.
pub(crate) const RESTORE_WINDOW: usize = 20_000;
/// Name at the top of a root that is ours: what a restore builds before it takes its place.
pub(crate) const STAGING: &[u8] = b".shannon-restore";
