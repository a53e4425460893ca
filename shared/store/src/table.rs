//! Reading rows, writing one row, and writing several at once, with the retries that DynamoDB asks
//! its callers to make.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::ReturnValue,
};
use domain::ports::Unavailable;

use crate::{
    failure::{self, Kind},
    item::Row,
    keys::{Key, PARTITION, SORT},
    write::{Action, Write},
};

/// How often a transaction that met another one is tried. Own: with the pauses below a row that
/// ten writers want at once is free for each of them within about two seconds.
const TRANSACTION_ATTEMPTS: u32 = 9;
const FIRST_PAUSE_MILLISECONDS: u64 = 10;
const LONGEST_PAUSE_MILLISECONDS: u64 = 400;

/// One DynamoDB table. The futures of the SDK are boxed wherever they are awaited in this crate:
/// they nest so deep that a program around them would not compile without.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// In which order rows are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// Why a write was not made.
pub(crate) enum NotWritten {
    /// A condition did not hold; which of the transaction's parts failed, by index.
    Refused(Vec<usize>),
    /// Try again.
    Unavailable(Unavailable),
}

/// A random time up to twice the pause that belongs to the attempt, so that writers that met do
/// not meet again.
pub(crate) async fn pause(attempt: u32) {
    let longest = (FIRST_PAUSE_MILLISECONDS << attempt.min(10)).min(LONGEST_PAUSE_MILLISECONDS);
    let random = getrandom::u64().unwrap_or(longest);
    tokio::time::sleep(Duration::from_millis(longest / 2 + random % (longest + 1))).await;
}

impl Table {
    /// The row as it is now.
    pub(crate) async fn get(
        &self,
        attempted: &'static str,
        key: &Key,
    ) -> Result<Option<Row>, Unavailable> {
        let answer = Box::pin(
            self.client
                .get_item()
                .table_name(&self.name)
                .set_key(Some(key.attributes()))
                .consistent_read(true)
                .send(),
        )
        .await
        .map_err(|error| failure::aws(attempted, Kind::Read, error))?;
        Ok(answer.item.map(Row))
    }

    /// Rows of one partition with sort keys from `from` to `to` (both included), in order, as they
    /// are now; at most `limit`, and fewer when they are long. Says whether there may be more.
    pub(crate) async fn range(
        &self,
        attempted: &'static str,
        partition: &str,
        from: &str,
        to: &str,
        limit: usize,
    ) -> Result<(Vec<Row>, bool), Unavailable> {
        let order = Order::Ascending;
        self.ordered(attempted, partition, (from, to), limit, order)
            .await
    }

    /// The same from the last row on.
    pub(crate) async fn range_back(
        &self,
        attempted: &'static str,
        partition: &str,
        from: &str,
        to: &str,
        limit: usize,
    ) -> Result<(Vec<Row>, bool), Unavailable> {
        let order = Order::Descending;
        self.ordered(attempted, partition, (from, to), limit, order)
            .await
    }

    async fn ordered(
        &self,
        attempted: &'static str,
        partition: &str,
        (from, to): (&str, &str),
        limit: usize,
        order: Order,
    ) -> Result<(Vec<Row>, bool), Unavailable> {
        use crate::item::text;
        let answer = Box::pin(
            self.client
                .query()
                .table_name(&self.name)
                .key_condition_expression("#partition = :partition AND #sort BETWEEN :from AND :to")
                .expression_attribute_names("#partition", PARTITION)
                .expression_attribute_names("#sort", SORT)
                .expression_attribute_values(":partition", text(partition))
                .expression_attribute_values(":from", text(from))
                .expression_attribute_values(":to", text(to))
                .consistent_read(true)
                .scan_index_forward(order == Order::Ascending)
                .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX))
                .send(),
        )
        .await
        .map_err(|error| failure::aws(attempted, Kind::Read, error))?;
        let more = answer.last_evaluated_key.is_some();
        let rows = answer.items.unwrap_or_default();
        Ok((rows.into_iter().map(Row).collect(), more))
    }

    /// Writes one row under its condition.
    pub(crate) async fn write(
        &self,
        attempted: &'static str,
        write: Write,
    ) -> Result<(), NotWritten> {
        let (action, it) = write.parts();
        match action {
            Action::Put(row) => {
                let sent = Box::pin(
                    self.client
                        .put_item()
                        .table_name(&self.name)
                        .set_item(Some(row.0))
                        .set_condition_expression(it.condition)
                        .set_expression_attribute_names(it.names)
                        .set_expression_attribute_values(it.values)
                        .send(),
                )
                .await;
                single(attempted, sent.map(drop))
            }
            Action::Update(key) => {
                let sent = Box::pin(
                    self.client
                        .update_item()
                        .table_name(&self.name)
                        .set_key(Some(key.attributes()))
                        .set_update_expression(it.update)
                        .set_condition_expression(it.condition)
                        .set_expression_attribute_names(it.names)
                        .set_expression_attribute_values(it.values)
                        .send(),
                )
                .await;
                single(attempted, sent.map(drop))
            }
            Action::Delete(key) => {
                let sent = Box::pin(
                    self.client
                        .delete_item()
                        .table_name(&self.name)
                        .set_key(Some(key.attributes()))
                        .set_condition_expression(it.condition)
                        .set_expression_attribute_names(it.names)
                        .set_expression_attribute_values(it.values)
                        .send(),
                )
                .await;
                single(attempted, sent.map(drop))
            }
            Action::Check(_) => Err(NotWritten::Unavailable(failure::own(
                attempted,
                "a check is no write of its own",
            ))),
        }
    }

    /// Deletes a row and gives what it was; of several who do so at once, one gets it.
    pub(crate) async fn take(
        &self,
        attempted: &'static str,
        key: &Key,
    ) -> Result<Option<Row>, Unavailable> {
        let answer = Box::pin(
            self.client
                .delete_item()
                .table_name(&self.name)
                .set_key(Some(key.attributes()))
                .return_values(ReturnValue::AllOld)
                .send(),
        )
        .await
        .map_err(|error| failure::aws(attempted, Kind::Write, error))?;
        Ok(answer.attributes.map(Row))
    }

    /// Writes all or nothing. `token` (at most 36 characters) names this very content: sending it
    /// again after it happened changes nothing and succeeds.
    pub(crate) async fn transact(
        &self,
        attempted: &'static str,
        token: &str,
        writes: Vec<Write>,
    ) -> Result<(), NotWritten> {
        let mut parts = Vec::with_capacity(writes.len());
        for write in writes {
            parts.push(
                write
                    .into_part(&self.name)
                    .map_err(|error| NotWritten::Unavailable(failure::own(attempted, error)))?,
            );
        }
        let mut attempt = 0;
        loop {
            let sent = Box::pin(
                self.client
                    .transact_write_items()
                    .set_transact_items(Some(parts.clone()))
                    .client_request_token(token)
                    .send(),
            )
            .await;
            let Err(error) = sent else { return Ok(()) };
            let (refused, met_another) = verdict(&error);
            if !refused.is_empty() {
                return Err(NotWritten::Refused(refused));
            }
            attempt += 1;
            if !met_another || attempt == TRANSACTION_ATTEMPTS {
                return Err(NotWritten::Unavailable(failure::aws(
                    attempted,
                    Kind::Write,
                    error,
                )));
            }
            pause(attempt).await;
        }
    }
}

fn single<E>(
    attempted: &'static str,
    sent: Result<(), SdkError<E, aws_sdk_dynamodb::config::http::HttpResponse>>,
) -> Result<(), NotWritten>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    sent.map_err(|error| {
        if error.code() == Some("ConditionalCheckFailedException") {
            NotWritten::Refused(vec![0])
        } else {
            NotWritten::Unavailable(failure::aws(attempted, Kind::Write, error))
        }
    })
}

/// Which parts' conditions failed, and whether it is worth another attempt because the transaction
/// met another one or the table was busy.
///
/// A token that was used for other content means that an earlier attempt of the same write got
/// through: that is a refusal of all, and the caller looks at what is stored.
fn verdict(
    error: &SdkError<TransactWriteItemsError, aws_sdk_dynamodb::config::http::HttpResponse>,
) -> (Vec<usize>, bool) {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            let codes: Vec<&str> = cancelled
                .cancellation_reasons()
                .iter()
                .map(|reason| reason.code().unwrap_or("None"))
                .collect();
            let refused = codes
                .iter()
                .enumerate()
                .filter(|(_, code)| **code == "ConditionalCheckFailed")
                .map(|(index, _)| index)
                .collect();
            let busy = |code: &&str| {
                matches!(
                    *code,
                    "None"
                        | "TransactionConflict"
                        | "ThrottlingError"
                        | "ProvisionedThroughputExceeded"
                )
            };
            (refused, codes.iter().all(busy))
        }
        Some(TransactWriteItemsError::IdempotentParameterMismatchException(_)) => (vec![0], false),
        Some(TransactWriteItemsError::TransactionInProgressException(_)) => (Vec::new(), true),
        _ => (Vec::new(), false),
    }
}
