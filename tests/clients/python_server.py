"""Ten tools from memory on the Python SDK's high-level server: a peer of the benchmark.

Takes the port as its argument and serves /mcp until it is killed.
"""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("python peer", log_level="ERROR")


@server.tool()
def get_session(session_id: str) -> dict[str, str]:
    """Answers from memory."""
    return {"session_id": session_id, "state": "idle"}


for number in range(9):

    def tool(session_id: str) -> dict[str, str]:
        """One of ten tools that answer from memory."""
        return {"session_id": session_id}

    server.add_tool(tool, name=f"tool_{number + 1}")

server.run(
    "streamable-http", host="127.0.0.1", port=int(sys.argv[1]), stateless_http=True, json_response=True
)
