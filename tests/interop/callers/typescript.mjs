// The official TypeScript SDKs as clients: `node typescript.mjs 1|2 http|sse|stdio TARGET... MODE`, copied to where
// they are installed. MODE is legacy or auto. Prints one line of JSON with what it saw.
const [major, kind, ...more] = process.argv.slice(2);
const mode = more.pop();
const can = { elicitation: {}, sampling: {}, roots: {} };
const info = { name: 'typescript', version: '1' };
const answers = {
  'elicitation/create': { action: 'accept', content: { username: 'Ann', email: 'a@b' } },
  'sampling/createMessage': { role: 'assistant', model: 'm', content: { type: 'text', text: 'Paris' } },
  'roots/list': { roots: [] },
};

const logs = [];
let client, transport;
if (major === '1') {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const types = await import('@modelcontextprotocol/sdk/types.js');
  client = new Client(info, { capabilities: can });
  client.setRequestHandler(types.ElicitRequestSchema, async () => answers['elicitation/create']);
  client.setRequestHandler(types.CreateMessageRequestSchema, async () => answers['sampling/createMessage']);
  client.setRequestHandler(types.ListRootsRequestSchema, async () => answers['roots/list']);
  client.setNotificationHandler(types.LoggingMessageNotificationSchema, n => void logs.push(n.params.data));
  if (kind === 'stdio') {
    const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
    transport = new StdioClientTransport({ command: more[0], args: more.slice(1) });
  } else if (kind === 'sse') {
    const { SSEClientTransport } = await import('@modelcontextprotocol/sdk/client/sse.js');
    transport = new SSEClientTransport(new URL(more[0]));
  } else {
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    transport = new StreamableHTTPClientTransport(new URL(more[0]));
  }
} else {
  const sdk = await import('@modelcontextprotocol/client');
  client = new sdk.Client(info, { capabilities: can, versionNegotiation: { mode } });
  for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(method, async () => answer);
  client.setNotificationHandler('notifications/message', n => void logs.push(n.params.data));
  if (kind === 'stdio') {
    const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
    transport = new StdioClientTransport({ command: more[0], args: more.slice(1) });
  } else {
    transport = new sdk.StreamableHTTPClientTransport(new URL(more[0]));
  }
}
await client.connect(transport);
const steps = [];
const onprogress = progress => void steps.push(progress.progress);
const call = async (name, given = {}) => {
  const params = { name, arguments: given };
  const result = major === '1' ? await client.callTool(params, undefined, { onprogress }) : await client.callTool(params, { onprogress });
  return result.content[0].text;
};
const version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null;
if (version === null || version < '2026') await client.setLoggingLevel('info');
const seen = {
  version,
  tools: (await client.listTools()).tools.map(tool => tool.name),
  simple: await call('test_simple_text'),
  failed: (await client.callTool({ name: 'test_error_handling', arguments: {} })).isError,
  logging: await call('test_tool_with_logging'),
  progress: await call('test_tool_with_progress'),
  elicitation: await call('test_elicitation', { message: 'm' }),
  sampling: await call('test_sampling', { prompt: 'p' }),
  input: await call('test_input_required_result_multi_round'),
  header: await call('test_x_mcp_header', { region: 'größe' }),
  prompts: (await client.listPrompts()).prompts.length,
  resource: (await client.readResource({ uri: 'test://static-text' })).contents[0].text,
};
console.log(JSON.stringify({ ...seen, logs, steps }));
await client.close();
process.exit(0);
