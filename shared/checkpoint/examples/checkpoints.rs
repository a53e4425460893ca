//! What checkpoints cost, beside restic, git and tar with zstd on the same trees, in one run.
//!
//! ```text
//! cargo run --release -p checkpoint --example checkpoints [DIRECTORY [large]]
//! ```
//! With `large` the trees are a million files, and one file of 4 GiB, beside tar and zstd only.
//!
//! Needs Python 3 (it measures the processes), and prints a row for each of restic, git, tar and
//! zstd that is installed. All of them keep what they store in files of the same disk; for us that
//! is one file for each object, and each call is counted as a request. Run it by hand on a machine
//! that does nothing else. Not part of any test.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use checkpoint::{
    About, IgnoreRules, NewSnapshot, RestoreOptions, RootName, Snapshots, SourceRoot, TargetRoot,
};
use domain::{
    CheckpointId, OwnerId, Sequence, SessionId, TreeId, TreeKey, UnixMillis,
    ports::{ObjectPage, PutNew, TreeObjects, Unavailable},
};
use testkit::Random;

/// Objects as files of a directory.
struct Disk {
    directory: PathBuf,
    requests: AtomicU64,
    bytes: AtomicU64,
}

fn failed(source: io::Error) -> Unavailable {
    Unavailable {
        attempted: "use the disk",
        outcome_unknown: false,
        source: source.into(),
    }
}

impl Disk {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.directory.join(name)
    }
}

impl TreeObjects for Disk {
    async fn put_new(
        &self,
        _: &TreeKey,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<PutNew, Unavailable> {
        let path = self.path(name);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
        fs::write(path, bytes).map_err(failed)?;
        Ok(PutNew::Created)
    }

    async fn get_object(&self, _: &TreeKey, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        fs::read(self.path(name)).map(Some).map_err(failed)
    }

    async fn get_range(
        &self,
        _: &TreeKey,
        name: &str,
        offset: u64,
        length: u64,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let file = fs::File::open(self.path(name)).map_err(failed)?;
        file.read_exact_at(&mut bytes, offset).map_err(failed)?;
        Ok(Some(bytes))
    }

    async fn list_objects(
        &self,
        _: &TreeKey,
        _: &str,
        _: Option<&str>,
    ) -> Result<ObjectPage, Unavailable> {
        Ok(ObjectPage::default())
    }

    async fn delete_object(
        &self,
        _: &TreeKey,
        name: &str,
        _: Option<&str>,
    ) -> Result<(), Unavailable> {
        fs::remove_file(self.path(name)).map_err(failed)
    }
}

fn key() -> TreeKey {
    TreeKey {
        owner: OwnerId::of("benchmark", "nobody"),
        tree: TreeId::of(SessionId::from_random([1; 17])),
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
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(future))
}

/// What a child of this program does: one checkpoint, or one restore, of which its parent measures
/// the process.
fn child(what: &str, files: &Path, store: &Path) -> io::Result<()> {
    let disk = Disk::new(store);
    let snapshots = Snapshots::new(&disk, key());
    let mut steps = Vec::new();
    let start = Watch::start();
    run(async {
        if what == "restore" {
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
            steps.push(("restore", start.stop(), disk.counts()));
            return Ok(());
        }
        let first = snapshots.create(new(files, 1, None)).await;
        let first = first.map_err(io::Error::other)?;
        steps.push(("first", start.stop(), disk.counts()));
        if what == "again" {
            let start = Watch::start();
            let same = snapshots.create(new(files, 2, Some(first.base))).await;
            let same = same.map_err(io::Error::other)?;
            steps.push(("unchanged", start.stop(), disk.counts()));
            if !one_line(files)? {
                return Ok(());
            }
            let start = Watch::start();
            let changed = snapshots.create(new(files, 3, Some(same.base))).await;
            changed.map_err(io::Error::other)?;
            steps.push(("one line", start.stop(), disk.counts()));
        }
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

impl Disk {
    /// Requests and bytes since this was asked last.
    fn counts(&self) -> (u64, u64) {
        (
            self.requests.swap(0, Ordering::Relaxed),
            self.bytes.swap(0, Ordering::Relaxed),
        )
    }
}

/// Says whether there is such a file.
fn one_line(files: &Path) -> io::Result<bool> {
    let path = files.join("d31/f3117.rs");
    if !path.exists() {
        return Ok(false);
    }
    let mut file = fs::File::options().append(true).open(path)?;
    file.write_all(b"// one line more\n")?;
    Ok(true)
}

/// Runs a shell command under Python's `wait4`: wall seconds, CPU seconds, peak MiB.
fn measure(script: &str) -> io::Result<Option<(f64, f64, f64, String)>> {
    const MEASURE: &str = "\
import os,sys,time,subprocess
t=time.time(); p=subprocess.Popen(['sh','-ec',sys.argv[1]],stdout=subprocess.PIPE,stderr=subprocess.DEVNULL)
out=p.stdout.read(); _,s,r=os.wait4(p.pid,0)
print(time.time()-t, r.ru_utime+r.ru_stime, r.ru_maxrss/1024, s); sys.stdout.flush(); sys.stdout.buffer.write(out)";
    let output = Command::new("python3")
        .args(["-c", MEASURE, script])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (figures, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let figures: Vec<f64> = figures
        .split(' ')
        .filter_map(|figure| figure.parse().ok())
        .collect();
    match figures[..] {
        [wall, cpu, peak, 0.0] => Ok(Some((wall, cpu, peak, rest.to_owned()))),
        _ => Ok(None),
    }
}

fn bytes_in(path: &Path) -> io::Result<u64> {
    let stat = fs::symlink_metadata(path)?;
    if !stat.is_dir() {
        return Ok(stat.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        sum += bytes_in(&entry?.path())?;
    }
    Ok(sum)
}

/// Text that compresses about as source code does.
fn source(random: &mut Random, length: usize) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "let ",
        "mut ",
        "fn ",
        "state",
        "match ",
        ") -> ",
        "{\n    ",
        "value",
        "self.",
        "Result<",
        "Option<",
        "pub(crate) ",
        "return ",
        "if ",
        "else ",
        "Some(",
        "None",
        "Ok(",
        "Err(",
        "();\n",
        "impl ",
        "struct ",
        "::new",
        "// ",
    ];
    let mut text = Vec::with_capacity(length + 32);
    while text.len() < length {
        text.extend_from_slice(WORDS[random.below(24) as usize].as_bytes());
        if random.one_in(2) {
            text.extend_from_slice(format!("{:x} ", random.below(1 << 28)).as_bytes());
        }
    }
    text.truncate(length);
    text
}

fn noise(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length / 8)
        .flat_map(|_| random.next().to_le_bytes())
        .collect()
}

fn tree(name: &str, files: &Path) -> io::Result<()> {
    let mut random = Random::new(1);
    match name {
        "10,000 files" => {
            for number in 0..10_000 {
                let directory = files.join(format!("d{}", number / 100));
                fs::create_dir_all(&directory)?;
                let length = 400 + random.below(9_600) as usize;
                let text = source(&mut random, length);
                fs::write(directory.join(format!("f{number}.rs")), text)?;
            }
        }
        "500 MB mixed" => {
            for number in 0..2_000 {
                let directory = files.join(format!("d{}", number / 50));
                fs::create_dir_all(&directory)?;
                let path = directory.join(format!("f{number}"));
                let length = 1_000 + random.below(500_000) as usize;
                let bytes = if number % 2 == 0 {
                    source(&mut random, length)
                } else {
                    noise(&mut random, length)
                };
                fs::write(path, bytes)?;
            }
        }
        "1,000,000 files" => {
            for number in 0..1_000_000 {
                let directory = files.join(format!("d{}/d{}", number / 10_000, number / 100));
                if number % 100 == 0 {
                    fs::create_dir_all(&directory)?;
                }
                let text = format!("number {number} {:x}\n", random.next());
                fs::write(directory.join(format!("f{number}")), text)?;
            }
        }
        _ => {
            let mut file = fs::File::create(files.join("binary"))?;
            let pieces = if name == "4 GiB file" { 4_096 } else { 1_024 };
            for _ in 0..pieces {
                file.write_all(&noise(&mut random, 1 << 20))?;
            }
        }
    }
    Ok(())
}

struct Rows(io::Stdout);

impl Rows {
    fn row(&mut self, tree: &str, what: &str, who: &str, cells: &[String]) -> io::Result<()> {
        writeln!(
            self.0,
            "| {tree} | {what} | {who} | {} |",
            cells.join(" | ")
        )
    }

    /// A peer: a command and where it stores.
    fn peer(
        &mut self,
        tree: &str,
        what: &str,
        who: &str,
        script: &str,
        store: &Path,
    ) -> io::Result<()> {
        let Some((wall, cpu, peak, _)) = measure(script)? else {
            return self.row(tree, what, who, &["not here, or failed".to_owned()]);
        };
        let stored = bytes_in(store).unwrap_or(0) as f64 / 1e6;
        let cells = [
            format!("{:.0} ms", wall * 1e3),
            format!("{:.0} ms", cpu * 1e3),
            format!("{peak:.0} MiB"),
            "–".to_owned(),
            format!("{stored:.1} MB in all"),
        ];
        self.row(tree, what, who, &cells)
    }

    fn ours(&mut self, tree: &str, mode: &str, files: &Path, store: &Path) -> io::Result<()> {
        let program = std::env::current_exe()?;
        let script = format!(
            "exec '{}' child {mode} '{}' '{}'",
            program.display(),
            files.display(),
            store.display()
        );
        let Some((_, _, peak, said)) = measure(&script)? else {
            return self.row(tree, mode, "**shannon**", &["failed".to_owned()]);
        };
        for line in said.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [step, wall, cpu, requests, bytes] = fields[..] else {
                continue;
            };
            let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
            let cells = [
                format!("{:.0} ms", number(wall) / 1e3),
                format!("{:.0} ms", number(cpu) / 1e3),
                format!("{peak:.0} MiB"),
                requests.to_owned(),
                format!("{:.3} MB", number(bytes) / 1e6),
            ];
            self.row(tree, step, "**shannon**", &cells)?;
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, what, files, store] = &arguments[..]
        && word == "child"
    {
        return child(what, Path::new(files), Path::new(store));
    }
    let directory = match arguments.first() {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let mut rows = Rows(io::stdout());
    writeln!(
        rows.0,
        "| tree | what | who | wall | CPU | peak memory | requests | stored |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    let large = arguments.get(1).is_some_and(|word| word == "large");
    let names = if large {
        &["1,000,000 files", "4 GiB file"][..]
    } else {
        &["10,000 files", "500 MB mixed", "1 GiB binary"]
    };
    for name in names.iter().copied() {
        let place = directory.path().join("place");
        let at = |name: &str| place.join(name);
        let (files, back) = (at("files"), at("back"));
        for path in [&files, &back] {
            fs::create_dir_all(path)?;
        }
        tree(name, &files)?;
        // Everything is in the page cache for everybody.
        measure(&format!(
            "cat -- $(find '{0}' -type f | head -c 100000) >/dev/null; find '{0}' -type f -exec cat {{}} + >/dev/null",
            files.display()
        ))?;
        let (f, b) = (files.display(), back.display());
        let tar = at("tar.zst");
        let t = tar.display();
        rows.peer(
            name,
            "first",
            "tar, zstd -3",
            &format!("tar -C '{f}' -cf - . | zstd -q -3 -o '{t}'"),
            &tar,
        )?;
        let clear = || {
            fs::remove_dir_all(&back)?;
            fs::create_dir(&back)
        };
        rows.peer(
            name,
            "restore",
            "tar, zstd",
            &format!("zstd -dc '{t}' | tar -C '{b}' -xf -"),
            &tar,
        )?;
        clear()?;
        if large {
            let store = at("ours");
            rows.ours(name, "again", &files, &store)?;
            rows.ours(name, "restore", &back, &store)?;
            fs::remove_dir_all(&place)?;
            continue;
        }
        let git = at("git");
        let g = format!("git --git-dir='{}' --work-tree='{f}'", git.display());
        let commit = "-c user.name=x -c user.email=x@y commit -q --allow-empty -m x";
        rows.peer(
            name,
            "first",
            "git",
            &format!(
                "git init -q --bare '{0}'; {g} add -A; {g} {commit}",
                git.display()
            ),
            &git,
        )?;
        rows.peer(
            name,
            "unchanged",
            "git",
            &format!("{g} add -A; {g} {commit}"),
            &git,
        )?;
        let restic = at("restic");
        let r = format!(
            "RESTIC_PASSWORD=x restic --no-cache -q -r '{}'",
            restic.display()
        );
        rows.peer(
            name,
            "first",
            "restic",
            &format!("{r} init; {r} backup '{f}'"),
            &restic,
        )?;
        rows.peer(
            name,
            "unchanged",
            "restic",
            &format!("{r} backup '{f}'"),
            &restic,
        )?;
        rows.peer(
            name,
            "restore",
            "restic",
            &format!("{r} restore latest --target '{b}'"),
            &restic,
        )?;
        clear()?;
        let store = at("ours");
        rows.ours(name, "again", &files, &store)?;
        if name == "10,000 files" {
            rows.peer(
                name,
                "one line",
                "git",
                &format!("{g} add -A; {g} {commit}"),
                &git,
            )?;
            rows.peer(
                name,
                "one line",
                "restic",
                &format!("{r} backup '{f}'"),
                &restic,
            )?;
        }
        rows.ours(name, "restore", &back, &store)?;
        fs::remove_dir_all(&place)?;
    }
    Ok(())
}
