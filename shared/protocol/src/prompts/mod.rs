//! Prompts: ready-made requests to a model that has our tools, filled in from a form.
//!
//! Each text is a file of `texts/`. What a person wrote into the form stands in it as a JSON string
//! or inside a quoted block, so that it reads as what it is: a value, not part of the instructions.

mod render;

use domain::authorization::ReadSessions;
use domain::ports::{Clock, Compute, Inbox, SessionDirectory, SessionLog};
use domain::use_cases::{self, GetError};
use domain::{Authorized, Principal, SessionId, SessionKey};
use rmcp::ErrorData;
use rmcp::model::{
    ContentBlock, GetPromptRequestParams, GetPromptResult, JsonObject, Prompt, PromptArgument,
    PromptMessage, Resource, Role,
};
use serde_json::Value;

use crate::resources::{Address, Completes, missing_scope, paths_of, unavailable};
use crate::show;
use render::render;

/// Longest value of an argument. Own: longer texts belong into a message.
const ARGUMENT_CHARACTERS: usize = 4_000;
/// Files that are named in a text at most.
const FILES_NAMED: usize = 50;

struct Definition {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    arguments: &'static [Argument],
    text: &'static str,
}

struct Argument {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    required: bool,
    completes: Completes,
}

const TARGET: Argument = Argument {
    name: "target",
    title: "What to work on",
    description: "A git URL (https:// or ssh://), an absolute directory where the server runs on your own machine, or \
        a session (ses_…) whose workspace it is about.",
    required: true,
    completes: Completes::Sessions,
};
const SESSION: Argument = Argument {
    name: "session_id",
    title: "Session",
    description: "The session (ses_…), as list_sessions shows it.",
    required: true,
    completes: Completes::Sessions,
};
const GIT_REF: Argument = Argument {
    name: "git_ref",
    title: "Branch, tag or commit",
    description: "Of the git URL; its default branch when left out.",
    required: false,
    completes: Completes::Values(&["main", "master", "develop"]),
};
const PATH: Argument = Argument {
    name: "path",
    title: "File or directory",
    description: "Look at this part only, relative to the workspace.",
    required: false,
    completes: Completes::Paths("target"),
};

static DEFINITIONS: [Definition; 6] = [
    Definition {
        name: "code_review",
        title: "Review code",
        description: "Lets a read-only session review a repository, a directory or what another session did, and \
            reports findings with file and line.",
        arguments: &[
            TARGET,
            GIT_REF,
            PATH,
            Argument {
                name: "focus",
                title: "What matters most",
                description: "One concern or several, in your own words; everything when left out.",
                required: false,
                completes: Completes::Values(&[
                    "correctness",
                    "security",
                    "performance",
                    "error handling",
                    "concurrency",
                    "readability",
                    "tests",
                ]),
            },
        ],
        text: include_str!("texts/code_review.md"),
    },
    Definition {
        name: "refactor_suggestion",
        title: "Suggest a refactoring",
        description: "Lets a read-only session propose a refactoring in small steps, each with its risk and its test, \
            before anything is changed.",
        arguments: &[
            TARGET,
            GIT_REF,
            PATH,
            Argument {
                name: "goal",
                title: "Goal",
                description: "What should be better afterwards.",
                required: false,
                completes: Completes::Values(&[
                    "less duplication",
                    "smaller functions",
                    "clearer names",
                    "fewer dependencies",
                    "easier to test",
                ]),
            },
        ],
        text: include_str!("texts/refactor_suggestion.md"),
    },
    Definition {
        name: "test_generation",
        title: "Write tests",
        description: "Lets a session write tests for code that lacks them, in the style of those that are there, and \
            shows what they cover and what they found.",
        arguments: &[
            TARGET,
            GIT_REF,
            PATH,
            Argument {
                name: "framework",
                title: "Test framework",
                description: "The one the project uses when left out.",
                required: false,
                completes: Completes::Values(&[
                    "cargo test",
                    "pytest",
                    "unittest",
                    "jest",
                    "vitest",
                    "go test",
                    "JUnit",
                    "RSpec",
                ]),
            },
        ],
        text: include_str!("texts/test_generation.md"),
    },
    Definition {
        name: "fix_failing_tests",
        title: "Fix failing tests",
        description: "Lets a session find out why tests fail and repair the cause, not the test, unless the test is \
            wrong.",
        arguments: &[
            TARGET,
            GIT_REF,
            Argument {
                name: "command",
                title: "Test command",
                description: "How the tests are run; found out when left out.",
                required: false,
                completes: Completes::Values(&[
                    "cargo test",
                    "pytest",
                    "npm test",
                    "go test ./...",
                    "make test",
                ]),
            },
            Argument {
                name: "failures",
                title: "What fails",
                description: "Names or output of the failing tests, if you have them.",
                required: false,
                completes: Completes::Nothing,
            },
        ],
        text: include_str!("texts/fix_failing_tests.md"),
    },
    Definition {
        name: "explain_session",
        title: "Explain a session",
        description: "Tells what a session was asked, what it did and why, and where it stands, from its log.",
        arguments: &[
            SESSION,
            Argument {
                name: "audience",
                title: "For whom",
                description: "Who reads it.",
                required: false,
                completes: Completes::Values(&[
                    "a developer",
                    "a reviewer",
                    "a manager",
                    "a newcomer",
                ]),
            },
        ],
        text: include_str!("texts/explain_session.md"),
    },
    Definition {
        name: "handoff",
        title: "Hand a session over",
        description: "Writes a note with which somebody else, or another session, can go on with the work of a session.",
        arguments: &[
            SESSION,
            Argument {
                name: "next_step",
                title: "What comes next",
                description: "What whoever takes over should do first, if you know it.",
                required: false,
                completes: Completes::Nothing,
            },
        ],
        text: include_str!("texts/handoff.md"),
    },
];

/// The prompts as a client sees them, in their fixed order.
pub(crate) fn listed() -> Vec<Prompt> {
    DEFINITIONS
        .iter()
        .map(|definition| {
            let arguments = definition.arguments.iter().map(|argument| {
                PromptArgument::new(argument.name)
                    .with_title(argument.title)
                    .with_description(argument.description)
                    .with_required(argument.required)
            });
            Prompt::new(
                definition.name,
                Some(definition.description),
                Some(arguments.collect()),
            )
            .with_title(definition.title)
        })
        .collect()
}

/// What an argument of a prompt can be.
pub(crate) fn completes(prompt: &str, argument: &str) -> Option<Completes> {
    let definition = DEFINITIONS.iter().find(|it| it.name == prompt)?;
    let argument = definition.arguments.iter().find(|it| it.name == argument)?;
    Some(argument.completes)
}

/// Fills in a prompt. Reads the session it is about, so that a wrong id is noticed here.
pub(crate) async fn get<P>(
    ports: &P,
    principal: &Principal,
    request: GetPromptRequestParams,
) -> Result<GetPromptResult, ErrorData>
where
    P: SessionDirectory + SessionLog + Inbox + Compute + Clock,
{
    let Some(definition) = DEFINITIONS.iter().find(|it| it.name == request.name) else {
        let name: String = request.name.chars().take(64).collect();
        return Err(invalid(format!(
            "there is no prompt named {name:?}; prompts/list shows those there are"
        )));
    };
    let arguments = request.arguments.unwrap_or_default();
    let given = check(definition, &arguments)?;
    let reader: Authorized<ReadSessions> = principal.authorize().map_err(missing_scope)?;
    let about = given
        .iter()
        .find(|(name, _)| ["target", "session_id"].contains(name));
    let mut values: Vec<(&str, String)> = Vec::new();
    let mut session = None;
    for (name, value) in &given {
        values.push((*name, quoted(value)));
    }
    if let Some((name, target)) = about {
        if target.starts_with("ses_") || *name == "session_id" {
            let id = SessionId::parse(target).map_err(|error| invalid(error.to_string()))?;
            let key = SessionKey {
                owner: principal.owner.clone(),
                session: id,
            };
            values.extend(facts(ports, &reader, &key).await?);
            session = Some(key.session);
        } else {
            let git_ref = given.iter().find(|(name, _)| *name == "git_ref");
            values.push(("workspace", workspace(target, git_ref.map(|(_, it)| *it))?));
        }
    }
    let mut messages = vec![PromptMessage::new_text(
        Role::User,
        render(definition.text, &values),
    )];
    if let Some(session) = session {
        messages.extend(links(&session));
    }
    Ok(GetPromptResult::new(messages).with_description(definition.description))
}

fn invalid(message: String) -> ErrorData {
    ErrorData::invalid_params(message, None)
}

/// The given arguments by the names the prompt knows; empty ones count as left out.
fn check<'a>(
    definition: &Definition,
    given: &'a JsonObject,
) -> Result<Vec<(&'static str, &'a str)>, ErrorData> {
    let known: Vec<&str> = definition.arguments.iter().map(|it| it.name).collect();
    if let Some(unknown) = given.keys().find(|name| !known.contains(&name.as_str())) {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(invalid(format!(
            "{unknown:?} is not known; known are: {}",
            known.join(", ")
        )));
    }
    let mut values = Vec::new();
    for argument in definition.arguments {
        let value = match given.get(argument.name) {
            None | Some(Value::Null) => "",
            Some(Value::String(text)) => text.trim(),
            Some(_) => return Err(invalid(format!("{}: it must be text", argument.name))),
        };
        if value.chars().count() > ARGUMENT_CHARACTERS {
            return Err(invalid(format!(
                "{}: it may have at most {ARGUMENT_CHARACTERS} characters",
                argument.name
            )));
        }
        if !value.is_empty() {
            values.push((argument.name, value));
        } else if argument.required {
            return Err(invalid(format!("{} is missing", argument.name)));
        }
    }
    Ok(values)
}

/// A value as a JSON string: quoted, on one line.
fn quoted(value: &str) -> String {
    Value::from(value).to_string()
}

/// `workspace` of `create_session` for a target that is no session.
fn workspace(target: &str, git_ref: Option<&str>) -> Result<String, ErrorData> {
    let mut workspace = JsonObject::new();
    if target.starts_with('/') {
        if git_ref.is_some() {
            return Err(invalid("git_ref: it needs a git URL as target".to_owned()));
        }
        workspace.insert("directory".to_owned(), target.into());
    } else if target.contains("://") {
        workspace.insert("git_url".to_owned(), target.into());
        if let Some(git_ref) = git_ref {
            workspace.insert("git_ref".to_owned(), git_ref.into());
        }
    } else {
        return Err(invalid(
            "target: use a git URL (https:// or ssh://), an absolute directory, or a session (ses_…)"
                .to_owned(),
        ));
    }
    Ok(Value::Object(workspace).to_string())
}

/// What a text says about a session.
async fn facts<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
) -> Result<Vec<(&'static str, String)>, ErrorData>
where
    P: SessionDirectory + SessionLog + Inbox + Compute + Clock,
{
    let head = use_cases::get_session(ports, reader, key)
        .await
        .map_err(|error| match error {
            GetError::NoSuchSession(none) => invalid(none.to_string()),
            GetError::Unavailable(error) => unavailable(&error),
        })?;
    let paths = paths_of(ports, reader, key).await?;
    let mut values = vec![
        ("session", key.session.to_string()),
        ("session_line", quoted(&show::session_line(&head))),
    ];
    if head.state.is_ended() {
        values.push(("ended", head.state.to_string()));
    } else {
        values.push(("alive", head.state.to_string()));
    }
    if !paths.is_empty() {
        let mut names: Vec<String> = paths
            .iter()
            .take(FILES_NAMED)
            .map(|it| quoted(it))
            .collect();
        if paths.len() > FILES_NAMED {
            names.push(format!("and {} more", paths.len() - FILES_NAMED));
        }
        values.push(("files", names.join(", ")));
    }
    Ok(values)
}

/// The session's resources, for hosts that fetch them without a tool.
fn links(session: &SessionId) -> Vec<PromptMessage> {
    let link = |address: Address, name: &str, kind: &str| {
        PromptMessage::new(
            Role::User,
            ContentBlock::resource_link(
                Resource::new(address.to_string(), name).with_mime_type(kind),
            ),
        )
    };
    vec![
        link(
            Address::Events {
                session: session.clone(),
                after: domain::Sequence(0),
                limit: None,
            },
            "the log of the session",
            "application/json",
        ),
        link(
            Address::Diff {
                session: session.clone(),
                turn: None,
                after: domain::Sequence(0),
            },
            "what the session changed",
            "text/x-diff",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_uses_only_what_it_can_be_given() {
        let of_sessions = ["session", "session_line", "ended", "alive", "files"];
        for definition in &DEFINITIONS {
            for name in render::names(definition.text) {
                let argument = definition.arguments.iter().any(|it| it.name == name);
                assert!(
                    argument || name == "workspace" || of_sessions.contains(&name),
                    "{}: {name}",
                    definition.name
                );
            }
            for argument in definition.arguments {
                let through_workspace =
                    ["target", "git_ref", "session_id"].contains(&argument.name);
                assert!(
                    through_workspace || render::names(definition.text).contains(&argument.name),
                    "{} does not use {}",
                    definition.name,
                    argument.name
                );
            }
        }
    }

    #[test]
    fn targets() {
        assert_eq!(
            workspace("https://example.com/a.git", Some("v1")).expect("a URL"),
            r#"{"git_url":"https://example.com/a.git","git_ref":"v1"}"#
        );
        assert_eq!(
            workspace("/srv/a\"b", None).expect("a directory"),
            r#"{"directory":"/srv/a\"b"}"#
        );
        assert!(workspace("/srv", Some("main")).is_err());
        assert!(workspace("example", None).is_err());
    }
}
