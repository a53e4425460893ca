//! What would happen with a call: the one question that the gate, `check_policy` and people ask.
//!
//! A call is taken apart, and every part is put to the policies. [`check`] reads nothing but its
//! arguments and asks [`Files`] about links; asking twice gives the same answer. Whatever goes wrong on
//! the way is a denial.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context, Decision as Permission, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, PolicyId, PolicySet, Request, RestrictedExpression as Value,
};
use domain::PermissionMode;
use serde::Serialize;

use crate::meaning::{Part, Program};
use crate::rules::Policies;
use crate::shell::{Doubt, Parsed};
use crate::tools::{self, Refused};
use crate::{Call, Files, Surroundings};

/// Who calls, from the session's record and the token: never from arguments of the call.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Whose session it is.
    pub owner: &'a str,
    /// Tags of the session.
    pub tags: &'a [&'a str],
    /// The permission mode it was started with.
    pub mode: PermissionMode,
    /// The deployment permits the mode `bypass`.
    pub bypass_permitted: bool,
    /// Where its workspace comes from: `empty`, `git`, `directory` or `upload`.
    pub origin: &'a str,
    /// A subagent makes the call.
    pub subagent: bool,
}

/// What is to happen. Ordered: of several, the last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It runs.
    Allow,
    /// A person decides.
    Ask,
    /// It does not run.
    Deny,
}

impl Outcome {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// A decision on a call, with everything it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What is to happen.
    pub outcome: Outcome,
    /// Why, for the model and for people. Empty when it runs.
    pub reason: String,
    /// The policies that decide, by their names.
    pub policies: Vec<String>,
    /// The decision on each part.
    pub parts: Vec<Judged>,
    /// A shell command as it was understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parsed: Option<Parsed>,
}

impl Checked {
    /// Nothing permits it but that it only reads: no tier, mode or added policy does.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        let harmless = |judged: &Judged| {
            let mut policies = judged.policies.iter();
            policies.all(|id| id.starts_with("harmless/"))
        };
        self.outcome == Outcome::Allow && self.parts.iter().all(harmless)
    }
}

/// A decision on one part of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The part.
    pub part: Part,
    /// What is to happen.
    pub outcome: Outcome,
    /// The policies that decide.
    pub policies: Vec<String>,
    /// Why. Empty when it runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Decides on a call.
#[must_use]
pub fn check(
    call: &Call<'_>,
    caller: &Caller<'_>,
    policies: &Policies,
    surroundings: &Surroundings<'_>,
    files: &impl Files,
) -> Checked {
    if caller.mode == PermissionMode::Bypass && !caller.bypass_permitted {
        return refused(
            "This deployment does not permit the permission mode \"bypass\".",
            None,
        );
    }
    if let Some(reason) = policies.why_closed() {
        return refused(reason, None);
    }
    let taken = match tools::parts(call, surroundings, files) {
        Ok(taken) => taken,
        Err(Refused(reason)) => return refused(&reason, None),
    };
    let mut parts = Vec::new();
    for part in taken.parts {
        match judge(part, call, caller, policies) {
            Ok(judged) => parts.push(judged),
            Err(problem) => {
                let reason =
                    format!("The policies could not be asked ({problem}), so it does not run.");
                return refused(&reason, taken.parsed);
            }
        }
    }
    // Every call has a part; without one nothing permits it.
    let outcome = parts
        .iter()
        .map(|judged| judged.outcome)
        .max()
        .unwrap_or(Outcome::Deny);
    let deciding: Vec<&Judged> = parts
        .iter()
        .filter(|judged| judged.outcome == outcome)
        .collect();
    let mut names: Vec<String> = deciding
        .iter()
        .flat_map(|judged| judged.policies.clone())
        .collect();
    names.sort();
    names.dedup();
    let reason = explained(outcome, &deciding);
    Checked {
        outcome,
        reason,
        policies: names,
        parts,
        parsed: taken.parsed,
    }
}

fn refused(reason: &str, parsed: Option<Parsed>) -> Checked {
    Checked {
        outcome: Outcome::Deny,
        reason: reason.to_owned(),
        policies: Vec::new(),
        parts: Vec::new(),
        parsed,
    }
}

/// Most parts that a reason names.
const EXPLAINED: usize = 3;

fn explained(outcome: Outcome, deciding: &[&Judged]) -> String {
    let start = match outcome {
        Outcome::Allow => return String::new(),
        Outcome::Ask => "This needs a person's approval.",
        Outcome::Deny => "This is not allowed, and no approval can allow it.",
    };
    let mut text = start.to_owned();
    for judged in deciding.iter().take(EXPLAINED) {
        text.push_str(&format!(" {}: {}", shown(&judged.part), judged.reason));
    }
    if deciding.len() > EXPLAINED {
        text.push_str(&format!(" And {} more.", deciding.len() - EXPLAINED));
    }
    if outcome == Outcome::Deny {
        text.push_str(" Do not try it in another form; go on without it and say what is missing.");
    }
    text
}

fn shown(part: &Part) -> String {
    const CHARACTERS: usize = 120;
    let text = match part {
        Part::Tool(tool) => format!("the tool {}", tool.name),
        Part::Program(program) => format!("`{}`", program.line),
        Part::File { access, location } => {
            let access = word(access).replace('_', " ");
            format!("{access} {}", location.path)
        }
        Part::Host(host) if host.name.is_empty() => "a host that is not known".to_owned(),
        Part::Host(host) => format!("the host {}", host.name),
    };
    if text.chars().count() > CHARACTERS {
        return text.chars().take(CHARACTERS).chain("…".chars()).collect();
    }
    text
}

fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn judge(
    part: Part,
    call: &Call<'_>,
    caller: &Caller<'_>,
    policies: &Policies,
) -> Result<Judged, String> {
    let (resource, attributes) = resource(&part)?;
    let entity = Entity::new(resource.clone(), attributes, HashSet::new()).map_err(said)?;
    let entities = Entities::from_entities([entity], None).map_err(said)?;
    let context = context(call, caller, policies)?;
    let ask = |action: &EntityUid, set: &PolicySet| {
        let person = uid(&TYPES.person, caller.owner);
        let request = Request::new(
            person,
            action.clone(),
            resource.clone(),
            context.clone(),
            None,
        )
        .map_err(said)?;
        let answer = Authorizer::new().is_authorized(&request, set, &entities);
        if let Some(error) = answer.diagnostics().errors().next() {
            return Err(said(error));
        }
        let mut reasons: Vec<PolicyId> = answer.diagnostics().reason().cloned().collect();
        reasons.sort_by_key(ToString::to_string);
        Ok((answer.decision(), reasons))
    };
    let (run, by) = ask(&TYPES.run, policies.on_running(&part))?;
    if run == Permission::Allow {
        return Ok(Judged {
            part,
            outcome: Outcome::Allow,
            policies: by.iter().map(ToString::to_string).collect(),
            reason: String::new(),
        });
    }
    let (asking, asked_by) = ask(&TYPES.ask, policies.on_asking(&part))?;
    let (outcome, by) = match asking {
        // What keeps it from running by itself says more than what lets a person decide.
        Permission::Allow if by.is_empty() => (Outcome::Ask, asked_by),
        Permission::Allow => (Outcome::Ask, by),
        Permission::Deny => (Outcome::Deny, asked_by),
    };
    let mut reasons: Vec<String> = doubts(&part)
        .iter()
        .map(|doubt| sentence(&doubt.reason))
        .collect();
    reasons.extend(
        by.iter()
            .filter_map(|id| policies.reason_of(id))
            .map(str::to_owned),
    );
    if by.is_empty() {
        reasons.push("No policy permits it.".to_owned());
    }
    Ok(Judged {
        part,
        outcome,
        policies: by.iter().map(ToString::to_string).collect(),
        reason: reasons.join(" "),
    })
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|c| c.to_uppercase().to_string())
        .unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

fn doubts(part: &Part) -> &[Doubt] {
    match part {
        Part::Tool(tool) => &tool.unclear,
        Part::Program(program) => &program.unclear,
        _ => &[],
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct Types {
    person: EntityTypeName,
    tool: EntityTypeName,
    program: EntityTypeName,
    file: EntityTypeName,
    host: EntityTypeName,
    run: EntityUid,
    ask: EntityUid,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    // Constant names, which the tests use: they parse.
    let name = |text: &str| -> EntityTypeName { text.parse().expect("a constant name") };
    let action = |text: &str| uid(&name("Action"), text);
    Types {
        person: name("Person"),
        tool: name("Tool"),
        program: name("Program"),
        file: name("File"),
        host: name("Host"),
        run: action("run"),
        ask: action("ask"),
    }
});

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(value: impl Into<String>) -> Value {
    Value::new_string(value.into())
}

fn set<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Value {
    Value::new_set(values.into_iter().map(text))
}

fn kinds(unclear: &[Doubt]) -> Value {
    set(unclear.iter().map(|doubt| doubt.kind))
}

fn resource(part: &Part) -> Result<(EntityUid, HashMap<String, Value>), String> {
    let (id, pairs) = match part {
        Part::Tool(tool) => (
            uid(&TYPES.tool, &tool.name),
            vec![
                ("name", text(&tool.name)),
                ("unclear", kinds(&tool.unclear)),
            ],
        ),
        Part::Program(program) => (uid(&TYPES.program, &program.name), program_pairs(program)),
        Part::File { access, location } => (
            uid(&TYPES.file, &location.path),
            vec![
                ("path", text(&location.path)),
                ("place", text(location.place.as_str())),
                ("access", text(word(access))),
            ],
        ),
        Part::Host(host) => (
            uid(&TYPES.host, &host.name),
            vec![
                ("name", text(&host.name)),
                ("kind", text(host.kind.as_str())),
            ],
        ),
    };
    Ok((
        id,
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    ))
}

fn program_pairs(program: &Program) -> Vec<(&'static str, Value)> {
    vec![
        ("name", text(&program.name)),
        ("path", text(program.path.clone().unwrap_or_default())),
        ("line", text(&program.line)),
        ("command", text(&program.command)),
        ("options", set(&program.options)),
        ("arguments", set(&program.arguments)),
        ("effects", set(program.effects.iter().copied())),
        ("unclear", kinds(&program.unclear)),
        ("through", set(&program.through)),
    ]
}

fn context(call: &Call<'_>, caller: &Caller<'_>, policies: &Policies) -> Result<Context, String> {
    let session = Value::new_record([
        ("tags".to_owned(), set(caller.tags.iter().copied())),
        ("tier".to_owned(), text(policies.tier().as_str())),
        ("mode".to_owned(), text(caller.mode.to_string())),
        ("origin".to_owned(), text(caller.origin)),
    ])
    .map_err(said)?;
    Context::from_pairs([
        ("session".to_owned(), session),
        ("tool".to_owned(), text(call.tool)),
        ("subagent".to_owned(), Value::new_bool(caller.subagent)),
    ])
    .map_err(said)
}

#[cfg(test)]
mod tests;
