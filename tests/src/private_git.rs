//! A git host that demands a user and a token: git's own `http-backend` behind basic authentication, on
//! loopback. And one that sends everybody elsewhere.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::loopback::GitHost;

/// A repository that only one user may clone.
#[derive(Debug)]
pub struct PrivateGitHost {
    /// Its repository.
    pub repository: GitHost,
    server: Server,
}

impl PrivateGitHost {
    /// Serves these files to whoever shows the user and the token.
    ///
    /// # Panics
    /// When git is missing or fails.
    pub fn with_files(files: &BTreeMap<&str, &str>, user: &str, token: &str) -> Self {
        let repository = GitHost::with_files(files);
        let root = repository.directory().to_path_buf();
        let wanted = basic(user, token);
        let server = Server::start(move |request, stream| {
            if request.authorization.as_deref() == Some(wanted.as_str()) {
                backend(&root, request, stream);
            } else {
                let head = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"git\"\r\n\
                            content-length: 0\r\nconnection: close\r\n\r\n";
                // A client that has gone needs no answer.
                let _ = stream.write_all(head.as_bytes());
            }
        });
        Self { repository, server }
    }

    /// Host and port, as in its address.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// The address to clone from.
    pub fn clone_url(&self) -> String {
        format!("http://{}/repository.git", self.host())
    }

    /// The headers `Authorization` that it was shown, good or not.
    pub fn shown(&self) -> Vec<String> {
        self.server.shown()
    }
}

/// What a client that logs in sends.
pub fn basic(user: &str, token: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{token}"))
    )
}

/// A host that sends everybody to the same path of another one; with `login`, only who shows that.
#[derive(Debug)]
pub struct RedirectingHost(Server);

impl RedirectingHost {
    /// Starts it.
    pub fn to(host: &str, login: Option<String>) -> Self {
        let host = host.to_owned();
        Self(Server::start(move |request, stream| {
            let status = if login.is_some() && request.authorization != login {
                "401 Unauthorized\r\nwww-authenticate: Basic realm=\"git\"".to_owned()
            } else {
                format!("302 Found\r\nlocation: http://{host}{}", request.target)
            };
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }))
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.0.host()
    }

    /// The address to clone from.
    pub fn clone_url(&self) -> String {
        format!("http://{}/repository.git", self.host())
    }

    /// The headers `Authorization` that it was shown.
    pub fn shown(&self) -> Vec<String> {
        self.0.shown()
    }
}

struct Asked {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    authorization: Option<String>,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Server {
    port: u16,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(handle: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let shown: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, handle) = (Arc::clone(&shown), Arc::new(handle));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handle) = (Arc::clone(&seen), Arc::clone(&handle));
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let Some(asked) = read(&stream) else { return };
                    if let Some(authorization) = &asked.authorization {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.push(authorization.clone());
                    }
                    handle(&asked, &mut stream);
                });
            }
        });
        Self { port, shown }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn shown(&self) -> Vec<String> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One request with its body; `None` when it is none.
fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    if headers.get("expect").is_some_and(|it| it == "100-continue") {
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let authorization = headers.get("authorization").cloned();
    Some(Asked {
        method,
        target,
        headers,
        authorization,
        body,
    })
}

/// The answer of `git http-backend`, a program of the common gateway interface.
fn backend(root: &Path, asked: &Asked, stream: &mut TcpStream) {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let header = |name: &str| asked.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REQUEST_METHOD", &asked.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git can be started");
    let mut input = child.stdin.take().expect("a pipe");
    // What it does not read, it does not need.
    let _ = input.write_all(&asked.body);
    drop(input);
    let output = child.wait_with_output().expect("git can be waited for");
    let text = output.stdout;
    let end = text.windows(4).position(|it| it == b"\r\n\r\n");
    let (head, body) = text.split_at(end.expect("a head") + 4);
    let head = String::from_utf8_lossy(head);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
    let status = status.unwrap_or("200 OK");
    let rest: String = head
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Status: "))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{rest}content-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}
