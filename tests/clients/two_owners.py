"""Another owner at the functions of the running stack.

The stack has one token and so one owner. Here boto3 invokes the functions as API Gateway would for
somebody else: with the same event, but for the owner that an authorizer would name. What that owner
hears of a session of the first one is compared with what it hears of a session that nobody has.
"""

import base64
import hashlib
import json
import os

import boto3

SESSION, MESSAGE = os.environ["SESSION"], os.environ["MESSAGE"]
CHECKPOINT, QUESTION = os.environ["CHECKPOINT"], "que_" + "a" * 26
NOBODYS = "ses_" + "a" * 26
OWNER = base64.b32encode(hashlib.sha256(b"somebody else").digest()).decode().lower().rstrip("=")
CLIENT = boto3.client("lambda", endpoint_url=os.environ["AWS_URL"], region_name="us-east-1")


def ask(function, method, params):
    """The JSON-RPC answer of a function to a request of the other owner."""
    params = params | {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
            "io.modelcontextprotocol/clientInfo": {"name": "two-owners", "version": "1"},
        }
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        "Mcp-Name": params.get("name") or params.get("taskId") or params.get("uri"),
    }
    path = f"/mcp/{function}"
    event = {
        "resource": path,
        "path": path,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": {
            "resourcePath": path,
            "httpMethod": "POST",
            "path": f"/local{path}",
            "stage": "local",
            "requestId": "two-owners",
            "identity": {},
            "authorizer": {"principalId": OWNER, "owner": OWNER, "scopes": "sessions:read sessions:write"},
        },
        "body": json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
        "isBase64Encoded": False,
    }
    answer = CLIENT.invoke(FunctionName=f"shannon-{function}", Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()
    # A streaming function: status and headers, eight NUL bytes, the body.
    _, body = answer["Payload"].read().split(b"\0" * 8, 1)
    text = body.decode()
    if "data:" in text:
        text = [line[5:] for line in text.splitlines() if line.startswith("data:") and "jsonrpc" in line][-1]
    return json.loads(text)


def heard(session):
    """Everything that the other owner can ask about a session, with the id taken out of the answers."""
    tools = {
        "get_session": {},
        "wait_session": {"wait_seconds": 0},
        "send_message": {"message": "hello"},
        "interrupt_session": {},
        "cancel_session": {},
        "suspend_session": {},
        "delete_session": {},
        "read_file": {"path": "secret.txt"},
        "answer_question": {"question_id": QUESTION, "answers": {"a": "b"}},
        "create_checkpoint": {},
        "list_checkpoints": {},
        "get_timeline": {},
        "diff_checkpoints": {"from": CHECKPOINT},
        "export_workspace": {"checkpoint": CHECKPOINT},
        "fork_session": {"checkpoint": CHECKPOINT, "prompt": "hello"},
        "restore_checkpoint": {"checkpoint": CHECKPOINT},
        "pin_checkpoint": {"checkpoint": CHECKPOINT, "pinned": True},
        "name_checkpoint": {"checkpoint": CHECKPOINT, "name": "mine"},
    }
    answers = {
        tool: ask("call", "tools/call", {"name": tool, "arguments": arguments | {"session_id": session}})
        for tool, arguments in tools.items()
    }
    task = f"{session}.{MESSAGE}"
    answers["tasks/get"] = ask("tasks", "tasks/get", {"taskId": task})
    answers["tasks/cancel"] = ask("tasks", "tasks/cancel", {"taskId": task})
    for rest in ("", "/events", "/transcript", "/diff", "/checkpoints", "/timeline", "/files/secret.txt"):
        uri = f"shannon://sessions/{session}{rest}"
        answers[uri.replace(session, "SESSION")] = ask("read", "resources/read", {"uri": uri})
    return {name: json.dumps(answer).replace(session, "SESSION") for name, answer in answers.items()}


listed = ask("call", "tools/call", {"name": "list_sessions", "arguments": {}})
print(json.dumps({"theirs": heard(SESSION), "nobodys": heard(NOBODYS), "listed": listed}))
