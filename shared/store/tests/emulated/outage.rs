//! A line between store and services that counts requests and breaks at one of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What becomes of the request at which the line breaks; all after it are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// It does not arrive.
    Before,
    /// It arrives, and its answer is lost.
    After,
}

/// The line. Dropping it cuts all connections.
pub(crate) struct Outage {
    pub(crate) url: String,
    state: Arc<State>,
    _connections: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// Requests so far.
    requests: AtomicUsize,
    /// The first that does not get through and back; 0 when all do.
    broken: AtomicUsize,
    /// Whether that one arrives all the same.
    arrives: AtomicUsize,
}

impl Outage {
    pub(crate) async fn before(services: &str) -> Self {
        let upstream = services.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(State::default());
        let mut connections = JoinSet::new();
        let shared = Arc::clone(&state);
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(carry(client, upstream.clone(), Arc::clone(&shared)));
            }
        });
        Self {
            url,
            state,
            _connections: connections,
        }
    }

    /// Requests since the last call of this.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.swap(0, Ordering::SeqCst)
    }

    /// Breaks at the `n`-th request from now on (from 1).
    pub(crate) fn breaks_at(&self, n: usize, time: Break) {
        self.state.requests.store(0, Ordering::SeqCst);
        let arrives = usize::from(time == Break::After);
        self.state.arrives.store(arrives, Ordering::SeqCst);
        self.state.broken.store(n, Ordering::SeqCst);
    }

    /// It is whole again.
    pub(crate) fn is_mended(&self) {
        self.state.broken.store(0, Ordering::SeqCst);
    }
}

async fn carry(mut client: TcpStream, upstream: String, state: Arc<State>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    // A client sends the next request when it has the whole answer to the one before.
    let (mut is_new, mut is_lost) = (true, false);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                if is_new {
                    is_new = false;
                    let number = state.requests.fetch_add(1, Ordering::SeqCst) + 1;
                    let broken = state.broken.load(Ordering::SeqCst);
                    is_lost = broken > 0 && number >= broken;
                    let arrives = state.arrives.load(Ordering::SeqCst) == 1;
                    if is_lost && !(arrives && number == broken) {
                        return;
                    }
                }
                if server.write_all(&asked[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                is_new = true;
                // It has had its effect by now; that is why there is an answer.
                if is_lost || client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
