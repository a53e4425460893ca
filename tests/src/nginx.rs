//! The nginx of the distribution with the configuration that we ship, on free ports and with a
//! certificate of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::service::free_port;
use crate::{checkout, process};

/// The file that we ship.
pub const SHIPPED: &str = "infra/self-hosted/nginx.conf";

/// A running nginx. Dropped, it ends.
#[derive(Debug)]
pub struct Nginx {
    directory: tempfile::TempDir,
    child: Child,
    /// Of the server with TLS.
    pub port: u16,
    /// Of the server without.
    pub plain_port: u16,
}

impl Nginx {
    /// Starts it in front of the port.
    ///
    /// # Panics
    /// When nginx or openssl is not installed, or refuses.
    pub fn start(upstream: u16) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (port, plain_port) = (free_port(), free_port());
        let file = configure(directory.path(), upstream, port, plain_port);
        let checked = nginx(directory.path(), &file, &["-t"]);
        assert!(checked.status.success(), "{}", text(&checked));
        let child = Command::new(program())
            .args(["-e", "stderr", "-p"])
            .arg(directory.path())
            .arg("-c")
            .arg(&file)
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx");
        let nginx = Self {
            directory,
            child,
            port,
            plain_port,
        };
        let up = process::eventually(Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(up, "nginx does not listen: {}", nginx.errors());
        nginx
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// A client that trusts its certificate and no other.
    ///
    /// # Panics
    /// When there is none.
    pub fn client(&self) -> reqwest::Client {
        // Whoever comes first installs it; for the others it is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pem = fs::read(self.directory.path().join("certificate.pem")).expect("a certificate");
        let certificate = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        reqwest::Client::builder()
            .timeout(Duration::from_secs(120))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([certificate])
            // Each request on a connection of its own, as many clients have.
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client")
    }

    /// The lines of its log.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }

    /// What it complained about.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- nginx\n{}{}", self.errors(), self.access_log());
        }
        // Its workers end with the master only when that is asked.
        process::ask_to_end(self.child.id());
        if let Err(error) = self.child.wait() {
            eprintln!("waiting for nginx: {error}");
        }
    }
}

/// What we ship, with the places and ports of this machine in place of those of a server.
fn configure(directory: &Path, upstream: u16, port: u16, plain_port: u16) -> PathBuf {
    certificate(directory);
    let here = directory.display();
    let mut file = checkout::read(SHIPPED);
    for (shipped, ours) in [
        ("pid /run/nginx.pid;", format!("pid {here}/pid;")),
        ("/var/log/nginx/error.log", format!("{here}/error.log")),
        ("/var/log/nginx/access.log", format!("{here}/access.log")),
        (
            "/etc/shannon/tls/certificate.pem",
            format!("{here}/certificate.pem"),
        ),
        ("/etc/shannon/tls/key.pem", format!("{here}/key.pem")),
        (
            "server 127.0.0.1:8080;",
            format!("server 127.0.0.1:{upstream};"),
        ),
        ("listen 443 ssl;", format!("listen 127.0.0.1:{port} ssl;")),
        ("listen [::]:443 ssl;", String::new()),
        ("listen 80;", format!("listen 127.0.0.1:{plain_port};")),
        ("listen [::]:80;", String::new()),
        (
            "http {\n",
            format!(
                "http {{\nclient_body_temp_path {here}/body; proxy_temp_path {here}/proxy; \
                 fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;\n"
            ),
        ),
    ] {
        let found = file.matches(shipped).count();
        assert_eq!(found, 1, "{shipped} stands {found} times in {SHIPPED}");
        file = file.replace(shipped, &ours);
    }
    let path = directory.join("nginx.conf");
    // Workers of a root's nginx are another user's.
    if nix::unistd::geteuid().is_root() {
        file = format!("user root;\n{file}");
    }
    fs::write(&path, file).expect("a file");
    path
}

fn certificate(directory: &Path) {
    let request = directory.join("request.conf");
    fs::write(&request, "[req]\ndistinguished_name=name\n[name]\n").expect("a file");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-config",
        ])
        .arg(&request)
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("certificate.pem"))
        .output()
        .unwrap_or_else(|error| panic!("openssl: {error}; install the Debian package openssl"));
    assert!(made.status.success(), "{}", text(&made));
}

fn nginx(directory: &Path, file: &Path, arguments: &[&str]) -> Output {
    Command::new(program())
        .args(["-e", "stderr", "-p"])
        .arg(directory)
        .arg("-c")
        .arg(file)
        .args(arguments)
        .output()
        .expect("nginx")
}

fn program() -> PathBuf {
    // Not on the search path of a user who is not root.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|directory| directory.join("nginx"))
        .find(|program| program.is_file())
        .expect("nginx is not here; install the Debian package nginx-light")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
