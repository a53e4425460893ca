//! A child of the program: our checkpoints in the emulated bucket, of which the parent measures the
//! process.

use std::{
    io::{self, Write as _},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use checkpoint::{
    About, IgnoreRules, NewSnapshot, RestoreOptions, RootName, Snapshots, SourceRoot, TargetRoot,
};
use domain::{
    CheckpointId, OwnerId, Sequence, SessionId, TreeId, TreeKey, UnixMillis,
    ports::{ObjectPage, PutNew, TreeObjects, Unavailable},
};
use store::{Endpoint, Store, StoreSettings};

use crate::trees::one_line;

/// The store as the runner has it, with its calls and the bytes that it puts counted: each call is
/// one request.
struct Counted {
    store: Store,
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Counted {
    async fn connect() -> io::Result<Self> {
        let variable = |name: &str| std::env::var(name).map_err(io::Error::other);
        let settings = StoreSettings {
            table: variable("TABLE")?,
            bucket: variable("BUCKET")?,
            retention_days: 90,
            keep_deltas_hours: 24,
            audit_retention_days: 30,
            compute: None,
        };
        let endpoint = Endpoint {
            url: variable("AWS_URL")?,
            region: "us-east-1".to_owned(),
            access_key_id: variable("AWS_ACCESS_KEY_ID")?,
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        };
        Ok(Self {
            store: Store::connect_to(settings, endpoint).await,
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    fn one_more(&self) -> &Store {
        self.requests.fetch_add(1, Ordering::Relaxed);
        &self.store
    }

    /// Requests and bytes since this was asked last.
    fn counts(&self) -> (u64, u64) {
        (
            self.requests.swap(0, Ordering::Relaxed),
            self.bytes.swap(0, Ordering::Relaxed),
        )
    }
}

impl TreeObjects for Counted {
    async fn put_new(
        &self,
        tree: &TreeKey,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<PutNew, Unavailable> {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.one_more().put_new(tree, name, bytes).await
    }

    async fn get_object(&self, tree: &TreeKey, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        self.one_more().get_object(tree, name).await
    }

    async fn get_range(
        &self,
        tree: &TreeKey,
        name: &str,
        offset: u64,
        length: u64,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        self.one_more().get_range(tree, name, offset, length).await
    }

    async fn list_objects(
        &self,
        tree: &TreeKey,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<ObjectPage, Unavailable> {
        self.one_more().list_objects(tree, prefix, after).await
    }

    async fn delete_object(
        &self,
        tree: &TreeKey,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), Unavailable> {
        self.one_more().delete_object(tree, name, version).await
    }
}

/// A tree for each place, so that none finds what another one stored.
fn key(tree: u8) -> TreeKey {
    TreeKey {
        owner: OwnerId::of("benchmark", "nobody"),
        tree: TreeId::of(SessionId::from_random([tree; 17])),
    }
}

fn new(files: &Path, id: u8, base: Option<checkpoint::Base>) -> NewSnapshot {
    NewSnapshot {
        id: CheckpointId::from_random([id; 17]),
        about: About {
            session: SessionId::from_random([1; 17]),
            parent: None,
            created_at: UnixMillis(0),
            author: "benchmark".to_owned(),
            message: None,
            tags: Vec::new(),
            claude_session: None,
            cut_sequence: Sequence(0),
            commands_settled: 0,
        },
        roots: vec![SourceRoot {
            name: RootName::Workspace,
            directory: files.to_owned(),
            ignore: IgnoreRules::default(),
        }],
        base,
        unless_unchanged: false,
    }
}

fn run<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}

/// What a child of this program does: checkpoints, or one restore.
pub(crate) fn child(what: &str, files: &Path, tree: u8) -> io::Result<()> {
    let mut steps = Vec::new();
    run(async {
        let store = Counted::connect().await?;
        let snapshots = Snapshots::new(&store, key(tree));
        if what == "restore" {
            let start = Watch::start();
            let id = CheckpointId::from_random([1; 17]);
            let manifest = snapshots.manifest(&id).await.map_err(io::Error::other)?;
            let target = TargetRoot {
                name: RootName::Workspace,
                directory: files.to_owned(),
            };
            snapshots
                .restore(&manifest, &[target], RestoreOptions::default())
                .await
                .map_err(io::Error::other)?;
            steps.push(("restore", start.stop(), store.counts()));
            return Ok(());
        }
        let start = Watch::start();
        let first = snapshots.create(new(files, 1, None)).await;
        let first = first.map_err(io::Error::other)?;
        steps.push(("first", start.stop(), store.counts()));
        let start = Watch::start();
        let same = snapshots.create(new(files, 2, Some(first.base))).await;
        let same = same.map_err(io::Error::other)?;
        steps.push(("unchanged", start.stop(), store.counts()));
        if !one_line(files)? {
            return Ok(());
        }
        let start = Watch::start();
        let changed = snapshots.create(new(files, 3, Some(same.base))).await;
        changed.map_err(io::Error::other)?;
        steps.push(("one line", start.stop(), store.counts()));
        Ok::<_, io::Error>(())
    })??;
    let mut out = io::stdout().lock();
    for (step, (wall, cpu), (requests, bytes)) in steps {
        writeln!(out, "{step}\t{wall}\t{cpu}\t{requests}\t{bytes}")?;
    }
    Ok(())
}

/// Wall and CPU time of all threads.
struct Watch(std::time::Instant, u128);

impl Watch {
    fn start() -> Self {
        Self(std::time::Instant::now(), cpu_microseconds())
    }

    /// Microseconds of both.
    fn stop(&self) -> (u128, u128) {
        (self.0.elapsed().as_micros(), cpu_microseconds() - self.1)
    }
}

fn cpu_microseconds() -> u128 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |number: i64| u128::try_from(number).unwrap_or(0);
    part(used.tv_sec) * 1_000_000 + part(used.tv_nsec) / 1_000
}
