//! Sessions as records: looking them up, listing them, changing them from outside.

use domain::{
    FencingToken, Head, OwnerId, SessionId, SessionKey, State, UnixMillis, limits,
    ports::{
        ControlChange, ControlError, CreateError, Creation, ForkError, ListPosition, ListQuery,
        NewFork, NewSession, SessionDirectory, SessionPage, Unavailable,
    },
};

use crate::{
    Store,
    failure::{self, Kind},
    head,
    item::{Row, UnreadableRow, number, text},
    keys::{
        self, BY_OWNER, LIVE, LIVE_KEY, LIVE_SHARDS, LIVE_UNTIL, OWNER_KEY, OWNER_SORT, PARTITION,
        Record, SORT,
    },
    system,
    table::NotWritten,
    write::Write,
};

/// The last time that a sort key of 15 digits can hold.
const NEVER: u64 = 999_999_999_999_999;
/// Rows read at once for a list.
const LIST_READ: i32 = 100;
/// Reads for one page; a page is short rather than slow when hardly anything matches.
const LIST_READS: usize = 10;

impl SessionDirectory for Store {
    async fn create(&self, new: NewSession) -> Result<Creation, CreateError> {
        self.create_session(new).await
    }

    async fn head(&self, key: &SessionKey) -> Result<Option<Head>, Unavailable> {
        Ok(self.head_row(key).await?.map(|(head, _)| head))
    }

    async fn list(&self, owner: &OwnerId, query: &ListQuery) -> Result<SessionPage, Unavailable> {
        const ATTEMPTED: &str = "list the sessions";
        let first_session = format!(
            "{:015}#",
            query.created_from.unwrap_or(UnixMillis(0)).0.min(NEVER)
        );
        let mut before = match (&query.after, query.created_before) {
            (Some(position), Some(limit)) if position.created_at < limit => place(position),
            (Some(position), None) => place(position),
            (_, Some(limit)) => format!("{:015}#", limit.0.min(NEVER)),
            (None, None) => format!("{NEVER:015}#"),
        };
        let now = system::now();
        let mut heads = Vec::new();
        for _ in 0..LIST_READS {
            if before <= first_session {
                return Ok(SessionPage { heads, next: None });
            }
            let answer = Box::pin(
                self.table
                    .client
                    .query()
                    .table_name(&self.table.name)
                    .index_name(BY_OWNER)
                    .key_condition_expression("#owner = :owner AND #sort BETWEEN :from AND :before")
                    .expression_attribute_names("#owner", OWNER_KEY)
                    .expression_attribute_names("#sort", OWNER_SORT)
                    .expression_attribute_values(":owner", text(owner.as_str()))
                    .expression_attribute_values(":from", text(first_session.as_str()))
                    .expression_attribute_values(":before", text(before.as_str()))
                    .scan_index_forward(false)
                    .limit(LIST_READ)
                    .send(),
            )
            .await
            .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
            for row in answer.items.unwrap_or_default().into_iter().map(Row) {
                let unreadable = |error| failure::own(ATTEMPTED, error);
                let sort = row.text(OWNER_SORT).map_err(unreadable)?.to_owned();
                // BETWEEN includes its upper end, which the page before has shown.
                if sort >= before {
                    continue;
                }
                // A runner may write any attribute of its own session's rows, and so could put them into
                // the list of somebody else: whose a session is follows from its partition.
                let partition = row.text(PARTITION).map_err(unreadable)?;
                if !partition.starts_with(&format!("{owner}#")) {
                    before = sort;
                    continue;
                }
                let head = head::read(&row).map_err(unreadable)?;
                let matching = !head.is_over(now);
                if matching && matches(&head, query) {
                    if heads.len() == query.limit {
                        let next = heads.last().map(position);
                        return Ok(SessionPage { heads, next });
                    }
                    heads.push(head);
                }
                before = sort;
            }
            if answer.last_evaluated_key.is_none() {
                return Ok(SessionPage { heads, next: None });
            }
        }
        Ok(SessionPage {
            heads,
            next: read_place(&before),
        })
    }

    async fn fork(&self, new: NewFork) -> Result<Creation, ForkError> {
        self.record_fork(&new).await
    }

    async fn control(&self, change: ControlChange) -> Result<Head, ControlError> {
        self.change(&change).await
    }

    async fn note_task(
        &self,
        key: &SessionKey,
        fence: FencingToken,
        task: &str,
    ) -> Result<(), Unavailable> {
        // As `Head::look_at` has it for a session with a task.
        let update = Write::update(Record::Head(key).key())
            .set(head::TASK, text(task))
            .set_sum(
                LIVE_UNTIL,
                head::RUNNER_ASKED_AT,
                number(limits::PROVISIONING_MILLISECONDS),
            )
            .when(head::FENCE, "=", number(fence))
            .when_one_of(
                head::STATE,
                [State::Requested, State::Resuming].map(|state| text(state.as_str())),
            );
        match self.table.write("note the session's task", update).await {
            // Refused: a runner has it already, which is better than a note.
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    async fn postpone(&self, key: &SessionKey, now: UnixMillis) -> Result<(), Unavailable> {
        let look_at = now.plus(limits::START_MILLISECONDS);
        let update = Write::update(Record::Head(key).key())
            .set(head::RUNNER_ASKED_AT, number(now.0))
            .set(LIVE_UNTIL, number(look_at.0))
            .when(head::STATE, "=", text(State::Suspended.as_str()))
            .when_larger(head::COMMANDS_ACCEPTED, head::COMMANDS_TAKEN);
        match self.table.write("let the session wait", update).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    async fn overdue(&self, now: UnixMillis, limit: usize) -> Result<Vec<SessionKey>, Unavailable> {
        let shards = (0..LIVE_SHARDS).map(keys::live_key);
        self.overdue_rows(shards, keys::live_session, now, limit)
            .await
    }
}

impl Store {
    /// What the rows of the live index belong to that are overdue, by `shards`; the oldest first.
    ///
    /// A runner may write any attribute of its own session's rows, and so could put them into any shard:
    /// what is not a row of the kind that is looked for is passed over.
    pub(crate) async fn overdue_rows<Key>(
        &self,
        shards: impl Iterator<Item = String> + Send,
        key_of: impl Fn(&str, &str) -> Option<Key>,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Key>, Unavailable> {
        const ATTEMPTED: &str = "look for what is overdue";
        let mut found = Vec::new();
        for shard in shards {
            let mut of_shard = 0;
            let mut start = None;
            for _ in 0..LIST_READS {
                let answer = Box::pin(
                    self.table
                        .client
                        .query()
                        .table_name(&self.table.name)
                        .index_name(LIVE)
                        .key_condition_expression("#live = :live AND #until < :now")
                        .expression_attribute_names("#live", LIVE_KEY)
                        .expression_attribute_names("#until", LIVE_UNTIL)
                        .expression_attribute_values(":live", text(shard.as_str()))
                        .expression_attribute_values(":now", number(now.0))
                        .set_exclusive_start_key(start.take())
                        .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX))
                        .send(),
                )
                .await
                .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
                for row in answer.items.unwrap_or_default().into_iter().map(Row) {
                    let read = || {
                        Ok((
                            row.number(LIVE_UNTIL)?,
                            row.text(PARTITION)?,
                            row.text(SORT)?,
                        ))
                    };
                    let (until, partition, sort) =
                        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))?;
                    match key_of(partition, sort) {
                        Some(key) => {
                            of_shard += 1;
                            found.push((until, partition.to_owned(), key));
                        }
                        None => tracing::warn!(shard, partition, sort, "not a row of this index"),
                    }
                }
                start = answer.last_evaluated_key;
                if start.is_none() || of_shard >= limit {
                    break;
                }
            }
        }
        found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, _, key)| key).collect())
    }
}

fn matches(head: &Head, query: &ListQuery) -> bool {
    (query.states.is_empty() || query.states.contains(&head.state))
        && query.tags.iter().all(|tag| head.spec.tags.contains(tag))
}

fn position(head: &Head) -> ListPosition {
    ListPosition {
        created_at: head.created_at,
        session: head.key.session.clone(),
    }
}

fn place(position: &ListPosition) -> String {
    keys::owner_sort(position.created_at, &position.session)
}

fn read_place(sort: &str) -> Option<ListPosition> {
    let (created_at, session) = sort.split_once('#')?;
    Some(ListPosition {
        created_at: UnixMillis(created_at.parse().ok()?),
        session: SessionId::parse(session).ok()?,
    })
}
