#!/bin/sh
# undici makes a WebSocket handshake that is refused with 401 a second time at once, so that each attempt counts twice where attempts are counted.
#
# undici 7.30.2, beside ws 8.23.0, Node 20.20.2.
#
# Guess: one handshake, whatever the status is.
# Seen: two for 401, one for 403 and 503.
#
#   ws      401: 1, 403: 1, 503: 1
#   undici  401: 2, 403: 1, 503: 1
#
# What to do: a server that limits attempts by address has to expect it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error undici@7.30.2 ws@8.23.0
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { WebSocket as Undici } from 'undici';
import { WebSocket as WS } from 'ws';

let asked = 0;
const server = http.createServer();
server.on('upgrade', (request, socket) => {
  asked++;
  socket.on('error', () => {});
  socket.end(`HTTP/1.1 ${request.url.slice(1)} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const seen = {};
for (const [name, WebSocket] of [['ws', WS], ['undici', Undici]]) {
  const counts = [];
  for (const status of [401, 403, 503]) {
    asked = 0;
    const socket = new WebSocket(`ws://127.0.0.1:${server.address().port}/${status}`);
    socket.onerror = () => {};
    await new Promise((resolve) => { socket.onclose = () => setTimeout(resolve, 500); });
    counts.push(`${status}: ${asked}`);
  }
  seen[name] = counts.join(', ');
  console.log(name.padEnd(7), seen[name]);
}
assert.deepEqual(seen, { ws: '401: 1, 403: 1, 503: 1', undici: '401: 2, 403: 1, 503: 1' });
process.exit();
EOF
timeout 30 node find.mjs
