// A host of the published MCP server, built on the official MCP SDK: starts it over stdio and does what it is told.
//
//     node mcp_session.mjs NODE_MODULES_PARENT SERVER_COMMAND [ARGUMENT…]
//
// The server inherits the environment and working directory. Reads JSON lines {id, do: "tools"} and {id, do: "call",
// name, arguments}; prints {event: "ready"}, {event: "list_changed"}, {id, progress}, {id, returned} and {id, threw}. It
// asks for the tools before anything else, as hosts do: from then on the SDK holds results against their output schemas.
// It ends with its standard input.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [home, command, ...args] = process.argv.slice(2);
const require = createRequire(`${home}/`);
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { ToolListChangedNotificationSchema } = require("@modelcontextprotocol/sdk/types.js");

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const client = new Client({ name: "interop", version: "1" });
client.setNotificationHandler(ToolListChangedNotificationSchema, () => say({ event: "list_changed" }));
const transport = new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" });
await client.connect(transport);
await client.listTools();
say({ event: "ready", instructions: client.getInstructions() });

async function obey({ id, do: what, name, arguments: args }) {
    try {
        if (what === "tools") {
            say({ id, returned: (await client.listTools()).tools });
            return;
        }
        const onprogress = (progress) => say({ id, progress });
        say({ id, returned: await client.callTool({ name, arguments: args }, undefined, { onprogress, timeout: 60_000 }) });
    } catch (error) {
        say({ id, threw: String(error?.message ?? error), code: error?.code });
    }
}

for await (const line of createInterface({ input: process.stdin })) {
    void obey(JSON.parse(line));
}
await client.close();
process.exit(0);
