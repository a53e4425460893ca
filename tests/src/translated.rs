//! `template.yaml` as CloudFormation gets it: what AWS's SAM translator makes of it, with the code
//! already uploaded.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::{checkout, installed};

/// Bucket and key of every function's code in the translation.
pub const CODE: (&str, &str) = ("code-bucket", "code-key");

const TRANSLATE: &str = r#"
import json, sys
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

asked = json.loads(sys.argv[1])
text = open("template.yaml").read()
if asked["old"] not in text:
    sys.exit(f"template.yaml does not contain {asked['old']!r}")
template = yaml_parse(text.replace(asked["old"], asked["new"]))
template["Globals"]["Function"]["CodeUri"] = "s3://" + asked["code"]
# As CloudFormation does: defaults, and what is given.
values = {name: str(one.get("Default", "x" * 64)) for name, one in template["Parameters"].items()}
json.dump(Translator({}, Parser()).translate(template, values), sys.stdout)
"#;

/// What every tool of AWS needs although it calls no service.
pub fn aws_tool(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(checkout::root())
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "testing")
        .env("AWS_SECRET_ACCESS_KEY", "testing")
        .env("SAM_CLI_TELEMETRY", "0");
    command
}

/// The translation; made once.
///
/// # Panics
/// When the translator cannot be had, or refuses the template.
pub fn template() -> &'static Value {
    static TRANSLATED: OnceLock<Value> = OnceLock::new();
    TRANSLATED.get_or_init(|| of_changed("", ""))
}

/// The translation of the template with another text in the place of each `old`.
///
/// # Panics
/// As [`template`]; and when there is no such text.
pub fn of_changed(old: &str, new: &str) -> Value {
    let tools = installed::template_tools();
    let (bucket, key) = CODE;
    let asked = json!({"old": old, "new": new, "code": format!("{bucket}/{key}")});
    let interpreter = tools.interpreter();
    let mut command = aws_tool(&interpreter);
    let output = installed::run(command.args(["-c", TRANSLATE, &asked.to_string()]));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("the translator prints JSON: {error}"))
}

/// Resources of a type, with their names.
pub fn resources<'all>(
    template: &'all Value,
    kind: &str,
) -> impl Iterator<Item = (&'all str, &'all Value)> {
    let all = template["Resources"].as_object().into_iter().flatten();
    all.filter(move |(_, resource)| resource["Type"] == kind)
        .map(|(name, resource)| (name.as_str(), resource))
}
