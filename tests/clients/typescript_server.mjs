// Ten tools from memory on the TypeScript SDK, 2.x: a peer of the benchmark. It is copied beside the
// installed SDK, takes the port as its argument and serves /mcp until it is killed.

import { createServer } from 'node:http';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

const inputSchema = z.object({ session_id: z.string() });

const handler = createMcpHandler(() => {
    const server = new McpServer({ name: 'typescript peer', version: '1' });
    server.registerTool('get_session', { description: 'Answers from memory.', inputSchema }, ({ session_id }) => ({
        content: [{ type: 'text', text: JSON.stringify({ session_id, state: 'idle' }) }],
    }));
    for (let number = 1; number < 10; number += 1) {
        server.registerTool(
            `tool_${number}`,
            { description: 'One of ten tools that answer from memory.', inputSchema },
            ({ session_id }) => ({ content: [{ type: 'text', text: session_id }] }),
        );
    }
    return server;
});

const port = Number(process.argv[2]);
createServer(async (incoming, outgoing) => {
    const pieces = [];
    for await (const piece of incoming) {
        pieces.push(piece);
    }
    const request = new Request(`http://127.0.0.1:${port}${incoming.url}`, {
        method: incoming.method,
        headers: incoming.headers,
        body: pieces.length === 0 ? undefined : Buffer.concat(pieces),
    });
    const response = await handler.fetch(request);
    const body = Buffer.from(await response.arrayBuffer());
    outgoing.writeHead(response.status, { ...Object.fromEntries(response.headers), 'content-length': body.length });
    outgoing.end(body);
}).listen(port, '127.0.0.1');
