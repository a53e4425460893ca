//! Functions of the product with the table behind them: on a port, and through the emulated edge, API
//! Gateway, authorizer and Lambda Runtime API.

use std::io::Write;
use std::time::Duration;

use e2e::mcp::Client;
use e2e::on_port::Server;
use e2e::script;
use e2e::stack::{Options, Stack};
use serde_json::{Value, json};

use crate::load::{Connection, Request};

/// Each class with the request it is asked.
fn classes(session: &str, task: &str) -> [(&'static str, &'static str, Option<String>, Value); 4] {
    [
        ("discover", "server/discover", None, json!({})),
        ("catalog", "tools/list", None, json!({})),
        (
            "call",
            "tools/call",
            Some("get_session".to_owned()),
            json!({"name": "get_session", "arguments": {"session_id": session}}),
        ),
        (
            "tasks",
            "tasks/get",
            Some(task.to_owned()),
            json!({"taskId": task}),
        ),
    ]
}

fn port(url: &str) -> u16 {
    let address = url.trim_end_matches("/mcp");
    let port = address.rsplit(':').next().and_then(|it| it.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {url}"))
}

/// Through the stack once, so that there is an instance whose settings the one on a port can have.
fn prepare(client: &Client) -> (String, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let arguments = json!({"prompt": script::prompt(&["TEXT:measured"])});
        let call = json!({"name": "create_session", "arguments": arguments});
        let started = client.request("tools/call", call).await;
        let task = started.result()["taskId"].as_str().expect("a task");
        let session = task.split('.').next().expect("a session").to_owned();
        for (_, method, _, params) in classes(&session, task) {
            client.request(method, params).await.result();
        }
        (session, task.to_owned())
    })
}

/// Prints the table.
pub(crate) fn measure(out: &mut impl Write, warm_up: usize, time: Duration) -> std::io::Result<()> {
    let stack = Stack::start(&Options::default());
    let (session, task) = prepare(&stack.client().with_tasks());
    writeln!(
        out,
        "\n| function | request | on a port, per second | p50 | through the stack, per second | p50 |\n| --- | --- | --- | --- | --- | --- |"
    )?;
    for (function, method, name, params) in classes(&session, &task) {
        let server = Server::start(&stack, function);
        let mut cells = Vec::new();
        for url in [&server.url, &stack.mcp_url()] {
            let request = Request::new(method, name.as_deref(), params.clone());
            let request = request.authorized(&stack.token);
            let mut connection = Connection::open(port(url));
            assert!(connection.answers(&request), "{method} at {url}");
            let figures = connection.measure(&request, warm_up, time);
            cells.push(format!(
                "{:.0} | {:.0} µs",
                figures.per_second, figures.median_us
            ));
        }
        writeln!(out, "| {function} | {method} | {} |", cells.join(" | "))?;
    }
    Ok(())
}
