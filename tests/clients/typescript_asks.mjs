// A session that asks a person, driven with the TypeScript MCP SDK: the client's own handler answers.
//
// Run by the tests of clients: SHANNON_URL, SHANNON_TOKEN, PROMPT, SDK (1 or 2), MODULES (where the
// SDK is installed) and for 2 MODE (auto or legacy) come in the environment, a JSON summary goes to
// standard output.

import { createRequire } from "node:module";

const { SHANNON_URL, SHANNON_TOKEN, PROMPT, SDK, MODULES, MODE } = process.env;
const load = createRequire(`${MODULES}/`);
const options = { capabilities: { elicitation: {} } };
const requestInit = { headers: { Authorization: `Bearer ${SHANNON_TOKEN}` } };
const asked = [];
const answer = async (request) => {
  asked.push(request.params.message);
  return { action: "accept", content: { "Which color?": "Blue" } };
};

let client;
let Transport;
if (SDK === "1") {
  const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
  const { ElicitRequestSchema } = load("@modelcontextprotocol/sdk/types.js");
  Transport = load("@modelcontextprotocol/sdk/client/streamableHttp.js").StreamableHTTPClientTransport;
  client = new Client({ name: "tests", version: "1" }, options);
  client.setRequestHandler(ElicitRequestSchema, answer);
} else {
  const sdk = load("@modelcontextprotocol/client");
  Transport = sdk.StreamableHTTPClientTransport;
  options.versionNegotiation = { mode: MODE };
  client = new sdk.Client({ name: "tests", version: "1" }, options);
  client.setRequestHandler("elicitation/create", answer);
}
const transport = new Transport(new URL(SHANNON_URL), { requestInit });
await client.connect(transport);

async function call(name, args) {
  const params = { name, arguments: args };
  const wait = { timeout: 180_000 };
  const result = SDK === "1" ? await client.callTool(params, undefined, wait) : await client.callTool(params, wait);
  if (result.isError) {
    throw new Error(`${name}: ${JSON.stringify(result.content)}`);
  }
  return result.structuredContent;
}

const { session_id } = await call("create_session", { prompt: PROMPT });
const events = [];
let cursor;
while (!events.some((event) => event.kind === "turn_ended")) {
  const waited = await call("wait_session", cursor === undefined ? { session_id } : { session_id, cursor });
  events.push(...waited.events);
  cursor = waited.next_cursor;
  if (["failed", "cancelled"].includes(waited.state)) {
    throw new Error(`the session is ${waited.state}: ${JSON.stringify(events)}`);
  }
}
await call("cancel_session", { session_id });
const protocol_version = SDK === "1" ? transport.protocolVersion : client.getNegotiatedProtocolVersion();
console.log(JSON.stringify({ protocol_version, asked, events }));
await client.close();
