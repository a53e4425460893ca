"""The least that a function with the DynamoDB client can be, for the benchmark of cold starts."""

import boto3

table = boto3.client("dynamodb")


def handler(event, context):
    found = table.get_item(TableName="hello", Key={"pk": {"S": event["key"]}})
    return {"found": "Item" in found}
