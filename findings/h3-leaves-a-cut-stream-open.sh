#!/bin/sh
# When what it sends on is cut, h3 1, which Nitro 2 and Nuxt are built on, leaves its client's stream open for ever: of proxyRequest, of a Response or a
# stream that a handler returns, and of sendStream.
#
# h3 1.15.11, beside h3 2.0.8 (npm), Node 20.20.2.
#
# Guess: the client's connection is broken when a body fails, as Node's pipeline does it, and h3 2.
# Seen: the failure comes to h3's handler of errors, which does nothing once the head was sent, and nobody ends the response. The source sends one event
# and breaks its connection:
#
#   h3 1, proxyRequest            open for 3 s more, 1 event
#   h3 1, Response                open for 3 s more, 1 event
#   h3 1, sendStream              open for 3 s more, 1 event
#   h3 1, Readable                open for 3 s more, 1 event
#   h3 1, proxyRequest, onError   cut
#   h3 1, Response, onError       cut
#   h3 1, Readable, onError       cut
#   h3 2, proxyRequest            cut
#
# What to do: createApp({ onError: (error, event) => { if (event.node.res.headersSent) event.node.res.destroy(); } })
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error h3@1.15.11 h3-2@npm:h3@2.0.8
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { createApp, eventHandler, proxyRequest, sendStream, toNodeListener } from 'h3';
import { H3, proxyRequest as proxyRequest2 } from 'h3-2';
import { toNodeHandler } from 'h3-2/node';

const listen = async (listener) => {
  const server = http.createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}/`;
};

// What is sent on: one event, and then the connection is cut.
const source = await listen((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('data: 1\n\n');
  setTimeout(() => response.destroy(), 300);
});

async function seen(url) {
  let events = 0;
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(3300) });
    for await (const chunk of answer.body) events += Buffer.from(chunk).toString().split('data:').length - 1;
    return `complete, ${events} event`;
  } catch (e) {
    return e.name === 'TimeoutError' ? `open for 3 s more, ${events} event` : 'cut';
  }
}

const onError = (error, event) => { if (event.node.res.headersSent) event.node.res.destroy(); };
const h3 = async (handler, options) => seen(await listen(toNodeListener(createApp(options).use(eventHandler(handler)))));
const proxy = (event) => proxyRequest(event, source);
const response = () => fetch(source);
const readable = async () => (await once(http.get(source), 'response'))[0];
const all = {
  'h3 1, proxyRequest': await h3(proxy),
  'h3 1, Response': await h3(response),
  'h3 1, sendStream': await h3(async (event) => sendStream(event, (await fetch(source)).body)),
  'h3 1, Readable': await h3(readable),
  'h3 1, proxyRequest, onError': await h3(proxy, { onError }),
  'h3 1, Response, onError': await h3(response, { onError }),
  'h3 1, Readable, onError': await h3(readable, { onError }),
  'h3 2, proxyRequest': await seen(await listen(toNodeHandler(new H3().all('/', (event) => proxyRequest2(event, source))))),
};
for (const [what, said] of Object.entries(all)) console.log(what.padEnd(29), said);
assert.deepEqual(all, {
  'h3 1, proxyRequest': 'open for 3 s more, 1 event',
  'h3 1, Response': 'open for 3 s more, 1 event',
  'h3 1, sendStream': 'open for 3 s more, 1 event',
  'h3 1, Readable': 'open for 3 s more, 1 event',
  'h3 1, proxyRequest, onError': 'cut',
  'h3 1, Response, onError': 'cut',
  'h3 1, Readable, onError': 'cut',
  'h3 2, proxyRequest': 'cut',
});
process.exit();
EOF
timeout 60 node find.mjs
