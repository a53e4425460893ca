//! The manifest of a checkpoint: what it says about itself, and where the parts of its roots are.
//!
//! ```text
//! "SHNCHK" version(1) raw-size(4, little endian) zstd(body) blake3(32, of all before it)
//! ```

use std::collections::BTreeMap;

use domain::{CheckpointId, Sequence, SessionId, UnixMillis, limits::PATH_BYTES};

use crate::{
    codec::{Hash, Malformed, Reader, Writer, unpack},
    entry::PackId,
    limits::{
        MANIFEST_BYTES_MOST, PACK_BYTES_MOST, PART_BYTES_MOST, ROOTS, SKIPPED_NAMED, TAGS,
        TEXT_BYTES,
    },
    path::RelativePath,
};

const MAGIC: &[u8] = b"SHNCHK";
const VERSION: u8 = 1;
const HEADER: usize = MAGIC.len() + 1 + 4;

/// One of the directories that a checkpoint holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootName {
    /// The session's files.
    Workspace,
    /// The transcript files as far as they were mirrored: their content is the position of the cut.
    Transcript,
    /// What else the CLI needs to go on.
    Claude,
}

impl RootName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Workspace, Self::Transcript, Self::Claude];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Transcript => "transcript",
            Self::Claude => "claude",
        }
    }
}

/// What the caller says about a checkpoint. Stored as it is and given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The session that made it.
    pub session: SessionId,
    /// The checkpoint before it, of this session or of the one it was forked from.
    pub parent: Option<CheckpointId>,
    /// When, on the clock of who made it.
    pub created_at: UnixMillis,
    /// Who or what asked for it.
    pub author: String,
    /// For people.
    pub message: Option<String>,
    /// For finding it again.
    pub tags: Vec<String>,
    /// The CLI's own session id at the cut.
    pub claude_session: Option<String>,
    /// The last event of the log that was known when the cut was taken; the record of the checkpoint
    /// has the last one within it.
    pub cut_sequence: Sequence,
    /// Every command up to this ordinal is finished within the cut.
    pub commands_settled: u64,
}

/// What a checkpoint holds and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Sizes of all files, holes included.
    pub bytes: u64,
    /// Files whose content was read; the others are known to be as they were.
    pub files_read: u64,
    /// Bytes of chunks that were not stored before.
    pub new_bytes: u64,
    /// Bytes that were stored for it, its manifest not included.
    pub stored_bytes: u64,
    /// Objects that were stored for it, its manifest not included.
    pub packs: u64,
    /// Entries that were ignored by rule; what is in an ignored directory is not counted.
    pub ignored: u64,
    /// Entries that could not be kept.
    pub skipped: u64,
    /// The first that could not be kept, or not as they are meant: see [`SkipReason`].
    pub skipped_named: Vec<Skipped>,
}

/// An entry that is not, or not quite, in the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where: the root's name, a slash, and the path.
    pub path: String,
    /// Why.
    pub why: SkipReason,
}

/// Why an entry is not, or not quite, in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// A device, a FIFO or a socket.
    Special,
    /// It may not be read.
    Unreadable,
    /// Its path is longer than a program can name.
    PathTooLong,
    /// It never stood still while it was read: it is in the checkpoint as it was read.
    Changing,
    /// Its name is reserved.
    Reserved,
    /// Reading it failed.
    Failing,
    /// It is in the checkpoint; its ignore rules are not used.
    RulesUnread,
    /// It is in the checkpoint; a line of its ignore rules is not used.
    RuleNotUnderstood,
}

impl SkipReason {
    const ALL: [Self; 8] = [
        Self::Special,
        Self::Unreadable,
        Self::PathTooLong,
        Self::Changing,
        Self::Reserved,
        Self::Failing,
        Self::RulesUnread,
        Self::RuleNotUnderstood,
    ];

    /// Whether the entry is not in the checkpoint at all.
    pub(crate) const fn is_left_out(self) -> bool {
        !matches!(
            self,
            Self::Changing | Self::RulesUnread | Self::RuleNotUnderstood
        )
    }

    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Special => "a device, FIFO or socket is not kept",
            Self::Unreadable => "it may not be read",
            Self::PathTooLong => "its path is too long",
            Self::Changing => "it changed while it was read and is kept as it was read",
            Self::Reserved => "its name is reserved",
            Self::Failing => "reading it failed",
            Self::RulesUnread => {
                "it is no readable file of at most 64 KiB, so none of its rules is used"
            }
            Self::RuleNotUnderstood => "a line of it cannot be understood and matches nothing",
        }
    }
}

/// Whether what is said fits a manifest that will be read again.
pub(crate) fn check(about: &About) -> Result<(), Malformed> {
    let texts = about.tags.iter().map(String::as_str).chain(
        [
            Some(about.author.as_str()),
            about.message.as_deref(),
            about.claude_session.as_deref(),
        ]
        .into_iter()
        .flatten(),
    );
    if about.tags.len() > TAGS {
        return Err(Malformed("it has too many tags"));
    }
    for text in texts {
        if text.len() > TEXT_BYTES {
            return Err(Malformed("a text is too long"));
        }
    }
    Ok(())
}

/// A part of a root: a run of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) first: RelativePath,
    pub(crate) entries: u32,
    pub(crate) pack: PackId,
    pub(crate) offset: u64,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
    /// Of its unpacked bytes.
    pub(crate) hash: Hash,
    /// Packs that its entries refer to.
    pub(crate) refers: Vec<PackId>,
}

/// A whole checkpoint, as far as its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its id; the object is named by it too.
    pub id: CheckpointId,
    /// What the caller said.
    pub about: About,
    /// What it holds.
    pub statistics: Statistics,
    pub(crate) roots: BTreeMap<RootName, Vec<Part>>,
}

impl Manifest {
    /// The roots it holds.
    pub fn roots(&self) -> impl Iterator<Item = RootName> {
        self.roots.keys().copied()
    }

    /// Every pack that it needs, once, in order.
    pub(crate) fn packs(&self) -> Vec<PackId> {
        let mut packs: Vec<PackId> = self
            .roots
            .values()
            .flatten()
            .flat_map(|part| part.refers.iter().copied().chain([part.pack]))
            .collect();
        packs.sort();
        packs.dedup();
        packs
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let packed = zstd::bulk::compress(&body, 3).unwrap_or_else(|_| body.clone());
        // What compression did not make smaller is kept as it was: equal sizes say so.
        let packed = if packed.len() < body.len() {
            packed
        } else {
            body.clone()
        };
        let mut out = Vec::with_capacity(HEADER + packed.len() + 32);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&packed);
        let hash = Hash::of(&out);
        out.extend_from_slice(&hash.0);
        out
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(self.id.as_str().as_bytes());
        let about = &self.about;
        out.bytes(about.session.as_str().as_bytes());
        out.optional(about.parent.as_ref().map(CheckpointId::as_str));
        out.number(about.created_at.0);
        out.bytes(about.author.as_bytes());
        out.optional(about.message.as_deref());
        out.length(about.tags.len());
        for tag in &about.tags {
            out.bytes(tag.as_bytes());
        }
        out.optional(about.claude_session.as_deref());
        out.number(about.cut_sequence.0);
        out.number(about.commands_settled);
        encode_statistics(&self.statistics, &mut out);
        let packs = self.packs();
        out.length(packs.len());
        for pack in &packs {
            out.plain(&pack.0);
        }
        // The list is sorted and holds every pack that a part names.
        let place = |pack: &PackId| packs.binary_search(pack).unwrap_or(packs.len());
        out.length(self.roots.len());
        for (name, parts) in &self.roots {
            out.bytes(name.as_str().as_bytes());
            out.length(parts.len());
            for part in parts {
                out.bytes(part.first.as_bytes());
                out.number(part.entries.into());
                out.length(place(&part.pack));
                out.number(part.offset);
                out.number(part.stored.into());
                out.number(part.raw.into());
                out.plain(&part.hash.0);
                out.length(part.refers.len());
                for pack in &part.refers {
                    out.length(place(pack));
                }
            }
        }
        out.0
    }

    /// Reads the manifest object of `id`.
    pub(crate) fn decode(bytes: &[u8], id: &CheckpointId) -> Result<Self, Malformed> {
        if bytes.len() > MANIFEST_BYTES_MOST {
            return Err(Malformed("it is too large"));
        }
        let (signed, trailer) = bytes
            .split_last_chunk::<32>()
            .ok_or(Malformed("it ends too early"))?;
        if Hash::of(signed).0 != *trailer {
            return Err(Malformed("its hash is not its content's"));
        }
        let mut reader = Reader(signed);
        if reader.plain(MAGIC.len())? != MAGIC {
            return Err(Malformed("it is no manifest"));
        }
        if reader.byte()? != VERSION {
            return Err(Malformed("its version is unknown here"));
        }
        let mut raw = [0; 4];
        raw.copy_from_slice(reader.plain(4)?);
        let raw = u32::from_le_bytes(raw) as usize;
        if raw > MANIFEST_BYTES_MOST {
            return Err(Malformed("it unpacks to too much"));
        }
        let body = unpack(reader.0, raw)?;
        let manifest = Self::read(&mut Reader(&body))?;
        if manifest.id != *id {
            return Err(Malformed("it is the manifest of another checkpoint"));
        }
        Ok(manifest)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = checkpoint(&reader.text(TEXT_BYTES)?)?;
        let session = SessionId::parse(&reader.text(TEXT_BYTES)?)
            .map_err(|_| Malformed("a session id breaks its rule"))?;
        let parent = reader.optional(TEXT_BYTES)?;
        let about = About {
            session,
            parent: parent.map(|text| checkpoint(&text)).transpose()?,
            created_at: UnixMillis(reader.number()?),
            author: reader.text(TEXT_BYTES)?,
            message: reader.optional(TEXT_BYTES)?,
            tags: texts(reader)?,
            claude_session: reader.optional(TEXT_BYTES)?,
            cut_sequence: Sequence(reader.number()?),
            commands_settled: reader.number()?,
        };
        let statistics = statistics(reader)?;
        let packs = (0..reader.count(32)?)
            .map(|_| reader.hash())
            .collect::<Result<Vec<_>, _>>()?;
        let count = reader.count(2)?;
        if count > ROOTS {
            return Err(Malformed("it has too many roots"));
        }
        let mut roots = BTreeMap::new();
        for _ in 0..count {
            let name = reader.text(TEXT_BYTES)?;
            let name = RootName::ALL
                .into_iter()
                .find(|known| known.as_str() == name)
                .ok_or(Malformed("a root is unknown here"))?;
            let parts = (0..reader.count(38)?)
                .map(|_| part(reader, &packs))
                .collect::<Result<Vec<_>, _>>()?;
            if parts.windows(2).any(|pair| pair[0].first >= pair[1].first) {
                return Err(Malformed("its parts are out of order"));
            }
            if roots.insert(name, parts).is_some() {
                return Err(Malformed("a root comes twice"));
            }
        }
        if !reader.0.is_empty() {
            return Err(Malformed("something follows its end"));
        }
        Ok(Self {
            id,
            about,
            statistics,
            roots,
        })
    }
}

fn checkpoint(text: &str) -> Result<CheckpointId, Malformed> {
    CheckpointId::parse(text).map_err(|_| Malformed("a checkpoint id breaks its rule"))
}

fn texts(reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let count = reader.count(1)?;
    if count > TAGS {
        return Err(Malformed("it has too many tags"));
    }
    (0..count).map(|_| reader.text(TEXT_BYTES)).collect()
}

fn part(reader: &mut Reader<'_>, packs: &[PackId]) -> Result<Part, Malformed> {
    let pack = |reader: &mut Reader<'_>| {
        let place = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
        packs
            .get(place)
            .copied()
            .ok_or(Malformed("a pack is not listed"))
    };
    let part = Part {
        first: RelativePath::from_manifest(reader.bytes(PATH_BYTES)?)?,
        entries: reader.small()?,
        pack: pack(reader)?,
        offset: reader.number()?,
        stored: reader.small()?,
        raw: reader.small()?,
        hash: reader.hash()?,
        refers: (0..reader.count(1)?)
            .map(|_| pack(reader))
            .collect::<Result<_, _>>()?,
    };
    let fits = part.raw as usize <= PART_BYTES_MOST
        && part.stored <= part.raw
        && part.offset <= PACK_BYTES_MOST
        && part.offset + u64::from(part.stored) <= PACK_BYTES_MOST + PART_BYTES_MOST as u64;
    if fits {
        Ok(part)
    } else {
        Err(Malformed("a part has an impossible size"))
    }
}

fn encode_statistics(statistics: &Statistics, out: &mut Writer) {
    for number in [
        statistics.files,
        statistics.directories,
        statistics.symlinks,
        statistics.bytes,
        statistics.files_read,
        statistics.new_bytes,
        statistics.stored_bytes,
        statistics.packs,
        statistics.ignored,
        statistics.skipped,
    ] {
        out.number(number);
    }
    out.length(statistics.skipped_named.len());
    for skipped in &statistics.skipped_named {
        out.byte(skipped.why as u8);
        out.bytes(skipped.path.as_bytes());
    }
}

fn statistics(reader: &mut Reader<'_>) -> Result<Statistics, Malformed> {
    let mut statistics = Statistics {
        files: reader.number()?,
        directories: reader.number()?,
        symlinks: reader.number()?,
        bytes: reader.number()?,
        files_read: reader.number()?,
        new_bytes: reader.number()?,
        stored_bytes: reader.number()?,
        packs: reader.number()?,
        ignored: reader.number()?,
        skipped: reader.number()?,
        skipped_named: Vec::new(),
    };
    let count = reader.count(2)?;
    if count > SKIPPED_NAMED {
        return Err(Malformed("it names too many skipped files"));
    }
    for _ in 0..count {
        let why = SkipReason::ALL
            .get(usize::from(reader.byte()?))
            .ok_or(Malformed("a reason is unknown here"))?;
        statistics.skipped_named.push(Skipped {
            path: reader.text(TEXT_BYTES)?,
            why: *why,
        });
    }
    Ok(statistics)
}
