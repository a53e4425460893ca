//! Keeps the CLI's transcript entries byte for byte: on the runner's own disk, for checkpoints, and
//! as compressed segments in the bucket, for readers, with its large results.
//!
//! What is to be stored waits in files of its own, which a cut leaves alone. The files lie where the session can neither read nor write, under the names that they have below
//! the CLI's `projects` directory. What came is in the bucket within the flush time; what cannot be
//! written there is tried again, and is in the next checkpoint anyway. Segments are numbered over
//! the run of one runner; concatenated in order, those of a file are what this run added to it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claude::message::TranscriptMirror;
use claude::transcript::{End, Entry, open_length, read};
use domain::FencingToken;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::objects::SessionObjects;
use crate::spilled::Spilled;

/// Compression level. Measured on transcripts: 24:1, and higher levels gain little.
const LEVEL: i32 = 3;
/// Most bytes of a file in one segment. Own: it is held in memory.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Most files. Own: one per subagent and large result, far above what a session makes.
const FILES: usize = 40_000;

/// How much of each file there is, and what of it is on its way to the bucket.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Bytes of the file that checkpoints hold.
    written: u64,
    /// Bytes that wait to be stored, and how many of them are.
    waiting: u64,
    uploaded: u64,
    /// The number of the next segment, once it was tried: nobody knows whether that one is there, so
    /// the next try replaces it.
    tried: Option<u64>,
    /// Where they wait, when not in a file that grows here.
    whole: Option<PathBuf>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Progress>>,
    came: Notify,
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        // Every change is a single assignment, so what a panic left is whole.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transcript of a session, with all its files. A clone is the same transcript.
#[derive(Clone)]
pub struct Transcript {
    directory: PathBuf,
    stream: PathBuf,
    /// Mirrors that were sent ahead and not added yet.
    ahead: usize,
    shared: Arc<Shared>,
    flushes: mpsc::UnboundedSender<oneshot::Sender<()>>,
    end: End,
    /// Bytes of the main file that a cut keeps in any case.
    sound: u64,
}

impl Transcript {
    /// Keeps it in `directory`, which it makes if need be. What lies there already was restored and
    /// counts as stored. What waits to be stored lies in `stream`, which is emptied.
    ///
    /// # Errors
    /// The disk's.
    pub fn start<O: SessionObjects>(
        objects: O,
        fence: FencingToken,
        directory: PathBuf,
        stream: PathBuf,
        flush: Duration,
    ) -> std::io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        if stream.exists() {
            std::fs::remove_dir_all(&stream)?;
        }
        std::fs::create_dir_all(&stream)?;
        let shared = Arc::new(Shared::default());
        let mut found = BTreeMap::new();
        find_files(&directory, "", &mut found)?;
        *shared.files() = found;
        let (flushes, requests) = mpsc::unbounded_channel();
        let uploader = Uploader {
            objects,
            fence,
            segment: 0,
            stream: stream.clone(),
            shared: shared.clone(),
        };
        tokio::spawn(uploader.run(requests, flush));
        Ok(Transcript {
            directory,
            stream,
            ahead: 0,
            shared,
            flushes,
            end: End::Aside,
            sound: 0,
        })
    }

    /// Where the files lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes over what the CLI mirrored, and gives what its entries say.
    ///
    /// # Errors
    /// The disk's: the files are not whole any more, and nothing may be made of them.
    pub fn add(&mut self, mirror: &TranscriptMirror) -> std::io::Result<Vec<Entry>> {
        if self.ahead > 0 {
            self.ahead -= 1;
        } else {
            self.send(mirror)?;
        }
        let (name, lines) = (name(&mirror.file_path), lines(mirror));
        append(&self.directory.join(&name), &lines)?;
        let mut files = self.shared.files();
        files.entry(name.clone()).or_default().written += lines.len() as u64;
        drop(files);
        let entries: Vec<Entry> = mirror.entries.iter().map(|it| read(it.get())).collect();
        if is_main(&name) {
            let last = entries.iter().rev().map(|entry| entry.end);
            if let Some(end) = last.clone().find(|end| *end != End::Aside) {
                self.end = end;
            }
        }
        Ok(entries)
    }

    /// Has it stored while a cut is taken; [`Transcript::add`] follows for each, in the same order.
    ///
    /// # Errors
    /// As there.
    pub fn send_ahead(&mut self, mirror: &TranscriptMirror) -> std::io::Result<()> {
        self.send(mirror)?;
        self.ahead += 1;
        Ok(())
    }

    /// Mirrors that were sent ahead and not added yet.
    #[must_use]
    pub fn sent_ahead(&self) -> usize {
        self.ahead
    }

    /// Has large results stored that were copied.
    pub fn add_spilled(&self, spilled: &Spilled) {
        for (name, copy, bytes) in &spilled.copied {
            let progress = Progress {
                waiting: *bytes,
                whole: Some(copy.clone()),
                ..Progress::default()
            };
            self.shared.files().insert(name.clone(), progress);
            self.shared.came.notify_one();
        }
    }

    fn send(&self, mirror: &TranscriptMirror) -> std::io::Result<()> {
        let (name, lines) = (name(&mirror.file_path), lines(mirror));
        let mut files = self.shared.files();
        if !files.contains_key(&name) && files.len() >= FILES {
            return Err(std::io::Error::other("too many transcript files"));
        }
        append(&self.stream.join(&name), &lines)?;
        files.entry(name).or_default().waiting += lines.len() as u64;
        drop(files);
        self.shared.came.notify_one();
        Ok(())
    }

    /// An open turn goes on from the end that the conversation has now.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.end != End::Closed
    }

    /// The conversation as it is now can be cut here: its turn has ended, or it was restored.
    pub fn is_sound(&mut self, claude_session_id: &str) {
        let files = self.shared.files();
        if let Some((_, progress)) = main_of(&files, claude_session_id) {
            self.sound = progress.written;
        }
        drop(files);
        self.end = End::Aside;
    }

    /// Whether entries of the conversation with this id of the CLI are here.
    #[must_use]
    pub fn has(&self, claude_session_id: &str) -> bool {
        main_of(&self.shared.files(), claude_session_id).is_some()
    }

    /// Leaves out the text with which the main file of an open turn ends, until
    /// [`OpenEnd::put_back`].
    ///
    /// # Errors
    /// The disk's.
    pub fn leave_out_open_end(&self, claude_session_id: &str) -> std::io::Result<OpenEnd> {
        if self.goes_on() {
            return Ok(OpenEnd::default());
        }
        let files = self.shared.files();
        let Some((name, _)) = main_of(&files, claude_session_id) else {
            return Ok(OpenEnd::default());
        };
        let path = self.directory.join(name);
        let bytes = std::fs::read(&path)?;
        let sound = usize::try_from(self.sound).unwrap_or(usize::MAX);
        let keep = open_length(&bytes).max(sound).min(bytes.len());
        if keep < bytes.len() {
            OpenOptions::new()
                .write(true)
                .open(&path)?
                .set_len(keep as u64)?;
        }
        Ok(OpenEnd {
            path,
            left_out: bytes[keep..].to_vec(),
        })
    }

    /// Writes what waits. What cannot be written stays, and is tried again.
    pub async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        // Without an uploader (it panicked) the checkpoint still has everything.
        if self.flushes.send(done).is_ok() && answer.await.is_err() {
            tracing::error!("the transcript is not written any more");
        }
    }
}

/// What a cut leaves out of the transcript.
#[derive(Debug, Default)]
#[must_use]
pub struct OpenEnd {
    path: PathBuf,
    left_out: Vec<u8>,
}

impl OpenEnd {
    /// Makes the file whole again.
    ///
    /// # Errors
    /// The disk's, as for [`Transcript::add`].
    pub fn put_back(self) -> std::io::Result<()> {
        if self.left_out.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().append(true).open(self.path)?;
        file.write_all(&self.left_out)
    }
}

struct Uploader<O> {
    objects: O,
    fence: FencingToken,
    segment: u64,
    stream: PathBuf,
    shared: Arc<Shared>,
}

impl<O: SessionObjects> Uploader<O> {
    async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
        flush: Duration,
    ) {
        loop {
            let asked = tokio::select! {
                request = requests.recv() => match request {
                    Some(done) => Some(done),
                    None => return,
                },
                () = self.shared.came.notified() => {
                    // The other half of the time is for the write itself.
                    tokio::select! {
                        request = requests.recv() => request,
                        () = tokio::time::sleep(flush / 2) => None,
                    }
                }
            };
            if !self.upload().await {
                // It waits as long as something new would, and is tried again.
                self.shared.came.notify_one();
            }
            if let Some(done) = asked {
                // Who stopped waiting does not need the answer.
                let _ = done.send(());
            }
        }
    }

    /// Writes what waits; `false` when something had to stay.
    async fn upload(&mut self) -> bool {
        let waiting: Vec<(String, Progress)> = self
            .shared
            .files()
            .iter()
            .filter(|(_, progress)| progress.uploaded < progress.waiting)
            .map(|(name, progress)| (name.clone(), progress.clone()))
            .collect();
        let mut all = true;
        for (name, mut progress) in waiting {
            while progress.uploaded < progress.waiting {
                let end = progress.waiting.min(progress.uploaded + SEGMENT_BYTES);
                if let Err(error) = self.store(&name, &progress, end).await {
                    all = false;
                    tracing::warn!(error, name, "a piece of the transcript was not written");
                    break;
                }
                (progress.uploaded, progress.tried) = (end, None);
                self.stored(&name, end);
            }
        }
        all
    }

    /// Writes a file from where it is stored up to `end`, as a segment. Stopped or failed, it can be
    /// there; written again, also further, it has the same name.
    async fn store(&mut self, name: &str, progress: &Progress, end: u64) -> Result<(), String> {
        let in_stream = || self.stream.join(name);
        let file = progress.whole.clone().unwrap_or_else(in_stream);
        let shown = name.split_once('/').map_or(name, |(_, file)| file);
        let segment = progress.tried.unwrap_or(self.segment);
        if progress.tried.is_none() {
            self.segment += 1;
            if let Some(progress) = self.shared.files().get_mut(name) {
                progress.tried = Some(segment);
            }
        }
        let object = format!("transcript/{:06}/{segment:06}/{shown}.zst", self.fence.0);
        let bytes = compressed(&file, progress.uploaded, end).map_err(|error| error.to_string())?;
        let put = self.objects.put(&object, bytes).await;
        put.map_err(|error| error.to_string())
    }

    /// A file is stored up to `end`. When that is all, nothing waits any more.
    fn stored(&self, name: &str, end: u64) {
        let mut files = self.shared.files();
        let Some(progress) = files.get_mut(name) else {
            return;
        };
        (progress.uploaded, progress.tried) = (end, None);
        if progress.uploaded == progress.waiting && progress.whole.is_none() {
            // One that cannot be removed only goes on growing.
            if std::fs::remove_file(self.stream.join(name)).is_ok() {
                (progress.waiting, progress.uploaded) = (0, 0);
            }
        }
    }
}

fn compressed(path: &Path, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut lines = Vec::new();
    file.take(to - from).read_to_end(&mut lines)?;
    if lines.len() as u64 != to - from {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    zstd::encode_all(&lines[..], LEVEL)
}

fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(lines)
}

fn lines(mirror: &TranscriptMirror) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in &mirror.entries {
        lines.extend_from_slice(entry.get().as_bytes());
        lines.push(b'\n');
    }
    lines
}

fn find_files(
    directory: &Path,
    at: &str,
    found: &mut BTreeMap<String, Progress>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(own) = entry.file_name().into_string() else {
            continue;
        };
        let name = if at.is_empty() {
            own
        } else {
            format!("{at}/{own}")
        };
        let data = entry.path().symlink_metadata()?;
        if data.is_dir() {
            find_files(&entry.path(), &name, found)?;
        } else if data.is_file() {
            let progress = Progress {
                written: data.len(),
                ..Progress::default()
            };
            found.insert(name, progress);
        }
    }
    Ok(())
}

fn main_of<'a>(
    files: &'a BTreeMap<String, Progress>,
    claude_session_id: &str,
) -> Option<(&'a String, &'a Progress)> {
    let file = format!("/{claude_session_id}.jsonl");
    files
        .iter()
        .find(|(name, it)| it.written > 0 && is_main(name) && name.ends_with(&file))
}

/// `<project>/<id>.jsonl`: the conversation itself, not a subagent's.
fn is_main(name: &str) -> bool {
    name.matches('/').count() == 1 && name.ends_with(".jsonl")
}

/// The file's path below the CLI's `projects` directory.
fn name(path: &str) -> String {
    let below = match path.split_once("/projects/") {
        Some((_, rest)) => rest,
        None => path.rsplit('/').next().unwrap_or(path),
    };
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_./".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = below.chars().map(plain).collect();
    // The CLI chose the name; a dot segment in it must not lead out of the directory.
    let parts: Vec<&str> = name
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .collect();
    match parts[..] {
        [] => "unnamed/unnamed".to_owned(),
        [file] => format!("unnamed/{file}"),
        _ => parts.join("/"),
    }
}

#[cfg(test)]
mod tests;
