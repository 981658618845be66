#!/bin/sh
# eventsource 2 keeps the lines that it has read of an event when it is cut off in it, and puts them in front of the data of the
# first event after it has come back.
#
# eventsource 2.0.2 (still the one that many packages depend on), beside eventsource 4.1.1, Node 20.20.2.
#
# Guess: what is not complete is dropped, as the standard has it: "Once the end of the file is reached, any pending data must be discarded."
# Seen: the buffers of data and name belong to the object, not to the connection.
#
#   eventsource 2   "one" / "two\ntwo" / "three"
#   eventsource 4   "one" / "two" / "three"
#
# What to do: let the data of an event be one line, and take each line of what arrives for an event; or version 3. A server can begin each stream with a block that has
# a name nobody needs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error eventsource2@npm:eventsource@2.0.2 eventsource4@npm:eventsource@4.1.1
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { EventSource as EventSource4 } from 'eventsource4';

const EventSource2 = createRequire(import.meta.url)('eventsource2');

// The first connection ends behind the line of data of the second event. Who comes back with the id of the first gets the rest.
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'close' });
  if (request.headers['last-event-id'] === '1') {
    response.write('data: two\nid: 2\n\ndata: three\nid: 3\n\n');
  } else {
    response.write('retry: 100\ndata: one\nid: 1\n\n');
    setTimeout(() => { response.write('data: two\n', () => response.destroy()); }, 200);
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const read = (EventSource) => new Promise((resolve) => {
  const data = [];
  const source = new EventSource(`http://127.0.0.1:${server.address().port}`);
  source.onmessage = (e) => {
    data.push(e.data);
    if (!e.data.endsWith('three')) return;
    source.close();
    resolve(data.map((text) => JSON.stringify(text)).join(' / '));
  };
});

const seen = { 'eventsource 2': await read(EventSource2), 'eventsource 4': await read(EventSource4) };
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(15), said);
assert.deepEqual(seen, { 'eventsource 2': '"one" / "two\\ntwo" / "three"', 'eventsource 4': '"one" / "two" / "three"' });
process.exit();
EOF
timeout 30 node find.mjs
