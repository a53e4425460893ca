//! ECS calls as IAM sees them: who runs a task with roles hands these roles on.
//! Facts: Service Authorization Reference, "Amazon Elastic Container Service".

use serde_json::Value;

use crate::{
    iam::Request,
    template::{ACCOUNT, REGION},
};

fn arn(kind: &str, name: &str) -> String {
    if name.starts_with("arn:") {
        name.to_owned()
    } else {
        format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{name}")
    }
}

fn cluster(body: &Value) -> &str {
    let name = body["cluster"].as_str().unwrap_or("default");
    name.rsplit('/').next().unwrap_or(name)
}

fn task(body: &Value, name: &str) -> String {
    let name = if name.contains('/') {
        name.to_owned()
    } else {
        format!("{}/{name}", cluster(body))
    };
    arn("task", &name)
}

/// What a call asks for. `definition`: the task definition that a RunTask means, if there is one.
pub(in crate::aws) fn requests(
    operation: &str,
    body: &Value,
    definition: Option<&Value>,
) -> Vec<Request> {
    let in_cluster =
        |request: Request| request.with("ecs:cluster", [arn("cluster", cluster(body))]);
    match operation {
        "RunTask" => run_task(body, definition, in_cluster),
        "StopTask" => {
            let name = body["task"].as_str().unwrap_or_default();
            vec![in_cluster(Request::new("ecs:StopTask", task(body, name)))]
        }
        "DescribeTasks" => body["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| task(body, name.as_str().unwrap_or_default()))
            .map(|task| in_cluster(Request::new("ecs:DescribeTasks", task)))
            .collect(),
        "DescribeClusters" => {
            let named = body["clusters"].as_array().filter(|it| !it.is_empty());
            let names = named.map_or(vec!["default"], |named| {
                named.iter().filter_map(Value::as_str).collect()
            });
            let clusters = names.into_iter().map(|name| arn("cluster", name));
            clusters
                .map(|cluster| Request::new("ecs:DescribeClusters", cluster))
                .collect()
        }
        // Of a task definition AWS knows no resource here.
        other => vec![Request::new(&format!("ecs:{other}"), "*")],
    }
}

fn run_task(
    body: &Value,
    definition: Option<&Value>,
    in_cluster: impl Fn(Request) -> Request,
) -> Vec<Request> {
    let none = Value::Null;
    let definition = definition.unwrap_or(&none);
    let named = body["taskDefinition"].as_str().unwrap_or_default();
    let resource = match definition["taskDefinitionArn"].as_str() {
        Some(arn) => arn.to_owned(),
        None => arn("task-definition", named),
    };
    let mut requests = vec![in_cluster(Request::new("ecs:RunTask", resource))];
    if body["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
        let tasks = arn("task", &format!("{}/*", cluster(body)));
        requests.push(in_cluster(Request::new("ecs:TagResource", tasks)));
    }
    for role in ["taskRoleArn", "executionRoleArn"] {
        let overridden = body["overrides"][role].as_str();
        if let Some(arn) = overridden.or(definition[role].as_str()) {
            let request = Request::new("iam:PassRole", arn);
            requests.push(request.with("iam:PassedToService", ["ecs-tasks.amazonaws.com"]));
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(operation: &str, body: &Value, definition: Option<&Value>) -> Vec<String> {
        requests(operation, body, definition)
            .iter()
            .map(|request| {
                let resource = request.resource.splitn(6, ':').last().unwrap_or_default();
                format!("{} {resource}", request.action)
            })
            .collect()
    }

    #[test]
    fn running_a_task_hands_on_its_roles() {
        let definition = json!({
            "taskDefinitionArn": "arn:aws:ecs:r:0:task-definition/f:3",
            "taskRoleArn": "arn:aws:iam::0:role/task",
            "executionRoleArn": "arn:aws:iam::0:role/execution",
        });
        let run = json!({ "cluster": "c", "taskDefinition": "f" });
        assert_eq!(
            seen("RunTask", &run, Some(&definition)),
            [
                "ecs:RunTask task-definition/f:3",
                "iam:PassRole role/task",
                "iam:PassRole role/execution"
            ]
        );
        let run = json!({
            "cluster": "arn:aws:ecs:r:0:cluster/c", "taskDefinition": "f:9",
            "tags": [{"key": "k", "value": "v"}],
            "overrides": {"taskRoleArn": "arn:aws:iam::0:role/other"},
        });
        assert_eq!(
            seen("RunTask", &run, None),
            [
                "ecs:RunTask task-definition/f:9",
                "ecs:TagResource task/c/*",
                "iam:PassRole role/other"
            ]
        );
        assert_eq!(
            seen("StopTask", &json!({"cluster": "c", "task": "t"}), None),
            ["ecs:StopTask task/c/t"]
        );
        let describe = json!({"cluster": "c", "tasks": ["arn:aws:ecs:r:0:task/d/t", "u"]});
        assert_eq!(
            seen("DescribeTasks", &describe, None),
            ["ecs:DescribeTasks task/d/t", "ecs:DescribeTasks task/c/u"]
        );
        assert_eq!(seen("ListTasks", &json!({}), None), ["ecs:ListTasks *"]);
    }
}
