//! Events as a person wants to read them.

use std::fmt::Write as _;

use serde_json::Value;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Words with colours: a terminal.
    Colours,
    /// Words only.
    Plain,
    /// One JSON object for each event.
    Json,
}

/// Most characters of a tool's input in its line.
const INPUT_CHARACTERS: usize = 160;
/// Most lines and characters of a tool's result.
const RESULT_LINES: usize = 6;
const RESULT_CHARACTERS: usize = 600;
const ENDS: [&str; 4] = ["completed", "failed", "cancelled", "timed_out"];

/// What was seen of a session so far.
pub(super) struct Show {
    style: Style,
    session: String,
    /// The part of the current text block that is on the screen already.
    streamed: String,
    /// The last finished text: what went wrong often is one too.
    last_text: String,
    /// Calls whose refusal was shown; their result says the same.
    denied: Vec<String>,
    turn_failed: Option<bool>,
    state: String,
    patch: String,
    files: Vec<String>,
    cost: f64,
    milliseconds: u64,
    ended: bool,
    /// What was told the session is shown too.
    messages: bool,
    /// The newest checkpoint.
    checkpoint: String,
    /// The approval whose address was shown.
    approval: String,
}

#[derive(Clone, Copy)]
enum Colour {
    Dim,
    Bold,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Show {
    pub(super) fn new(style: Style, session: String) -> Self {
        Self {
            style,
            session,
            streamed: String::new(),
            last_text: String::new(),
            denied: Vec::new(),
            turn_failed: None,
            state: String::new(),
            patch: String::new(),
            files: Vec::new(),
            cost: 0.0,
            milliseconds: 0,
            ended: false,
            messages: false,
            checkpoint: String::new(),
            approval: String::new(),
        }
    }

    /// For whoever has not typed the messages.
    pub(super) fn with_messages(mut self) -> Self {
        self.messages = true;
        self
    }

    /// Where a person decides on a call that waits, once for each.
    pub(super) fn approval(&mut self, approval: &Value, token: &str) -> String {
        let id = text_of(approval, "approval_id");
        if self.style == Style::Json || id.is_empty() || self.approval == id {
            return String::new();
        }
        id.clone_into(&mut self.approval);
        let line = format!(
            "  decide at {}\n  (log in with the development token {token})",
            clean(text_of(approval, "url"))
        );
        self.line(Colour::Bold, &line)
    }

    pub(super) fn begin(&self) -> String {
        if self.style == Style::Json {
            return String::new();
        }
        self.line(Colour::Dim, &format!("session {}", self.session))
    }

    /// Takes the state of an answer; whether the session needs no more waiting for.
    pub(super) fn state(&mut self, state: &str) -> bool {
        state.clone_into(&mut self.state);
        self.is_over()
    }

    /// Idle after a turn, or ended.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended()
            || (["idle", "suspended"].contains(&self.state.as_str()) && self.turn_failed.is_some())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended || ENDS.contains(&self.state.as_str())
    }

    pub(super) fn succeeded(&self) -> bool {
        self.turn_failed == Some(false) && !["failed", "timed_out"].contains(&self.state.as_str())
    }

    /// Text that is not finished yet: what of it is new. Only a terminal wants it.
    pub(super) fn live(&mut self, text: &str) -> String {
        if self.style != Style::Colours {
            return String::new();
        }
        let text = clean(text);
        let new = match text.strip_prefix(&self.streamed) {
            Some(new) => new.to_owned(),
            None => format!("\n{text}"),
        };
        self.streamed = text;
        new
    }

    /// The lines for one event.
    pub(super) fn event(&mut self, event: &Value) -> String {
        let body = &event["body"];
        let kind = event["kind"].as_str().unwrap_or_default();
        self.remember(kind, body);
        if self.style == Style::Json {
            return format!("{event}\n");
        }
        if kind == "text" {
            return self.text(body);
        }
        let shown = self.in_words(kind, body);
        if shown.is_empty() || self.streamed.is_empty() {
            return shown;
        }
        // a block that was cut off: its text stays on the screen, the next line begins a new one
        self.streamed.clear();
        format!("\n{shown}")
    }

    fn remember(&mut self, kind: &str, body: &Value) {
        match kind {
            "turn_ended" => {
                self.turn_failed = Some(body["is_error"].as_bool().unwrap_or(true));
                self.cost = body["total_cost_usd"].as_f64().unwrap_or(self.cost);
                self.milliseconds += body["duration_ms"].as_u64().unwrap_or_default();
            }
            "files_changed" => {
                self.patch.push_str(text_of(body, "patch"));
                for file in body["files"].as_array().into_iter().flatten() {
                    let line = format!("{} {}", text_of(file, "change"), text_of(file, "path"));
                    self.files.push(line);
                }
            }
            "tool_denied" => self.denied.push(text_of(body, "tool_use_id").to_owned()),
            "text" => text_of(body, "text").clone_into(&mut self.last_text),
            "session_ended" => self.ended = true,
            "checkpoint_created" => {
                self.checkpoint = clean(text_of(body, "checkpoint_id"));
            }
            _ => {}
        }
    }

    fn text(&mut self, body: &Value) -> String {
        let text = clean(text_of(body, "text"));
        let streamed = std::mem::take(&mut self.streamed);
        let agent = body["agent"].is_string();
        match text.strip_prefix(&streamed) {
            Some(rest) if !streamed.is_empty() => format!("{rest}\n"),
            _ if agent => self.line(Colour::Dim, &indented(&text, "  agent: ")),
            _ if streamed.is_empty() => format!("{text}\n"),
            _ => format!("\n{text}\n"),
        }
    }

    fn in_words(&self, kind: &str, body: &Value) -> String {
        let text = |name: &str| clean(text_of(body, name));
        if let Some((colour, line)) = cuts::in_words(kind, body) {
            return self.line(colour, &line);
        }
        match kind {
            "runner_started" => self.line(
                Colour::Dim,
                &format!("runner started, isolation: {}", text("isolation")),
            ),
            "workspace_ready" => {
                let count = body["files"].as_u64().unwrap_or_default();
                self.line(
                    Colour::Dim,
                    &format!("workspace: {}, {count} files", text("source")),
                )
            }
            "session_ready" => self.line(
                Colour::Dim,
                &format!("claude {} is ready", text("claude_version")),
            ),
            "thinking" => self.line(
                Colour::Dim,
                &format!("thinking: {}", shortened(&text("text"), 2, 300)),
            ),
            "tool_call" => {
                let name = self.paint(Colour::Bold, &format!("> {}", text("tool")));
                format!("{name} {}\n", input(&body["input"]))
            }
            "tool_result"
                if self
                    .denied
                    .iter()
                    .any(|id| id == text_of(body, "tool_use_id")) =>
            {
                String::new()
            }
            "tool_result" => {
                let colour = if body["is_error"] == true {
                    Colour::Red
                } else {
                    Colour::Dim
                };
                let result = shortened(&text("text"), RESULT_LINES, RESULT_CHARACTERS);
                self.line(colour, &indented(&result, "  "))
            }
            // Its result follows.
            "tool_allowed" => String::new(),
            "tool_denied" => self.line(
                Colour::Yellow,
                &format!("  denied: {}: {}", text("tool"), text("reason")),
            ),
            "retry" => {
                let number = |name: &str| body[name].as_u64().unwrap_or_default();
                let status = body["status"]
                    .as_u64()
                    .map_or(String::new(), |status| format!("HTTP {status}, "));
                #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
                let seconds = number("delay_ms") as f64 / 1000.0;
                let line = format!(
                    "  the model failed ({status}{}), attempt {} of {}, again in {seconds:.1} s",
                    text("message"),
                    number("attempt"),
                    number("attempts"),
                );
                self.line(Colour::Yellow, &line)
            }
            "notice" => self.line(Colour::Yellow, &format!("note: {}", text("message"))),
            "turn_ended" if body["is_error"] == true => {
                let why = match text_of(body, "terminal_reason") {
                    "" => text("subtype"),
                    reason => clean(reason),
                };
                let said = text_of(body, "text") == self.last_text;
                let what = if said {
                    String::new()
                } else {
                    format!(": {}", text("text"))
                };
                self.line(Colour::Red, &format!("the turn failed ({why}){what}"))
            }
            "message_taken" if self.messages => self.line(
                Colour::Bold,
                &format!("\n< {}", shortened(&text("text"), 20, 2000)),
            ),
            "message_withdrawn" => self.line(Colour::Dim, "a message was withdrawn"),
            "session_ended" => {
                let (state, reason) = (text("state"), text("reason"));
                let colour = if state == "completed" || state == "cancelled" {
                    Colour::Dim
                } else {
                    Colour::Red
                };
                self.line(colour, &format!("session {state}: {reason}"))
            }
            "session_created" | "message_taken" | "turn_started" | "turn_ended"
            | "files_changed" | "state_changed" => String::new(),
            other => self.line(
                Colour::Dim,
                &format!(
                    "{}: {}",
                    clean(other),
                    shortened(&clean(&body.to_string()), 1, 200)
                ),
            ),
        }
    }

    /// Diff, cost and time at the end.
    pub(super) fn finish(&mut self, interrupted: bool, kept: bool) -> String {
        let end = match (interrupted, self.succeeded()) {
            (true, _) => "interrupted; the session is cancelled",
            (_, true) => "done",
            (_, false) => "the session failed",
        };
        let mut text = self.summary(end);
        if kept && !interrupted && !self.has_ended() && self.style != Style::Json {
            // writing to a string cannot fail
            let _ = writeln!(text, "the session {} is kept", self.session);
            text.push_str(&self.next_steps());
        }
        text
    }

    /// What a person can do from here, with the tools of any MCP client.
    fn next_steps(&self) -> String {
        if self.checkpoint.is_empty() {
            return String::new();
        }
        let (session, checkpoint) = (&self.session, &self.checkpoint);
        let steps = [
            (
                "send_message",
                format!("session_id {session}"),
                "goes on with it",
            ),
            (
                "get_timeline",
                format!("session_id {session}"),
                "its checkpoints and forks",
            ),
            (
                "diff_checkpoints",
                format!("from {checkpoint}"),
                "what changes from here on",
            ),
            (
                "restore_checkpoint",
                format!("checkpoint {checkpoint}"),
                "sets it back to here",
            ),
            (
                "fork_session",
                format!("checkpoint {checkpoint}"),
                "a second one that goes on from here",
            ),
            (
                "export_workspace",
                format!("checkpoint {checkpoint}"),
                "its files, to be fetched",
            ),
        ];
        let mut text = self.line(Colour::Dim, "next, in an MCP client:");
        for (tool, argument, what) in steps {
            text.push_str(&self.line(Colour::Dim, &format!("  {tool} ({argument}): {what}")));
        }
        text
    }

    /// The same after a replay, which changes nothing of the session.
    pub(super) fn finish_replay(&mut self, interrupted: bool) -> String {
        if interrupted {
            return self.summary("stopped");
        }
        let end = format!("the end of the log; the session is {}", clean(&self.state));
        self.summary(&end)
    }

    fn summary(&mut self, end: &str) -> String {
        if self.style == Style::Json {
            return String::new();
        }
        let mut text = String::new();
        if !self.streamed.is_empty() {
            self.streamed.clear();
            text.push('\n');
        }
        if !self.files.is_empty() {
            let files: Vec<String> = self.files.iter().map(|file| clean(file)).collect();
            text.push_str(&self.line(Colour::Bold, &format!("\n{} changed files", files.len())));
            for file in files {
                text.push_str(&self.line(Colour::Dim, &format!("  {file}")));
            }
            text.push('\n');
        }
        for line in clean(&self.patch).lines() {
            let colour = match line.as_bytes().first() {
                Some(b'+') => Colour::Green,
                Some(b'-') => Colour::Red,
                Some(b'@') => Colour::Cyan,
                _ => Colour::Dim,
            };
            text.push_str(&self.line(colour, line));
        }
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let seconds = self.milliseconds as f64 / 1000.0;
        // writing to a string cannot fail
        let _ = writeln!(text, "\n{end}: ${:.4}, {seconds:.1} s", self.cost);
        text
    }

    fn line(&self, colour: Colour, text: &str) -> String {
        format!("{}\n", self.paint(colour, text))
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if self.style != Style::Colours || text.is_empty() {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Dim => 2,
            Colour::Bold => 1,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn text_of<'body>(body: &'body Value, name: &str) -> &'body str {
    body[name].as_str().unwrap_or_default()
}

/// Without control characters: what a model or a file says must not drive the person's terminal.
fn clean(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'))
        .collect()
}

/// The part of a tool's input that tells most, in one line.
fn input(input: &Value) -> String {
    let parsed = match input.as_str() {
        Some(text) => serde_json::from_str(text).unwrap_or_else(|_| input.clone()),
        None => input.clone(),
    };
    let telling = [
        "command",
        "file_path",
        "path",
        "pattern",
        "url",
        "query",
        "description",
    ];
    let text = telling
        .iter()
        .find_map(|name| parsed[name].as_str().map(str::to_owned))
        .unwrap_or_else(|| match parsed {
            Value::String(text) => text,
            other => other.to_string(),
        });
    shortened(&clean(&text).replace('\n', " "), 1, INPUT_CHARACTERS)
}

fn shortened(text: &str, lines: usize, characters: usize) -> String {
    let text = text.trim_end();
    let mut short: String = text.lines().take(lines).collect::<Vec<_>>().join("\n");
    if let Some((end, _)) = short.char_indices().nth(characters) {
        short.truncate(end);
    }
    let missing = text.chars().count() - short.chars().count();
    if missing > 0 {
        let _ = write!(short, " ... ({missing} more characters)");
    }
    short
}

fn indented(text: &str, first: &str) -> String {
    let rest = " ".repeat(first.len());
    text.lines()
        .enumerate()
        .map(|(number, line)| format!("{}{line}", if number == 0 { first } else { &rest }))
        .collect::<Vec<_>>()
        .join("\n")
}

mod cuts;
#[cfg(test)]
mod tests;
