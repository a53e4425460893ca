//! Runners as ECS tasks.

use aws_sdk_ecs::{
    error::ProvideErrorMetadata,
    operation::run_task::RunTaskError,
    types::{
        AssignPublicIp, AwsVpcConfiguration, ContainerOverride, KeyValuePair, LaunchType,
        NetworkConfiguration, Tag, TaskOverride,
    },
};
use domain::{
    FencingToken, SessionKey,
    ids::base32,
    ports::{Compute, Unavailable},
    session_token::SessionClaims,
};
use sha2::{Digest, Sha256};

use crate::{
    ComputeSettings, Store,
    failure::{self, Kind},
    system,
};

/// Name of the container in the task definition.
const CONTAINER: &str = "session-runner";

impl Compute for Store {
    async fn start_runner(
        &self,
        key: &SessionKey,
        fence: FencingToken,
    ) -> Result<String, Unavailable> {
        const ATTEMPTED: &str = "start a runner";
        let compute = self.compute(ATTEMPTED)?;
        let sent = Box::pin(
            self.ecs
                .run_task()
                .cluster(&compute.cluster)
                .task_definition(&compute.task_definition)
                .launch_type(LaunchType::Fargate)
                .count(1)
                .client_token(client_token(key, fence))
                .started_by(key.session.as_str())
                .network_configuration(network(compute, ATTEMPTED)?)
                .overrides(overrides(compute, key, fence))
                .tags(tag("shannon:session", key.session.as_str()))
                .tags(tag("shannon:owner", key.owner.as_str()))
                .tags(tag("shannon:stage", &compute.stage))
                .send(),
        )
        .await;
        let answer = match sent {
            Ok(answer) => answer,
            // A repeat carries another session token, so it is not the same request to ECS; but
            // the answer names the task that the first one started.
            Err(error) => {
                return match error.as_service_error() {
                    Some(RunTaskError::ConflictException(conflict)) => conflict
                        .resource_ids()
                        .first()
                        .map(|arn| task_name(arn))
                        .ok_or_else(|| failure::own(ATTEMPTED, "the conflict names no task")),
                    _ => Err(failure::aws(ATTEMPTED, Kind::Write, error)),
                };
            }
        };
        if let Some(refusal) = answer.failures().first() {
            let reason = refusal.reason().unwrap_or("no reason given");
            let detail = refusal.detail().unwrap_or_default();
            return Err(failure::own(ATTEMPTED, format!("{reason} {detail}")));
        }
        answer
            .tasks()
            .first()
            .and_then(|task| task.task_arn())
            .map(task_name)
            .ok_or_else(|| failure::own(ATTEMPTED, "the answer names no task"))
    }

    async fn stop_runner(&self, task: &str, reason: &str) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "stop the runner";
        let compute = self.compute(ATTEMPTED)?;
        let stopped = Box::pin(
            self.ecs
                .stop_task()
                .cluster(&compute.cluster)
                .task(task)
                .reason(reason.chars().take(255).collect::<String>())
                .send(),
        )
        .await;
        match stopped {
            Ok(_) => Ok(()),
            // ECS forgets a stopped task after an hour and then answers that it knows none.
            Err(error)
                if error.code() == Some("InvalidParameterException")
                    && error
                        .message()
                        .is_some_and(|text| text.contains("not found")) =>
            {
                Ok(())
            }
            Err(error) => Err(failure::aws(ATTEMPTED, Kind::Write, error)),
        }
    }
}

impl Store {
    fn compute(&self, attempted: &'static str) -> Result<&ComputeSettings, Unavailable> {
        self.compute
            .as_ref()
            .ok_or_else(|| failure::own(attempted, "this program has no cluster to start it in"))
    }
}

/// The last part of a task's ARN.
fn task_name(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or(arn).to_owned()
}

/// 32 characters (ECS takes up to 64), the same for the same session and fence.
fn client_token(key: &SessionKey, fence: FencingToken) -> String {
    let digest = base32(&Sha256::digest(format!(
        "{} {} {fence}",
        key.owner, key.session
    )));
    digest.chars().take(32).collect()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn network(
    compute: &ComputeSettings,
    attempted: &'static str,
) -> Result<NetworkConfiguration, Unavailable> {
    let network = AwsVpcConfiguration::builder()
        .set_subnets(Some(compute.subnets.clone()))
        .security_groups(&compute.security_group)
        // Without NAT the public address is the way out; the security group lets nothing in.
        .assign_public_ip(AssignPublicIp::Enabled)
        .build()
        .map_err(|error| failure::own(attempted, error))?;
    Ok(NetworkConfiguration::builder()
        .awsvpc_configuration(network)
        .build())
}

/// What the runner is told: which session, and the token with which it speaks to the gateway. The
/// runner will have the next fence.
fn overrides(compute: &ComputeSettings, key: &SessionKey, fence: FencingToken) -> TaskOverride {
    let fence = fence.next();
    let token = compute.signing_key.sign(&SessionClaims {
        key: key.clone(),
        fence,
        expires_at: system::now().plus(compute.session_token_milliseconds),
    });
    let environment = [
        ("SHANNON_OWNER", key.owner.to_string()),
        ("SHANNON_SESSION", key.session.to_string()),
        ("SHANNON_FENCE", fence.to_string()),
        ("SHANNON_SESSION_TOKEN", token),
    ]
    .map(|(name, value)| KeyValuePair::builder().name(name).value(value).build());
    TaskOverride::builder()
        .container_overrides(
            ContainerOverride::builder()
                .name(CONTAINER)
                .set_environment(Some(environment.to_vec()))
                .build(),
        )
        .build()
}
