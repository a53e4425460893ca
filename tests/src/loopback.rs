//! Small HTTP servers on loopback that play the outside world: a git host, a place that nobody
//! must call, a host that never answers.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use crate::installed;

/// A server with a thread per connection; it ends with the test program.
#[derive(Debug)]
pub struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the files under a directory, as `git update-server-info` prepares a repository.
    pub fn of_files(directory: &Path) -> Self {
        let directory = directory.to_path_buf();
        Self::start(move |path, stream| {
            let path = path
                .split('?')
                .next()
                .unwrap_or_default()
                .trim_start_matches('/');
            let inside = !path.split('/').any(|part| part == "..");
            match std::fs::read(directory.join(path)) {
                Ok(bytes) if inside => answer(stream, "200 OK", &bytes),
                _ => answer(stream, "404 Not Found", b""),
            }
        })
    }

    /// A registry of npm in which this is the newest release of the CLI.
    pub fn of_registry(newest: &str) -> Self {
        let body = serde_json::json!({"name": "@anthropic-ai/claude-code", "version": newest});
        Self::start(move |path, stream| match path {
            "/@anthropic-ai%2fclaude-code/latest" => {
                answer(stream, "200 OK", body.to_string().as_bytes());
            }
            _ => answer(stream, "404 Not Found", b""),
        })
    }

    /// Answers every request with 200 and an empty object, and remembers it.
    pub fn of_witness() -> Self {
        Self::start(|_, stream| answer(stream, "200 OK", b"{}"))
    }

    /// Accepts and reads, and never answers.
    pub fn of_silence() -> Self {
        Self::start(|_, stream| {
            // Reading ends when the client gives up.
            let mut rest = Vec::new();
            let _ = std::io::Read::read_to_end(stream, &mut rest);
        })
    }

    /// Its base address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// First line and headers of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn start(handle: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let handle = Arc::new(handle);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handle) = (Arc::clone(&seen), Arc::clone(&handle));
                std::thread::spawn(move || serve(stream, &seen, handle.as_ref()));
            }
        });
        Self { port, requests }
    }
}

/// Reads one request and hands it to `handle`; the connection is closed afterwards.
fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, handle: &dyn Fn(&str, &mut TcpStream)) {
    let Ok(reader) = stream.try_clone() else {
        return;
    };
    let head: Vec<String> = BufReader::new(reader)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(head.join("\n"));
    handle(path, &mut stream);
}

fn answer(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // A client that has gone needs no answer.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}

/// A git repository with one commit, served over plain HTTP.
#[derive(Debug)]
pub struct GitHost {
    directory: tempfile::TempDir,
    /// The server, for its address and its log.
    pub server: Server,
}

impl GitHost {
    /// Makes a repository `repository.git` of these files (path and content) on branch `main`, with
    /// a tag `v1` on the commit. A content that starts with `-> ` makes a symbolic link.
    ///
    /// # Panics
    /// When git is missing or fails.
    pub fn with_files(files: &BTreeMap<&str, &str>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let work = directory.path().join("work");
        std::fs::create_dir(&work).expect("a directory can be made");
        for (path, content) in files {
            let path = work.join(path);
            std::fs::create_dir_all(path.parent().expect("a file lies in a directory"))
                .expect("a directory can be made");
            if let Some(target) = content.strip_prefix("-> ") {
                std::os::unix::fs::symlink(target, &path).expect("a link can be made");
            } else {
                std::fs::write(&path, content).expect("a file can be written");
            }
        }
        let bare = directory.path().join("repository.git");
        git(&work, &["init", "--quiet", "--initial-branch=main"]);
        git(&work, &["add", "--force", "--all"]);
        git(
            &work,
            &["commit", "--quiet", "--allow-empty", "--message=first"],
        );
        git(&work, &["tag", "v1"]);
        let bare_name = bare.to_str().expect("our paths are UTF-8");
        git(&work, &["clone", "--quiet", "--bare", ".", bare_name]);
        git(&bare, &["update-server-info"]);
        let server = Server::of_files(directory.path());
        Self { directory, server }
    }

    /// The address to clone from.
    pub fn clone_url(&self) -> String {
        format!("{}/repository.git", self.server.url())
    }

    /// Where `repository.git` lies.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The commit of `main`.
    pub fn commit(&self) -> String {
        let output = git(&self.directory.path().join("work"), &["rev-parse", "HEAD"]);
        output.trim().to_owned()
    }
}

fn git(directory: &PathBuf, arguments: &[&str]) -> String {
    let output = installed::run(
        Command::new("git")
            .args([
                "-c",
                "user.name=Tests",
                "-c",
                "user.email=tests@example.net",
            ])
            .args(arguments)
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null"),
    );
    String::from_utf8(output.stdout).expect("git prints UTF-8")
}
