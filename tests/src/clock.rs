//! A clock that a test sets, for a service and all that it starts.
//!
//! Programs ask the C library for the time. In mounts of the service's own, `/etc/ld.so.preload` puts a small
//! library (`clock.c`) before that, also into programs whose environment was cleared. What runs inside a
//! session has an `/etc` of its own, and with it the machine's clock.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use crate::service::Setup;

/// By how much the time of day is moved.
#[derive(Debug)]
pub struct Clock(File);

impl Clock {
    /// Gives the services of this setup a clock of their own, which is right at first.
    ///
    /// # Panics
    /// Without a C compiler (Debian: `build-essential`), which Rust needs too.
    pub fn of(setup: &mut Setup) -> Self {
        let own = setup.path().join("clock");
        fs::create_dir_all(own.join("etc")).expect("a directory");
        fs::write(own.join("clock.c"), include_str!("clock.c")).expect("a file");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        let compiled = compiler
            .args([own.join("clock.so"), own.join("clock.c")])
            .output()
            .unwrap_or_else(|error| {
                panic!("cc cannot be started ({error}); install build-essential")
            });
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        let offset = own.join("offset");
        fs::write(&offset, 0_i64.to_ne_bytes()).expect("a file");
        setup.through = setup.after(&mounts(&own));
        let file = File::options().write(true).open(offset);
        Self(file.expect("our own file"))
    }

    /// Sets it that many seconds ahead of the machine's, or behind; for everybody at once.
    ///
    /// # Panics
    /// When the file is gone.
    pub fn set(&self, seconds: i64) {
        let written = self.0.write_all_at(&seconds.to_ne_bytes(), 0);
        written.expect("our own file");
    }
}

fn mounts(own: &Path) -> String {
    let own = own.display();
    // What only root may read is not needed, and not copied for others.
    format!(
        "mount -t tmpfs none {own}/etc && {{ cp -a /etc/. {own}/etc/ 2>/dev/null; \
         cp {own}/clock.so {own}/etc/clock.so; }} && : >{own}/etc/clock-offset && \
         mount --bind {own}/offset {own}/etc/clock-offset && \
         echo /etc/clock.so >{own}/etc/ld.so.preload && mount --rbind {own}/etc /etc"
    )
}
