//! Log lines on standard error: one JSON object (or one text line) each, with the fields `function`
//! and `instance`.
//!
//! Fields of the spans around a line stand in it too, so that `request_id` need not be repeated.
//! Log errors as `error = &error as &dyn std::error::Error`: their causes are added only when
//! `SHANNON_DEBUG` is on, since causes may carry what answers and quiet logs must not.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::{Settings, SettingsError};

/// Crates that say too much at the level of our own lines.
const QUIET: [&str; 6] = [
    "rmcp",
    "hyper",
    "hyper_util",
    "lambda_runtime",
    "aws",
    "rustls",
];

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

#[derive(Clone, Debug)]
struct Lines {
    function: String,
    stage: String,
    instance: String,
    format: Format,
    causes: bool,
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

/// Starts logging for this process. A second call changes nothing.
///
/// # Errors
/// [`SettingsError`] when a setting it needs is wrong.
pub fn start(function: &str, settings: &Settings) -> Result<(), SettingsError> {
    let debug = settings.boolean("SHANNON_DEBUG")?;
    let lines = Lines {
        function: function.to_owned(),
        stage: settings.text("SHANNON_STAGE")?.to_owned(),
        instance: instance(),
        format: if settings.text("SHANNON_LOG_FORMAT")? == "text" {
            Format::Text
        } else {
            Format::Json
        },
        causes: debug,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(settings.text("SHANNON_LOG_LEVEL")?, debug))
        .with_writer(std::io::stderr)
        .fmt_fields(JsonFields::new())
        .event_format(lines)
        .finish();
    // Only a test that starts two programs in one process comes here twice.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn filter(level: &str, debug: bool) -> EnvFilter {
    let mut directives = Vec::new();
    // `aws` and the like stand before what the setting says about them, so that the setting wins.
    directives.extend(QUIET.iter().map(|target| format!("{target}=warn")));
    directives.push(
        if debug && level == "info" {
            "debug"
        } else {
            level
        }
        .to_owned(),
    );
    EnvFilter::new(directives.join(","))
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            if let Some(formatted) = extensions.get::<FormattedFields<N>>()
                && let Ok(Value::Object(of_span)) = serde_json::from_str(&formatted.fields)
            {
                fields.extend(of_span);
            }
        }
        event.record(&mut Fields {
            map: &mut fields,
            causes: self.causes,
        });
        let message = match fields.remove("message") {
            Some(Value::String(message)) => message,
            other => other.map(|value| value.to_string()).unwrap_or_default(),
        };
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        let level = event.metadata().level();
        match self.format {
            Format::Json => {
                let mut line = Map::new();
                line.insert("time_unix_ms".to_owned(), time.into());
                line.insert(
                    "level".to_owned(),
                    level.as_str().to_ascii_lowercase().into(),
                );
                line.insert("function".to_owned(), self.function.clone().into());
                line.insert("stage".to_owned(), self.stage.clone().into());
                line.insert("instance".to_owned(), self.instance.clone().into());
                line.insert("message".to_owned(), message.into());
                line.insert("target".to_owned(), event.metadata().target().into());
                for (name, value) in fields {
                    line.entry(name).or_insert(value);
                }
                writeln!(writer, "{}", Value::Object(line))
            }
            Format::Text => {
                write!(writer, "{level:>5} {}: {message}", self.function)?;
                for (name, value) in fields {
                    write!(writer, " {name}={value}")?;
                }
                writeln!(writer)
            }
        }
    }
}

struct Fields<'a> {
    map: &'a mut Map<String, Value>,
    causes: bool,
}

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.map.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.insert(field, describe(value, self.causes));
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
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);
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
        let lines = Lines {
            function: "call".to_owned(),
            stage: "test".to_owned(),
            instance: "i-1".to_owned(),
            format,
            causes,
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter("info", false))
            .with_writer(captured.clone())
            .fmt_fields(JsonFields::new())
            .event_format(lines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "request",
                request_id = "r-1",
                mcp_name = tracing::field::Empty
            );
            span.record("mcp_name", "get_session");
            let _entered = span.enter();
            let error = Outer(std::io::Error::other("the secret cause"));
            tracing::info!(duration_ms = 3_u64, error = &error as &dyn Error, "request");
            tracing::info!(target: "rmcp::service", "chatter");
            tracing::debug!("quiet");
        });
        let bytes = captured.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("lines are UTF-8")
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
            ("mcp_name", "get_session".into()),
            ("duration_ms", 3.into()),
            ("error", "could not read".into()),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
    }

    #[test]
    fn causes_are_shown_only_for_debugging() {
        assert!(!logged(Format::Json, false).contains("the secret cause"));
        assert!(logged(Format::Json, true).contains("could not read: the secret cause"));
        assert!(logged(Format::Text, false).starts_with(" INFO call: request "));
    }
}
