//! Keeps the CLI's transcript entries byte for byte, as compressed segments in the bucket.
//!
//! A segment holds the entries of one transcript file since the last one. Segments are numbered
//! over the whole session run; concatenated in order, those of one file are that file.

use std::collections::BTreeMap;

use claude::message::TranscriptMirror;
use domain::FencingToken;

use crate::objects::SessionObjects;

/// Compression level. Measured on transcripts: 24:1, and higher levels gain little.
const LEVEL: i32 = 3;
/// More than this waits for no turn's end. Own.
const FULL_BYTES: usize = 16 * 1024 * 1024;

/// Entries on their way to the bucket.
pub struct Transcript<O> {
    objects: O,
    fence: FencingToken,
    segment: u64,
    waiting: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl<O: SessionObjects> Transcript<O> {
    /// Nothing yet, for the runner with this fence.
    pub fn new(objects: O, fence: FencingToken) -> Self {
        Transcript {
            objects,
            fence,
            segment: 0,
            waiting: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Takes over what the CLI mirrored.
    pub fn add(&mut self, mirror: &TranscriptMirror) {
        let lines = self.waiting.entry(name(&mirror.file_path)).or_default();
        for entry in &mirror.entries {
            lines.extend_from_slice(entry.get().as_bytes());
            lines.push(b'\n');
            self.bytes += entry.get().len() + 1;
        }
    }

    /// Enough waits that it should be written now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// Writes what waits. What cannot be written stays, and the next call tries it again.
    pub async fn flush(&mut self) {
        let files: Vec<String> = self.waiting.keys().cloned().collect();
        for file in files {
            let Some(lines) = self.waiting.get(&file) else {
                continue;
            };
            let object = format!(
                "transcript/{:06}/{:06}/{file}.zst",
                self.fence.0, self.segment
            );
            let written = match zstd::encode_all(&lines[..], LEVEL) {
                Ok(bytes) => self
                    .objects
                    .put(&object, bytes)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match written {
                Ok(()) => {
                    self.bytes = self.bytes.saturating_sub(lines.len());
                    self.waiting.remove(&file);
                    self.segment += 1;
                }
                Err(error) => {
                    tracing::warn!(error, object, "a piece of the transcript was not written")
                }
            }
        }
    }
}

/// The file's path below the CLI's project directory, as part of an object name.
fn name(path: &str) -> String {
    let below = match path.split_once("/projects/") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, file)| file),
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
    // The CLI chose the name; a dot segment in it must not leave the session's prefix.
    name.split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{DownloadError, PutError};
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Memory {
        objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
        broken: Arc<Mutex<bool>>,
    }

    impl SessionObjects for Memory {
        async fn download(
            &self,
            _: &domain::UploadId,
            _: &Path,
            _: u64,
        ) -> Result<u64, DownloadError> {
            Err(DownloadError::Missing)
        }
        async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PutError> {
            if *self.broken.lock().unwrap() {
                return Err(PutError("broken".to_owned()));
            }
            self.objects.lock().unwrap().insert(name.to_owned(), bytes);
            Ok(())
        }
    }

    fn mirror(entry: &str) -> TranscriptMirror {
        let line = format!(
            r#"{{"type":"transcript_mirror","filePath":"/claude/projects/-workspace/s.jsonl","entries":[{entry}]}}"#
        );
        match claude::message::parse(line.as_bytes()).unwrap() {
            claude::message::Message::Transcript(mirror) => mirror,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn every_byte_arrives_in_order_also_after_a_failure() {
        let memory = Memory::default();
        let mut transcript = Transcript::new(memory.clone(), FencingToken(1));
        transcript.add(&mirror(r#"{"a": 1.0}"#));
        transcript.flush().await;
        transcript.add(&mirror(r#"{"b":"\u00e9"}"#));
        *memory.broken.lock().unwrap() = true;
        transcript.flush().await;
        *memory.broken.lock().unwrap() = false;
        transcript.add(&mirror(r#"{"c":2}"#));
        transcript.flush().await;
        let objects = memory.objects.lock().unwrap();
        assert_eq!(
            objects.keys().collect::<Vec<_>>(),
            [
                "transcript/000001/000000/s.jsonl.zst",
                "transcript/000001/000001/s.jsonl.zst"
            ]
        );
        let whole: Vec<u8> = objects
            .values()
            .flat_map(|bytes| zstd::decode_all(&bytes[..]).unwrap())
            .collect();
        assert_eq!(whole, b"{\"a\": 1.0}\n{\"b\":\"\\u00e9\"}\n{\"c\":2}\n");
    }

    #[test]
    fn names_stay_below_the_session() {
        assert_eq!(
            name("/claude/projects/-workspace/s/subagents/agent-1.jsonl"),
            "s/subagents/agent-1.jsonl"
        );
        assert_eq!(name("/claude/projects/x/../../../a b"), "a_b");
    }
}
