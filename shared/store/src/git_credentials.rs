//! Credentials for git hosts: a row of the table says that there is one, and a parameter of Systems
//! Manager has it. Who may write the parameter cannot read it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    GitCredential, GitCredentialRecord, GitHost, OwnerId, UnixMillis,
    audit::AuditChain,
    ids::base32,
    ports::{
        GitCredentials, GitSecretError, GitSecrets, IdSource, NewGitCredential,
        RemovedGitCredential, Unavailable,
    },
};

use crate::{
    Store,
    audit::too_many_write,
    failure,
    item::{Row, UnreadableRow, number, text},
    keys::{self, PARTITION, Record, SORT},
    parameters::Parameters,
    table::pause,
    write::Write,
};

const USERNAME: &str = "username";
const STORED_AT: &str = "stored_at";
const PARAMETER: &str = "parameter";
const FORMER: &str = "former";
/// Times that a row is written on, while others write it too. Own.
const ATTEMPTS: u32 = 10;

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
        let safe = self.safe(ATTEMPTED)?;
        // A place of its own: what others store or take away at the same time is not this one.
        let own = base32(&IdSource::random(self));
        let place = |parameter: &str| parameter_name(&new.owner, &new.host, parameter);
        safe.put(ATTEMPTED, &place(&own), &value).await?;
        for attempt in 0..ATTEMPTS {
            let before = self.named(ATTEMPTED, &new.owner, &new.host).await?;
            if let Some(former) = before.as_ref().and_then(|it| it.former.as_deref()) {
                safe.delete(ATTEMPTED, &place(former)).await?;
            }
            let write = || {
                let row = Row::at(&Record::GitCredential(&new.owner, &new.host).key())
                    .with(USERNAME, text(credential.username()))
                    .with(STORED_AT, number(new.now.0))
                    .with(PARAMETER, text(own.as_str()));
                match &before {
                    Some(before) => {
                        before.unchanged(Write::put(row.with(FORMER, text(&*before.parameter))))
                    }
                    None => Write::put_new(row),
                }
            };
            let audited = (AuditChain::Owner(new.owner.clone()), new.audited());
            let stored = self.change_audited(ATTEMPTED, write, audited, new.now);
            match (stored.await, &before) {
                (Ok(true), Some(before)) => {
                    return safe.delete(ATTEMPTED, &place(&before.parameter)).await;
                }
                (Ok(true), None) => return Ok(()),
                // Another one was quicker.
                (Ok(false), _) => pause(attempt).await,
                (Err(unavailable), _) => {
                    if !unavailable.outcome_unknown {
                        self.forget(&place(&own)).await;
                    }
                    return Err(unavailable);
                }
            }
        }
        self.forget(&place(&own)).await;
        Err(too_many_write())
    }

    async fn remove_git_credential(
        &self,
        removed: &RemovedGitCredential,
    ) -> Result<bool, Unavailable> {
        const ATTEMPTED: &str = "remove the git credential";
        let RemovedGitCredential { owner, host, now } = removed;
        let safe = self.safe(ATTEMPTED)?;
        for attempt in 0..ATTEMPTS {
            let Some(named) = self.named(ATTEMPTED, owner, host).await? else {
                return Ok(false);
            };
            // First the token: cut after it, its name is still there for the next time.
            for parameter in named.former.iter().chain([&named.parameter]) {
                let place = parameter_name(owner, host, parameter);
                safe.delete(ATTEMPTED, &place).await?;
            }
            let write = || named.unchanged(Write::delete(Record::GitCredential(owner, host).key()));
            let audited = (AuditChain::Owner(owner.clone()), removed.audited());
            if self.change_audited(ATTEMPTED, write, audited, *now).await? {
                return Ok(true);
            }
            pause(attempt).await;
        }
        Err(too_many_write())
    }
}

impl GitSecrets for Store {
    async fn git_secret(
        &self,
        owner: &OwnerId,
        host: &GitHost,
    ) -> Result<Option<GitCredential>, GitSecretError> {
        const ATTEMPTED: &str = "read the git credential";
        let safe = self.safe(ATTEMPTED)?;
        let mut missing = None;
        loop {
            let Some(named) = self.named(ATTEMPTED, owner, host).await? else {
                return Ok(None);
            };
            let place = parameter_name(owner, host, &named.parameter);
            if let Some(value) = safe.get(ATTEMPTED, &place).await? {
                let unreadable = || failure::own(ATTEMPTED, "the parameter is none of ours");
                return Ok(Some(credential(&value).ok_or_else(unreadable)?));
            }
            // It was replaced since the row was read, or it is gone.
            if missing.as_ref() == Some(&named.parameter) {
                return Err(GitSecretError::Gone);
            }
            missing = Some(named.parameter);
        }
    }
}

/// Where the token of a row is.
struct Named {
    /// Empty: from before every token had a place of its own.
    parameter: String,
    former: Option<String>,
}

impl Named {
    /// The write, of the row as it was read.
    fn unchanged(&self, write: Write) -> Write {
        if self.parameter.is_empty() {
            write.when_present(PARTITION).when_absent(PARAMETER)
        } else {
            write.when(PARAMETER, "=", text(&*self.parameter))
        }
    }
}

impl Store {
    async fn named(
        &self,
        attempted: &'static str,
        owner: &OwnerId,
        host: &GitHost,
    ) -> Result<Option<Named>, Unavailable> {
        let row = Record::GitCredential(owner, host).key();
        let Some(row) = self.table.get(attempted, &row).await? else {
            return Ok(None);
        };
        let read = || {
            Ok(Some(Named {
                parameter: row.text_if(PARAMETER)?.unwrap_or_default().to_owned(),
                former: row.text_if(FORMER)?.map(str::to_owned),
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(attempted, error))
    }

    /// Takes a token away that nothing names.
    async fn forget(&self, place: &str) {
        const ATTEMPTED: &str = "take back the git credential";
        let gone = match self.safe(ATTEMPTED) {
            Ok(safe) => safe.delete(ATTEMPTED, place).await,
            Err(unavailable) => Err(unavailable),
        };
        if let Err(error) = gone {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a git credential that was not stored is kept where nothing names it"
            );
        }
    }

    fn safe(&self, attempted: &'static str) -> Result<&Parameters, Unavailable> {
        let missing = || failure::own(attempted, "this program has no path of git credentials");
        self.git_credentials.as_ref().ok_or_else(missing)
    }
}

/// Below the path of all: names have no ':', and hosts no '_'.
fn parameter_name(owner: &OwnerId, host: &GitHost, parameter: &str) -> String {
    let place = format!("{owner}/{}", host.as_str().replace(':', "_"));
    if parameter.is_empty() {
        place
    } else {
        format!("{place}/{parameter}")
    }
}

fn credential(value: &str) -> Option<GitCredential> {
    let value = BASE64_STANDARD.decode(value).ok()?;
    let (username, token) = std::str::from_utf8(&value).ok()?.split_once(':')?;
    GitCredential::parse(username, token).ok()
}

fn read(row: &Row) -> Result<GitCredentialRecord, UnreadableRow> {
    let host = GitHost::parse(keys::git_host(row.text(SORT)?));
    Ok(GitCredentialRecord {
        host: host.map_err(|_| UnreadableRow::Rule(SORT))?,
        username: row.text(USERNAME)?.to_owned(),
        stored_at: UnixMillis(row.number(STORED_AT)?),
    })
}
