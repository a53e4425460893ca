"""The Python MCP SDK over stdio, through `emulator stdio`: tools, a resource, a prompt, a completion.

Run by the tests of clients: SHANNON_BRIDGE (the command as JSON), SHANNON_BRIDGE_ENV and MODE come in
the environment, a JSON summary goes to standard output.
"""

import asyncio
import json
import os

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import ResourceTemplateReference


async def main() -> None:
    command = json.loads(os.environ["SHANNON_BRIDGE"])
    server = StdioServerParameters(
        command=command[0], args=command[1:], env=json.loads(os.environ["SHANNON_BRIDGE_ENV"])
    )
    async with Client(stdio_client(server), mode=os.environ["MODE"]) as client:
        tools = await client.list_tools()
        created = await client.call_tool("create_session", {"prompt": "say hello @@TEXT:hello"})
        session = created.structured_content["session_id"]
        waited = {"state": "requested", "next_cursor": None}
        kinds: list[str] = []
        while "turn_ended" not in kinds:
            arguments = {"session_id": session}
            if waited["next_cursor"]:
                arguments["cursor"] = waited["next_cursor"]
            waited = (await client.call_tool("wait_session", arguments)).structured_content
            kinds += [event["kind"] for event in waited["events"]]
        resource = await client.read_resource(f"shannon://sessions/{session}")
        templates = await client.list_resource_templates()
        prompt = await client.get_prompt("explain_session", {"session_id": session})
        completion = await client.complete(
            ResourceTemplateReference(type="ref/resource", uri="shannon://sessions/{id}"),
            {"name": "id", "value": session[:8]},
        )
        await client.call_tool("cancel_session", {"session_id": session})
        print(
            json.dumps(
                {
                    "protocol_version": str(client.protocol_version),
                    "server": client.server_info.name if client.server_info else None,
                    "tools": len(tools.tools),
                    "session": session,
                    "resource": json.loads(resource.contents[0].text)["session_id"],
                    "templates": len(templates.resource_templates),
                    "prompt": prompt.messages[0].content.text,
                    "completed": completion.completion.values,
                }
            )
        )


asyncio.run(main())
