"""The same with the Python MCP SDK 1.x, which knows the initialize era only: TRANSPORT is http or sse."""

import asyncio
import json
import os

from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import ElicitResult


async def main() -> None:
    asked: list[str] = []

    async def answer(_context, params) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"Which color?": "Blue"})

    connect = {"http": streamablehttp_client, "sse": sse_client}[os.environ["TRANSPORT"]]
    headers = {"Authorization": f"Bearer {os.environ['SHANNON_TOKEN']}"}
    async with connect(os.environ["SHANNON_URL"], headers=headers) as streams:
        async with ClientSession(*streams[:2], elicitation_callback=answer) as client:
            version = (await client.initialize()).protocolVersion

            async def call(name: str, arguments: dict) -> dict:
                result = await client.call_tool(name, arguments)
                if result.isError:
                    raise RuntimeError(f"{name}: {result.content}")
                return result.structuredContent

            created = await call("create_session", {"prompt": os.environ["PROMPT"]})
            arguments = {"session_id": created["session_id"]}
            events: list[dict] = []
            while not any(event["kind"] == "turn_ended" for event in events):
                waited = await call("wait_session", arguments)
                events += waited["events"]
                arguments["cursor"] = waited["next_cursor"]
                if waited["state"] in ("failed", "cancelled"):
                    raise RuntimeError(f"the session is {waited['state']}: {events}")
            await call("cancel_session", {"session_id": created["session_id"]})
            print(json.dumps({"protocol_version": str(version), "asked": asked, "events": events}))


asyncio.run(main())
