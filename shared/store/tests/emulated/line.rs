//! A line between store and services that can be listened to, and that loses answers.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Stands between store and services, and cuts the connection instead of handing on the answer to
/// a write.
pub(crate) struct Line {
    pub(crate) url: String,
    /// Answers still to be lost.
    lose: Arc<AtomicUsize>,
    said: Arc<Mutex<String>>,
    _connections: JoinSet<()>,
}

impl Line {
    pub(crate) async fn to(services: &str) -> Self {
        let upstream = services.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let lose = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        let counter = Arc::clone(&lose);
        let said = Arc::new(Mutex::new(String::new()));
        let record = Arc::clone(&said);
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(carry(
                    client,
                    upstream.clone(),
                    Arc::clone(&counter),
                    Arc::clone(&record),
                ));
            }
        });
        Self {
            url,
            lose,
            said,
            _connections: connections,
        }
    }

    pub(crate) fn lose(&self, answers: usize) {
        self.lose.store(answers, Ordering::SeqCst);
    }

    pub(crate) fn left(&self) -> usize {
        self.lose.load(Ordering::SeqCst)
    }

    /// All that was sent so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }
}

async fn carry(
    mut client: TcpStream,
    upstream: String,
    lose: Arc<AtomicUsize>,
    said: Arc<Mutex<String>>,
) {
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_write = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&asked[..length]);
                said.lock().expect("no panic").push_str(&text);
                if let Some((_, operation)) = text.split_once("DynamoDB_20120810.") {
                    is_write = !operation.starts_with("Get") && !operation.starts_with("Query");
                }
                if server.write_all(&asked[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                let lost = is_write
                    && lose
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                        .is_ok();
                // It was written by now; that is why there is an answer.
                if lost || client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
