#!/bin/sh
# The reader of event streams of Azure's SDK for JavaScript gives the name of an event without data to the next one that has some.
#
# @azure/core-sse 2.4.0 (npm), beside eventsource-parser 3.1.1 and eventsource 4.1.1, Node 20.20.2.
#
# Guess: an event without a line of data is dropped, and its name with it: "If the data buffer is an empty string, set the data buffer and the event
# type buffer to the empty string and return" (WHATWG). And a line "data" without a colon is one of data.
# Seen: an empty line begins a new event only if there was data, and a line without a colon is none. So what a server sends in between to keep a stream
# alive, or to give an id or a name alone, changes what the next event is. Of "data: 1", "event: ping" alone, "data: 2", "event: end" with "data", and
# "data: 3":
#
#   eventsource          message 1, message 2, end "", message 3
#   eventsource-parser   message 1, message 2, end "", message 3
#   core-sse             message 1, ping 2, end 3
#
# What to do: give every event that has a name data of at least one character; keep a stream alive with comments. Who reads others' streams uses one of
# the others.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @azure/core-sse@2.4.0 eventsource-parser@3.1.1 eventsource@4.1.1
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { createSseStream } from '@azure/core-sse';
import { EventSource } from 'eventsource';
import { EventSourceParserStream } from 'eventsource-parser/stream';

const text = 'data: 1\n\nevent: ping\n\ndata: 2\n\nevent: end\ndata\n\ndata: 3\n\n';
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(text);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}`;
const line = (events) => events.map(({ event, data }) => `${event || 'message'} ${data || '""'}`).join(', ');

const readers = {
  eventsource: () => new Promise((resolve) => {
    const events = [];
    const source = new EventSource(url);
    for (const name of ['message', 'ping', 'end']) source.addEventListener(name, (e) => events.push({ event: e.type, data: e.data }));
    source.onerror = () => {
      source.close();
      resolve(events);
    };
  }),
  'eventsource-parser': async () => all((await fetch(url)).body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())),
  'core-sse': async () => all(createSseStream((await fetch(url)).body)),
};
async function all(stream) {
  const events = [];
  for await (const e of stream) events.push(e);
  return events;
}

const seen = {};
for (const [name, read] of Object.entries(readers)) {
  seen[name] = line(await read());
  console.log(name.padEnd(20), seen[name]);
}
const standard = 'message 1, message 2, end "", message 3';
assert.deepEqual(seen, { eventsource: standard, 'eventsource-parser': standard, 'core-sse': 'message 1, ping 2, end 3' });
process.exit();
EOF
timeout 30 node find.mjs
