#!/bin/sh
# A handshake that is refused comes out of reconnecting-websocket and partysocket as a close with code 1000, wasClean true, as if the peer had
# said goodbye, while what they wrap says 1006, false.
#
# reconnecting-websocket 4.4.0, partysocket 1.3.0, over ws 8.23.0, Node 20.20.2.
#
# Guess: the close event of the socket beneath is passed on.
# Seen: at an error they detach from that socket and tell a close of their own making, before the error.
#
#   ws                      error, close 1006 false
#   reconnecting-websocket  close 1000 true, error
#   partysocket             close 1000 true, error
#
# What to do: do not decide by the code whether to come back, and count on an "error" behind the close.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error reconnecting-websocket@4.4.0 partysocket@1.3.0 ws@8.23.0
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { WebSocket as Party } from 'partysocket';
import { WebSocket } from 'ws';

const Reconnecting = createRequire(import.meta.url)('reconnecting-websocket');
const server = http.createServer();
server.on('upgrade', (_request, socket) => {
  socket.on('error', () => {});
  socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `ws://127.0.0.1:${server.address().port}`;

const clients = {
  ws: () => new WebSocket(url),
  'reconnecting-websocket': () => new Reconnecting(url, [], { WebSocket, maxRetries: 0 }),
  partysocket: () => new Party(url, [], { WebSocket, maxRetries: 0 }),
};
const seen = {};
for (const [name, make] of Object.entries(clients)) {
  const told = [];
  const socket = make();
  await new Promise((resolve) => {
    const tell = (what) => {
      told.push(what);
      if (told.length === 2) resolve();
    };
    socket.addEventListener('error', () => tell('error'));
    socket.addEventListener('close', (e) => tell(`close ${e.code} ${e.wasClean}`));
  });
  seen[name] = told.join(', ');
  console.log(name.padEnd(23), seen[name]);
}
assert.deepEqual(seen, {
  ws: 'error, close 1006 false', 'reconnecting-websocket': 'close 1000 true, error', partysocket: 'close 1000 true, error',
});
process.exit();
EOF
timeout 30 node find.mjs
