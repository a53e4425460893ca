//! What the protocol itself costs: one function instance over plain HTTP beside other people's
//! servers, in one run, on one connection, each request after the answer to the last.
//!
//! ```text
//! cargo run --release -p e2e --example plain_http
//! ```
//!
//! Run it by hand on a machine that does nothing else. All servers answer from memory: ours are the
//! conformance fixtures, which stand behind the same crates as the product's functions. None of the
//! others has `tasks/get`. A server that only reads and writes goes first: it shows what the loader
//! and the sockets take, which no other server can be faster than. Then what Lambda's path adds: functions of the product, with the table
//! behind them, on a port and through the stack. With `valgrind` installed, `--instructions` counts
//! instructions per request too.

mod deployed;
mod load;
mod servers;

use std::io::Write as _;
use std::time::Duration;

use load::{Connection, Request};
use serde_json::json;
use servers::Server;

const MEASURE_FOR: Duration = Duration::from_secs(3);
const WARM_UP: usize = 500;
/// Requests that are counted; as many go before them.
const COUNTED: usize = 200;

/// What is asked of each.
fn requests(server: &Server) -> Vec<(&'static str, Option<Request>)> {
    let call = Request::new(
        "tools/call",
        Some(server.tool),
        json!({"name": server.tool, "arguments": server.arguments}),
    );
    vec![
        (
            "server/discover",
            Some(Request::new("server/discover", None, json!({}))),
        ),
        (
            "tools/list",
            Some(Request::new("tools/list", None, json!({}))),
        ),
        ("tools/call", Some(call)),
        (
            "tasks/get",
            server
                .has_tasks
                .then(|| load::started_task(server.port, "slow_compute")),
        ),
    ]
}

fn main() -> std::io::Result<()> {
    let counting = std::env::args().any(|argument| argument == "--instructions");
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| server | request | per second | p50 | p99 | resident |\n| --- | --- | --- | --- | --- | --- |"
    )?;
    let discover = Request::new("server/discover", None, json!({}));
    let bound = Connection::open(servers::nothing()?).measure(&discover, WARM_UP, MEASURE_FOR);
    writeln!(
        out,
        "| nothing but sockets | any | {:.0} | {:.0} µs | {:.0} µs | – |",
        bound.per_second, bound.median_us, bound.slow_us
    )?;
    for start in servers::ALL {
        let server = start(&[]);
        for (what, request) in requests(&server) {
            let Some(request) = request else { continue };
            let mut connection = Connection::open(server.port);
            if !connection.answers(&request) {
                writeln!(out, "| {} | {what} | not served | | | |", server.name)?;
                continue;
            }
            let figures = connection.measure(&request, WARM_UP, MEASURE_FOR);
            writeln!(
                out,
                "| {} | {what} | {:.0} | {:.0} µs | {:.0} µs | {:.1} MB |",
                server.name,
                figures.per_second,
                figures.median_us,
                figures.slow_us,
                server.resident_mb()
            )?;
        }
    }
    deployed::measure(&mut out, WARM_UP / 5, MEASURE_FOR)?;
    if counting {
        writeln!(
            out,
            "\n| server | request | instructions per request |\n| --- | --- | --- |"
        )?;
        for start in servers::NATIVE {
            for index in 0..4 {
                let mut totals = Vec::new();
                let (mut name, mut what) = ("", "");
                for rounds in [1, 2] {
                    let counted = start(&["valgrind"]);
                    let (asked, request) = requests(&counted).swap_remove(index);
                    (name, what) = (counted.name, asked);
                    let Some(request) = request else { break };
                    let mut connection = Connection::open(counted.port);
                    connection.repeat(&request, COUNTED * rounds);
                    drop(connection);
                    totals.push(counted.instructions());
                }
                if totals.len() < 2 {
                    continue;
                }
                let each = (totals[1].saturating_sub(totals[0])) / COUNTED as u64;
                writeln!(out, "| {name} | {what} | {each} |")?;
            }
        }
    }
    Ok(())
}
