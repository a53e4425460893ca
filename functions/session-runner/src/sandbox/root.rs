//! Builds the root that a session sees, from nothing: a small tmpfs with what it needs bound into
//! it. What is not listed here does not exist for the session.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::plan::Plan;
use super::stages::{Attempted, StageError};

/// System programs and libraries, read-only.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
];

/// Of `/etc` only what programs need to run at all. Passwords, keys, tokens and configuration of
/// the machine stay outside.
const CONFIGURATION: [&str; 34] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mime.types",
    "networks",
    "nsswitch.conf",
    "os-release",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "protocols",
    "python3",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];

/// Read through links, because the link's target is often in `/run`.
const COPIED: [&str; 2] = ["hosts", "resolv.conf"];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// The runner's root is the machine's, not one of a user namespace made by `enter`.
pub(crate) fn is_real_root(plan: &Plan) -> bool {
    plan.user.is_some()
}

/// Builds the root of `plan` and moves this process into it. Gives the path of this program there.
pub(crate) fn build(plan: &Plan) -> Result<PathBuf, StageError> {
    umask(Mode::from_bits_truncate(0o022));
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .attempted("make mounts private")?;
    let root = &plan.new_root;
    mount(
        Some("tmpfs"),
        root,
        Some("tmpfs"),
        QUIET,
        Some("mode=755,size=16m"),
    )
    .attempted("mount the new root")?;
    for path in SYSTEM {
        system(root, Path::new(path))?;
    }
    configuration(root)?;
    devices(root)?;
    let proc = directory(root, Path::new("/proc"))?;
    mount(
        Some("proc"),
        &proc,
        Some("proc"),
        QUIET | MsFlags::MS_NOEXEC,
        none,
    )
    .attempted("mount /proc")?;
    for (path, target) in [("/var/tmp", "/tmp"), ("/var/run", "/run")] {
        let link = inside(root, Path::new(path));
        fs::create_dir_all(inside(root, Path::new("/var"))).attempted("make /var")?;
        fs::create_dir_all(inside(root, Path::new("/run"))).attempted("make /run")?;
        symlink(target, &link).attempted(format!("make {path}"))?;
    }
    for bound in &plan.binds {
        bind(root, &bound.from, &bound.to, bound.read_only)?;
    }
    let helper = PathBuf::from("/run/shannon-sandbox");
    let program = fs::read_link("/proc/self/exe").attempted("find this program")?;
    bind(root, &program, &helper, true)?;
    enter(root)?;
    nix::unistd::sethostname("session").attempted("set the host name")?;
    Ok(helper)
}

fn enter(root: &Path) -> Result<(), StageError> {
    std::env::set_current_dir(root).attempted("enter the new root")?;
    nix::unistd::pivot_root(".", ".").attempted("make the new root the root")?;
    // The old root lies on top of the new one now; taking it off leaves nothing of the machine.
    umount2(".", MntFlags::MNT_DETACH).attempted("detach the machine's root")?;
    std::env::set_current_dir("/").attempted("enter the new root")?;
    let none = None::<&str>;
    mount(
        none,
        "/",
        none,
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_BIND | QUIET,
        none,
    )
    .attempted("make the root read-only")
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn directory(root: &Path, path: &Path) -> Result<PathBuf, StageError> {
    let target = inside(root, path);
    fs::create_dir_all(&target).attempted(format!("make {}", path.display()))?;
    Ok(target)
}

fn system(root: &Path, path: &Path) -> Result<(), StageError> {
    let Ok(data) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if data.is_symlink() {
        let target = fs::read_link(path).attempted(format!("read the link {}", path.display()))?;
        return symlink(target, inside(root, path)).attempted(format!("make {}", path.display()));
    }
    if data.is_dir() {
        bind(root, path, path, true)
    } else {
        Ok(())
    }
}

fn configuration(root: &Path) -> Result<(), StageError> {
    let etc = directory(root, Path::new("/etc"))?;
    for name in CONFIGURATION {
        let path = Path::new("/etc").join(name);
        let Ok(data) = fs::symlink_metadata(&path) else {
            continue;
        };
        if data.is_symlink() {
            let target =
                fs::read_link(&path).attempted(format!("read the link {}", path.display()))?;
            if let Some(parent) = path.parent() {
                directory(root, parent)?;
            }
            symlink(target, inside(root, &path)).attempted(format!("make {}", path.display()))?;
        } else {
            bind(root, &path, &path, true)?;
        }
    }
    for name in COPIED {
        // A machine without the file is a session without it.
        if let Ok(text) = fs::read(Path::new("/etc").join(name)) {
            fs::write(etc.join(name), text).attempted(format!("write /etc/{name}"))?;
        }
    }
    let files = [
        (
            "passwd",
            "root:x:0:0:root:/nonexistent:/bin/sh\nsession:x:1000:1000:session:/home/session:/bin/bash\n",
        ),
        ("group", "root:x:0:\nsession:x:1000:\n"),
        ("hostname", "session\n"),
    ];
    for (name, text) in files {
        fs::write(etc.join(name), text).attempted(format!("write /etc/{name}"))?;
    }
    Ok(())
}

fn devices(root: &Path) -> Result<(), StageError> {
    let dev = directory(root, Path::new("/dev"))?;
    for name in DEVICES {
        let from = Path::new("/dev").join(name);
        if from.exists() {
            let target = dev.join(name);
            fs::write(&target, "").attempted(format!("make /dev/{name}"))?;
            let none = None::<&str>;
            mount(Some(&from), &target, none, MsFlags::MS_BIND, none)
                .attempted(format!("bind /dev/{name}"))?;
        }
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name)).attempted(format!("make /dev/{name}"))?;
    }
    let terminals = directory(root, Path::new("/dev/pts"))?;
    let options = Some("newinstance,ptmxmode=0666,mode=0620");
    mount(
        Some("devpts"),
        &terminals,
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        options,
    )
    .attempted("mount /dev/pts")?;
    let shared = directory(root, Path::new("/dev/shm"))?;
    mount(
        Some("tmpfs"),
        &shared,
        Some("tmpfs"),
        QUIET,
        Some("mode=1777,size=64m"),
    )
    .attempted("mount /dev/shm")
}

/// Shows `from` at `to`. Read-only ones are so with everything that is mounted below them.
fn bind(root: &Path, from: &Path, to: &Path, read_only: bool) -> Result<(), StageError> {
    let shown = to.display();
    let target = inside(root, to);
    let data = fs::metadata(from).attempted(format!("find {}", from.display()))?;
    if data.is_dir() {
        directory(root, to)?;
    } else if fs::symlink_metadata(&target).is_err() {
        if let Some(parent) = to.parent() {
            directory(root, parent)?;
        }
        fs::write(&target, "").attempted(format!("make {shown}"))?;
    }
    let none = None::<&str>;
    mount(
        Some(from),
        &target,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )
    .attempted(format!("bind {shown}"))?;
    let protection = if read_only {
        QUIET | MsFlags::MS_RDONLY
    } else {
        QUIET
    };
    for mounted in mounts_below(&target)? {
        // Flags that the machine set may not be dropped inside a user namespace: keep them all.
        let flags = protection | kept_flags(&mounted)? | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        mount(none, &mounted, none, flags, none).attempted(format!("protect {shown}"))?;
    }
    Ok(())
}

fn kept_flags(mounted: &Path) -> Result<MsFlags, StageError> {
    let flags = statvfs(mounted)
        .attempted(format!("look at the mount {}", mounted.display()))?
        .flags();
    let pairs = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    Ok(pairs
        .into_iter()
        .filter(|(seen, _)| flags.contains(*seen))
        .map(|(_, kept)| kept)
        .collect())
}

/// The mount points at and below `target`, from the kernel's own list.
fn mounts_below(target: &Path) -> Result<Vec<PathBuf>, StageError> {
    let list = fs::read_to_string("/proc/self/mountinfo").attempted("list the mounts")?;
    let points = list
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    Ok(points.filter(|point| point.starts_with(target)).collect())
}

/// Mount points have spaces and backslashes as octal numbers.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if *byte == b'\\' => {
                bytes.push(value);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(r"/a\040b\134c"), PathBuf::from(r"/a b\c"));
        assert_eq!(unescape(r"/a\04"), PathBuf::from(r"/a\04"));
    }
}
