"""Deploys a translated template into ministack by CloudFormation calls, and updates it.

stdin:  {"template", "code": [bucket, key], "left_out": [types and names], "parameters", "options", "changed",
         "infra": directory of the scripts, "aws": directory of the command line, "deployer": cargo-lambda,
         "source": the checkout, "program": of a function}
stdout: what came of it, as JSON
"""
import ctypes
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile

import boto3
from botocore.config import Config

import each
from recovery import recover

asked = json.load(sys.stdin)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(directory):
    port = free_port()
    environment = dict(os.environ, BIND_HOST="127.0.0.1", GATEWAY_PORT=str(port), TMPDIR=directory, HOME=directory,
                       S3_DATA_DIR=directory, LAMBDA_REMOTE_DOCKER="0")
    log = open(os.path.join(directory, "log"), "w")
    # It does not outlive this program, however that ends.
    process = subprocess.Popen([sys.executable, "-m", "ministack"], env=environment, cwd=directory, stdout=log, stderr=log,
                               preexec_fn=lambda: ctypes.CDLL(None).prctl(1, 9))
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url + "/_ministack/health", timeout=2)
            return process, url
        except OSError:
            time.sleep(0.1)
    sys.exit("ministack does not answer:\n" + open(log.name).read())


def main(url):
    def client(service):
        return boto3.client(service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="test",
                            aws_secret_access_key="test", config=Config(retries={"max_attempts": 1}, read_timeout=120))

    bucket, key = asked["code"]
    s3, cloudformation, functions = client("s3"), client("cloudformation"), client("lambda")
    s3.create_bucket(Bucket=bucket)
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("bootstrap", "#!/bin/sh\n")
    s3.put_object(Bucket=bucket, Key=key, Body=code.getvalue())

    template = asked["template"]
    kinds = {name: resource["Type"] for name, resource in template["Resources"].items()}
    refused = []

    def stored(template):
        s3.put_object(Bucket=bucket, Key="template.json", Body=json.dumps(template))
        return dict(TemplateURL=f"{url}/{bucket}/template.json", Capabilities=["CAPABILITY_IAM"])

    def given(parameters):
        return [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]

    def settled(name):
        until = time.monotonic() + 120
        while time.monotonic() < until:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            if "IN_PROGRESS" not in stack["StackStatus"]:
                return stack
            time.sleep(0.1)
        sys.exit(f"{name} does not settle")

    # What it says it cannot make, as it stands: each goes for itself into a stack of its own.
    for left_out in asked["left_out"]:
        names = [name for name, kind in kinds.items() if left_out in (name, kind)]
        alone = {"Resources": {name: dict(template["Resources"][name]) for name in names},
                 "Parameters": template["Parameters"], "Conditions": template["Conditions"]}
        try:
            stack = "alone-" + "".join(letter for letter in left_out if letter.isalnum())
            cloudformation.create_stack(StackName=stack, Parameters=given({**asked["parameters"], **asked["options"]}),
                                        OnFailure="DO_NOTHING", **stored(alone))
            ended = settled(stack)
            refused.append([left_out, len(names), ended["StackStatus"], ended.get("StackStatusReason", "")])
        except cloudformation.exceptions.ClientError as error:
            refused.append([left_out, len(names), "refused", str(error)])

    for name, kind in kinds.items():
        if name in asked["left_out"] or kind in asked["left_out"]:
            del template["Resources"][name]
        elif kind == "AWS::Lambda::Alias":
            # Names what was left out: CodeDeploy.
            template["Resources"][name].pop("UpdatePolicy", None)

    def aliases(stack):
        names = [name for name in kinds if kinds[name] == "AWS::Lambda::Function"]
        resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        physical = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}
        return {name: functions.get_alias(FunctionName=physical[name], Name="live")["FunctionVersion"] for name in names}

    def summary(name, stack):
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        return {
            "status": stack["StackStatus"],
            "reason": stack.get("StackStatusReason"),
            "resources": sorted(one["LogicalResourceId"] for one in resources if one["ResourceStatus"].endswith("_COMPLETE")),
            "outputs": {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])},
            "aliases": aliases(name),
        }

    answer = {"refused": refused}
    cloudformation.create_stack(StackName="plain", Parameters=given(asked["parameters"]), OnFailure="DO_NOTHING", **stored(template))
    answer["plain"] = summary("plain", settled("plain"))
    cloudformation.update_stack(StackName="plain", Parameters=given({**asked["parameters"], **asked["changed"]}), **stored(template))
    answer["changed"] = summary("plain", settled("plain"))
    distribution = client("cloudfront").list_distributions()["DistributionList"]["Items"][0]
    config = client("cloudfront").get_distribution_config(Id=distribution["Id"])["DistributionConfig"]
    answer["distribution"] = {"path": config["Origins"]["Items"][0]["OriginPath"],
                              "seconds": config["Origins"]["Items"][0]["CustomOriginConfig"]["OriginReadTimeout"]}
    resources = cloudformation.describe_stack_resources(StackName="plain")["StackResources"]
    physical = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}
    backups = client("dynamodb").describe_continuous_backups(TableName=physical["SessionTable"])
    encryption = s3.get_bucket_encryption(Bucket=physical["Bucket"])["ServerSideEncryptionConfiguration"]["Rules"][0]
    answer["unapplied"] = {
        "PointInTimeRecoverySpecification": backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        "BucketEncryption": encryption["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"],
    }

    answer["recovery"] = recover(asked, url, client, "plain", physical)
    answer["each"] = each.replace({**asked, "empty": code.getvalue()}, url, functions, physical["DiscoverFunction"])

    zone = client("route53").create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"].split("/")[-1]
    options = {**asked["parameters"], **asked["options"], "HostedZoneId": zone}
    cloudformation.create_stack(StackName="options", Parameters=given(options), OnFailure="DO_NOTHING", **stored(template))
    answer["options"] = summary("options", settled("options"))
    cloudformation.delete_stack(StackName="plain")
    json.dump(answer, sys.stdout)


with tempfile.TemporaryDirectory() as directory:
    process, url = start(directory)
    try:
        main(url)
    finally:
        process.kill()
        process.wait()
