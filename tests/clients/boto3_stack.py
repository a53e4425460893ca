"""What boto3 sees of the emulated AWS: the table, the bucket and the functions of template.yaml."""

import json
import os

import boto3

endpoint = {"endpoint_url": os.environ["AWS_URL"], "region_name": "us-east-1"}
tables = boto3.client("dynamodb", **endpoint).list_tables()["TableNames"]
buckets = [bucket["Name"] for bucket in boto3.client("s3", **endpoint).list_buckets()["Buckets"]]
keys = boto3.client("dynamodb", **endpoint).describe_table(TableName=tables[0])["Table"]["KeySchema"]
versioning = boto3.client("s3", **endpoint).get_bucket_versioning(Bucket=buckets[0])["Status"]
print(json.dumps({"tables": tables, "buckets": buckets, "keys": keys, "versioning": versioning}))
