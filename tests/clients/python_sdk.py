"""A session driven with the Python MCP SDK: list the tools, create, wait with progress, read, end.

Run by the tests of clients: SHANNON_URL, SHANNON_TOKEN and MODE (auto, legacy or a version) come in
the environment, a JSON summary goes to standard output.
"""

import asyncio
import json
import os

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main() -> None:
    progress: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    headers = {"Authorization": f"Bearer {os.environ['SHANNON_TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=120, trust_env=False) as http:
        transport = streamable_http_client(os.environ["SHANNON_URL"], http_client=http)
        async with Client(transport, mode=os.environ["MODE"]) as client:
            tools = await client.list_tools()

            async def call(name: str, arguments: dict, **options) -> dict:
                result = await client.call_tool(name, arguments, **options)
                if result.is_error:
                    raise RuntimeError(f"{name}: {result.content}")
                return result.structured_content

            created = await call(
                "create_session",
                {
                    "prompt": "write a file @@TOOL:Write:"
                    + json.dumps({"file_path": "/workspace/python.txt", "content": "from Python\n"})
                    + ";;TEXT:written",
                    "permission_mode": "accept_edits",
                },
            )
            session = {"session_id": created["session_id"]}
            kinds: list[str] = []
            arguments = dict(session)
            while "turn_ended" not in kinds:
                waited = await call("wait_session", arguments, progress_callback=on_progress)
                kinds += [event["kind"] for event in waited["events"]]
                arguments["cursor"] = waited["next_cursor"]
                if waited["state"] in ("failed", "lost", "cancelled"):
                    raise RuntimeError(f"the session is {waited['state']}: {kinds}")
            text = await call("read_file", {**session, "path": "python.txt"})
            await call("cancel_session", session)
            try:
                refused = await client.call_tool("get_session", {"session_id": "nonsense"})
                refusal = str(refused.content) if refused.is_error else ""
            except Exception as error:  # a protocol error is an exception of the SDK
                refusal = str(error)
            print(
                json.dumps(
                    {
                        "protocol_version": str(client.protocol_version),
                        "server": client.server_info.name if client.server_info else None,
                        "tools": sorted(tool.name for tool in tools.tools),
                        "kinds": kinds,
                        "progress": progress,
                        "text": text["text"],
                        "refusal": refusal,
                    }
                )
            )


asyncio.run(main())
