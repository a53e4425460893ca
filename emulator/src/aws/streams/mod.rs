//! DynamoDB Streams to functions: the event source mappings of the template. Records of one item come
//! in the order of their writes, at least once; what a function fails on is tried again, cut in two and
//! at last given up, as the mapping says.
//!
//! ```text
//! write -> stream (in the table's database) -> filters -> batch -> function -> place kept
//!                                                          ^  |
//!                                         retries, halves  +--+-> on-failure destination
//! ```
//! Facts: Lambda Developer Guide, "Process Amazon DynamoDB records with Lambda" and its pages on
//! partial batch responses, discarded records and event filtering.

mod batch;
mod record;
mod source;

use std::{sync::Arc, time::Duration};

pub(super) use self::record::Place;
use self::source::Source;
use super::{
    dynamodb::DocumentService,
    events::{Pattern, PatternError},
    messages::Messages,
};
use crate::{invoker::Invoker, template::StreamMapping};

/// The pause before the first repetition; it doubles with each.
const RETRY: Duration = Duration::from_secs(1);
/// The same, where tests wait for it.
const RETRY_IN_TESTS: Duration = Duration::from_millis(50);

/// What mappings need from outside.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) documents: DocumentService,
    pub(super) messages: Messages,
    pub(super) invoker: Arc<dyn Invoker>,
    pub(super) test_hooks: bool,
}

/// Why the mappings cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A filter holds what the emulator does not understand.
    #[error("filter of {mapping}")]
    Filter {
        /// Name of the mapping.
        mapping: String,
        /// What is wrong.
        #[source]
        source: PatternError,
    },
    /// The places that were kept cannot be read.
    #[error("places of the streams: {0}")]
    Places(String),
}

/// One future per mapping that delivers until dropped; what was not answered then is delivered again
/// at the next start.
///
/// # Errors
/// See [`StreamError`].
pub(super) async fn sources(
    mappings: &[StreamMapping],
    surroundings: &Surroundings,
) -> Result<Vec<impl Future<Output = ()> + Send + 'static>, StreamError> {
    let filters = mappings
        .iter()
        .map(|mapping| {
            let parsed = mapping.filters.iter().map(Pattern::parse);
            parsed
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| StreamError::Filter {
                    mapping: mapping.name.clone(),
                    source,
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let names = mappings
        .iter()
        .map(|mapping| (mapping.name.clone(), mapping.table.clone()))
        .collect();
    let begun = surroundings.documents.begin(names).await;
    let places = begun.map_err(StreamError::Places)?;
    let retry = if surroundings.test_hooks {
        RETRY_IN_TESTS
    } else {
        RETRY
    };
    Ok(mappings
        .iter()
        .zip(filters)
        .zip(places)
        .map(|((mapping, filters), place)| {
            Source::new(mapping.clone(), filters, place, retry, surroundings.clone()).run()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use serde_json::{Value, json};

    use super::Pattern;
    use crate::template;

    fn filters() -> Vec<Pattern> {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let given = [
            ("AccessTokenSha256", "0".repeat(64)),
            ("SigningKey", "k".repeat(32)),
            ("AnthropicApiKey", "a".repeat(32)),
            ("RunnerImage", "none".to_owned()),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value));
        let stack = template::load(
            &checkout.join("template.yaml"),
            &BTreeMap::from(given),
            "shannon",
        );
        let mappings = stack.unwrap().stream_mappings;
        let filters = mappings[0].filters.iter().map(Pattern::parse);
        filters.collect::<Result<_, _>>().unwrap()
    }

    fn sample(name: &str) -> Value {
        let path = format!("../events/{name}.json");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let event: Value = serde_json::from_str(&text.unwrap()).unwrap();
        event["Records"][0].clone()
    }

    /// What the function is to hear comes through the template's filters, the rest of the traffic on
    /// heads does not.
    #[test]
    fn filters_let_the_samples_through_and_little_else() {
        let filters = filters();
        let passes = |record: &Value| filters.iter().any(|filter| filter.matches(record));
        for name in [
            "projector",
            "projector-approval",
            "projector-budget",
            "projector-failed",
            "projector-question",
            "projector-turn",
        ] {
            assert!(passes(&sample(name)), "{name}");
        }
        let changed = |name: &str, path: &[&str], value: Value| {
            let mut record = sample(name);
            let mut place = &mut record;
            for part in path {
                place = &mut place[*part];
            }
            *place = value;
            record
        };
        let (old, new) = (
            ["dynamodb", "OldImage", "state"],
            ["dynamodb", "NewImage", "state"],
        );
        for quiet in [
            changed("projector", &["eventName"], json!("INSERT")),
            changed(
                "projector",
                &["dynamodb", "Keys", "sk"],
                json!({"S": "usage"}),
            ),
            changed("projector", &new, json!({"S": "running"})),
            changed("projector", &old, json!({"S": "failed"})),
            changed("projector-turn", &old, json!({"S": "idle"})),
            changed(
                "projector-question",
                &["dynamodb", "NewImage", "question"],
                Value::Null,
            ),
        ] {
            assert!(!passes(&quiet), "{quiet}");
        }
    }
}
