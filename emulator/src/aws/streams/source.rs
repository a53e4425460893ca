//! One mapping at work: reads its stream, hands batches over, remembers its place.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    Surroundings,
    batch::{Answer, Batch, next, read_answer},
    record::{Place, Record},
};
use crate::{
    aws::events::{Pattern, time_text},
    invoker::InvocationError,
    template::StreamMapping,
};

/// Records that are read at once.
const PAGE: usize = 100;
/// An invocation takes 6 MB; the rest is for its frame.
const BATCH_BYTES: usize = 5_500_000;
/// So many records that no filter lets through may be read again after a restart.
const PASSED_BY: usize = 200;
/// The longest pause before a repetition.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A mapping and where it is.
pub(super) struct Source {
    mapping: StreamMapping,
    filters: Vec<Pattern>,
    /// The last record that was read.
    read: Option<Place>,
    /// Records that were read since the place was kept, none of which is delivered.
    passed_by: usize,
    /// Records that were read and not handed over yet.
    waiting: VecDeque<Record>,
    retry: Duration,
    around: Surroundings,
    writes: watch::Receiver<()>,
}

impl Source {
    pub(super) fn new(
        mapping: StreamMapping,
        filters: Vec<Pattern>,
        read: Option<Place>,
        retry: Duration,
        around: Surroundings,
    ) -> Self {
        let writes = around.documents.writes();
        Self {
            mapping,
            filters,
            read,
            passed_by: 0,
            waiting: VecDeque::new(),
            retry,
            around,
            writes,
        }
    }

    /// Delivers until dropped.
    pub(super) async fn run(mut self) {
        loop {
            let records = self.gather().await;
            self.deliver(records).await;
        }
    }

    /// The next batch: as soon as it is full or, from its first record on, the window has passed.
    /// While nothing is written, nothing is read.
    async fn gather(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let window = Duration::from_secs(self.mapping.window_seconds);
        let mut until: Option<Instant> = None;
        loop {
            self.writes.mark_unchanged();
            let more = self.read().await;
            while let Some(record) = self.waiting.pop_front() {
                let size = record.event.to_string().len();
                if !records.is_empty() && bytes + size > BATCH_BYTES {
                    self.waiting.push_front(record);
                    return records;
                }
                bytes += size;
                records.push(record);
                if records.len() == self.mapping.batch_size {
                    return records;
                }
            }
            if more {
                continue;
            }
            if records.is_empty() {
                self.settle_passed_by().await;
                self.written().await;
                continue;
            }
            // Looked at first: writes that never pause must not hold the batch back.
            let until = *until.get_or_insert_with(|| Instant::now() + window);
            if Instant::now() >= until
                || tokio::time::timeout_at(until, self.written())
                    .await
                    .is_err()
            {
                return records;
            }
        }
    }

    /// Ends after the next write. The service outlives its mappings; if it did not, there would be
    /// nothing to wait for.
    async fn written(&mut self) {
        if self.writes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads one page, if none is waiting; whether there may be another.
    async fn read(&mut self) -> bool {
        if !self.waiting.is_empty() {
            return true;
        }
        let after = self.read.as_ref().map(|place| place.sequence.as_str());
        let page = loop {
            let table = &self.mapping.table;
            match self.around.documents.records(table, after, PAGE).await {
                Ok(page) => break page,
                Err(error) => {
                    tracing::error!(mapping = self.mapping.name, error, "a stream is not read");
                    tokio::time::sleep(self.retry).await;
                }
            }
        };
        let more = page.len() == PAGE;
        for event in page {
            let Some(record) = Record::read(event, &self.mapping.stream_arn) else {
                tracing::error!(mapping = self.mapping.name, "a record is none of a stream");
                continue;
            };
            self.read = Some(record.place.clone());
            let wanted = self.filters.is_empty()
                || self
                    .filters
                    .iter()
                    .any(|filter| filter.matches(&record.event));
            if wanted {
                self.waiting.push_back(record);
            } else {
                self.passed_by += 1;
            }
        }
        more
    }

    /// Keeps the place behind records of which none is delivered, from time to time.
    async fn settle_passed_by(&mut self) {
        if self.passed_by < PASSED_BY || !self.waiting.is_empty() {
            return;
        }
        if let Some(place) = self.read.clone() {
            self.settle(place).await;
        }
    }

    /// Hands records over until each was taken or given up.
    async fn deliver(&mut self, records: Vec<Record>) {
        let mut batches = VecDeque::from([Batch::new(records)]);
        let mut failed_before = 0_u32;
        let mut invocations = 0_u32;
        while let Some(batch) = batches.pop_front() {
            let answer = self.invoke(&batch).await;
            invocations += 1;
            let places: Vec<Place> = batch.records.iter().map(|it| it.place.clone()).collect();
            let times = batch.records.iter().map(|it| it.written_at);
            let times: Vec<f64> = times.collect();
            let step = next(batch, &answer, &self.mapping, seconds_now());
            if let Some(condition) = step.given_up {
                let lost = (&places[..step.settled], &times[..step.settled]);
                self.give_up(condition, lost, invocations, &answer).await;
            }
            if let Some(last) = step.settled.checked_sub(1) {
                self.settle(places[last].clone()).await;
                invocations = 0;
            }
            for batch in step.again.into_iter().rev() {
                batches.push_front(batch);
            }
            if answer == Answer::Done || step.given_up.is_some() {
                failed_before = 0;
            } else {
                tracing::warn!(
                    mapping = self.mapping.name,
                    ?answer,
                    "records are handed over again"
                );
                let pause = self.retry.saturating_mul(1 << failed_before.min(10));
                tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
                failed_before += 1;
            }
        }
    }

    async fn invoke(&self, batch: &Batch) -> Answer {
        let events: Vec<&Value> = batch.records.iter().map(|record| &record.event).collect();
        let payload = json!({ "Records": events });
        let function = &self.mapping.function;
        let answer = self
            .around
            .invoker
            .invoke_for_answer(function, payload)
            .await;
        if answer == Err(InvocationError::Stopping) {
            // The next start hands them over again.
            std::future::pending::<()>().await;
        }
        read_answer(batch, answer, self.mapping.reports_failures)
    }

    /// The place is kept before anything newer is handed over.
    async fn settle(&mut self, place: Place) {
        let (name, table) = (&self.mapping.name, &self.mapping.table);
        while let Err(error) = self
            .around
            .documents
            .settle(name, table, place.clone())
            .await
        {
            tracing::error!(mapping = name, error, "the place in a stream is not kept");
            tokio::time::sleep(self.retry).await;
        }
        self.passed_by = 0;
    }

    /// Tells the destination which records were given up; they themselves are not in it.
    async fn give_up(
        &self,
        condition: &str,
        (places, times): (&[Place], &[f64]),
        invocations: u32,
        answer: &Answer,
    ) {
        tracing::error!(
            mapping = self.mapping.name,
            condition,
            records = places.len(),
            ?answer,
            "records of a stream are given up"
        );
        let Some(destination) = &self.mapping.on_failure else {
            return;
        };
        let function_error = matches!(answer, Answer::Failed(_)).then_some("Unhandled");
        let ends = |index: usize| &places[index].sequence;
        let (first, last) = (0, places.len() - 1);
        let message = json!({
            "requestContext": {
                "requestId": uuid::Uuid::new_v4().to_string(),
                "functionArn": self.mapping.function_arn,
                "condition": condition,
                "approximateInvokeCount": invocations,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": self.mapping.function_version,
                "functionError": function_error,
            },
            "version": "1.0",
            "timestamp": time_text(super::super::ecs::now(), true),
            "DDBStreamBatchInfo": {
                "shardId": "shardId-00000001",
                "startSequenceNumber": ends(first),
                "endSequenceNumber": ends(last),
                "approximateArrivalOfFirstRecord": arrival(times[first]),
                "approximateArrivalOfLastRecord": arrival(times[last]),
                "batchSize": places.len(),
                "streamArn": self.mapping.stream_arn,
            },
        });
        self.around.messages.add(destination, &message.to_string());
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "milliseconds of this century fit"
)]
fn arrival(seconds: f64) -> String {
    time_text((seconds * 1000.0) as i64, true)
}

fn seconds_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
