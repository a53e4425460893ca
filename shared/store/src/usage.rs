//! Tokens that a session's model requests used, as the model gateway counted them.

use domain::{SessionKey, UnixMillis, event::TokenUsage, ids::base32, ports::Unavailable};
use sha2::{Digest, Sha256};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, expiry, number, text},
    keys::{EXPIRES_AT, PARTITION, Record},
    table::NotWritten,
    write::Write,
};

const REQUESTS: &str = "requests";
const MODEL: &str = "model";
const RECORDED_AT: &str = "recorded_at";
const INPUT: &str = "input_tokens";
const OUTPUT: &str = "output_tokens";
const CACHE_CREATION: &str = "cache_creation_input_tokens";
const CACHE_READ: &str = "cache_read_input_tokens";

/// What a session has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotal {
    /// Model requests.
    pub requests: u64,
    /// Their tokens.
    pub tokens: TokenUsage,
}

fn counts(tokens: TokenUsage) -> [(&'static str, u64); 4] {
    [
        (INPUT, tokens.input_tokens),
        (OUTPUT, tokens.output_tokens),
        (CACHE_CREATION, tokens.cache_creation_input_tokens),
        (CACHE_READ, tokens.cache_read_input_tokens),
    ]
}

impl Store {
    /// Adds the tokens of one model request to its session's. `request_id` is the upstream's;
    /// recording the same one again changes nothing.
    ///
    /// # Errors
    /// [`Unavailable`]: record it again.
    pub async fn record_usage(
        &self,
        key: &SessionKey,
        request_id: &str,
        model: &str,
        tokens: TokenUsage,
        now: UnixMillis,
    ) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "record the usage";
        // The id comes from outside: its hash has a length and an alphabet.
        let id = base32(&Sha256::digest(request_id));
        let expires_at = expiry(self.row_expiry(now));
        let mut row = Row::at(&Record::UsageOfRequest(key, &id).key())
            .with(MODEL, text(model))
            .with(RECORDED_AT, number(now.0))
            .with(EXPIRES_AT, expires_at.clone());
        let mut total = Write::update(Record::Usage(key).key())
            .add(REQUESTS, number(1))
            .set(EXPIRES_AT, expires_at);
        for (name, count) in counts(tokens) {
            row = row.with(name, number(count));
            total = total.add(name, number(count));
        }
        let writes = vec![Write::put(row).when_absent(PARTITION), total];
        let token = base32(&Sha256::digest(format!("{key:?} {id} {tokens:?} {now:?}")));
        match self.table.transact(ATTEMPTED, &token[..36], writes).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    /// What the session has used so far; nothing yet is zero.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn usage(&self, key: &SessionKey) -> Result<UsageTotal, Unavailable> {
        const ATTEMPTED: &str = "read the usage";
        let Some(row) = self.table.get(ATTEMPTED, &Record::Usage(key).key()).await? else {
            return Ok(UsageTotal::default());
        };
        let count = |name| Ok::<_, UnreadableRow>(row.number_if(name)?.unwrap_or(0));
        let read = || {
            Ok(UsageTotal {
                requests: count(REQUESTS)?,
                tokens: TokenUsage {
                    input_tokens: count(INPUT)?,
                    output_tokens: count(OUTPUT)?,
                    cache_creation_input_tokens: count(CACHE_CREATION)?,
                    cache_read_input_tokens: count(CACHE_READ)?,
                },
            })
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }
}
