//! `completion/complete`: ids and paths while a person types them.

use std::collections::{BTreeSet, HashMap};

use domain::authorization::ReadSessions;
use domain::event::ChangeKind;
use domain::ports::{Clock, Compute, Inbox, ListQuery, SessionDirectory, SessionLog};
use domain::use_cases::{self, GetError, ListError};
use domain::{Authorized, EventBody, Principal, Sequence, SessionId, SessionKey, limits};
use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};

use super::list::TEMPLATES;
use super::{missing_scope, unavailable};
use crate::prompts;

/// Pages of sessions that are looked through for one completion.
const PAGES: usize = 4;
/// Events, counted from the newest, in which changed files are looked for.
const EVENTS: u64 = 5_000;
const READ_BYTES: usize = 512 * 1024;

/// What can stand in an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completes {
    /// Anything; nothing is offered.
    Nothing,
    /// A session of the caller.
    Sessions,
    /// A file of the session that this other argument names.
    Paths(&'static str),
    /// A turn of the session that this other argument names.
    Turns(&'static str),
    /// Usually one of these.
    Values(&'static [&'static str]),
}

/// Offers values for an argument of a prompt or a template. Reads only.
pub(crate) async fn complete<P>(
    ports: &P,
    principal: &Principal,
    request: &CompleteRequestParams,
) -> Result<CompleteResult, ErrorData>
where
    P: SessionDirectory + SessionLog + Inbox + Compute + Clock,
{
    let name = request.argument.name.as_str();
    let typed = request.argument.value.as_str();
    let completes = match &request.r#ref {
        Reference::Prompt(prompt) => prompts::completes(&prompt.name, name),
        Reference::Resource(template) => of_template(&template.uri, name),
        _ => None,
    }
    .ok_or_else(|| {
        ErrorData::invalid_params(
            "there is no such prompt or template, or it has no such argument",
            None,
        )
    })?;
    let none = HashMap::new();
    let given = request
        .context
        .as_ref()
        .and_then(|context| context.arguments.as_ref())
        .unwrap_or(&none);
    let reader = principal.authorize().map_err(missing_scope)?;
    let session = |argument: &str| -> Option<SessionKey> {
        Some(SessionKey {
            owner: principal.owner.clone(),
            session: SessionId::parse(given.get(argument)?).ok()?,
        })
    };
    let (values, more) = match completes {
        Completes::Nothing => (Vec::new(), false),
        Completes::Values(values) => (
            values
                .iter()
                .filter(|value| starts_with(value, typed))
                .map(|value| (*value).to_owned())
                .collect(),
            false,
        ),
        Completes::Sessions => sessions(ports, &reader, typed).await?,
        Completes::Paths(argument) => match session(argument) {
            None => (Vec::new(), false),
            Some(key) => {
                let paths = paths_of(ports, &reader, &key).await?;
                (matching_paths(paths, typed), false)
            }
        },
        Completes::Turns(argument) => match session(argument) {
            None => (Vec::new(), false),
            Some(key) => match use_cases::get_session(ports, &reader, &key).await {
                Ok(head) => (
                    (1..=head.turn)
                        .map(|turn| turn.to_string())
                        .filter(|turn| turn.starts_with(typed))
                        .collect(),
                    false,
                ),
                Err(error) => (nothing(error)?, false),
            },
        },
    };
    Ok(CompleteResult::new(shown(values, more)))
}

fn shown(mut values: Vec<String>, more: bool) -> CompletionInfo {
    let total = values.len();
    values.truncate(CompletionInfo::MAX_VALUES);
    let cut = total > values.len();
    let mut info = CompletionInfo::default();
    info.values = values;
    // How many there are beyond what was looked through nobody has counted.
    info.total = if more {
        None
    } else {
        u32::try_from(total).ok()
    };
    info.has_more = Some(more || cut);
    info
}

/// What an argument of a template stands for. Clients name the template as it is listed.
fn of_template(uri: &str, argument: &str) -> Option<Completes> {
    let template = TEMPLATES.iter().find(|template| template.uri == uri)?;
    let variables = template.uri.split('{').skip(1).filter_map(|rest| {
        let (expression, _) = rest.split_once('}')?;
        Some(expression.trim_start_matches(['+', '?']).split(','))
    });
    let known = variables.flatten().any(|variable| variable == argument);
    known.then_some(match argument {
        "id" => Completes::Sessions,
        "path" => Completes::Paths("id"),
        "turn" => Completes::Turns("id"),
        _ => Completes::Nothing,
    })
}

fn starts_with(value: &str, typed: &str) -> bool {
    value
        .get(..typed.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(typed))
}

/// Ids of sessions, newest first, that begin with what was typed or whose title contains it.
async fn sessions<P: SessionDirectory>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    typed: &str,
) -> Result<(Vec<String>, bool), ErrorData> {
    let wanted = typed.to_lowercase();
    let mut values = Vec::new();
    let mut query = ListQuery {
        limit: limits::LIST_PAGE,
        ..ListQuery::default()
    };
    for _ in 0..PAGES {
        let page = use_cases::list_sessions(ports, reader, &query)
            .await
            .map_err(|error| match error {
                ListError::Unavailable(error) => unavailable(&error),
                ListError::Limit => ErrorData::internal_error(error.to_string(), None),
            })?;
        values.extend(page.heads.iter().filter_map(|head| {
            let id = head.key.session.as_str();
            let fits = id.starts_with(&wanted) || head.title.to_lowercase().contains(&wanted);
            fits.then(|| id.to_owned())
        }));
        query.after = page.next;
        if query.after.is_none() {
            return Ok((values, false));
        }
    }
    Ok((values, true))
}

/// Files that the newest events of a session say were added or modified, and not deleted since.
pub(crate) async fn paths_of<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
) -> Result<BTreeSet<String>, ErrorData>
where
    P: SessionDirectory + SessionLog + Inbox + Compute + Clock,
{
    let head = match use_cases::get_session(ports, reader, key).await {
        Ok(head) => head,
        Err(error) => return nothing(error),
    };
    let mut paths = BTreeSet::new();
    let mut position = Sequence(head.last_sequence.0.saturating_sub(EVENTS));
    while position < head.last_sequence {
        let page = ports
            .read(key, position, READ_BYTES)
            .await
            .map_err(|error| unavailable(&error))?;
        let Some(last) = page.last() else {
            break;
        };
        position = last.sequence;
        for event in page {
            if let EventBody::FilesChanged { files, .. } = event.body {
                for file in files {
                    if file.change == ChangeKind::Deleted {
                        paths.remove(&file.path);
                    } else {
                        paths.insert(file.path);
                    }
                }
            }
        }
    }
    Ok(paths)
}

/// Those that begin with what was typed, then those that contain it.
fn matching_paths(paths: BTreeSet<String>, typed: &str) -> Vec<String> {
    let typed = typed.strip_prefix("/workspace/").unwrap_or(typed);
    let (mut first, rest): (Vec<String>, Vec<String>) =
        paths.into_iter().partition(|path| path.starts_with(typed));
    first.extend(rest.into_iter().filter(|path| path.contains(typed)));
    first
}

/// A session that is not there completes to nothing: a person may still be typing its id.
fn nothing<T: Default>(error: GetError) -> Result<T, ErrorData> {
    match error {
        GetError::NoSuchSession(_) => Ok(T::default()),
        GetError::Unavailable(error) => Err(unavailable(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_know_their_own_variables() {
        for (uri, argument, expected) in [
            ("shannon://sessions/{id}", "id", Some(Completes::Sessions)),
            (
                "shannon://sessions/{id}/files/{+path}{?checkpoint}",
                "path",
                Some(Completes::Paths("id")),
            ),
            (
                "shannon://sessions/{id}/events{?after,limit}",
                "limit",
                Some(Completes::Nothing),
            ),
            (
                "shannon://sessions/{id}/checkpoints/{from}/diff{?to}",
                "from",
                Some(Completes::Nothing),
            ),
            ("shannon://sessions/{id}", "path", None),
            ("shannon://other/{id}", "id", None),
        ] {
            assert_eq!(of_template(uri, argument), expected, "{uri} {argument}");
        }
    }

    #[test]
    fn no_more_than_a_hundred_are_shown_and_the_rest_is_told() {
        let values: Vec<String> = (0..150).map(|number| number.to_string()).collect();
        let info = shown(values, false);
        assert_eq!(
            (info.values.len(), info.total, info.has_more),
            (100, Some(150), Some(true))
        );
        let info = shown(vec!["a".to_owned()], true);
        assert_eq!((info.total, info.has_more), (None, Some(true)));
    }

    #[test]
    fn typing_is_compared_without_case_and_at_character_boundaries() {
        assert!(starts_with("Security", "sec"));
        assert!(starts_with("a", ""));
        assert!(!starts_with("é", "\u{c3}"));
        assert!(!starts_with("a", "ab"));
        let paths = ["src/a.rs", "a.txt"].map(str::to_owned).into();
        assert_eq!(matching_paths(paths, "a."), ["a.txt", "src/a.rs"]);
    }
}
