//! A tool call taken apart: what policies decide on.

use serde_json::Value;

use crate::host::Host;
use crate::location::{self, Location, LocationKind};
use crate::meaning::{self, Part, Tool};
use crate::path;
use crate::shell::{self, Access, Doubt, Parsed};
use crate::{AGENT_FIELDS, Call, EDIT_TOOLS, Files, READ_TOOLS, Surroundings};

/// The input of a tool is not one that it takes; the model corrects it.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

/// A call taken apart.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) parts: Vec<Part>,
    pub(crate) parsed: Option<Parsed>,
}

/// What a shell call may say besides its command.
const SHELL_FIELDS: [&str; 4] = ["command", "description", "run_in_background", "timeout"];

pub(crate) fn parts(
    call: &Call<'_>,
    surroundings: &Surroundings<'_>,
    files: &impl Files,
) -> Result<Taken, Refused> {
    let mut parsed = None;
    let mut unclear = Vec::new();
    let mut parts = Vec::new();
    if let Some((_, field)) = READ_TOOLS.iter().find(|(tool, _)| *tool == call.tool) {
        parts.push(file(call, field, Access::Read, surroundings, files)?);
    } else if let Some((_, field)) = EDIT_TOOLS.iter().find(|(tool, _)| *tool == call.tool) {
        parts.push(file(call, field, Access::Write, surroundings, files)?);
    } else {
        match call.tool {
            "Bash" => {
                let command = field(call, "command")?;
                unclear = other_fields(call, &SHELL_FIELDS);
                let read = shell::parse(command);
                parts = meaning::of_command(&read, surroundings);
                parsed = Some(read);
            }
            "WebFetch" => parts.push(Part::Host(Host::of(field(call, "url")?))),
            "Agent" | "Task" => unclear = other_fields(call, &AGENT_FIELDS),
            _ => {}
        }
    }
    if !matches!(call.cli_mode, Some("default" | "plan")) {
        unclear.push(Doubt::new(
            "mode",
            "an agent with a permission mode of its own makes the call",
        ));
    }
    parts.push(Part::Tool(Tool {
        name: call.tool.to_owned(),
        unclear,
    }));
    Ok(Taken { parts, parsed })
}

fn field<'a>(call: &Call<'a>, name: &str) -> Result<&'a str, Refused> {
    call.input
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Refused(format!("The input has no usable `{name}`.")))
}

fn other_fields(call: &Call<'_>, known: &[&str]) -> Vec<Doubt> {
    let others: Option<Vec<&str>> = call.input.as_object().map(|input| {
        input
            .keys()
            .map(String::as_str)
            .filter(|field| !known.contains(field))
            .collect()
    });
    match others.as_deref() {
        Some([]) => Vec::new(),
        Some(fields) => vec![Doubt::new(
            "input",
            format!("its input also says {}", fields.join(", ")),
        )],
        None => vec![Doubt::new("input", "its input is no object")],
    }
}

fn file(
    call: &Call<'_>,
    field: &str,
    access: Access,
    surroundings: &Surroundings<'_>,
    files: &impl Files,
) -> Result<Part, Refused> {
    let place = &surroundings.place;
    let may_be_left_out = matches!(call.tool, "Glob" | "Grep");
    let target = match call.input.get(field) {
        None if may_be_left_out => place.working_directory,
        Some(Value::String(text)) => text,
        _ => return Err(Refused(format!("The input has no usable `{field}`."))),
    };
    // Both may start anywhere in the file system, not only below `path`.
    for pattern in ["pattern", "glob"] {
        if call.tool == "Glob"
            && let Some(pattern) = call.input.get(pattern)
            && !pattern.as_str().is_some_and(path::is_plain_pattern)
        {
            let reason = "Give a pattern relative to `path`, without '..', '~' or a leading '/'.";
            return Err(Refused(reason.to_owned()));
        }
    }
    let location = match path::below(place.workspace, place.working_directory, target) {
        Err(path::Refusal::Unclear | path::Refusal::Upward) => {
            return Err(Refused(format!(
                "{target:?} can be read in more than one way. Give a plain path: not empty, without \
                 '..', '~' and control characters, no white space at its ends."
            )));
        }
        Ok(components) if files.meets_link(&components) => Location {
            path: format!("{target} (through a link)"),
            place: LocationKind::Unknown,
        },
        _ => location::locate_path(target, surroundings),
    };
    Ok(Part::File { access, location })
}
