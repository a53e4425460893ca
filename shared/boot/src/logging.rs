//! Log lines on standard error: one JSON object (or one text line) each, with the fields `function`
//! and `instance`.
//!
//! Fields of the spans around a line stand in it too, so that `request_id` need not be repeated.
//! Log errors as `error = &error as &dyn std::error::Error`: their causes are added only when
//! `SHANNON_DEBUG` is on, since causes may carry what answers and quiet logs must not.
//!
//! Alarms are made of lines with a field `shannon_…`: they are written whatever `SHANNON_LOG_LEVEL` is.
//!
//! No line has a secret that [`redact`] finds: messages and fields leave without, and what
//! [`hide`] was told is not to be seen in any form.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use redact::Redactor;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::{Settings, SettingsError};
use written::filter;

mod written;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

/// Writes the lines. Every request writes one, so this does it in one go: the fields of a span are
/// kept as they are, and a line is put together once and written at once.
struct Lines<W> {
    /// In every line: `"function":…,"stage":…,"instance":…` as JSON, or the function as text.
    everywhere: String,
    format: Format,
    causes: bool,
    writer: W,
}

/// This process among the others of its function: the log stream that Lambda gives it, or else the
/// machine (of Cloud Run, its revision too) and the process id.
fn instance() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("AWS_LAMBDA_LOG_STREAM_NAME").unwrap_or_else(|| {
        let parts = [variable("K_REVISION"), variable("HOSTNAME")];
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.push(std::process::id().to_string());
        parts.join("-")
    })
}

/// What is hidden: the secrets of this process, and what finds them.
static HIDDEN: RwLock<Option<(Vec<String>, Redactor)>> = RwLock::new(None);

/// Keeps these secrets out of every line from here on, beside what looks like a secret by itself.
pub fn hide(secrets: impl IntoIterator<Item = String>) {
    let mut hidden = HIDDEN.write().unwrap_or_else(PoisonError::into_inner);
    let (all, _) = hidden.get_or_insert_default();
    all.extend(secrets);
    all.sort_unstable();
    all.dedup();
    let redactor = Redactor::new(all.iter().cloned());
    if let Some((_, known)) = hidden.as_mut() {
        *known = redactor;
    }
}

/// Text without secrets, under the name of a field.
pub(crate) fn without_secrets(name: &str, text: &str) -> String {
    let hidden = HIDDEN.read().unwrap_or_else(PoisonError::into_inner);
    match &*hidden {
        Some((_, redactor)) => redactor.clean_value(name, text),
        None => Redactor::default().clean_value(name, text),
    }
}

/// Starts logging for this process. A second call changes nothing.
///
/// # Errors
/// [`SettingsError`] when a setting it needs is wrong.
pub fn start(function: &str, settings: &Settings) -> Result<(), SettingsError> {
    let debug = settings.boolean("SHANNON_DEBUG")?;
    let format = if settings.text("SHANNON_LOG_FORMAT")? == "text" {
        Format::Text
    } else {
        Format::Json
    };
    let stage = settings.text("SHANNON_STAGE")?;
    let names = [function, stage, &instance()];
    let lines = Lines::new(names, format, debug, std::io::stderr);
    let filter = filter(settings.text("SHANNON_LOG_LEVEL")?, debug);
    let subscriber = tracing_subscriber::registry().with(lines).with(filter);
    // Only a test that starts two programs in one process comes here twice.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// The JSON lines of a function into a writer, for a test that reads what a program logs.
pub fn json_into<W>(function: &str, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = Lines::new([function, "test", "test"], Format::Json, true, writer);
    tracing_subscriber::registry().with(lines)
}

/// The name of a level in a line.
fn name_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Appends a value as JSON, on one line.
fn json<T: Serialize + ?Sized>(line: &mut Vec<u8>, value: &T) {
    // Into memory, and with keys that are text: it cannot fail.
    let _ = serde_json::to_writer(line, value);
}

/// Appends a member of a JSON object that has one already.
fn member<T: Serialize + ?Sized>(line: &mut Vec<u8>, name: &str, value: &T) {
    line.push(b',');
    json(line, name);
    line.push(b':');
    json(line, value);
}

impl<W> Lines<W> {
    fn new(
        [function, stage, instance]: [&str; 3],
        format: Format,
        causes: bool,
        writer: W,
    ) -> Self {
        let everywhere = match format {
            Format::Text => function.to_owned(),
            Format::Json => {
                let mut members = Vec::new();
                for (name, value) in [
                    ("function", function),
                    ("stage", stage),
                    ("instance", instance),
                ] {
                    member(&mut members, name, value);
                }
                String::from_utf8_lossy(&members).into_owned()
            }
        };
        Self {
            everywhere,
            format,
            causes,
            writer,
        }
    }

    fn line(&self, level: Level, target: &str, fields: &Fields) -> Vec<u8> {
        let mut line = Vec::with_capacity(768);
        let message = &fields.message;
        match self.format {
            Format::Json => {
                let time = SystemTime::now().duration_since(UNIX_EPOCH);
                let time = time.map_or(0, |since| since.as_millis());
                // Writing into memory cannot fail.
                let _ = write!(line, "{{\"time_unix_ms\":{time}");
                member(&mut line, "level", name_of(level));
                line.extend_from_slice(self.everywhere.as_bytes());
                member(&mut line, "message", message);
                member(&mut line, "target", target);
                for (name, value) in fields.each() {
                    line.push(b',');
                    json(&mut line, name);
                    line.push(b':');
                    line.extend_from_slice(value);
                }
                line.push(b'}');
            }
            Format::Text => {
                let function = &self.everywhere;
                let _ = write!(line, "{:>5} {function}: {message}", level.as_str());
                for (name, value) in fields.each() {
                    let _ = write!(line, " {name}=");
                    line.extend_from_slice(value);
                }
            }
        }
        line.push(b'\n');
        line
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new(self.causes);
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new(self.causes);
        let spans = context.event_scope(event).into_iter();
        for span in spans.flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                for (name, value) in of_span.each() {
                    fields.set(name, |all| all.extend_from_slice(value));
                }
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = self.line(*metadata.level(), metadata.target(), &fields);
        // Where else could it be said?
        let _ = self.writer.make_writer_for(metadata).write_all(&line);
    }
}

/// What every line has of its own: no field has such a name.
const OWN: [&str; 6] = [
    "time_unix_ms",
    "level",
    "function",
    "stage",
    "instance",
    "target",
];

/// Fields of a span or of an event, in the order in which they were recorded first.
struct Fields {
    message: String,
    /// Where in `values` each is.
    named: Vec<(&'static str, Range<usize>)>,
    /// As JSON, one after the other.
    values: Vec<u8>,
    causes: bool,
}

impl Fields {
    fn new(causes: bool) -> Self {
        Self {
            message: String::new(),
            named: Vec::with_capacity(12),
            values: Vec::with_capacity(256),
            causes,
        }
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let named = self.named.iter();
        named.map(|(name, place)| (*name, &self.values[place.clone()]))
    }

    /// The last value of a field is the one that it has.
    fn set(&mut self, name: &'static str, append: impl FnOnce(&mut Vec<u8>)) {
        let start = self.values.len();
        append(&mut self.values);
        let place = start..self.values.len();
        if let Some((_, known)) = self.named.iter_mut().find(|(known, _)| *known == name) {
            *known = place;
        } else if !OWN.contains(&name) {
            self.named.push((name, place));
        }
    }

    fn insert<T: Serialize + ?Sized>(&mut self, field: &Field, value: &T) {
        self.set(field.name(), |all| json(all, value));
    }

    fn insert_text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => self.message = without_secrets("", text),
            name => self.insert(field, without_secrets(name, text).as_str()),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert_text(field, &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert_text(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, &value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, &value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, &value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, &value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.insert_text(field, &describe(value, self.causes));
    }
}

/// An error in words: itself, and with `causes` also what lies behind it.
#[must_use]
pub fn describe(error: &(dyn Error + 'static), causes: bool) -> String {
    let mut text = error.to_string();
    let mut next = error.source().filter(|_| causes);
    while let Some(cause) = next {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);
    impl Captured {
        pub(crate) fn text(&self) -> String {
            let bytes = self.0.lock().expect("not poisoned").clone();
            String::from_utf8(bytes).expect("lines are UTF-8")
        }
    }
    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .lock()
                .expect("not poisoned")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl<'a> MakeWriter<'a> for Captured {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("could not read")]
    struct Outer(#[source] std::io::Error);

    fn logged(format: Format, causes: bool) -> String {
        let captured = Captured::default();
        let names = ["call", "test", "i-1"];
        let lines = Lines::new(names, format, causes, captured.clone());
        let subscriber = tracing_subscriber::registry()
            .with(lines)
            .with(filter("info,rmcp::loud=debug", false));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "request",
                request_id = "r-1",
                mcp_name = tracing::field::Empty
            );
            span.record("mcp_name", "get_session");
            span.record("mcp_name", "wait_session");
            let _entered = span.enter();
            let error = Outer(std::io::Error::other("the secret cause"));
            tracing::info!(
                duration_ms = 3_u64,
                level = "mine",
                error = &error as &dyn Error,
                "request"
            );
            tracing::info!(target: "rmcp::service", "chatter");
            tracing::trace!(target: "rmcp::loud", "chatter");
            tracing::debug!("quiet");
        });
        captured.text()
    }

    #[test]
    fn a_line_is_one_object_with_the_fields_of_its_spans() {
        let text = logged(Format::Json, false);
        let line: Value = serde_json::from_str(&text).expect("exactly one JSON line");
        for (name, value) in [
            ("level", Value::from("info")),
            ("function", "call".into()),
            ("stage", "test".into()),
            ("message", "request".into()),
            ("request_id", "r-1".into()),
            ("instance", "i-1".into()),
            ("mcp_name", "wait_session".into()),
            ("duration_ms", 3.into()),
            ("error", "could not read".into()),
        ] {
            assert_eq!(line[name], value, "{name}");
            let member = format!("\"{name}\":");
            assert_eq!(text.matches(&member).count(), 1, "{text}");
        }
    }

    #[test]
    fn no_secret_is_in_a_line() {
        let known = "known-to-this-process-0123";
        hide([known.to_owned()]);
        let github = format!("gh{}", "p_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R");
        let captured = Captured::default();
        for format in [Format::Json, Format::Text] {
            let lines = Lines::new(["call", "test", "i-1"], format, true, captured.clone());
            let subscriber = tracing_subscriber::registry().with(lines);
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("request", url = "redis://u:hunter22@h/", kept = 1);
                let _entered = span.enter();
                let error = Outer(std::io::Error::other(github.clone()));
                tracing::info!(
                    error = &error as &dyn Error,
                    password = "swordfish",
                    debugged = ?[github.as_str()],
                    shown = %known,
                    "got {github} and {known}"
                );
            });
        }
        let text = captured.text();
        assert!(
            text.contains("could not read: [redacted: github token]"),
            "{text}"
        );
        for secret in [known, &github, "swordfish", "hunter22"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert_eq!(text.matches("kept").count(), 2);
    }

    /// What a client sent stands within its field, on the one line.
    #[test]
    fn hostile_text_stays_in_its_field() {
        let hostile = "a\",\"level\":\"error\"}\n{\u{0}";
        let mut fields = Fields::new(false);
        fields.set("path", |all| json(all, hostile));
        fields.message = hostile.to_owned();
        for format in [Format::Json, Format::Text] {
            let lines = Lines::new(["call", "test", "i-1"], format, false, std::io::sink);
            let line = String::from_utf8(lines.line(Level::INFO, "t", &fields)).expect("UTF-8");
            if format == Format::Json {
                assert_eq!(line.matches('\n').count(), 1, "{line}");
                let line: Value = serde_json::from_str(&line).expect("one JSON line");
                assert_eq!(
                    (&line["path"], &line["message"]),
                    (&hostile.into(), &hostile.into())
                );
                assert_eq!(line["level"], "info");
            } else {
                assert!(line.contains("path=\"a\\\",\\\"level"), "{line}");
            }
        }
    }

    #[test]
    fn causes_are_shown_only_for_debugging() {
        assert!(!logged(Format::Json, false).contains("the secret cause"));
        assert!(logged(Format::Json, true).contains("could not read: the secret cause"));
        assert!(logged(Format::Text, false).starts_with(" INFO call: request "));
    }
}
