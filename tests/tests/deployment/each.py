"""One function gets another program by `cargo lambda deploy`, and keeps everything else."""
import os
import subprocess

KEPT = ["Role", "Runtime", "Handler", "MemorySize", "Timeout", "Environment", "TracingConfig", "Layers"]


def replace(asked, url, functions, deployed):
    """Deploys asked["program"] as a function like `deployed`: what changed of it, and what was kept."""
    name = "each"
    like = functions.get_function_configuration(FunctionName=deployed)
    # Of a stack, ministack gives numbers as they stand in the template, which is not what the API says.
    variables = {key: str(value) for key, value in like["Environment"]["Variables"].items()}
    functions.create_function(FunctionName=name, Code={"ZipFile": asked["empty"]}, Environment={"Variables": variables}, Publish=True,
                              **{key: like[key] for key in ("Role", "Runtime", "Handler", "MemorySize", "Timeout")})
    functions.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    before = functions.get_function_configuration(FunctionName=name)
    environment = dict(os.environ, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true")
    command = [asked["deployer"], "lambda", "deploy", name, "--binary-path", asked["program"], "--endpoint-url", url,
               "--region", "us-east-1", "--alias", "live"]
    ended = subprocess.run(command, env=environment, cwd=asked["source"], capture_output=True, text=True, timeout=120)
    after = functions.get_function_configuration(FunctionName=name)
    return {
        "said": ended.stdout + ended.stderr,
        "status": ended.returncode,
        "another": before["CodeSha256"] != after["CodeSha256"],
        "bytes": after["CodeSize"],
        "variables": len(after["Environment"]["Variables"]),
        "changed": [key for key in KEPT if before.get(key) != after.get(key)],
        "newest": functions.list_versions_by_function(FunctionName=name)["Versions"][-1]["Version"],
        "live": functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"],
    }
