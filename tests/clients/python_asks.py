"""A session that asks a person, driven with the Python MCP SDK 2.x: the client's own elicitation
callback answers.

Run by the tests of clients: SHANNON_URL, SHANNON_TOKEN, PROMPT and MODE (auto or legacy) come in the
environment, a JSON summary goes to standard output.
"""

import asyncio
import json
import os

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult


async def main() -> None:
    asked: list[str] = []

    async def answer(_context, params) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"Which color?": "Blue"})

    headers = {"Authorization": f"Bearer {os.environ['SHANNON_TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=180, trust_env=False) as http:
        transport = streamable_http_client(os.environ["SHANNON_URL"], http_client=http)
        mode = os.environ["MODE"]
        async with Client(transport, mode=mode, elicitation_callback=answer) as client:

            async def call(name: str, arguments: dict) -> dict:
                result = await client.call_tool(name, arguments)
                if result.is_error:
                    raise RuntimeError(f"{name}: {result.content}")
                return result.structured_content

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
            version = str(client.protocol_version)
            print(json.dumps({"protocol_version": version, "asked": asked, "events": events}))


asyncio.run(main())
