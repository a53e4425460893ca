//! Requests per second on one connection, one after the other.

use std::time::{Duration, Instant};

use e2e::mcp::Client;
use e2e::session::Session;
use e2e::stack::Stack;
use serde_json::{Value, json};

use crate::{Figure, peers};

const MEASURE_FOR: Duration = Duration::from_secs(4);
const WARM_UP: usize = 20;

pub(crate) async fn measure(stack: &Stack) -> Vec<Figure> {
    let ours = stack.client();
    let mut session = Session::scripted(&ours, &["TEXT:hello"]).await;
    session.until_turns_ended(1).await;
    let mut figures = Vec::new();
    {
        let bare = peers::bare_rmcp();
        let python = peers::python();
        let bare = Client::new(&bare.url, "none");
        let python = Client::new(&python.url, "none");
        for (what, method, params) in [
            ("tools/list", "tools/list", json!({})),
            (
                "tools/call get_session",
                "tools/call",
                json!({"name": "get_session", "arguments": {"session_id": session.id}}),
            ),
        ] {
            figures.push(Figure::new(
                format!("`{what}` per second: stack, bare rmcp server, Python SDK server"),
                format!(
                    "{:.0}, {:.0}, {:.0}",
                    rate(&ours, method, &params).await,
                    rate(&bare, method, &params).await,
                    rate(&python, method, &params).await
                ),
                "–",
            ));
        }
    }
    session.cancel().await;
    figures
}

async fn rate(client: &Client, method: &str, params: &Value) -> f64 {
    for _ in 0..WARM_UP {
        client.request(method, params.clone()).await.result();
    }
    let start = Instant::now();
    let mut requests = 0_u32;
    while start.elapsed() < MEASURE_FOR {
        client.request(method, params.clone()).await.result();
        requests += 1;
    }
    f64::from(requests) / start.elapsed().as_secs_f64()
}
