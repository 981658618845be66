#!/bin/sh
# The client of MCP's streamable HTTP comes back after a cut with the id of the last event, but if it is cut again before another event came, it comes
# back without, and misses what happened in between.
#
# @modelcontextprotocol/sdk 1.32.2 (npm), beside eventsource 4.1.1, Node 20.20.2.
#
# Guess: the id stays until there is a new one, as EventSource has it ("last event ID string" is a property of the object, not of the connection).
# Seen: the function that reads a stream begins with no id, also when that stream was asked for with one. It is the one for the stream of the session
# and for those that carry the answers of calls.
#
#   eventsource   none, 1, 1, 1; events 1, 2
#   MCP           none, 1, none, none; events 1
#   MCP, primed   none, 1, 1, 1; events 1, 2
#
# What to do: a server begins each stream that is resumed with a block that has the id it was resumed from and empty data, which this client takes for
# its place and passes over (the row "primed").
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @modelcontextprotocol/sdk@1.32.2 eventsource@4.1.1
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { EventSource } from 'eventsource';

const event = (n) => `id: ${n}\ndata: {"jsonrpc":"2.0","method":"notifications/${n}"}\n\n`;
const asked = { eventsource: [], mcp: [] };
let primed = false; // whether a stream begins with the id that it was asked from

// The first stream is cut behind event 1, the next two before there is another, and event 2 has happened by the fourth: who asks from 1 gets it.
const server = http.createServer((request, response) => {
  const ids = asked[request.url.slice(1)];
  const id = request.headers['last-event-id'];
  ids.push(id ?? 'none');
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  if (primed && id) response.write(`id: ${id}\ndata:\n\n`);
  if (ids.length === 1) response.write(`retry: 100\n${event(1)}`);
  if (ids.length === 4 && id === '1') response.write(event(2));
  if (ids.length < 4) setTimeout(() => response.destroy(), 200);
  response.write(':\n\n');
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = (who) => new URL(`http://127.0.0.1:${server.address().port}/${who}`);

const got = { eventsource: [], mcp: [] };
const told = async (who, start) => {
  const stop = await start((message) => got[who].push(message.method.split('/')[1]));
  for (let i = 0; i < 100 && asked[who].length < 4; i++) await new Promise((resolve) => setTimeout(resolve, 100));
  await new Promise((resolve) => setTimeout(resolve, 500));
  await stop();
  return `${asked[who].splice(0).join(', ')}; events ${got[who].splice(0).join(', ')}`;
};
const eventsource = (take) => {
  const source = new EventSource(url('eventsource'));
  source.onmessage = (e) => take(JSON.parse(e.data));
  return () => source.close();
};
const mcp = async (take) => {
  const transport = new StreamableHTTPClientTransport(url('mcp'));
  transport.onmessage = take;
  await transport.start();
  await transport.resumeStream(); // the same GET that it makes by itself behind the handshake
  return () => transport.close();
};

const seen = { eventsource: await told('eventsource', eventsource), MCP: await told('mcp', mcp) };
primed = true;
seen['MCP, primed'] = await told('mcp', mcp);
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(13), said);
assert.deepEqual(seen, {
  eventsource: 'none, 1, 1, 1; events 1, 2',
  MCP: 'none, 1, none, none; events 1',
  'MCP, primed': 'none, 1, 1, 1; events 1, 2',
});
process.exit();
EOF
timeout 60 node find.mjs
