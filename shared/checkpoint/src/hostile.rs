//! Tests: manifests that somebody forged, with right hashes everywhere.

use std::{collections::BTreeMap, fs, path::Path};

use domain::{
    CheckpointId, OwnerId, Sequence, SessionId, TreeId, TreeKey, UnixMillis, ports::TreeObjects,
};
use proptest::prelude::*;
use testkit::Fake;

use crate::{
    About, Manifest, ReadError, RestoreError, RestoreOptions, RootName, Snapshots, Statistics,
    TargetRoot,
    codec::{Hash, Malformed},
    entry::{Chunk, Entry, Extent, Frame, Node},
    limits::STAGING,
    manifest::Part,
    objects::{manifest_name, pack_name},
    part::{SAME_PACK, decode, encode},
    path::RelativePath,
};

fn entry(path: &[u8], node: Node<Frame>) -> Entry {
    Entry {
        path: RelativePath::from_walk(path.to_vec()),
        mtime: 1_700_000_000_123_456_789,
        node,
    }
}

fn directory(path: &[u8]) -> Entry {
    entry(path, Node::Directory { mode: 0o755 })
}

fn link(path: &[u8], target: &[u8]) -> Entry {
    let target = target.to_vec();
    entry(path, Node::Symlink { target })
}

/// A file that holds "evil".
fn file(path: &[u8]) -> Entry {
    let chunk = Chunk {
        hash: Hash::of(b"evil"),
        frame: Frame {
            pack: SAME_PACK,
            offset: 0,
            stored: 4,
            raw: 4,
        },
        offset: 0,
        length: 4,
    };
    let node = Node::File {
        mode: 0o644,
        size: 4,
        extents: vec![Extent::Chunk(chunk)],
    };
    entry(path, node)
}

/// Stores entries as a checkpoint, as they are.
async fn forge(fake: &Fake, key: &TreeKey, entries: &[Entry]) -> CheckpointId {
    let raw = encode(entries);
    let bytes = [b"evil".to_vec(), raw.clone()].concat();
    let pack = Hash::of(&bytes);
    fake.put_new(key, &pack_name(&pack), bytes)
        .await
        .expect("stored");
    let id = CheckpointId::from_random(*blake3::hash(&raw).as_bytes().first_chunk().expect("17"));
    let part = Part {
        first: RelativePath::from_walk(b"a".to_vec()),
        entries: entries.len() as u32,
        pack,
        offset: 4,
        stored: raw.len() as u32,
        raw: raw.len() as u32,
        hash: Hash::of(&raw),
        refers: Vec::new(),
    };
    let first = entries.first().map(|entry| entry.path.clone());
    let part = Part {
        first: first
            .filter(|it| RelativePath::parse(it.as_bytes()).is_ok())
            .unwrap_or(part.first),
        ..part
    };
    let manifest = Manifest {
        id: id.clone(),
        about: About {
            session: SessionId::from_random([1; 17]),
            parent: None,
            created_at: UnixMillis(1),
            author: String::new(),
            message: None,
            tags: Vec::new(),
            claude_session: None,
            cut_sequence: Sequence(0),
            commands_settled: 0,
        },
        statistics: Statistics::default(),
        roots: BTreeMap::from([(RootName::Workspace, vec![part])]),
    };
    let name = manifest_name(&id);
    fake.put_new(key, &name, manifest.encode())
        .await
        .expect("stored");
    id
}

async fn restore(entries: &[Entry], to: &Path) -> Result<(), RestoreError> {
    let fake = Fake::new(1);
    let key = TreeKey {
        owner: OwnerId::of("test", "someone"),
        tree: TreeId::of(SessionId::from_random([1; 17])),
    };
    let id = forge(&fake, &key, entries).await;
    let snapshots = Snapshots::new(&fake, key);
    let manifest = snapshots.manifest(&id).await?;
    let target = TargetRoot {
        name: RootName::Workspace,
        directory: to.to_owned(),
    };
    let options = RestoreOptions::default();
    snapshots.restore(&manifest, &[target], options).await?;
    Ok(())
}

#[tokio::test]
async fn no_forged_name_writes_outside() {
    let place = tempfile::tempdir().expect("a directory");
    let outside = place.path().join("outside");
    fs::create_dir(&outside).expect("created");
    let outside_text = outside.to_str().expect("UTF-8").as_bytes().to_vec();
    let absolute = [&outside_text[..], b"/file"].concat();
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("absolute", vec![file(&absolute)]),
        ("upward", vec![file(b"../outside/file")]),
        (
            "upward in the middle",
            vec![directory(b"a"), file(b"a/../../outside/file")],
        ),
        ("dot", vec![file(b"./file")]),
        ("empty name", vec![directory(b"a"), file(b"a//file")]),
        ("NUL", vec![file(b"fi\0le")]),
        ("no directory", vec![file(b"a/file")]),
        (
            "through a link",
            vec![link(b"a", &outside_text), file(b"a/file")],
        ),
        ("through a file", vec![file(b"a"), file(b"a/file")]),
        (
            "a link in place of a directory",
            vec![directory(b"a"), link(b"a", &outside_text), file(b"a/file")],
        ),
        ("twice", vec![file(b"a"), file(b"a")]),
        ("out of order", vec![file(b"b"), file(b"a")]),
        ("long name", vec![file(&[b'a'; 256])]),
        ("no target", vec![link(b"a", b"")]),
        ("target with NUL", vec![link(b"a", b"x\0y")]),
    ];
    for (what, entries) in cases {
        let to = place.path().join("to");
        fs::create_dir(&to).expect("created");
        fs::write(to.join("old"), "content").expect("written");
        let result = restore(&entries, &to).await;
        assert!(
            matches!(result, Err(RestoreError::Damaged(_))),
            "{what}: {result:?}"
        );
        let left: Vec<_> = fs::read_dir(&to).expect("a directory").collect();
        assert_eq!(left.len(), 1, "{what}: {left:?}");
        assert_eq!(
            fs::read_dir(&outside).expect("a directory").count(),
            0,
            "{what}"
        );
        fs::remove_dir_all(&to).expect("removed");
    }
}

#[tokio::test]
async fn names_that_differ_in_case_or_spelling_stay_apart_or_are_refused() {
    let place = tempfile::tempdir().expect("a directory");
    let composed = "\u{e4}".as_bytes();
    let decomposed = "a\u{308}".as_bytes();
    let mut entries = vec![
        directory(b"A"),
        file(b"A/x"),
        link(b"a", b"/etc"),
        file(decomposed),
        file(composed),
    ];
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    match restore(&entries, place.path()).await {
        Ok(()) => {
            assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 4);
            assert_eq!(fs::read(place.path().join("A/x")).expect("read"), b"evil");
        }
        // A file system on which they are the same: nothing is overwritten.
        Err(RestoreError::Collision(_)) => {
            assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 0);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_reserved_name_is_nothing_special_inside() {
    let place = tempfile::tempdir().expect("a directory");
    let inner = [STAGING, b"/x"].concat();
    restore(&[directory(STAGING), file(&inner)], place.path())
        .await
        .expect_err("it is where the new content is built");
    let left = fs::read_dir(place.path()).expect("a directory").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn forged_sizes_are_refused_before_anything_is_allocated() {
    let fake = Fake::new(1);
    let key = TreeKey {
        owner: OwnerId::of("test", "someone"),
        tree: TreeId::of(SessionId::from_random([1; 17])),
    };
    let snapshots = Snapshots::new(&fake, key.clone());
    let id = CheckpointId::from_random([2; 17]);
    // A manifest that says it unpacks to 4 GiB.
    let mut bytes = b"SHNCHK\x01\xff\xff\xff\xff".to_vec();
    bytes.extend(zstd::bulk::compress(&[0; 1000], 3).expect("packed"));
    bytes.extend(Hash::of(&bytes).0);
    fake.put_new(&key, &manifest_name(&id), bytes)
        .await
        .expect("stored");
    let read = snapshots.manifest(&id).await;
    assert!(matches!(&read, Err(ReadError::Damaged(it)) if it.what == "it unpacks to too much"));

    for bad in [
        Frame {
            pack: SAME_PACK,
            offset: 0,
            stored: 4,
            raw: u32::MAX,
        },
        Frame {
            pack: SAME_PACK,
            offset: u64::MAX,
            stored: 4,
            raw: 4,
        },
        Frame {
            pack: SAME_PACK,
            offset: 0,
            stored: 9,
            raw: 4,
        },
        Frame {
            pack: SAME_PACK,
            offset: 0,
            stored: 0,
            raw: 0,
        },
    ] {
        let mut it = file(b"a");
        if let Node::File { extents, .. } = &mut it.node
            && let Some(Extent::Chunk(chunk)) = extents.first_mut()
        {
            chunk.frame = bad;
        }
        assert!(decode(&encode(&[it]), SAME_PACK).is_err(), "{bad:?}");
    }
    let mut it = file(b"a");
    if let Node::File { size, .. } = &mut it.node {
        *size = u64::MAX;
    }
    assert!(decode(&encode(&[it]), SAME_PACK).is_err());
    let mut it = file(b"a");
    if let Node::File { mode, .. } = &mut it.node {
        *mode = 0o4755;
    }
    assert!(decode(&encode(&[it]), SAME_PACK).is_err());
}

/// Devices, FIFOs and sockets have no spelling; whatever stands in the place of a kind is refused.
#[test]
fn there_is_nothing_but_files_directories_and_links() {
    let good = encode(&[directory(b"device")]);
    let kind = good.len() - 3;
    assert_eq!(good[kind], 0, "a directory, then its mode");
    for other in 3..=u8::MAX {
        let mut forged = good.clone();
        forged[kind] = other;
        let refused = decode(&forged, SAME_PACK);
        assert_eq!(
            refused,
            Err(Malformed("neither file, directory nor link")),
            "{other}"
        );
    }
}

#[test]
fn a_part_says_what_was_put_into_it() {
    let entries = [
        directory(b"a"),
        file(b"a/b"),
        link(b"a/c", b"../.."),
        file(b"a-"),
        entry(
            b"hole",
            Node::File {
                mode: 0,
                size: 1 << 40,
                extents: vec![Extent::Hole(1 << 40)],
            },
        ),
    ];
    assert_eq!(
        decode(&encode(&entries), SAME_PACK).as_deref(),
        Ok(&entries[..])
    );
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>, flip: usize, bit in 0..8_u8) {
        let _ = decode(&bytes, SAME_PACK);
        let mut good = encode(&[directory(b"a"), file(b"a/b"), link(b"c", b"d")]);
        let place = flip % good.len();
        good[place] ^= 1 << bit;
        let _ = decode(&good, SAME_PACK);
        let mut signed = bytes;
        signed.extend(Hash::of(&signed).0);
        let _ = Manifest::decode(&signed, &CheckpointId::from_random([1; 17]));
    }
}
