"""What a person with boto3 does to the emulator. Prints "all checks passed", or fails."""

import io
import json
import sys
import threading
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

bucket, table_name, cluster = sys.argv[1:4]
s3 = boto3.client("s3")
dynamodb = boto3.resource("dynamodb")
ecs = boto3.client("ecs")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
    else:
        raise AssertionError(f"{code} expected")


# Objects, conditions, ranges.
s3.put_object(Bucket=bucket, Key="k", Body=b"hello", Metadata={"a": "1"}, ContentType="text/plain")
got = s3.get_object(Bucket=bucket, Key="k")
assert got["Body"].read() == b"hello" and got["Metadata"] == {"a": "1"}, got
assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=1-2")["Body"].read() == b"el"
refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="none")
refused("404", s3.head_object, Bucket=bucket, Key="none")
refused("NoSuchBucket", s3.list_objects_v2, Bucket="no-such-bucket")
refused("PreconditionFailed", s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfNoneMatch="*")
wins = []


def create():
    try:
        s3.put_object(Bucket=bucket, Key="race", Body=b"x", IfNoneMatch="*")
        wins.append(1)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "PreconditionFailed", error.response


threads = [threading.Thread(target=create) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(wins) == 1, wins

# The transfer manager: multipart up, ranges down.
config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
data = bytes(range(256)) * (48 << 10)
s3.upload_fileobj(io.BytesIO(data), bucket, "big", Config=config)
assert s3.head_object(Bucket=bucket, Key="big")["ETag"].endswith('-3"')
down = io.BytesIO()
s3.download_fileobj(bucket, "big", down, Config=config)
assert down.getvalue() == data

# Listing, with keys that need encoding.
for key in ["l/1", "l/2 +&", "l/m/3", "l/ü"]:
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
pages = s3.get_paginator("list_objects_v2").paginate(
    Bucket=bucket, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 2}
)
keys, prefixes = [], []
for page in pages:
    keys += [entry["Key"] for entry in page.get("Contents", [])]
    prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
assert keys == ["l/1", "l/2 +&", "l/ü"] and prefixes == ["l/m/"], (keys, prefixes)

# Presigned URLs with nothing but the standard library.
url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "up"}, ExpiresIn=60)
request = urllib.request.Request(url, data=b"through a URL", method="PUT")
request.add_header("Content-Type", "")
urllib.request.urlopen(request).read()
url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "up"}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b"through a URL"

# A refused upload is answered, not cut off, though this client sends all of it first.
request = urllib.request.Request(url.replace("up", "other"), data=bytes(30 << 20), method="PUT")
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    assert error.code == 403, error
else:
    raise AssertionError("403 expected")

# Versions and many deletions.
versions = s3.list_object_versions(Bucket=bucket, Prefix="k")["Versions"]
assert len(versions) == 1 and versions[0]["IsLatest"], versions
answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
assert len(answer["Deleted"]) == 3 and "Errors" not in answer, answer

# DynamoDB.
table = dynamodb.Table(table_name)
table.put_item(Item={"pk": "a", "sk": "1", "n": 1, "list": ["x", {"y": b"z"}], "tags": {"q"}})
item = table.get_item(Key={"pk": "a", "sk": "1"})["Item"]
assert item["n"] == 1 and item["tags"] == {"q"}, item
updated = table.update_item(
    Key={"pk": "a", "sk": "1"},
    UpdateExpression="ADD n :one",
    ConditionExpression="n = :one",
    ExpressionAttributeValues={":one": 1},
    ReturnValues="ALL_NEW",
)
assert updated["Attributes"]["n"] == 2, updated
refused(
    "ConditionalCheckFailedException",
    table.put_item,
    Item={"pk": "a", "sk": "1"},
    ConditionExpression="attribute_not_exists(pk)",
)
with table.batch_writer() as batch:
    for number in range(30):
        batch.put_item(Item={"pk": "batch", "sk": f"{number:03}"})
found = table.query(KeyConditionExpression=boto3.dynamodb.conditions.Key("pk").eq("batch"), Limit=10)
assert found["Count"] == 10 and "LastEvaluatedKey" in found, found

# ECS.
run = ecs.run_task(
    cluster=cluster,
    taskDefinition="test-runner",
    launchType="FARGATE",
    networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    overrides={"containerOverrides": [{"name": "runner", "command": ["-c", "sleep 60"]}]},
    startedBy="boto3",
)
task = run["tasks"][0]["taskArn"]
ecs.get_waiter("tasks_running").wait(
    cluster=cluster, tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
)
ecs.stop_task(cluster=cluster, task=task, reason="seen enough")
ecs.get_waiter("tasks_stopped").wait(
    cluster=cluster, tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
)
stopped = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"][0]
assert stopped["stopCode"] == "UserInitiated" and stopped["stoppedReason"] == "seen enough", stopped
refused("ClusterNotFoundException", ecs.list_tasks, cluster="none")

# Lambda's control API goes to whoever runs the functions, checked and with the caller's name.
client = boto3.client("lambda")
name = "arn:aws:lambda:us-east-1:000000000000:function:test-call"
answer = client.invoke(FunctionName=name, Payload=b'{"a": 1}')
told = json.loads(answer["Payload"].read())
assert told["path"].startswith("/2015-03-31/functions/arn") and told["path"].endswith("/invocations")
assert told["body"] == '{"a": 1}' and told["principal"] == "Some(Operator)", told
stranger = boto3.client("lambda", aws_access_key_id="AKIAAAAAAAAAAAAAAAAA", aws_secret_access_key="x")
refused("UnrecognizedClientException", stranger.invoke, FunctionName="test-call")

print("all checks passed")
