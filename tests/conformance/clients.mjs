// List and call every tool with the TypeScript SDK: node clients.mjs v1|v2 legacy|auto URL|COMMAND CALLS
const [generation, mode, target, calls] = process.argv.slice(2);
const packages = {
  v1: ["sdk/client/index.js", "sdk/client/streamableHttp.js", "sdk/client/stdio.js"],
  v2: ["client", "client", "client/stdio"],
};
const [{ Client }, { StreamableHTTPClientTransport }, { StdioClientTransport }] = await Promise.all(
  packages[generation].map((name) => import(`@modelcontextprotocol/${name}`)),
);

const transport = target.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport({ ...JSON.parse(target), stderr: "ignore" });

// v1 passes the version only to the transport.
let version;
const tell = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (negotiated) => {
  version = negotiated;
  tell?.(negotiated);
};

const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
await client.connect(transport);
const { tools } = await client.listTools();
const results = {};
for (const [name, args] of Object.entries(JSON.parse(calls))) {
  results[name] = await client.callTool({ name, arguments: args });
}
version = client.getNegotiatedProtocolVersion?.() ?? version;
await client.close();
console.log(JSON.stringify({ version, tools: tools.map((tool) => tool.name), results }));
