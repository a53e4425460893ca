//! A client that costs next to nothing: one connection, prepared bytes, no parsing but of lengths.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A request as bytes.
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn new(method: &str, name: Option<&str>, mut params: Value) -> Self {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
            "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
        });
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let body = body.to_string();
        let name = name.map_or_else(String::new, |name| format!("mcp-name: {name}\r\n"));
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:80\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
             mcp-method: {method}\r\n{name}content-length: {}\r\n\r\n",
            body.len()
        );
        Self((head + &body).into_bytes())
    }

    /// The same with a token.
    pub(crate) fn authorized(self, token: &str) -> Self {
        let text = String::from_utf8(self.0).expect("it was written as text");
        let (line, rest) = text.split_once("\r\n").expect("it has a first line");
        Self(format!("{line}\r\nauthorization: Bearer {token}\r\n{rest}").into_bytes())
    }
}

/// `tasks/get` of a task that the tool started.
pub(crate) fn started_task(port: u16, tool: &str) -> Request {
    let arguments = json!({"name": tool, "arguments": {"seconds": 0}});
    let start = Request::new("tools/call", Some(tool), arguments);
    let (_, body) = Connection::open(port).exchange(&start);
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    let id = answer["result"]["taskId"].as_str().expect("a task");
    Request::new("tasks/get", Some(id), json!({"taskId": id}))
}

/// What was measured.
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) median_us: f64,
    pub(crate) slow_us: f64,
}

/// A connection that is kept.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nodelay(true).expect("a socket option");
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// Status and body.
    pub(crate) fn exchange(&mut self, request: &Request) -> (u16, Vec<u8>) {
        let mut writer = self.reader.get_ref();
        writer.write_all(&request.0).expect("it reads");
        let (mut status, mut length, mut chunked) = (0, 0, false);
        let mut line = String::new();
        loop {
            line.clear();
            self.reader.read_line(&mut line).expect("it answers");
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if status == 0 {
                let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
                status = code.expect("a status");
            } else if let Some((name, value)) = text.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().expect("a length");
                } else if name.eq_ignore_ascii_case("transfer-encoding") {
                    chunked = true;
                }
            }
        }
        let mut body = Vec::new();
        loop {
            if chunked {
                line.clear();
                self.reader.read_line(&mut line).expect("a chunk");
                length = usize::from_str_radix(line.trim_end(), 16).expect("its length");
            }
            let start = body.len();
            body.resize(start + length, 0);
            self.reader
                .read_exact(&mut body[start..])
                .expect("it is whole");
            if !chunked {
                return (status, body);
            }
            line.clear();
            self.reader.read_line(&mut line).expect("its end");
            if length == 0 {
                return (status, body);
            }
        }
    }

    /// Whether the request has a result.
    pub(crate) fn answers(&mut self, request: &Request) -> bool {
        let (status, body) = self.exchange(request);
        status == 200 && String::from_utf8_lossy(&body).contains("\"result\"")
    }

    pub(crate) fn repeat(&mut self, request: &Request, times: usize) {
        for _ in 0..times {
            self.exchange(request);
        }
    }

    pub(crate) fn measure(
        &mut self,
        request: &Request,
        warm_up: usize,
        for_long: Duration,
    ) -> Figures {
        self.repeat(request, warm_up);
        let mut each = Vec::new();
        let started = Instant::now();
        while started.elapsed() < for_long {
            let asked = Instant::now();
            self.exchange(request);
            each.push(asked.elapsed());
        }
        let seconds = started.elapsed().as_secs_f64();
        each.sort_unstable();
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a position among a few thousand"
            )]
            let position = ((each.len() - 1) as f64 * share) as usize;
            each[position].as_secs_f64() * 1e6
        };
        #[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
        let per_second = each.len() as f64 / seconds;
        Figures {
            per_second,
            median_us: at(0.5),
            slow_us: at(0.99),
        }
    }
}
