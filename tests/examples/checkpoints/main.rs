//! What checkpoints cost, beside restic, git and tar with zstd on the same trees, in one run.
//!
//! ```text
//! cargo run --release -p e2e --example checkpoints [DIRECTORY [large]]
//! ```
//! With `large` the trees are one file of 4 GiB, and a million files, beside tar and zstd only.
//!
//! Ours and restic store in the bucket of a local stack that runs beside them, over the S3 protocol;
//! git, tar and zstd, which cannot, in files. Needs Python 3 (it measures the processes), and prints
//! a row for each of restic, git, tar and zstd that is installed. Run it by hand on a machine that
//! does nothing else. Not part of any test.

mod ours;
mod place;
mod rows;
mod trees;

use std::{fs, io, path::Path};

use e2e::stack::{Options, Stack};
use place::{Bucket, Place, bytes_in};
use rows::{Rows, measure};

fn with_tar(rows: &mut Rows, place: &Place) -> io::Result<()> {
    let (files, tar) = (place.at("files"), place.at("tar.zst"));
    let (f, t) = (files.display(), tar.display());
    let script = format!("tar -C '{f}' -cf - . | zstd -q -3 -f -o '{t}'");
    rows.peer(place, "first", "tar, zstd -3", &script, || bytes_in(&tar))?;
    // As the bucket does before it says that it has an object.
    let kept = format!("{script}; sync '{t}'");
    rows.peer(place, "first", "the same, on the disk", &kept, || {
        bytes_in(&tar)
    })?;
    let back = place.back("tar")?;
    let script = format!("zstd -dc '{t}' | tar -C '{}' -xf -", back.display());
    rows.peer(place, "restore", "tar, zstd", &script, || bytes_in(&tar))
}

fn with_git(rows: &mut Rows, place: &Place) -> io::Result<()> {
    let (files, git) = (place.at("files"), place.at("git"));
    let at = |work_tree: &Path| {
        let (git, work_tree) = (git.display(), work_tree.display());
        format!("git --git-dir='{git}' --work-tree='{work_tree}'")
    };
    let g = at(&files);
    let commit = "-c user.name=x -c user.email=x@y commit -q --allow-empty -m x";
    let first = format!(
        "git init -q --bare '{}'; {g} add -A; {g} {commit}",
        git.display()
    );
    let again = format!("{g} add -A; {g} {commit}");
    rows.peer(place, "first", "git", &first, || bytes_in(&git))?;
    rows.peer(place, "unchanged", "git", &again, || bytes_in(&git))?;
    if trees::one_line(&files)? {
        rows.peer(place, "one line", "git", &again, || bytes_in(&git))?;
    }
    let back = at(&place.back("git")?);
    let restore = format!("{back} checkout -q -f HEAD -- .");
    rows.peer(place, "restore", "git", &restore, || bytes_in(&git))
}

fn with_restic(rows: &mut Rows, place: &Place, state: &Path) -> io::Result<()> {
    let files = place.at("files");
    let r = format!(
        "{} RESTIC_PASSWORD=x restic --no-cache -q -r '{}'",
        place.environment(),
        place.restic()
    );
    let backup = format!("{r} backup '{}'", files.display());
    let before = bytes_in(state)?;
    let stored = || Ok(bytes_in(state)?.saturating_sub(before));
    let first = format!("{r} init; {backup}");
    rows.peer(place, "first", "restic", &first, stored)?;
    rows.peer(place, "unchanged", "restic", &backup, stored)?;
    if trees::one_line(&files)? {
        rows.peer(place, "one line", "restic", &backup, stored)?;
    }
    let back = place.back("restic")?;
    let restore = format!("{r} restore latest --target '{}'", back.display());
    rows.peer(place, "restore", "restic", &restore, stored)
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, what, files, tree] = &arguments[..]
        && word == "child"
    {
        let tree = tree.parse().map_err(io::Error::other)?;
        return ours::child(what, Path::new(files), tree);
    }
    let directory = match arguments.first() {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let large = arguments.get(1).is_some_and(|word| word == "large");
    let names = if large {
        &["4 GiB file", "1,000,000 files"][..]
    } else {
        &["10,000 files", "500 MB mixed", "1 GiB binary"]
    };
    let stack = Stack::start(&Options {
        state: Some(directory.path().join("state")),
        ..Options::default()
    });
    let bucket = Bucket::of(&stack);
    let mut rows = Rows(io::stdout());
    rows.head()?;
    for (number, name) in (1..).zip(names.iter().copied()) {
        let place = Place::new(name, number, directory.path(), &bucket)?;
        let files = place.at("files");
        trees::tree(name, &files)?;
        // Everything is in the page cache for everybody.
        measure(&format!(
            "find '{}' -type f -exec cat {{}} + >/dev/null",
            files.display()
        ))?;
        with_tar(&mut rows, &place)?;
        if !large {
            with_git(&mut rows, &place)?;
            with_restic(&mut rows, &place, &stack.state)?;
        }
        rows.ours(&place, "create", &files)?;
        rows.ours(&place, "restore", &place.back("ours")?)?;
        fs::remove_dir_all(&place.directory)?;
    }
    Ok(())
}
