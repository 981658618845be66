#!/bin/sh
# When the server's connection is reset in the middle of a chunked body, http-proxy-middleware writes a message into the body and completes it, so
# that the client takes a stream that was cut for one that has ended well.
#
# http-proxy-middleware 3.0.11 (4.2.2 on Node 22 does the same), express 5.3.0, Node 20.20.2.
#
# Guess: the client's connection hangs, as it does with http-proxy alone, or is cut.
# Seen: its default error handler ends the response with a text, whether the head has been sent or not. In an event stream that is a line
# without a colon, which parsers pass over, so nothing tells of the cut.
#
#   directly                 terminated, ECONNRESET
#   http-proxy-middleware    complete: "data: a\n\nError occurred while trying to proxy: 127.0.0.1/"
#   ... with a handler       terminated
#
# What to do: give it a handler, on: { error: (_e, _request, response) => response.destroy() }
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error http-proxy-middleware@3.0.11 express@5.3.0
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';

const listening = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
};

const target = await listening(net.createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', () => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n');
    setTimeout(() => socket.resetAndDestroy(), 200);
  });
}));

const through = async (options) => {
  const server = express().use(createProxyMiddleware({ target, ...options })).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}/`;
};

async function get(url) {
  const answer = await fetch(url);
  try {
    return `complete: ${JSON.stringify(await answer.text()).replace(/:\d+/, '')}`;
  } catch (e) {
    return [e.message, e.cause?.code].filter((s) => s && s !== 'UND_ERR_SOCKET').join(', ');
  }
}

const seen = {
  directly: await get(target),
  'http-proxy-middleware': await get(await through()),
  '... with a handler': await get(await through({ on: { error: (_e, _request, response) => response.destroy() } })),
};
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(24), said);
assert.deepEqual(seen, {
  directly: 'terminated, ECONNRESET',
  'http-proxy-middleware': 'complete: "data: a\\n\\nError occurred while trying to proxy: 127.0.0.1/"',
  '... with a handler': 'terminated',
});
process.exit();
EOF
node --no-deprecation find.mjs
