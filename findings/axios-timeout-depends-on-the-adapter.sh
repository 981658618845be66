#!/bin/sh
# The timeout of axios bounds the silence within an answer with one adapter, Node's http, and the whole of it with the other, fetch, also when it is
# read as a stream.
#
# axios 1.21.1 (npm), Node 20.20.2.
#
# Guess: "If the request takes longer than timeout, Axios aborts it" (its README), or it ends with the head where an answer is read as a stream; in any
# case it is the same for both.
# Seen: an answer of eleven events, one each 0.4 s, so four seconds, with a timeout of two. Over http, which is what Node gets unless told otherwise, it
# is a timeout of the socket, which each event begins anew. Over fetch it is a clock that runs from the beginning to the last byte, and cuts a stream
# that is well.
#
#   timeout, http, text      complete, 11 events
#   timeout, http, stream    complete, 11 events
#   timeout, fetch, text     ETIMEDOUT
#   timeout, fetch, stream   ETIMEDOUT behind the head
#   signal, http, text       ERR_CANCELED
#   signal, http, stream     ERR_CANCELED behind the head
#   signal, fetch, text      ERR_CANCELED
#   signal, fetch, stream    ERR_CANCELED behind the head
#
# What to do: give a stream no timeout, but a signal that you abort yourself. Where an answer has to be there in time, AbortSignal.timeout(2000), which
# is the same for both.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error axios@1.21.1
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import axios from 'axios';

const server = http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  let sent = 0;
  const send = () => {
    response.write(`data: ${sent}\n\n`);
    if (++sent === 11) response.end();
    else setTimeout(send, 400);
  };
  send();
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}/`;

async function read(adapter, responseType, bound) {
  let head = false;
  let text = '';
  try {
    const { data } = await axios.get(url, { adapter, responseType, ...bound });
    head = true;
    if (responseType === 'text') text = data;
    else for await (const chunk of data) text += Buffer.from(chunk);
    return `complete, ${text.split('data:').length - 1} events`;
  } catch (e) {
    return `${e.code}${head ? ' behind the head' : ''}`;
  }
}

const seen = {};
const bounds = { timeout: () => ({ timeout: 2000 }), signal: () => ({ signal: AbortSignal.timeout(2000) }) };
const each = (what, adapter, type) => read(adapter, type, bounds[what]()).then((said) => { seen[`${what}, ${adapter}, ${type}`] = said; });
await Promise.all(['timeout', 'signal'].flatMap((what) => ['http', 'fetch'].flatMap((adapter) => ['text', 'stream'].map((type) => each(what, adapter, type)))));
for (const what of Object.keys(seen).sort().reverse()) console.log(what.padEnd(24), seen[what]);
assert.deepEqual(seen, {
  'timeout, http, text': 'complete, 11 events',
  'timeout, http, stream': 'complete, 11 events',
  'timeout, fetch, text': 'ETIMEDOUT',
  'timeout, fetch, stream': 'ETIMEDOUT behind the head',
  'signal, http, text': 'ERR_CANCELED',
  'signal, http, stream': 'ERR_CANCELED behind the head',
  'signal, fetch, text': 'ERR_CANCELED',
  'signal, fetch, stream': 'ERR_CANCELED behind the head',
});
process.exit();
EOF
timeout 30 node find.mjs
