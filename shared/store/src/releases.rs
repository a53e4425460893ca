//! The newest release of the CLI that the registry named.

use domain::{
    UnixMillis,
    ports::{Releases, Unavailable},
    release::Release,
};

use crate::{
    Store, failure,
    item::{Row, number, text},
    keys::Record,
    table::NotWritten,
    write::Write,
};

const NEWEST: &str = "newest";
const TOLD: &str = "told";
const SEEN_AT: &str = "seen_at";

impl Releases for Store {
    async fn release(&self) -> Result<Option<Release>, Unavailable> {
        const ATTEMPTED: &str = "read the newest release";
        let key = Record::Release.key();
        let Some(row) = self.table.get(ATTEMPTED, &key).await? else {
            return Ok(None);
        };
        let unreadable = |error| failure::own(ATTEMPTED, error);
        let newest = row.text(NEWEST).map_err(unreadable)?.parse();
        Ok(Some(Release {
            newest: newest.map_err(|error| failure::own(ATTEMPTED, error))?,
            told: row.number(TOLD).map_err(unreadable)? == 1,
            seen_at: UnixMillis(row.number(SEEN_AT).map_err(unreadable)?),
        }))
    }

    async fn keep_release(&self, release: &Release) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "keep the newest release";
        let row = Row::at(&Record::Release.key())
            .with(NEWEST, text(release.newest.to_string()))
            .with(TOLD, number(u64::from(release.told)))
            .with(SEEN_AT, number(release.seen_at.0));
        let write = Write::put(row).when_absent_or(SEEN_AT, "<=", number(release.seen_at.0));
        match self.table.write(ATTEMPTED, write).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }
}
