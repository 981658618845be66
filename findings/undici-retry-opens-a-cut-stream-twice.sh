#!/bin/sh
# undici's RetryAgent asks for a stream that was cut a second time, by Range and from the bytes that it has, gives the answer up, and tells of it late,
# and of another cause.
#
# undici 7.30.2, Node 20.20.2 (8.13.1 on Node 22.23.3 does the same).
#
# Guess: it tries again what has not begun, by its status, and leaves a body alone that was cut: none of its documentation speaks of ranges.
# Seen: half a second after the cut there is a second request, with Range and without Last-Event-ID. The server of a stream knows no ranges, answers
# 200, and begins one that nobody reads. The error then has the status 200 and no cause. While the server answers 503, as one does that starts, the
# reader is not told of the cut, for five attempts with growing pauses.
#
#   Agent                1 request: error UND_ERR_SOCKET
#   RetryAgent           2 requests (bytes=9-): error UND_ERR_REQ_RETRY, status 200
#   RetryAgent, 503      4 requests (bytes=9-, bytes=9-, bytes=9-): error UND_ERR_REQ_RETRY, status 200
#
# What to do: read streams with an Agent of their own, without retries (fetch's dispatcher option), and come back by Last-Event-ID.
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
import { Agent, RetryAgent, fetch } from 'undici';

// The first answer is one event and a cut. Behind it "/503" is away for two requests.
let asked = [];
const server = http.createServer((request, response) => {
  asked.push(request.headers.range);
  if (request.url === '/503' && (asked.length === 2 || asked.length === 3)) {
    response.writeHead(503).end();
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('data: 1\n\n');
  if (asked.length === 1) setTimeout(() => response.destroy(), 200);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

async function read(path, dispatcher) {
  asked = [];
  let text = '';
  try {
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/${path}`, { dispatcher });
    for await (const chunk of answer.body) text += Buffer.from(chunk);
    return 'complete';
  } catch ({ cause }) {
    assert.equal(text, 'data: 1\n\n');
    const ranges = asked.slice(1).join(', ');
    const status = cause.statusCode ? `, status ${cause.statusCode}` : '';
    return `${asked.length} request${ranges && `s (${ranges})`}: error ${cause.code}${status}`;
  }
}

const seen = {
  Agent: await read('', new Agent()),
  RetryAgent: await read('', new RetryAgent(new Agent())),
  'RetryAgent, 503': await read('503', new RetryAgent(new Agent())),
};
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(20), said);
assert.deepEqual(seen, {
  Agent: '1 request: error UND_ERR_SOCKET',
  RetryAgent: '2 requests (bytes=9-): error UND_ERR_REQ_RETRY, status 200',
  'RetryAgent, 503': '4 requests (bytes=9-, bytes=9-, bytes=9-): error UND_ERR_REQ_RETRY, status 200',
});
process.exit();
EOF
timeout 60 node find.mjs
