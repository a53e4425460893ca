//! The transcript against an object store in memory.

use super::*;
use crate::objects::{DownloadError, PutError};

#[derive(Clone, Default)]
struct Memory {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    broken: Arc<Mutex<bool>>,
    /// The next one is stored, and nobody is told.
    untold: Arc<Mutex<bool>>,
    written: Arc<Notify>,
}

impl Memory {
    /// Everything that is stored, in order.
    fn whole(&self) -> String {
        let objects = self.objects.lock().unwrap();
        let pieces = objects
            .values()
            .map(|it| zstd::decode_all(&it[..]).unwrap());
        String::from_utf8(pieces.flatten().collect()).unwrap()
    }
}

impl SessionObjects for Memory {
    async fn download(&self, _: &domain::UploadId, _: &Path, _: u64) -> Result<u64, DownloadError> {
        Err(DownloadError::Missing)
    }
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PutError> {
        if *self.broken.lock().unwrap() {
            return Err(PutError("broken".to_owned()));
        }
        self.objects.lock().unwrap().insert(name.to_owned(), bytes);
        if std::mem::take(&mut *self.untold.lock().unwrap()) {
            return Err(PutError("no answer".to_owned()));
        }
        self.written.notify_one();
        Ok(())
    }
}

const LONG: Duration = Duration::from_secs(3600);

fn mirror_of(path: &str, entry: &str) -> TranscriptMirror {
    let line = format!(r#"{{"type":"transcript_mirror","filePath":"{path}","entries":[{entry}]}}"#);
    match claude::message::parse(line.as_bytes()).unwrap() {
        claude::message::Message::Transcript(mirror) => mirror,
        other => panic!("{other:?}"),
    }
}

fn mirror(entry: &str) -> TranscriptMirror {
    mirror_of("/claude/projects/-workspace/s.jsonl", entry)
}

fn start(memory: &Memory, directory: &Path, flush: Duration) -> Transcript {
    let (kept, stream) = (directory.join("kept"), directory.join("stream"));
    Transcript::start(memory.clone(), FencingToken(1), kept, stream, flush).unwrap()
}

#[tokio::test]
async fn segments_and_files_are_the_entries_byte_for_byte() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    let mut transcript = start(&memory, directory.path(), LONG);
    transcript.add(&mirror(r#"{"a": 1.0}"#)).unwrap();
    transcript.flush().await;
    transcript.add(&mirror(r#"{"b":"\u00e9"}"#)).unwrap();
    *memory.broken.lock().unwrap() = true;
    transcript.flush().await;
    *memory.broken.lock().unwrap() = false;
    transcript.add(&mirror(r#"{"c":2}"#)).unwrap();
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
    let file = std::fs::read(directory.path().join("kept/-workspace/s.jsonl")).unwrap();
    assert_eq!(file, whole);
    assert!(transcript.has("s") && !transcript.has("t"));
}

#[tokio::test(start_paused = true)]
async fn what_came_is_stored_within_the_time_also_when_the_bucket_failed_meanwhile() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    let mut transcript = start(&memory, directory.path(), Duration::from_secs(1));
    let began = tokio::time::Instant::now();
    transcript.add(&mirror("{}")).unwrap();
    memory.written.notified().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    *memory.broken.lock().unwrap() = true;
    transcript.add(&mirror("{}")).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    *memory.broken.lock().unwrap() = false;
    memory.written.notified().await;
    assert_eq!(memory.objects.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_restored_goes_on_and_is_not_stored_again() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    std::fs::create_dir_all(directory.path().join("kept/-workspace")).unwrap();
    std::fs::write(
        directory.path().join("kept/-workspace/s.jsonl"),
        "{\"old\":1}\n",
    )
    .unwrap();
    let mut transcript = start(&memory, directory.path(), LONG);
    transcript.flush().await;
    assert!(memory.objects.lock().unwrap().is_empty());
    transcript.add(&mirror("{\"new\":1}")).unwrap();
    transcript.flush().await;
    let objects = memory.objects.lock().unwrap();
    let stored = objects.values().next().unwrap();
    assert_eq!(zstd::decode_all(&stored[..]).unwrap(), b"{\"new\":1}\n");
}

#[tokio::test]
async fn a_text_at_the_end_of_an_open_turn_is_left_out_for_a_while() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    let mut transcript = start(&memory, directory.path(), LONG);
    transcript
        .add(&mirror(r#"{"type":"user","message":{"content":"do"}}"#))
        .unwrap();
    assert!(transcript.goes_on());
    let text = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I"}]}}"#;
    transcript.add(&mirror(text)).unwrap();
    transcript
        .add(&mirror_of(
            "/claude/projects/-workspace/s/subagents/a.jsonl",
            text,
        ))
        .unwrap();
    assert!(!transcript.goes_on());
    let file = directory.path().join("kept/-workspace/s.jsonl");
    let whole = std::fs::read(&file).unwrap();
    let end = transcript.leave_out_open_end("s").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    end.put_back().unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    transcript
        .leave_out_open_end("none")
        .unwrap()
        .put_back()
        .unwrap();
    // The text with which a turn has ended stays.
    transcript.is_sound("s");
    assert!(transcript.goes_on());
    transcript.add(&mirror(text)).unwrap();
    let end = transcript.leave_out_open_end("s").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    end.put_back().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_cut_is_stored_at_once_and_in_no_cut() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    let mut transcript = start(&memory, directory.path(), Duration::from_secs(1));
    let text = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I"}]}}"#;
    transcript.add(&mirror(r#"{"type":"user"}"#)).unwrap();
    transcript.add(&mirror(text)).unwrap();
    let end = transcript.leave_out_open_end("s").unwrap();
    let file = directory.path().join("kept/-workspace/s.jsonl");
    let within = std::fs::read(&file).unwrap();
    memory.written.notified().await;
    let came = tokio::time::Instant::now();
    for entry in [r#"{"a":1}"#, r#"{"b":1}"#] {
        transcript.send_ahead(&mirror(entry)).unwrap();
    }
    memory.written.notified().await;
    assert!(came.elapsed() < Duration::from_secs(1));
    assert_eq!(std::fs::read(&file).unwrap(), within);
    assert_eq!(
        memory.whole(),
        format!("{{\"type\":\"user\"}}\n{text}\n{{\"a\":1}}\n{{\"b\":1}}\n")
    );
    end.put_back().unwrap();
    for entry in [r#"{"a":1}"#, r#"{"b":1}"#, r#"{"c":1}"#] {
        transcript.add(&mirror(entry)).unwrap();
    }
    transcript.flush().await;
    assert_eq!(transcript.sent_ahead(), 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), memory.whole());
}

#[tokio::test]
async fn large_results_are_stored_beside_it() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    let transcript = start(&memory, directory.path(), LONG);
    let copy = directory.path().join("copy");
    std::fs::write(&copy, "result").unwrap();
    let name = "-workspace/s/tool-results/r.txt".to_owned();
    transcript.add_spilled(&Spilled {
        copied: vec![(name, copy.clone(), 6)],
        ..Spilled::default()
    });
    transcript.flush().await;
    transcript.flush().await;
    let objects = memory.objects.lock().unwrap();
    let (object, bytes) = objects.first_key_value().unwrap();
    assert_eq!(object, "transcript/000001/000000/s/tool-results/r.txt.zst");
    assert_eq!(zstd::decode_all(&bytes[..]).unwrap(), b"result");
    assert!(objects.len() == 1 && copy.exists());
}

#[tokio::test]
async fn a_segment_of_which_nobody_knows_is_stored_once_though_another_file_waits() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    let mut transcript = start(&memory, directory.path(), LONG);
    let subagent = "/claude/projects/-workspace/s/subagents/a.jsonl";
    transcript.add(&mirror(r#"{"main":1}"#)).unwrap();
    transcript
        .add(&mirror_of(subagent, r#"{"agent":1}"#))
        .unwrap();
    *memory.untold.lock().unwrap() = true;
    transcript.flush().await;
    assert_eq!(memory.objects.lock().unwrap().len(), 2);
    // What has come since then is in the same segment, or in a later one.
    transcript.add(&mirror(r#"{"main":2}"#)).unwrap();
    transcript.flush().await;
    transcript.add(&mirror(r#"{"main":3}"#)).unwrap();
    transcript.flush().await;
    let mut lines: Vec<String> = memory.whole().lines().map(str::to_owned).collect();
    lines.retain(|line| line.contains("main"));
    assert_eq!(lines, [r#"{"main":1}"#, r#"{"main":2}"#, r#"{"main":3}"#]);
    assert_eq!(memory.whole().matches("agent").count(), 1);
}

#[tokio::test]
async fn a_flush_stores_all_of_a_file_that_is_longer_than_a_segment() {
    let (memory, directory) = (Memory::default(), tempfile::tempdir().unwrap());
    let transcript = start(&memory, directory.path(), LONG);
    let (copy, bytes) = (directory.path().join("copy"), 2 * SEGMENT_BYTES + 1);
    File::create(&copy).unwrap().set_len(bytes).unwrap();
    let name = "-workspace/s/tool-results/r.txt".to_owned();
    transcript.add_spilled(&Spilled {
        copied: vec![(name, copy, bytes)],
        ..Spilled::default()
    });
    transcript.flush().await;
    assert_eq!(memory.whole().len() as u64, bytes);
    assert_eq!(memory.objects.lock().unwrap().len(), 3);
}

#[test]
fn names_stay_below_the_directory() {
    assert_eq!(
        name("/claude/projects/-workspace/s/subagents/agent-1.jsonl"),
        "-workspace/s/subagents/agent-1.jsonl"
    );
    assert_eq!(name("/claude/projects/x/../../../a b"), "x/a_b");
    assert_eq!(name("/claude/projects/.."), "unnamed/unnamed");
    assert_eq!(name("/etc/passwd"), "unnamed/passwd");
}
