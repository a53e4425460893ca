"""Runs infra/backup, infra/restore and infra/rollback, by the AWS command line, against a stack in ministack."""
import http.server
import os
import subprocess
import tempfile
import threading


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers like a stack that needs a moment after a rollback."""
    asked = 0

    def do_GET(self):
        Ready.asked += 1
        self.send_response(200 if Ready.asked > 2 and self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, *_):
        pass


# The AWS command line; after the call that CUT names, what called it is cut off.
CUTTING = """#!/bin/sh
"{aws}" "$@" || exit
[ "$2" != "$CUT" ] || kill -9 "$PPID"
"""


def recover(asked, url, client, stack, physical):
    cutting = tempfile.mkdtemp()
    with open(os.path.join(cutting, "aws"), "w") as script:
        script.write(CUTTING.format(aws=os.path.join(asked["aws"], "aws")))
    os.chmod(os.path.join(cutting, "aws"), 0o755)
    environment = dict(os.environ, PATH=asked["aws"] + os.pathsep + os.environ["PATH"], AWS_ENDPOINT_URL=url, AWS_PAGER="",
                       AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1", AWS_ACCESS_KEY_ID="test",
                       AWS_SECRET_ACCESS_KEY="test")

    def run(*command, cut=None):
        changed = dict(environment, CUT=cut, PATH=cutting + os.pathsep + os.environ["PATH"]) if cut else environment
        done = subprocess.run([os.path.join(asked["infra"], command[0]), *command[1:], stack], env=changed,
                              capture_output=True, text=True, timeout=300)
        return {"code": done.returncode, "out": done.stdout.strip(), "errors": done.stderr}

    dynamodb, functions = client("dynamodb"), client("lambda")
    table = physical["SessionTable"]

    def put(value):
        dynamodb.put_item(TableName=table, Item={"pk": {"S": "a"}, "sk": {"S": "b"}, "value": {"S": value}})

    def value(name):
        item = dynamodb.get_item(TableName=name, Key={"pk": {"S": "a"}, "sk": {"S": "b"}}).get("Item", {})
        return item.get("value", {}).get("S")

    def about(name):
        described = dynamodb.describe_table(TableName=name)["Table"]
        return {"value": value(name), "ttl": dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"],
                "stream": described.get("StreamSpecification"), "protected": described["DeletionProtectionEnabled"],
                "point_in_time": dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"][
                    "PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
                "indexes": sorted(index["IndexName"] for index in described.get("GlobalSecondaryIndexes", []))}

    def mappings():
        """What reads the table's stream, without what every mapping has for itself."""
        found = [dict(mapping) for mapping in functions.list_event_source_mappings()["EventSourceMappings"]
                 if f"table/{table}/" in mapping["EventSourceArn"]]
        current = dynamodb.describe_table(TableName=table)["Table"].get("LatestStreamArn")
        for mapping in found:
            mapping["current"] = mapping.pop("EventSourceArn") == current
            for name in ("UUID", "LastModified", "LastProcessingResult", "State", "StateTransitionReason", "EventSourceMappingArn"):
                mapping.pop(name, None)
        return found

    answer = {"table": table}
    put("before")
    answer["dry_backup"] = run("backup", "--dry-run")
    answer["backup"] = run("backup")
    arn = answer["backup"]["out"]
    put("after")
    answer["restore"] = run("restore", "--backup", arn, "--table", "looked-at")
    answer["restored"] = about("looked-at")
    answer["untouched"] = value(table)
    answer["latest"] = run("restore", "--latest", "--table", "latest")
    answer["latest_value"] = value("latest")
    answer["two_sources"] = run("restore", "--latest", "--backup", arn)
    answer["mappings_before"] = mappings()
    answer["dry_replace"] = run("restore", "--dry-run", "--replace", "--backup", arn)
    answer["still"] = value(table)
    # Cut off three times, and each time begun again.
    cuts = ["delete-table", "restore-table-from-backup", "create-event-source-mapping"]
    answer["cut"] = [run("restore", "--replace", "--backup", arn, cut=cut) for cut in cuts]
    answer["half"] = mappings()
    answer["replace"] = run("restore", "--replace", "--backup", arn)
    answer["replaced"] = about(table)
    answer["mappings_after"] = mappings()
    answer["list"] = run("backup", "--list")
    answer["prune"] = run("backup", "--keep-days", "0")
    answer["list_after"] = run("backup", "--list")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready = f"http://127.0.0.1:{server.server_port}"
    names = [name for logical, name in physical.items() if logical.endswith("Function") and logical != "EdgeFunction"]

    def aliases():
        return sorted({functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"] for name in names})

    def image():
        family = f"{stack}-session-runner"
        return client("ecs").describe_task_definition(taskDefinition=family)["taskDefinition"]["containerDefinitions"][0]["image"]

    # As a deployment of other code leaves them. (Of a change of parameters CloudFormation keeps no former version, here
    # and on AWS.)
    code = dict(S3Bucket=asked["code"][0], S3Key=asked["code"][1])
    for name in names:
        functions.update_function_code(FunctionName=name, **code)
        version = functions.publish_version(FunctionName=name)["Version"]
        functions.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    # ministack keeps CloudFormation's spelling of a definition; AWS answers in that of its own calls.
    for number in (1, 2):
        client("ecs").register_task_definition(
            family=f"{stack}-session-runner", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="1024",
            memory="2048", volumes=[{"name": "workspace"}], taskRoleArn="arn:aws:iam::000000000000:role/runner",
            containerDefinitions=[{
                "name": "session-runner", "image": f"example.com/session-runner@sha256:{str(number) * 64}", "stopTimeout": 110,
                "healthCheck": {"command": ["CMD", "health"], "interval": 30}, "readonlyRootFilesystem": True,
            }])
    answer["before"] = [aliases(), image()]
    answer["dry_rollback"] = run("rollback", "--dry-run", "--url", ready)
    answer["meanwhile"] = [aliases(), image(), Ready.asked]
    answer["rollback"] = run("rollback", "--url", ready, "--wait", "30")
    answer["rolled_back"] = [aliases(), image()]
    answer["never_ready"] = run("rollback", "--url", ready + "/nowhere", "--wait", "1")
    server.shutdown()
    return answer
