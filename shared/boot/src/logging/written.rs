//! Which lines are written: what the level of the setting lets through, and every one that a metric is
//! made of. A deployment that logs less is watched as before.

use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;

/// Crates that say too much at the level of our own lines.
const QUIET: [&str; 6] = [
    "rmcp",
    "hyper",
    "hyper_util",
    "lambda_runtime",
    "aws",
    "rustls",
];

/// How the fields begin that metrics are made of. A line with one is at least of the level `info`.
const METRIC: &str = "shannon_";

/// Lets lines through.
pub(super) struct Written(Targets);

/// What the setting says about a target goes before what is said here.
pub(super) fn filter(setting: &str, debug: bool) -> Written {
    let mut targets = Targets::new().with_targets(QUIET.map(|target| (target, LevelFilter::WARN)));
    // The setting was checked when it was read.
    for part in setting.split(',') {
        match part.split_once('=') {
            Some((target, level)) => {
                targets = targets.with_target(target, level.parse().unwrap_or(LevelFilter::INFO));
            }
            None if debug && part == "info" => targets = targets.with_default(LevelFilter::DEBUG),
            None => targets = targets.with_default(part.parse().unwrap_or(LevelFilter::INFO)),
        }
    }
    Written(targets)
}

fn is_measured(metadata: &Metadata<'_>) -> bool {
    let mut fields = metadata.fields().iter();
    metadata.is_event()
        && *metadata.level() <= Level::INFO
        && fields.any(|field| field.name().starts_with(METRIC))
}

impl<S: Subscriber> Layer<S> for Written {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_measured(metadata) {
            Interest::always()
        } else {
            Layer::<S>::register_callsite(&self.0, metadata)
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        is_measured(metadata) || Layer::<S>::enabled(&self.0, metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let asked = Layer::<S>::max_level_hint(&self.0)?;
        Some(asked.max(LevelFilter::INFO))
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_setting_goes_before_what_is_quiet_by_itself() {
        let would = |setting: &str, debug, target: &str, level| {
            filter(setting, debug).0.would_enable(target, &level)
        };
        assert!(would("info", false, "protocol", Level::INFO));
        assert!(!would("info", false, "protocol", Level::DEBUG));
        assert!(would("info", true, "protocol", Level::DEBUG));
        assert!(!would("debug", false, "rmcp::service", Level::INFO));
        assert!(would(
            "debug,rmcp=info",
            false,
            "rmcp::service",
            Level::INFO
        ));
        assert!(would(
            "warn,protocol=trace",
            false,
            "protocol::edge",
            Level::TRACE
        ));
        assert!(!would("warn,protocol=trace", false, "store", Level::INFO));
    }

    /// The messages of the lines that a level lets through.
    fn written(setting: &str) -> String {
        let lines = crate::logging::tests::Captured::default();
        let subscriber = crate::logging::json_into("call", lines.clone());
        let subscriber = subscriber.with(filter(setting, false));
        tracing::subscriber::with_default(subscriber, || {
            // Another test may have come by here without anybody who listens.
            tracing::callsite::rebuild_interest_cache();
            let span = tracing::info_span!("request", shannon_request = 1);
            let _entered = span.enter();
            tracing::info!(shannon_seconds = 0.25, "measured");
            tracing::info!(target: "rmcp::service", shannon_seconds = 0.25, "elsewhere");
            tracing::warn!(shannon_lost_total = 1, "lost");
            tracing::debug!(shannon_seconds = 0.25, "for debugging");
            tracing::info!(seconds = 0.25, "told");
            tracing::error!("broken");
        });
        let text = lines.text();
        let messages = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("one JSON line");
            line["message"].as_str().expect("a message").to_owned()
        });
        messages.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_a_metric_is_made_of_is_written_at_every_level() {
        let measured = "measured, elsewhere, lost";
        assert_eq!(written("error"), format!("{measured}, broken"));
        assert_eq!(written("warn,boot=off"), measured);
        assert_eq!(written("info"), format!("{measured}, told, broken"));
        let all = "measured, elsewhere, lost, for debugging, told, broken";
        assert_eq!(written("debug"), all);
    }
}
