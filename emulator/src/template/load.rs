//! From the file to a [`Stack`].

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

use super::{
    NotServed, Stack, TemplateError, edge, functions,
    intrinsics::{Resolver, invalid},
    parameters,
    resources::{Kind, kind, not_served, physical_name},
    roles, stored, streams, tasks, yaml,
};

/// Sections a template may have.
const SECTIONS: &[&str] = &[
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Globals",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Transform",
];

/// A resource with its properties resolved.
pub(super) struct Resource {
    pub(super) logical_id: String,
    pub(super) kind: Kind,
    /// Physical name.
    pub(super) name: String,
    pub(super) metadata: Value,
    pub(super) properties: Map<String, Value>,
}

impl Resource {
    /// Place of a property, for errors.
    pub(super) fn place(&self, property: &str) -> String {
        format!("{}.{property}", self.properties_place())
    }

    /// Place of all properties.
    pub(super) fn properties_place(&self) -> String {
        format!("Resources.{}.Properties", self.logical_id)
    }
}

/// A template that was read and not resolved yet. Reading takes longer than resolving.
#[derive(Debug)]
pub struct Template(Value);

impl Template {
    /// Reads a template file.
    ///
    /// # Errors
    /// [`TemplateError::Read`], or that it is no YAML.
    pub fn read(path: &Path) -> Result<Self, TemplateError> {
        let text = std::fs::read_to_string(path).map_err(|source| TemplateError::Read {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self(yaml::parse(&text)?))
    }

    /// Resolves it with these parameters; may be done again with others.
    ///
    /// # Errors
    /// See [`TemplateError`]; nothing was changed anywhere.
    pub fn resolve(
        &self,
        parameters: &BTreeMap<String, String>,
        stack_name: &str,
    ) -> Result<Stack, TemplateError> {
        resolve(&self.0, parameters, stack_name)
    }
}

/// Reads and resolves a template file.
///
/// # Errors
/// See [`TemplateError`]; nothing was changed anywhere.
pub fn load(
    path: &Path,
    parameters: &BTreeMap<String, String>,
    stack_name: &str,
) -> Result<Stack, TemplateError> {
    Template::read(path)?.resolve(parameters, stack_name)
}

/// Resolves the text of a template.
///
/// # Errors
/// See [`TemplateError`].
pub fn parse(
    text: &str,
    parameters: &BTreeMap<String, String>,
    stack_name: &str,
) -> Result<Stack, TemplateError> {
    resolve(&yaml::parse(text)?, parameters, stack_name)
}

fn resolve(
    template: &Value,
    parameters: &BTreeMap<String, String>,
    stack_name: &str,
) -> Result<Stack, TemplateError> {
    let sections = template
        .as_object()
        .ok_or_else(|| invalid("template", "has to be a mapping"))?;
    if let Some(unknown) = sections
        .keys()
        .find(|name| !SECTIONS.contains(&name.as_str()))
    {
        return Err(invalid(unknown, "the emulator does not know this section"));
    }
    let values = parameters::check(template, parameters)?;
    let resolver = Resolver::new(template, stack_name, values);
    let resources = resolve_resources(template, &resolver)?;
    let mut stack = Stack {
        name: stack_name.to_owned(),
        stage: String::new(),
        functions: Vec::new(),
        routes: Vec::new(),
        authorizers: Vec::new(),
        gateway_responses: BTreeMap::new(),
        throttles: Vec::new(),
        tables: Vec::new(),
        buckets: Vec::new(),
        clusters: Vec::new(),
        task_definitions: Vec::new(),
        rules: Vec::new(),
        schedules: Vec::new(),
        stream_mappings: Vec::new(),
        roles: Vec::new(),
        topics: Vec::new(),
        queues: Vec::new(),
        edge: edge::edge(&resources)?,
        not_served: Vec::new(),
        outputs: outputs(template, &resolver)?,
    };
    for resource in &resources {
        match resource.kind {
            Kind::Function => {
                let function = functions::function(resource, stack_name)?;
                stack.roles.push(roles::of_function(resource, &function)?);
                stack.functions.push(function);
            }
            Kind::Role => stack.roles.push(roles::declared(resource)?),
            Kind::Table => stack.tables.push(stored::table(resource)?),
            Kind::Bucket => stack.buckets.push(stored::bucket(resource)?),
            Kind::Cluster => stack.clusters.push(resource.name.clone()),
            Kind::TaskDefinition => stack
                .task_definitions
                .push(tasks::task_definition(resource)?),
            Kind::Topic => stack.topics.push(streams::topic(resource)?),
            Kind::Queue => stack.queues.push(streams::queue(resource)?),
            Kind::NotServed(resource_type) => stack.not_served.push(NotServed {
                logical_id: resource.logical_id.clone(),
                resource_type,
                reason: not_served(resource_type).unwrap_or_default(),
            }),
            Kind::Api
            | Kind::Distribution
            | Kind::EdgeFunction
            | Kind::ResponseHeaders
            | Kind::Policy => {}
        }
    }
    for resource in &resources {
        if matches!(resource.kind, Kind::Policy) {
            roles::attach(&mut stack.roles, resource)?;
        }
    }
    functions::connect(&mut stack, &resources)?;
    Ok(stack)
}

fn resolve_resources(
    template: &Value,
    resolver: &Resolver<'_>,
) -> Result<Vec<Resource>, TemplateError> {
    let declared = template["Resources"]
        .as_object()
        .ok_or_else(|| invalid("Resources", "is missing"))?;
    let mut resources = Vec::with_capacity(declared.len());
    for (logical_id, resource) in declared {
        let place = format!("Resources.{logical_id}");
        if let Some(condition) = resource["Condition"].as_str()
            && !resolver.condition(condition, &place)?
        {
            continue;
        }
        let mut resource = resource.clone();
        let kind = kind(&resource, logical_id)?;
        if matches!(kind, Kind::Function) {
            inherit(
                &template["Globals"]["Function"],
                &mut resource["Properties"],
            );
        }
        let properties = &resource["Properties"];
        let properties = resolver.resolve(properties, &format!("{place}.Properties"))?;
        let properties = match properties {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(properties)) => properties,
            Some(_) => return Err(invalid(&place, "Properties have to be a mapping")),
        };
        let metadata = resolver
            .resolve(&resource["Metadata"], &format!("{place}.Metadata"))?
            .unwrap_or_default();
        resources.push(Resource {
            name: physical_name(resolver, &resource, logical_id)?,
            logical_id: logical_id.clone(),
            kind,
            metadata,
            properties,
        });
    }
    Ok(resources)
}

/// Adds what `Globals` say: mappings are merged, lists are joined, anything else is overridden.
fn inherit(global: &Value, own: &mut Value) {
    match (global, own) {
        (Value::Object(global), Value::Object(own)) if own.keys().all(|key| !is_call(key)) => {
            for (key, value) in global {
                match own.get_mut(key) {
                    Some(existing) => inherit(value, existing),
                    None => {
                        own.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(global), Value::Array(own)) => {
            own.splice(0..0, global.iter().cloned());
        }
        (global, own @ Value::Null) => *own = global.clone(),
        _ => {}
    }
}

fn is_call(key: &str) -> bool {
    key == "Ref" || key.starts_with("Fn::")
}

fn outputs(
    template: &Value,
    resolver: &Resolver<'_>,
) -> Result<BTreeMap<String, String>, TemplateError> {
    let none = Map::new();
    let mut outputs = BTreeMap::new();
    for (name, output) in template["Outputs"].as_object().unwrap_or(&none) {
        let place = format!("Outputs.{name}");
        if let Some(condition) = output["Condition"].as_str()
            && !resolver.condition(condition, &place)?
        {
            continue;
        }
        outputs.insert(name.clone(), resolver.text(&output["Value"], &place)?);
    }
    Ok(outputs)
}
