//! Credentials for git hosts: a row of the table says that there is one, and a parameter of Systems
//! Manager has it. Who may write the parameter cannot read it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    GitCredential, GitCredentialRecord, GitHost, OwnerId, UnixMillis,
    audit::AuditChain,
    ports::{GitCredentials, GitSecrets, NewGitCredential, RemovedGitCredential, Unavailable},
};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, number, text},
    keys::{self, PARTITION, Record, SORT},
    parameters::Parameters,
    write::Write,
};

const USERNAME: &str = "username";
const STORED_AT: &str = "stored_at";

/// Rows asked for at once: all that an owner may have, and some.
const PAGE: usize = 2 * domain::limits::GIT_CREDENTIALS;

impl GitCredentials for Store {
    async fn git_credentials(
        &self,
        owner: &OwnerId,
    ) -> Result<Vec<GitCredentialRecord>, Unavailable> {
        const ATTEMPTED: &str = "read which git credentials there are";
        let (partition, mut from, to) = keys::git_range(owner);
        let mut found = Vec::new();
        loop {
            let page = self.table.range(ATTEMPTED, &partition, &from, &to, PAGE);
            let (rows, more) = page.await?;
            let mut take = || {
                for row in &rows {
                    found.push(read(row)?);
                    from = keys::after(row.text(SORT)?);
                }
                Ok(())
            };
            take().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))?;
            if !more || rows.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn store_git_credential(&self, new: &NewGitCredential) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "store the git credential";
        let credential = &new.credential;
        // One line of any characters: a parameter must not look like a reference to another one.
        let value = format!("{}:{}", credential.username(), credential.expose_token());
        let value = BASE64_STANDARD.encode(value);
        let name = parameter(&new.owner, &new.host);
        self.safe(ATTEMPTED)?.put(ATTEMPTED, &name, &value).await?;
        let write = || {
            Write::put(
                Row::at(&Record::GitCredential(&new.owner, &new.host).key())
                    .with(USERNAME, text(credential.username()))
                    .with(STORED_AT, number(new.now.0)),
            )
        };
        let audited = (AuditChain::Owner(new.owner.clone()), new.audited());
        let stored = self.change_audited(ATTEMPTED, write, audited, new.now);
        // It has no condition.
        stored.await.map(drop)
    }

    async fn remove_git_credential(
        &self,
        removed: &RemovedGitCredential,
    ) -> Result<bool, Unavailable> {
        const ATTEMPTED: &str = "remove the git credential";
        let RemovedGitCredential { owner, host, now } = removed;
        let write =
            || Write::delete(Record::GitCredential(owner, host).key()).when_present(PARTITION);
        let audited = (AuditChain::Owner(owner.clone()), removed.audited());
        let done = self.change_audited(ATTEMPTED, write, audited, *now).await?;
        // Also without a row: an attempt before may have ended there.
        let name = parameter(owner, host);
        self.safe(ATTEMPTED)?.delete(ATTEMPTED, &name).await?;
        Ok(done)
    }
}

impl GitSecrets for Store {
    async fn git_secret(
        &self,
        owner: &OwnerId,
        host: &GitHost,
    ) -> Result<Option<GitCredential>, Unavailable> {
        const ATTEMPTED: &str = "read the git credential";
        let row = Record::GitCredential(owner, host).key();
        if self.table.get(ATTEMPTED, &row).await?.is_none() {
            return Ok(None);
        }
        let name = parameter(owner, host);
        let Some(value) = self.safe(ATTEMPTED)?.get(ATTEMPTED, &name).await? else {
            // Somebody removes it right now, or did so past us.
            return Ok(None);
        };
        let read = || {
            let value = BASE64_STANDARD.decode(value).ok()?;
            let (username, token) = std::str::from_utf8(&value).ok()?.split_once(':')?;
            GitCredential::parse(username, token).ok()
        };
        let unreadable = || failure::own(ATTEMPTED, "the parameter is none of ours");
        read().ok_or_else(unreadable).map(Some)
    }
}

impl Store {
    fn safe(&self, attempted: &'static str) -> Result<&Parameters, Unavailable> {
        let missing = || failure::own(attempted, "this program has no path of git credentials");
        self.git_credentials.as_ref().ok_or_else(missing)
    }
}

/// Below the path of all: names have no ':', and hosts no '_'.
fn parameter(owner: &OwnerId, host: &GitHost) -> String {
    format!("{owner}/{}", host.as_str().replace(':', "_"))
}

fn read(row: &Row) -> Result<GitCredentialRecord, UnreadableRow> {
    let host = GitHost::parse(keys::git_host(row.text(SORT)?));
    Ok(GitCredentialRecord {
        host: host.map_err(|_| UnreadableRow::Rule(SORT))?,
        username: row.text(USERNAME)?.to_owned(),
        stored_at: UnixMillis(row.number(STORED_AT)?),
    })
}
