//! The policies of AWS that the template or SAM attaches, as far as somebody needs one here.

use serde_json::json;

use super::document::Document;

/// Every function has it, from SAM.
pub(crate) const LAMBDA_BASIC: &str = "AWSLambdaBasicExecutionRole";
/// A function that reads a table's stream has it, from SAM.
pub(crate) const LAMBDA_STREAM: &str = "AWSLambdaDynamoDBExecutionRole";

/// The document behind the last part of a managed policy's ARN; `None` when it is not known here.
#[must_use]
pub fn managed_policy(arn: &str) -> Option<Document> {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let logs = ["logs:CreateLogStream", "logs:PutLogEvents"];
    let actions: Vec<&str> = match name {
        LAMBDA_BASIC => logs.into_iter().chain(["logs:CreateLogGroup"]).collect(),
        LAMBDA_STREAM => logs
            .into_iter()
            .chain([
                "logs:CreateLogGroup",
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
                "dynamodb:ListStreams",
            ])
            .collect(),
        // API Gateway's own, for its access logs.
        "AmazonAPIGatewayPushToCloudWatchLogs" => logs
            .into_iter()
            .chain([
                "logs:CreateLogGroup",
                "logs:DescribeLogGroups",
                "logs:DescribeLogStreams",
                "logs:FilterLogEvents",
                "logs:GetLogEvents",
            ])
            .collect(),
        "AmazonECSTaskExecutionRolePolicy" => logs
            .into_iter()
            .chain([
                "ecr:GetAuthorizationToken",
                "ecr:BatchCheckLayerAvailability",
                "ecr:GetDownloadUrlForLayer",
                "ecr:BatchGetImage",
            ])
            .collect(),
        _ => return None,
    };
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    Document::read(&json!({ "Version": "2012-10-17", "Statement": [statement] })).ok()
}
