//! The roles of functions and tasks.

use super::*;

/// What SAM adds for a stream and for the queue behind it is part of the function's role.
#[test]
fn every_function_has_a_role_of_its_own() {
    use emulator::iam::{Decision, Request};
    let stack = real(&[]).unwrap();
    let role = |arn: &str| stack.roles.iter().find(|role| role.arn == arn).unwrap();
    for function in &stack.functions {
        let role = role(&function.role);
        let logs = Request::new("logs:PutLogEvents", "arn:aws:logs:us-east-1:0:log-group:x");
        assert_eq!(role.decide(&logs), Decision::Allowed, "{}", role.name);
        let none = emulator::iam::Context::default();
        let (service, action) = ("lambda.amazonaws.com", "sts:AssumeRole");
        assert!(role.trust.permits(service, action, &none), "{}", role.name);
        assert_eq!(
            role.decide(&Request::new("iam:CreateUser", "*")),
            Decision::NotAllowed,
            "{}",
            role.name
        );
        let mapping = stack
            .stream_mappings
            .iter()
            .find(|mapping| mapping.function == function.name);
        let reads = mapping.map(|mapping| Request::new("dynamodb:GetRecords", &mapping.stream_arn));
        let sends = mapping
            .and_then(|mapping| mapping.on_failure.as_ref())
            .map(|queue| Request::new("sqs:SendMessage", queue));
        for request in reads.into_iter().chain(sends) {
            assert_eq!(role.decide(&request), Decision::Allowed, "{request:?}");
        }
    }
    let task = &stack.task_definitions[0];
    for kind in ["taskRoleArn", "executionRoleArn"] {
        let role = role(task[kind].as_str().unwrap());
        let none = emulator::iam::Context::default();
        let (service, action) = ("ecs-tasks.amazonaws.com", "sts:AssumeRole");
        assert!(role.trust.permits(service, action, &none));
    }
}

#[test]
fn policies_that_mean_nothing_here_are_refused() {
    let with = |policies: &str| {
        format!(
            "Resources:
  F:
    Type: AWS::Serverless::Function
    Metadata: {{BuildProperties: {{Binary: f}}}}
    Properties: {{Policies: {policies}}}
"
        )
    };
    for (policies, complaint) in [
        (
            "[{S3ReadPolicy: {BucketName: b}}]",
            "knows statements and managed policies",
        ),
        (
            "[AdministratorAccess]",
            "does not know the policy AdministratorAccess",
        ),
        (
            "[{Statement: [{Effect: Allow, Action: 'a:B', Resource: '*', Condition: {Bool: {'aws:SecureTransport': 'true'}}}]}]",
            "does not know the condition operator Bool",
        ),
    ] {
        let error = refusal(&with(policies));
        assert!(
            error.contains("Resources.F.Properties.Policies: "),
            "{error}"
        );
        assert!(error.contains(complaint), "{policies}: {error}");
    }
}
