#!/bin/sh
# When the server's connection ends in the middle of a chunked body, http-proxy leaves its client's connection open for ever: neither an end nor an
# error comes, so that an EventSource behind it never comes back.
#
# http-proxy 1.18.1, http-proxy-3 1.23.3 (and 2.0.1 on Node 22), Node 20.20.2.
#
# Guess: the answer ends with the server's, or is cut as the server's was, because http.IncomingMessage is told of the cut
# ("aborted", then "error" and "close").
# Seen: the proxy pipes one into the other, and a pipe passes on the end, not the cut. Its "error" event is not emitted for a FIN either.
#
#   directly        cut: aborted
#   http-proxy      nothing within 4 seconds
#   http-proxy-3    nothing within 4 seconds
#   http-proxy + listener cut: aborted
#
# What to do: proxy.on("proxyRes", (from, _request, to) => from.on("close", () => { if (!from.complete) to.destroy(); }));
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error http-proxy@1.18.1 http-proxy-3@1.23.3
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import httpProxy from 'http-proxy';
import * as httpProxy3 from 'http-proxy-3';

const listening = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
};

// An event, and 200 ms later the end of the connection, without the chunk that ends the body.
const target = await listening(net.createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', () => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n');
    setTimeout(() => socket.end(), 200);
  });
}));

const PATIENCE = 4000;
const get = (url) => new Promise((resolve) => {
  http.get(url, (answer) => {
    answer.on('data', () => {});
    answer.on('end', () => resolve('complete'));
    answer.on('error', (e) => resolve(`cut: ${e.message}`));
    setTimeout(() => resolve(`nothing within ${PATIENCE / 1000} seconds`), PATIENCE);
  });
});

const through = (proxy) => listening(http.createServer((request, response) => proxy.web(request, response)));
const mended = httpProxy.createProxyServer({ target });
mended.on('proxyRes', (from, _request, to) => from.on('close', () => { if (!from.complete) to.destroy(); }));

const seen = {
  directly: await get(target),
  'http-proxy': await get(await through(httpProxy.createProxyServer({ target }))),
  'http-proxy-3': await get(await through(httpProxy3.createProxyServer({ target }))),
  'http-proxy + listener': await get(await through(mended)),
};
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(15), said);
assert.deepEqual(seen, {
  directly: 'cut: aborted',
  'http-proxy': 'nothing within 4 seconds',
  'http-proxy-3': 'nothing within 4 seconds',
  'http-proxy + listener': 'cut: aborted',
});
process.exit();
EOF
node --no-deprecation find.mjs
