#!/bin/sh
# close() of eventsource 2 does not take back the attempt that is due, so that a process lives on until then: as long as the server said
# in retry, an hour if that was an hour.
#
# eventsource 2.0.2, beside eventsource 3.0.7 and launchdarkly-eventsource 2.2.0 (a fork of it), Node 20.20.2.
#
# Guess: close() clears the timer, as there is nothing else that it could do in that state.
# Seen: it sets readyState only; the timer fires, sees that, and does nothing.
#
#   eventsource2             lives on until the attempt
#   eventsource3             ends at close
#   launchdarkly-eventsource ends at close
#
# What to do: call close() while the connection is still there, from a listener for the server's last event.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error eventsource2@npm:eventsource@2.0.2 eventsource3@npm:eventsource@3.0.7 launchdarkly-eventsource@2.2.0
cat >child.mjs <<'EOF'
import { createRequire } from 'node:module';

const [name, url] = process.argv.slice(2);
const loaded = createRequire(import.meta.url)(name);
const source = new (loaded.EventSource ?? loaded)(url);
source.onerror = () => {};
// The answer ends right behind this event.
source.onmessage = () => {
  setTimeout(() => {
    source.close();
    process.send('closed');
    process.disconnect();
  }, 300);
};
EOF
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';

const RETRY = 8000;
const server = http.createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'close' });
  response.end(`retry: ${RETRY}\ndata: a\n\n`);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const seen = {};
await Promise.all(['eventsource2', 'eventsource3', 'launchdarkly-eventsource'].map(async (name) => {
  const child = fork('child.mjs', [name, `http://127.0.0.1:${server.address().port}`]);
  const ended = once(child, 'exit');
  await once(child, 'message');
  const closed = Date.now();
  await ended;
  seen[name] = Date.now() - closed > RETRY / 2 ? 'lives on until the attempt' : 'ends at close';
}));
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(24), said);
assert.deepEqual(seen, {
  eventsource2: 'lives on until the attempt', eventsource3: 'ends at close', 'launchdarkly-eventsource': 'ends at close',
});
process.exit();
EOF
timeout 60 node find.mjs
