//! `resources/read`.
//!
//! Reads only; what is too long for one answer ends with the address of what follows, in the
//! content's `_meta` as `shannon/next` and, where the content is JSON, as `next` inside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::authorization::{Administer, ReadSessions};
use domain::checkpoint::CheckpointName;
use domain::ports::{
    Checkpoints, Clock, Compute, IdSource, Inbox, ListQuery, SessionDirectory, SessionLog,
    Unavailable, WholeBodies,
};
use domain::use_cases::{self, GetError, ListError, ReadFile, ReadFileError};
use domain::{Authorized, Event, EventBody, Head, Principal, Sequence, SessionKey, limits};
use rmcp::ErrorData;
use rmcp::model::{MetaObject, ReadResourceResult, ResourceContents};
use serde_json::{Value, json};

use super::address::NoAddress;
use super::list::{DIFF, JSON, session_text};
use super::{Address, CONTENT_CHARACTERS, media_type, missing_scope, past, unavailable};
use crate::asked::Asked;
use crate::files;
use crate::show;
use crate::snapshots::{SnapshotError, Snapshots};
use crate::tools::find_claude_binary::ClaudeFinder;
use crate::tools::list_sessions::{cursor, fitting, position};
use crate::tools::read_file::as_text;

/// Events of one content when no limit is given.
const EVENTS: usize = 100;
/// The most one may ask for.
const MOST_EVENTS: usize = 500;
/// Bytes of the log that are read at once.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Most bytes of a file in one content: its base64 stays within what clients take.
const FILE_BYTES: u64 = 72 * 1024;

/// How long what will not change any more may be taken for fresh.
const LASTING_MS: u64 = 300_000;

/// Why nothing was read.
pub(super) enum NotRead {
    NoAddress(NoAddress),
    /// The resource is not there (any more); the text says why.
    Missing(String),
    /// What was asked of it does not fit.
    Refused(String),
    Scope(domain::authorization::MissingScope),
    Unavailable(Unavailable),
}

impl From<Unavailable> for NotRead {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

impl From<domain::authorization::MissingScope> for NotRead {
    fn from(missing: domain::authorization::MissingScope) -> Self {
        Self::Scope(missing)
    }
}

impl From<GetError> for NotRead {
    fn from(error: GetError) -> Self {
        match error {
            GetError::NoSuchSession(none) => Self::Missing(none.to_string()),
            GetError::Unavailable(unavailable) => Self::Unavailable(unavailable),
        }
    }
}

impl From<files::NotRead> for NotRead {
    fn from(not_read: files::NotRead) -> Self {
        match not_read {
            files::NotRead::Runner(error) => match error {
                ReadFileError::Unavailable(unavailable) => Self::Unavailable(unavailable),
                ReadFileError::Length => Self::Refused(error.to_string()),
                ReadFileError::NoSuchSession(_)
                | ReadFileError::NoRunner(_)
                | ReadFileError::Refused(_)
                | ReadFileError::NoAnswer => Self::Missing(error.to_string()),
            },
            files::NotRead::Find(error) => error.into(),
            files::NotRead::Content(error) => error.into(),
        }
    }
}

impl From<SnapshotError> for NotRead {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Unavailable(unavailable) => Self::Unavailable(unavailable),
            other => Self::Missing(other.to_string()),
        }
    }
}

/// One content and where it goes on.
pub(super) struct Content {
    pub(super) text: Bytes,
    pub(super) media_type: &'static str,
    pub(super) next: Option<Address>,
    /// Bytes of the whole, where that is known.
    pub(super) whole_bytes: Option<u64>,
    pub(super) lasting: bool,
}

pub(super) enum Bytes {
    Text(String),
    Blob(Vec<u8>),
}

impl Content {
    pub(super) fn json(value: &Value, lasting: bool) -> Self {
        Self {
            text: Bytes::Text(session_text(value)),
            media_type: JSON,
            next: None,
            whole_bytes: None,
            lasting,
        }
    }
}

/// Reads what `uri` names. `config` is what the deployment tells an administrator.
pub(crate) async fn read<P, S>(
    ports: &P,
    snapshots: &S,
    config: Option<&Value>,
    asked: &Asked,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData>
where
    P: SessionDirectory
        + SessionLog
        + WholeBodies
        + Checkpoints
        + Inbox
        + Compute
        + Clock
        + IdSource,
    S: Snapshots + ClaudeFinder,
{
    let about = || Some(json!({ "uri": uri }));
    let content = match find(ports, snapshots, config, &asked.principal, uri).await {
        Ok(content) => content,
        Err(NotRead::NoAddress(error @ NoAddress::Unknown)) => {
            return Err(ErrorData::resource_not_found(error.to_string(), about()));
        }
        Err(NotRead::Missing(reason)) => {
            return Err(ErrorData::resource_not_found(reason, about()));
        }
        Err(NotRead::NoAddress(error @ NoAddress::Part(_))) => {
            return Err(ErrorData::invalid_params(error.to_string(), about()));
        }
        Err(NotRead::Refused(reason)) => return Err(ErrorData::invalid_params(reason, about())),
        Err(NotRead::Scope(missing)) => return Err(missing_scope(missing)),
        Err(NotRead::Unavailable(error)) => return Err(unavailable(&error)),
    };
    let mut meta = MetaObject::new();
    if let Some(next) = &content.next {
        meta.insert("shannon/next".to_owned(), next.to_string().into());
    }
    if let Some(bytes) = content.whole_bytes {
        meta.insert("shannon/whole_bytes".to_owned(), bytes.into());
    }
    let contents = match content.text {
        Bytes::Text(text) => ResourceContents::text(text, uri),
        Bytes::Blob(bytes) => ResourceContents::blob(STANDARD.encode(bytes), uri),
    };
    let contents = contents.with_mime_type(content.media_type);
    let contents = if meta.is_empty() {
        contents
    } else {
        contents.with_meta(meta)
    };
    let mut result = ReadResourceResult::new(vec![contents]);
    // Without a time it is not fresh for longer than it takes to read it.
    result.ttl_ms = (asked.modern && content.lasting).then_some(LASTING_MS);
    Ok(result)
}

async fn find<P, S>(
    ports: &P,
    snapshots: &S,
    config: Option<&Value>,
    principal: &Principal,
    uri: &str,
) -> Result<Content, NotRead>
where
    P: SessionDirectory
        + SessionLog
        + WholeBodies
        + Checkpoints
        + Inbox
        + Compute
        + Clock
        + IdSource,
    S: Snapshots + ClaudeFinder,
{
    let reader: Authorized<ReadSessions> = principal.authorize()?;
    let key = |session| SessionKey {
        owner: principal.owner.clone(),
        session,
    };
    match Address::parse(uri).map_err(NotRead::NoAddress)? {
        Address::Sessions { cursor } => sessions(ports, &reader, cursor.as_deref()).await,
        Address::Session(session) => {
            let head = use_cases::get_session(ports, &reader, &key(session)).await?;
            Ok(Content::json(&show::session(&head), head.state.is_ended()))
        }
        Address::Events {
            session,
            after,
            limit,
        } => events(ports, &reader, &key(session), after, limit).await,
        Address::Event { session, sequence } => {
            event(ports, &reader, &key(session), sequence).await
        }
        Address::File {
            session,
            path,
            checkpoint,
            offset,
        } => {
            let request = ReadFile {
                key: key(session),
                path,
                offset,
                length: Some(FILE_BYTES),
            };
            file(ports, snapshots, &reader, request, checkpoint).await
        }
        Address::Comparison {
            session,
            from,
            to,
            offset,
        } => {
            let between = (&from, &to);
            past::comparison(ports, snapshots, &reader, &key(session), between, offset).await
        }
        Address::Agents => agents(snapshots).await,
        Address::Diff {
            session,
            turn,
            after,
        } => diff(ports, &reader, &key(session), turn, after).await,
        Address::Checkpoints { session, before } => {
            past::checkpoints(ports, &reader, &key(session), before).await
        }
        Address::Timeline(session) => past::timeline(ports, &reader, &key(session)).await,
        Address::Transcript { session, after } => {
            past::transcript(ports, &reader, &key(session), after).await
        }
        Address::Config => {
            principal.authorize::<Administer>()?;
            match config {
                Some(config) => Ok(Content::json(config, false)),
                None => Err(NotRead::Missing(NoAddress::Unknown.to_string())),
            }
        }
    }
}

async fn sessions<P: SessionDirectory>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    after: Option<&str>,
) -> Result<Content, NotRead> {
    let after = match after {
        None => None,
        Some(text) => Some(position(text).ok_or_else(|| {
            NotRead::Refused("cursor: use the one of the page before, as it was".to_owned())
        })?),
    };
    let query = ListQuery {
        after,
        limit: limits::LIST_PAGE,
        ..ListQuery::default()
    };
    let mut page = use_cases::list_sessions(ports, reader, &query)
        .await
        .map_err(|error| match error {
            ListError::Unavailable(unavailable) => NotRead::Unavailable(unavailable),
            ListError::Limit => NotRead::Refused(error.to_string()),
        })?;
    let sessions = fitting(&mut page);
    let mut value = json!({ "sessions": sessions });
    let next = page.next.as_ref().map(|next| Address::Sessions {
        cursor: Some(cursor(next)),
    });
    if let Some(next) = &next {
        value["next"] = next.to_string().into();
    }
    let mut content = Content::json(&value, false);
    content.next = next;
    Ok(content)
}

async fn events<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
    after: Sequence,
    limit: Option<usize>,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + SessionLog + Inbox + Compute + Clock,
{
    let limit = limit.unwrap_or(EVENTS);
    if !(1..=MOST_EVENTS).contains(&limit) {
        return Err(NotRead::Refused(format!("limit: use 1 to {MOST_EVENTS}")));
    }
    let head = use_cases::get_session(ports, reader, key).await?;
    let mut shown: Vec<Value> = Vec::new();
    let (mut position, mut characters) = (after, 0);
    'pages: while shown.len() < limit && position < head.last_sequence {
        let page = ports.read(key, position, READ_BYTES).await?;
        if page.is_empty() {
            break;
        }
        for event in &page {
            let mut value = show::event(event);
            if show::shorten(&mut value["body"], CONTENT_CHARACTERS / 2) {
                value["shortened"] = true.into();
            }
            characters += show::characters(&value);
            if shown.len() == limit || (!shown.is_empty() && characters > CONTENT_CHARACTERS) {
                break 'pages;
            }
            position = event.sequence;
            shown.push(value);
        }
    }
    let next = (position < head.last_sequence).then(|| Address::Events {
        session: key.session.clone(),
        after: position,
        limit: Some(limit),
    });
    let mut value = json!({
        "session_id": key.session.as_str(),
        "state": head.state.as_str(),
        "events": shown,
    });
    if let Some(next) = &next {
        value["next"] = next.to_string().into();
    }
    let mut content = Content::json(&value, head.state.is_ended());
    content.next = next;
    Ok(content)
}

async fn event<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
    sequence: Sequence,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + SessionLog + WholeBodies + Inbox + Compute + Clock,
{
    let head = use_cases::get_session(ports, reader, key).await?;
    let none = || NotRead::Missing("the session has no event with this sequence".to_owned());
    let before = Sequence(sequence.0.checked_sub(1).ok_or_else(none)?);
    let found = ports.read(key, before, 1).await?.into_iter().next();
    let mut event = found
        .filter(|event| event.sequence == sequence)
        .ok_or_else(none)?;
    let whole = make_whole(ports, key, &mut event).await?;
    let mut content = Content::json(&show::event(&event), head.state.is_ended());
    content.whole_bytes = whole;
    Ok(content)
}

/// Puts the whole body in place of a preview; says how long it is. A whole that is gone (it was
/// kept for less long) leaves the preview.
async fn make_whole<P: WholeBodies>(
    ports: &P,
    key: &SessionKey,
    event: &mut Event,
) -> Result<Option<u64>, Unavailable> {
    if event.whole_body_bytes.is_some()
        && let Some(body) = ports.whole_body(key, event.sequence).await?
    {
        event.body = body;
        return Ok(event.whole_body_bytes.take());
    }
    Ok(None)
}

async fn file<P, S>(
    ports: &P,
    snapshots: &S,
    reader: &Authorized<ReadSessions>,
    request: ReadFile,
    checkpoint: Option<CheckpointName>,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + Inbox + Checkpoints + Compute + Clock + IdSource,
    S: Snapshots,
{
    let (session, path, offset) = (
        request.key.session.clone(),
        request.path.clone(),
        request.offset,
    );
    let name = checkpoint.as_ref();
    let (content, read_at) = files::read(ports, snapshots, reader, request, name).await?;
    // What follows is of the same checkpoint, whatever the name stands for by then.
    let read_at = checkpoint.as_ref().and(read_at).map(CheckpointName::Id);
    let at_end = offset.saturating_add(content.bytes.len() as u64) >= content.file_bytes;
    let (bytes, text) = as_text(content.bytes, at_end);
    let end = offset.saturating_add(bytes.len() as u64);
    let next = (end < content.file_bytes && !bytes.is_empty()).then(|| Address::File {
        session,
        path: path.clone(),
        checkpoint: read_at,
        offset: end,
    });
    Ok(Content {
        media_type: media_type(path.as_str(), text.is_some()),
        text: match text {
            Some(text) => Bytes::Text(text),
            None => Bytes::Blob(bytes),
        },
        next,
        whole_bytes: Some(content.file_bytes),
        // What a checkpoint holds stays as it is.
        lasting: matches!(checkpoint, Some(CheckpointName::Id(_))),
    })
}

/// What the newest runner said of its CLI.
async fn agents<S: ClaudeFinder>(finder: &S) -> Result<Content, NotRead> {
    let mut value = json!({"agents": []});
    if let Some(runner) = finder.runner().await? {
        let agents = runner
            .agents
            .iter()
            .map(|agent| json!({"name": agent.name, "description": agent.description}));
        value["agents"] = agents.collect();
        value["claude_version"] = runner.claude_version.into();
        value["reported_at_unix_ms"] = runner.noted_at.0.into();
    }
    Ok(Content::json(&value, false))
}

async fn diff<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
    turn: Option<u32>,
    after: Sequence,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + SessionLog + WholeBodies + Inbox + Compute + Clock,
{
    let head: Head = use_cases::get_session(ports, reader, key).await?;
    let mut text = String::new();
    let (mut position, mut next) = (after, None);
    'pages: while position < head.last_sequence {
        let page = ports.read(key, position, READ_BYTES).await?;
        if page.is_empty() {
            break;
        }
        for mut event in page {
            let before = position;
            position = event.sequence;
            if turn.is_some_and(|turn| event.turn > turn) {
                break 'pages;
            }
            if !matches!(event.body, EventBody::FilesChanged { .. })
                || turn.is_some_and(|turn| event.turn != turn)
            {
                continue;
            }
            make_whole(ports, key, &mut event).await?;
            let piece = patch(&event);
            if !text.is_empty() && text.len() + piece.len() > CONTENT_CHARACTERS {
                next = Some(before);
                break 'pages;
            }
            text.push_str(&piece);
        }
    }
    let next = next.map(|after| Address::Diff {
        session: key.session.clone(),
        turn,
        after,
    });
    Ok(Content {
        text: Bytes::Text(text),
        media_type: DIFF,
        lasting: head.state.is_ended(),
        next,
        whole_bytes: None,
    })
}

/// One turn's patch under a line that `git apply` passes over, with the files that it cannot show.
fn patch(event: &Event) -> String {
    let EventBody::FilesChanged { files, patch } = &event.body else {
        return String::new();
    };
    let mut text = format!("# turn {}, event {}\n", event.turn, event.sequence);
    for file in files.iter().filter(|file| file.added_lines.is_none()) {
        let path = file.path.replace(['\n', '\r'], "?");
        text.push_str(&format!("# {} {path} (not text)\n", file.change.as_str()));
    }
    text.push_str(patch);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
