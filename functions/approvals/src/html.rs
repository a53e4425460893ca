//! The pages as HTML.

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::approval::has_treacherous;
use domain::event::EventBody;
use domain::{ApprovalRequest, Decision, Event, Head, UnixMillis};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::asked::Around;
use crate::visible::visible;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--soft:#8881;--yes:#1a7f37;--no:#b3261e}\
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:46rem;padding:1rem}\
h1{font-size:1.3rem;margin:.2rem 0 .8rem}h2{font-size:1rem;margin:1.4rem 0 .4rem}\
pre,code,textarea{font:14px/1.45 ui-monospace,monospace}\
pre{background:var(--soft);border:1px solid var(--line);border-radius:.4rem;padding:.7rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0;max-height:70vh}\
pre.call{border-left:.3rem solid #d29922}\
mark{color:inherit;background:#d2992266;border:1px solid #d29922;border-radius:.2rem;padding:0 .2rem}.foreign{text-decoration:underline wavy #d29922}\
ul{margin:.3rem 0;padding-left:1.2rem}li{overflow-wrap:anywhere}.soft{opacity:.75;font-size:.9rem}\
form{margin:.6rem 0;padding:.7rem;border:1px solid var(--line);border-radius:.4rem}\
button{font:inherit;font-weight:600;padding:.6rem 1rem;border-radius:.4rem;border:1px solid var(--line);min-height:2.75rem;width:100%;margin:.25rem 0;cursor:pointer}\
button.yes{background:var(--yes);color:#fff}button.no{background:var(--no);color:#fff}\
input,textarea{font-size:16px;width:100%;padding:.5rem;border:1px solid var(--line);border-radius:.4rem;margin:.25rem 0}\
label{display:block;margin-top:.3rem}details{margin:.5rem 0}summary{cursor:pointer;padding:.4rem 0}\
.problem{border-left:.3rem solid var(--no);padding:.5rem .7rem;background:var(--soft)}.add{color:var(--yes)}.take{color:var(--no)}";

/// What the pages may load and send: their own style, and forms to themselves.
pub(crate) fn content_security_policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; \
         base-uri 'none'"
    )
}

fn document(title: &str, content: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex, nofollow";
                title { (title) " · Shannon" }
                style { (PreEscaped(STYLE)) }
            }
            body { (content) }
        }
    }
    .into_string()
}

/// A page that only says something. Titles of it say nothing about a session: anybody may see it.
pub(crate) fn note(title: &str, words: &str) -> String {
    document(
        title,
        &html! {
            h1 { (title) }
            p { (words) }
        },
    )
}

/// The login. It says nothing about what is to be decided: link previews see this.
pub(crate) fn login(problem: Option<&str>) -> String {
    document(
        "Log in",
        &html! {
            h1 { "Something waits for your decision" }
            @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
            form method="post" {
                input type="text" name="username" value="shannon" autocomplete="username" hidden;
                label for="token" { "Access token of this deployment" }
                input #token name="token" type="password" autocomplete="current-password" required autofocus;
                input type="hidden" name="action" value="login";
                button type="submit" { "Log in" }
            }
            p.soft { "The token needs the scope approve. On a local stack it is the development token, which \
                the emulator keeps in its state directory." }
        },
    )
}

/// An approval that waits.
pub(crate) struct Waiting<'a> {
    pub(crate) head: &'a Head,
    pub(crate) request: &'a ApprovalRequest,
    pub(crate) around: &'a Around,
    /// The beginning of the input, which is all of it when `request.editable`.
    pub(crate) shown: &'a str,
    pub(crate) form_token: &'a str,
    pub(crate) now: UnixMillis,
    pub(crate) problem: Option<&'a str>,
}

impl Waiting<'_> {
    fn input(&self) -> &str {
        self.around.input.as_deref().unwrap_or(self.shown)
    }

    /// All of the call stands on the page. Nobody can allow what they cannot see.
    pub(crate) fn is_whole(&self) -> bool {
        let whole =
            self.around.input.is_some() || serde_json::from_str::<Value>(self.shown).is_ok();
        self.request.visible && whole
    }

    pub(crate) fn page(&self) -> String {
        let request = self.request;
        let left = request.expires_at.0.saturating_sub(self.now.0) / 60_000;
        document(
            &format!("Allow {}?", request.tool),
            &html! {
                h1 { "Allow this call of " (request.tool) "?" }
                @if let Some(problem) = self.problem { p.problem role="alert" { (problem) } }
                p.soft {
                    "Session “" (visible(&self.head.title)) "” (" code { (self.head.key.session) } ")"
                    @if let Some(agent) = &request.agent { ", its subagent " code { (visible(agent)) } }
                    ", turn " (self.head.turn) ". It counts as denied in " (duration(left)) "."
                }
                (self.call())
                @if !self.is_whole() {
                    p.problem { "Not all of the input could be shown, so it cannot be allowed here. You can deny it." }
                }
                h2 { "Why it does not run by itself" }
                p { (visible(&request.reason)) }
                h2 { "What it consists of" }
                ul { @for part in &request.parts { li { (visible(part)) } } }
                @if let Some(preview) = &request.preview {
                    h2 { "What it would change" }
                    (diff(preview))
                }
                h2 { "Your decision" }
                (self.forms())
                details {
                    summary { "What the session did before" }
                    @for event in &self.around.before { (before(event)) }
                    @if self.around.before.is_empty() { p.soft { "Nothing yet." } }
                }
                @if !request.policies.is_empty() {
                    details {
                        summary { "Policies and digest" }
                        ul { @for policy in &request.policies { li { code { (policy) } } } }
                        p.soft { "SHA-256 of the call: " code { (request.digest.as_str()) } }
                    }
                }
            },
        )
    }

    fn call(&self) -> Markup {
        let text = self.input();
        let parsed: Option<Value> = serde_json::from_str(text).ok();
        let command = parsed.as_ref().and_then(|input| input["command"].as_str());
        let rest: Vec<(String, String)> = match (&parsed, command) {
            (Some(Value::Object(fields)), Some(_)) => fields
                .iter()
                .filter(|(name, _)| *name != "command")
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
            _ => Vec::new(),
        };
        let fields: Vec<(String, String)> = match (&parsed, command) {
            (Some(Value::Object(fields)), None) => fields
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
            _ => Vec::new(),
        };
        html! {
            @if let Some(command) = command {
                pre.call { (visible(command)) }
                @for (name, value) in &rest { p.soft { (visible(name)) ": " code { (visible(value)) } } }
            } @else if !fields.is_empty() {
                @for (name, value) in &fields {
                    p.soft { (visible(name)) }
                    pre.call { (visible(value)) }
                }
            } @else {
                pre.call { (visible(text)) }
            }
            @if text.contains("[redacted: ") {
                p.problem { "Words that look like secrets are hidden: " code { "[redacted: …]" } " stands for each." }
            }
            @if has_treacherous(text) {
                p.problem { "It holds characters that cannot be seen or that change how text looks. They are \
                    written out above." }
            }
        }
    }

    fn forms(&self) -> Markup {
        let request = self.request;
        let hidden = html! {
            input type="hidden" name="action" value="decide";
            input type="hidden" name="digest" value=(request.digest.as_str());
            input type="hidden" name="form_token" value=(self.form_token);
        };
        let editable = request.editable && self.is_whole() && !has_treacherous(self.shown);
        html! {
            @if self.is_whole() {
                form method="post" {
                    (hidden)
                    button.yes type="submit" name="decision" value="allow_once" { "Allow once" }
                    button type="submit" name="decision" value="allow_call" { "Allow this exact call for the session" }
                }
                @if let Some(pattern) = &request.pattern {
                    details {
                        summary { "Allow calls like this for the session" }
                        form method="post" {
                            (hidden)
                            p.soft { "Every call that this policy permits runs without asking you again in this session:" }
                            pre { (visible(pattern)) }
                            button type="submit" name="decision" value="allow_pattern" { "Allow calls like this" }
                        }
                    }
                }
                @if editable { (self.editor(&hidden)) }
            }
            form method="post" {
                (hidden)
                label for="reason" { "Reason (the model reads it)" }
                input #reason name="reason" maxlength="500" autocomplete="off";
                button.no type="submit" name="decision" value="deny" { "Deny" }
            }
        }
    }

    fn editor(&self, hidden: &Markup) -> Markup {
        let parsed: Value = serde_json::from_str(self.shown).unwrap_or_default();
        let (name, label, text) = match parsed["command"].as_str() {
            Some(command) => ("command", "Command", command.to_owned()),
            None => (
                "input",
                "Input (JSON)",
                serde_json::to_string_pretty(&parsed).unwrap_or_default(),
            ),
        };
        html! {
            details {
                summary { "Edit and allow" }
                form method="post" {
                    (hidden)
                    label for="edited" { (label) }
                    textarea #edited name=(name) rows="6" spellcheck="false" { "\n" (text) }
                    button type="submit" name="decision" value="allow_edited" { "Allow what stands here, once" }
                }
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn duration(minutes: u64) -> String {
    match minutes {
        0 => "less than a minute".to_owned(),
        1..120 => format!("{minutes} min"),
        _ => format!("{} h", minutes / 60),
    }
}

fn diff(text: &str) -> Markup {
    html! {
        pre {
            @for line in text.lines() {
                @match line.as_bytes().first() {
                    Some(b'+') => span.add { (visible(line)) },
                    Some(b'-') => span.take { (visible(line)) },
                    _ => (visible(line)),
                }
                "\n"
            }
        }
    }
}

/// Characters of one thing that happened before.
const BEFORE: usize = 600;

fn before(event: &Event) -> Markup {
    let (who, text) = match &event.body {
        EventBody::MessageTaken { text } => ("You", text.clone()),
        EventBody::Text { text, .. } => ("Claude", text.clone()),
        EventBody::ToolCall { tool, input, .. } => ("Call", format!("{tool} {input}")),
        EventBody::ToolResult { text, is_error, .. } if *is_error => ("Failed", text.clone()),
        EventBody::ToolResult { text, .. } => ("Result", text.clone()),
        EventBody::ToolDenied { reason, .. } => ("Denied", reason.clone()),
        EventBody::CommandStarted { command, .. } => ("Command", command.clone()),
        EventBody::CommandEnded { stdout, stderr, .. } => ("Printed", format!("{stdout}{stderr}")),
        EventBody::ApprovalDecided { decision, .. } => ("Decided", decided(decision)),
        _ => return html! {},
    };
    let cut: String = text.chars().take(BEFORE).collect();
    let more = cut.len() < text.len();
    html! {
        p.soft { (who) }
        pre { (visible(&cut)) @if more { "…" } }
    }
}

/// A decision in words.
pub(crate) fn decided(decision: &Decision) -> String {
    match decision {
        Decision::AllowOnce => "Allowed once.".to_owned(),
        Decision::AllowCall => "Allowed for the session: exactly this call.".to_owned(),
        Decision::AllowPattern => "Allowed for the session: calls like this.".to_owned(),
        Decision::AllowEdited { .. } => "Allowed once, edited.".to_owned(),
        Decision::Deny { reason } if reason.is_empty() => "Denied.".to_owned(),
        Decision::Deny { reason } => format!("Denied: {reason}"),
        Decision::Expire => "Nobody decided in time, which counts as no.".to_owned(),
    }
}
