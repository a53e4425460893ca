//! A real OpenSSH server of the account that runs the test, on loopback, and the client that knows it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::eventually;
use crate::service::free_port;

/// Where Debian has it.
const SSHD: &str = "/usr/sbin/sshd";
/// How the client knows it.
pub const HOST: &str = "stackhost";

/// A running server; dropped, it is stopped.
#[derive(Debug)]
pub struct SshServer {
    directory: tempfile::TempDir,
    child: Child,
}

impl SshServer {
    /// Starts one that lets this account in with a key, and greets on standard output as shells do.
    ///
    /// # Panics
    /// Without the Debian package `openssh-server`, and when it does not listen.
    pub fn start() -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "there is no {SSHD}: install openssh-server"
        );
        let directory = tempfile::Builder::new()
            .prefix("sshd-")
            .tempdir()
            .expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(name))
                .status();
            assert!(made.expect("ssh-keygen starts").success());
        }
        if nix::unistd::geteuid().is_root() {
            // Made at its start by who else starts it.
            fs::create_dir_all("/run/sshd").expect("a directory");
        }
        let own = directory.path().display();
        program(
            &path("greet"),
            "#!/bin/sh\necho 'Welcome! { not JSON }'\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
        );
        let port = free_port();
        let server = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {own}/host\nPidFile none\nStrictModes no\n\
             AuthorizedKeysFile {own}/user.pub\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nForceCommand {own}/greet\n"
        );
        fs::write(path("server"), server).expect("a file");
        let user = Command::new("id").arg("-un").output().expect("id starts");
        let client = format!(
            "Host {HOST}\n  HostName 127.0.0.1\n  Port {port}\n  User {}\n  IdentityFile {own}/user\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {own}/known\n  StrictHostKeyChecking accept-new\n",
            String::from_utf8_lossy(&user.stdout).trim()
        );
        fs::write(path("client"), client).expect("a file");
        // The client reads no home but that of the account's entry.
        fs::create_dir(path("programs")).expect("a directory");
        program(
            &path("programs/ssh"),
            &format!("#!/bin/sh\nexec /usr/bin/ssh -F {own}/client \"$@\"\n"),
        );
        let child = Command::new(SSHD)
            .args(["-D", "-E"])
            .arg(path("log"))
            .arg("-f")
            .arg(path("server"))
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd starts");
        let server = Self { directory, child };
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(
            eventually(Duration::from_secs(30), listens),
            "{}",
            server.log()
        );
        server
    }

    /// A search path on which `ssh` knows this server as [`HOST`].
    ///
    /// # Panics
    /// When the search path cannot be written.
    pub fn search_path(&self) -> String {
        let own = self.directory.path().join("programs");
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(own).chain(std::env::split_paths(&inherited));
        let joined = std::env::join_paths::<_, PathBuf>(paths).expect("a search path");
        joined.into_string().expect("UTF-8")
    }

    /// What it has to say.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("ending sshd: {error}");
        }
    }
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}
