//! CloudFormation's functions: what `Ref`, `Sub`, `GetAtt`, `If` and their like stand for.

use std::{cell::RefCell, collections::BTreeMap};

use serde_json::{Map, Value, json};

use super::{ACCOUNT, REGION, TemplateError, parameters::text};

/// Resolves values of one template.
pub(super) struct Resolver<'template> {
    template: &'template Value,
    stack_name: &'template str,
    parameters: BTreeMap<String, String>,
    /// Resources and conditions that are being resolved right now, against cycles.
    open: RefCell<Vec<String>>,
}

/// A place in the template and what is wrong there.
pub(super) fn invalid(place: &str, reason: impl Into<String>) -> TemplateError {
    TemplateError::Invalid {
        place: place.into(),
        reason: reason.into(),
    }
}

impl<'template> Resolver<'template> {
    pub(super) fn new(
        template: &'template Value,
        stack_name: &'template str,
        parameters: BTreeMap<String, String>,
    ) -> Self {
        Self {
            template,
            stack_name,
            parameters,
            open: RefCell::default(),
        }
    }

    pub(super) fn stack_name(&self) -> &str {
        self.stack_name
    }

    /// The value without any function in it; `None` for `AWS::NoValue`.
    pub(super) fn resolve(
        &self,
        value: &Value,
        place: &str,
    ) -> Result<Option<Value>, TemplateError> {
        match value {
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    resolved.extend(self.resolve(item, &format!("{place}[{index}]"))?);
                }
                Ok(Some(Value::Array(resolved)))
            }
            Value::Object(entries) => {
                if let Some((name, argument)) = function(entries) {
                    return self.call(name, argument, place);
                }
                let mut resolved = Map::new();
                for (key, entry) in entries {
                    if let Some(entry) = self.resolve(entry, &format!("{place}.{key}"))? {
                        resolved.insert(key.clone(), entry);
                    }
                }
                Ok(Some(Value::Object(resolved)))
            }
            scalar => Ok(Some(scalar.clone())),
        }
    }

    fn call(
        &self,
        name: &str,
        argument: &Value,
        place: &str,
    ) -> Result<Option<Value>, TemplateError> {
        let place = &format!("{place}.{name}");
        match name {
            "Ref" => self.reference(&as_name(argument, place)?, place),
            "Fn::GetAtt" => {
                let path = match argument {
                    Value::Array(parts) => parts
                        .iter()
                        .map(|part| as_name(part, place))
                        .collect::<Result<Vec<_>, _>>()?
                        .join("."),
                    other => as_name(other, place)?,
                };
                self.attribute(&path, place).map(|text| Some(json!(text)))
            }
            "Fn::Sub" => self
                .substitute(argument, place)
                .map(|text| Some(json!(text))),
            "Fn::Join" => {
                let (separator, items) = self.pair(argument, place)?;
                let items = self.list(items, place)?;
                Ok(Some(json!(items.join(&as_name(separator, place)?))))
            }
            "Fn::Select" => {
                let (index, items) = self.pair(argument, place)?;
                let index: usize = self
                    .text(index, place)?
                    .parse()
                    .map_err(|_| invalid(place, "the index has to be a number"))?;
                let items = self.list(items, place)?;
                let item = items
                    .get(index)
                    .ok_or_else(|| invalid(place, format!("there is no item {index}")))?;
                Ok(Some(json!(item)))
            }
            "Fn::Split" => {
                let (separator, whole) = self.pair(argument, place)?;
                let (separator, whole) = (as_name(separator, place)?, self.text(whole, place)?);
                Ok(Some(json!(whole.split(&separator).collect::<Vec<_>>())))
            }
            "Fn::GetAZs" => Ok(Some(json!(
                ["a", "b", "c"].map(|zone| format!("{REGION}{zone}"))
            ))),
            "Fn::If" => match argument.as_array().map(Vec::as_slice) {
                Some([condition, then, otherwise]) => {
                    let holds = self.condition(&as_name(condition, place)?, place)?;
                    self.resolve(if holds { then } else { otherwise }, place)
                }
                _ => Err(invalid(place, "takes a condition and two values")),
            },
            "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" | "Condition" => {
                self.truth(name, argument, place).map(|t| Some(json!(t)))
            }
            _ => Err(invalid(place, "the emulator does not know this function")),
        }
    }

    /// Whether a named condition holds.
    pub(super) fn condition(&self, name: &str, place: &str) -> Result<bool, TemplateError> {
        let rule = &self.template["Conditions"][name];
        let place = &format!("Conditions.{name} (from {place})");
        let call = rule.as_object().and_then(function);
        let Some((function, argument)) = call else {
            return Err(invalid(place, "there is no such condition"));
        };
        self.once(name, place, || self.truth(function, argument, place))
    }

    fn truth(&self, name: &str, argument: &Value, place: &str) -> Result<bool, TemplateError> {
        if name == "Condition" {
            return self.condition(&as_name(argument, place)?, place);
        }
        let items = argument
            .as_array()
            .ok_or_else(|| invalid(place, "takes a list"))?;
        let truths = || -> Result<Vec<bool>, TemplateError> {
            let one = |item: &Value| match item.as_object().and_then(function) {
                Some((name, argument)) => self.truth(name, argument, place),
                None => Err(invalid(place, "takes conditions")),
            };
            items.iter().map(one).collect()
        };
        match (name, items.as_slice()) {
            ("Fn::Equals", [left, right]) => {
                Ok(self.text(left, place)? == self.text(right, place)?)
            }
            ("Fn::Not", [_]) => Ok(!truths()?[0]),
            ("Fn::And", [_, _, ..]) => Ok(truths()?.into_iter().all(|truth| truth)),
            ("Fn::Or", [_, _, ..]) => Ok(truths()?.into_iter().any(|truth| truth)),
            _ => Err(invalid(
                place,
                "not a condition, or a wrong number of values",
            )),
        }
    }

    /// Runs `work` unless it is already being done further up, which would never end.
    pub(super) fn once<Output>(
        &self,
        name: &str,
        place: &str,
        work: impl FnOnce() -> Result<Output, TemplateError>,
    ) -> Result<Output, TemplateError> {
        if self.open.borrow().iter().any(|open| open == name) {
            return Err(invalid(place, format!("{name} refers to itself")));
        }
        self.open.borrow_mut().push(name.into());
        let outcome = work();
        self.open.borrow_mut().pop();
        outcome
    }

    fn reference(&self, name: &str, place: &str) -> Result<Option<Value>, TemplateError> {
        let pseudo = match name {
            "AWS::NoValue" => return Ok(None),
            "AWS::StackName" => self.stack_name.to_owned(),
            "AWS::StackId" => format!(
                "arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{}/local",
                self.stack_name
            ),
            "AWS::Region" => REGION.to_owned(),
            "AWS::AccountId" => ACCOUNT.to_owned(),
            "AWS::Partition" => "aws".to_owned(),
            "AWS::URLSuffix" => "amazonaws.com".to_owned(),
            _ => match self.parameters.get(name) {
                Some(value)
                    if self.template["Parameters"][name]["Type"] == "CommaDelimitedList" =>
                {
                    return Ok(Some(json!(
                        value.split(',').map(str::trim).collect::<Vec<_>>()
                    )));
                }
                Some(value) => value.clone(),
                None => self.referred(name, place)?,
            },
        };
        Ok(Some(json!(pseudo)))
    }

    /// What `Ref` gives of a resource, or of what SAM makes beside it.
    fn referred(&self, name: &str, place: &str) -> Result<String, TemplateError> {
        if let Some(function) = name.strip_suffix(".Alias") {
            let resource = self.resource(function, place)?;
            let globals = &self.template["Globals"];
            return super::resources::alias(self, resource, globals, function, place);
        }
        if let Some(role) = self.function_role(name) {
            return Ok(role);
        }
        super::resources::reference(self, self.resource(name, place)?, name)
    }

    fn attribute(&self, path: &str, place: &str) -> Result<String, TemplateError> {
        let (name, attribute) = path
            .split_once('.')
            .ok_or_else(|| invalid(place, "takes a resource and an attribute"))?;
        if let Some(role) = self.function_role(name).filter(|_| attribute == "Arn") {
            return Ok(super::roles::role_arn(&role));
        }
        let resource = self.resource(name, place)?;
        super::resources::attribute(self, resource, name, attribute, place)
    }

    /// The role that SAM makes for a function: `<function>Role`.
    fn function_role(&self, name: &str) -> Option<String> {
        let resources = &self.template["Resources"];
        let function = name.strip_suffix("Role")?;
        let made = resources.get(name).is_none()
            && resources[function]["Type"] == "AWS::Serverless::Function";
        made.then(|| super::roles::function_role_name(self.stack_name, function))
    }

    fn resource(&self, name: &str, place: &str) -> Result<&'template Value, TemplateError> {
        self.template["Resources"]
            .get(name)
            .ok_or_else(|| invalid(place, format!("there is no parameter or resource {name}")))
    }

    fn substitute(&self, argument: &Value, place: &str) -> Result<String, TemplateError> {
        let none = Map::new();
        let (pattern, own) = match argument.as_array().map(Vec::as_slice) {
            Some([pattern, Value::Object(own)]) => (as_name(pattern, place)?, own),
            Some(_) => return Err(invalid(place, "takes a text and a mapping")),
            None => (as_name(argument, place)?, &none),
        };
        let mut output = String::with_capacity(pattern.len());
        let mut rest = pattern.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| invalid(place, "a ${ is not closed"))?;
            output.push_str(before);
            if let Some(literal) = name.strip_prefix('!') {
                output.push_str(&format!("${{{literal}}}"));
            } else if let Some(value) = own.get(name) {
                output.push_str(&self.text(value, place)?);
            } else if name.contains('.') {
                output.push_str(&self.attribute(name, place)?);
            } else {
                let value = self.reference(name, place)?;
                let value = value.as_ref().and_then(text);
                output
                    .push_str(&value.ok_or_else(|| invalid(place, format!("{name} is no text")))?);
            }
            rest = after;
        }
        output.push_str(rest);
        Ok(output)
    }

    fn pair<'value>(
        &self,
        argument: &'value Value,
        place: &str,
    ) -> Result<(&'value Value, &'value Value), TemplateError> {
        match argument.as_array().map(Vec::as_slice) {
            Some([first, second]) => Ok((first, second)),
            _ => Err(invalid(place, "takes two values")),
        }
    }

    fn list(&self, value: &Value, place: &str) -> Result<Vec<String>, TemplateError> {
        match self.resolve(value, place)? {
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| text(item).ok_or_else(|| invalid(place, "takes a list of texts")))
                .collect(),
            _ => Err(invalid(place, "takes a list")),
        }
    }

    /// Resolves to one text.
    pub(super) fn text(&self, value: &Value, place: &str) -> Result<String, TemplateError> {
        self.resolve(value, place)?
            .as_ref()
            .and_then(text)
            .ok_or_else(|| invalid(place, "has to be a text"))
    }
}

/// The function that an object is a call of.
fn function(entries: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = entries.iter().next().filter(|_| entries.len() == 1)?;
    let is_function = name == "Ref"
        || name.starts_with("Fn::")
        // As a call it names a condition; as a property (of a policy) it is a mapping.
        || (name == "Condition" && argument.is_string());
    is_function.then_some((name.as_str(), argument))
}

fn as_name(value: &Value, place: &str) -> Result<String, TemplateError> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| invalid(place, "takes a text"))
}
