#!/bin/sh
# fetch takes a body that has neither a length nor chunks for complete when its connection is reset, not only when it is closed.
#
# undici 7.30.2 (fetch and request), and the fetch of Node 20.20.2, beside its http.get.
#
# Guess: a FIN ends such a body (RFC 9112, section 6.3), and a reset, which the operating system reports as an error, is an error.
# Seen: both end it. With chunks both are errors.
#
#   no length  node fetch      complete: hello
#   no length  undici fetch    complete: hello
#   no length  undici request  complete: hello
#   no length  http.get        ECONNRESET
#   chunked    node fetch      ECONNRESET
#   chunked    undici fetch    ECONNRESET
#   chunked    undici request  ECONNRESET
#   chunked    http.get        ECONNRESET
#
# What to do: a server whose clients have to notice a cut sends chunks.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error undici@7.30.2
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import * as undici from 'undici';

const server = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', (head) => {
    const chunked = String(head).startsWith('GET /chunked');
    socket.write(`HTTP/1.1 200 OK\r\n${chunked ? 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n' : '\r\nhello'}`);
    setTimeout(() => socket.resetAndDestroy(), 200);
  });
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}`;

const text = async (answer) => (await answer).text();
const clients = {
  'node fetch': (path) => text(fetch(url + path)),
  'undici fetch': (path) => text(undici.fetch(url + path)),
  'undici request': async (path) => (await undici.request(url + path)).body.text(),
  'http.get': (path) => new Promise((resolve, reject) => {
    http.get(url + path, (answer) => {
      let body = '';
      answer.on('data', (b) => { body += b; });
      answer.on('end', () => resolve(body));
      answer.on('error', reject);
    }).on('error', reject);
  }),
};
const seen = {};
for (const [kind, path] of [['no length', '/'], ['chunked', '/chunked']]) {
  for (const [name, get] of Object.entries(clients)) {
    const what = `${kind.padEnd(10)} ${name}`;
    seen[what] = await get(path).then((body) => `complete: ${body}`, (e) => e.code ?? e.cause?.code);
    console.log(what.padEnd(26), seen[what]);
  }
}
for (const [what, said] of Object.entries(seen)) {
  assert.equal(said, what.startsWith('no length') && !what.endsWith('http.get') ? 'complete: hello' : 'ECONNRESET', what);
}
process.exit();
EOF
timeout 30 node find.mjs
