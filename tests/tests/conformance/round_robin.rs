//! Instances of the fixture server behind a proxy that gives every request to the next one.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Instances at any time.
const INSTANCES: usize = 3;
/// One of them is replaced this often.
const REPLACED_EVERY: Duration = Duration::from_millis(700);
/// Much longer than one takes to start on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// One process; it is told to stop when dropped, and lets what runs end.
pub(crate) struct Instance {
    child: Option<Child>,
    /// Of the process.
    id: u32,
    url: String,
    /// Its log lines of requests.
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Instance {
    /// `origins`: those of the pages that may call it, with commas between them.
    pub(crate) fn start(
        program: &std::path::Path,
        directory: &std::path::Path,
        origins: &str,
    ) -> Self {
        let mut child = Command::new(program)
            .env_clear()
            .env("PORT", "0")
            // Nobody has this token: the suite's callers have none, and the fixtures take them all.
            .env("SHANNON_ACCESS_TOKEN_SHA256", "0".repeat(64))
            .env("FIXTURES_DIRECTORY", directory)
            .env("SHANNON_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
            .env("SHANNON_ALLOWED_ORIGINS", origins)
            .env("SHANNON_SLOW_REQUEST_MILLISECONDS", "60000")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let started = Instant::now();
        let mut said = String::new();
        let address = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("an instance ended at once: {said}"))
                .expect("its lines are text");
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = parsed["address"].as_str() {
                break address.to_owned();
            }
            said.push_str(&line);
            assert!(
                started.elapsed() < READY_WITHIN,
                "it does not serve: {said}"
            );
        };
        let requests: Arc<Mutex<Vec<Value>>> = Arc::default();
        let noted = Arc::clone(&requests);
        // Its log must be read, or it would wait for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(said) = serde_json::from_str::<Value>(&line) else {
                    eprintln!("an instance printed {line}");
                    continue;
                };
                if said["level"] == "error" {
                    eprintln!("{line}");
                }
                if said["message"] == "request" {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.push(said);
                }
            }
        });
        Self {
            id: child.id(),
            child: Some(child),
            url: format!("http://{address}"),
            requests,
        }
    }
}

impl Instance {
    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        let port = self
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.expect("an address ends with its port")
    }

    /// What it logged of the requests that it served so far.
    pub(crate) fn logged_requests(&self) -> Vec<Value> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Memory that it holds.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))
            .expect("these tests need /proc");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .expect("a process has a size")
    }

    /// Files and connections that it holds.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id))
            .expect("these tests need /proc")
            .count()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let id = i32::try_from(self.id).expect("a process id is a small number");
        if let Err(error) = kill(Pid::from_raw(id), Signal::SIGTERM) {
            eprintln!("ending an instance: {error}");
        }
        // The last to use it may be the proxy, which has others to serve.
        if let Some(mut child) = self.child.take() {
            std::thread::spawn(move || child.wait());
        }
    }
}

/// What the proxy and the replacer share.
#[derive(Default)]
struct Ring {
    instances: Mutex<Vec<Arc<Instance>>>,
    next: AtomicUsize,
    replaced: AtomicUsize,
    cut: AtomicUsize,
    over: AtomicBool,
}

impl Ring {
    fn take(&self) -> Arc<Instance> {
        let instances = self
            .instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&instances[next % instances.len()])
    }
}

/// The running round robin; everything ends with it.
pub(crate) struct RoundRobin {
    ring: Arc<Ring>,
    port: u16,
    replacing: Option<std::thread::JoinHandle<()>>,
    proxy: Option<tokio::runtime::Runtime>,
    /// What the instances share.
    _directory: tempfile::TempDir,
}

impl RoundRobin {
    pub(crate) fn start() -> Self {
        let program = build();
        let directory = tempfile::tempdir().expect("a directory");
        let proxy = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = proxy
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))
            .expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let origins = format!("http://127.0.0.1:{port},http://localhost:{port}");
        let ring = Arc::new(Ring::default());
        for _ in 0..INSTANCES {
            let instance = Arc::new(Instance::start(&program, directory.path(), &origins));
            ring.instances
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(instance);
        }
        // The client wants one although all of this is plain http; another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let router = axum::Router::new()
            .fallback(forward)
            .with_state((Arc::clone(&ring), client));
        proxy.spawn(async move { axum::serve(listener, router).await });
        let replacing = std::thread::spawn({
            let (ring, directory) = (Arc::clone(&ring), directory.path().to_path_buf());
            move || replace(&ring, &program, &directory, &origins)
        });
        Self {
            ring,
            port,
            replacing: Some(replacing),
            proxy: Some(proxy),
            _directory: directory,
        }
    }

    /// The MCP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// The run was about what it says it was.
    pub(crate) fn must_have_replaced(&self, least: usize) {
        let replaced = self.ring.replaced.load(Ordering::Relaxed);
        assert!(replaced >= least, "only {replaced} instances were replaced");
    }

    /// Streams broke, as they should.
    pub(crate) fn must_have_cut(&self, least: usize) {
        let cut = self.ring.cut.load(Ordering::Relaxed);
        assert!(cut >= least, "only {cut} streams were cut");
    }
}

impl Drop for RoundRobin {
    fn drop(&mut self) {
        self.ring.over.store(true, Ordering::Relaxed);
        if let Some(replacing) = self.replacing.take()
            && replacing.join().is_err()
        {
            eprintln!("the instances were not replaced to the end");
        }
        if let Some(proxy) = self.proxy.take() {
            // Nobody waits for what is still open.
            proxy.shutdown_background();
        }
    }
}

/// Replaces the oldest instance again and again.
fn replace(ring: &Ring, program: &std::path::Path, directory: &std::path::Path, origins: &str) {
    while !ring.over.load(Ordering::Relaxed) {
        std::thread::sleep(REPLACED_EVERY);
        let new = Arc::new(Instance::start(program, directory, origins));
        let old = {
            let mut instances = ring
                .instances
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            instances.push(new);
            instances.remove(0)
        };
        ring.replaced.fetch_add(1, Ordering::Relaxed);
        // It ends when nobody is about to use it any more.
        drop(old);
    }
}

/// The tool whose streams break after their beginning.
const BROKEN: &[u8] = b"\"test_reconnection\"";

/// Gives a request to the next instance and its answer back as it comes.
async fn forward(
    State((ring, client)): State<(Arc<Ring>, reqwest::Client)>,
    request: Request,
) -> Response<Body> {
    let instance = ring.take();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut breaks = false;
    let sent = async {
        let bytes = axum::body::to_bytes(body, usize::MAX)
            .await
            .map_err(|error| error.to_string())?;
        breaks = bytes.windows(BROKEN.len()).any(|part| part == BROKEN);
        client
            .request(parts.method, format!("{}{path}", instance.url))
            .headers(parts.headers)
            .body(bytes)
            .send()
            .await
            .map_err(|error| format!("{error:?}"))
    };
    match sent.await {
        Ok(mut answer) => {
            let mut response = Response::builder().status(answer.status());
            for (name, value) in answer.headers() {
                if name != "transfer-encoding" && name != "connection" {
                    response = response.header(name, value);
                }
            }
            if breaks && let Ok(Some(first)) = answer.chunk().await {
                ring.cut.fetch_add(1, Ordering::Relaxed);
                // Only the way to the client broke: the instance goes on.
                tokio::spawn(async move {
                    while matches!(answer.chunk().await, Ok(Some(_))) {}
                    drop(instance);
                });
                return response
                    .body(Body::from(first))
                    .expect("an answer can be passed on");
            }
            // The instance is kept until its answer is whole.
            let stream = futures_util::StreamExt::inspect(answer.bytes_stream(), move |_| {
                let _kept = &instance;
            });
            response
                .body(Body::from_stream(stream))
                .expect("an answer can be passed on")
        }
        Err(problem) => {
            eprintln!("an instance did not answer: {problem}");
            let mut response = Response::new(Body::from(problem));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

/// The fixture server, built as the tests are.
pub(crate) fn build() -> std::path::PathBuf {
    e2e::stack::binaries().join("examples/conformance_fixtures")
}
