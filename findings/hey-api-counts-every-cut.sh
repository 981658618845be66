#!/bin/sh
# The client of event streams that @hey-api/openapi-ts generates counts every cut of a stream since it began, however well the stream was in
# between: its pauses double each time, and after sseMaxRetryAttempts cuts the loop over its events ends, without an error.
#
# @hey-api/openapi-ts 0.99.0, with tsx 4.23.15 and TypeScript 5.9.3, Node 20.20.2.
#
# Guess: events that arrive begin the count anew, so that pauses grow and attempts run out in a row of failures alone.
# Seen: each of these connections brings an event before it is cut.
#
#   pauses before coming back, told to wait 100 ms: 100 200 400 800 1600
#   with sseMaxRetryAttempts 3: read 1 2 3 and then the loop ended, without an error
#
# What to do: leave sseMaxRetryAttempts alone, and set sseMaxRetryDelay (30 s) to the longest pause that may follow the cut of a stream
# that is well.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @hey-api/openapi-ts@0.99.0 tsx@4.23.15 typescript@5.9.3
cat >openapi.yaml <<'EOF'
openapi: 3.1.0
info: { title: events, version: '1' }
paths:
  /events:
    get:
      operationId: follow
      responses:
        '200': { description: A stream., content: { text/event-stream: { schema: { type: string } } } }
EOF
node_modules/.bin/openapi-ts --input openapi.yaml --output api --silent
cat >find.ts <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { follow } from './api';
import { client } from './api/client.gen';

const CUTS = 5;
let read = () => {};
const server = http.createServer((request, response) => {
  const n = Number(request.headers['last-event-id'] ?? 0) + 1;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(`retry: 100\ndata: ${n}\nid: ${n}\n\n`);
  if (n > CUTS) response.end();
  else read = () => response.destroy();
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
client.setConfig({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });

/** Reads a stream, each of whose connections is cut as soon as its event was read. */
async function following(sseMaxRetryAttempts?: number) {
  const pauses: number[] = [];
  const events: unknown[] = [];
  const { stream } = await follow({ sseMaxRetryAttempts, sseSleepFn: async (ms) => { pauses.push(ms); } });
  for await (const event of stream) {
    events.push(event);
    read();
  }
  return { pauses, events };
}

const { pauses, events } = await following();
console.log('pauses before coming back, told to wait 100 ms:', ...pauses);
const limited = await following(3);
console.log('with sseMaxRetryAttempts 3: read', ...limited.events, 'and then the loop ended, without an error');
assert.deepEqual([pauses, events, limited.events], [[100, 200, 400, 800, 1600], [1, 2, 3, 4, 5, 6], [1, 2, 3]]);
process.exit();
EOF
timeout 60 node_modules/.bin/tsx find.ts
