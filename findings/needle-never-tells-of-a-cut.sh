#!/bin/sh
# When an answer is cut in the middle of its body, needle's callback is never called, and its promise never settles; that of node-fetch 2 does not if the
# answer has a length.
#
# needle 3.5.0 and node-fetch 2.7.0, beside node-fetch 3.3.2, axios 1.21.1 and got 14.6.6 (npm), Node 20.20.2.
#
# Guess: an error, as Node says ECONNRESET ('aborted') of each.
# Seen: none, and no limit of time by default that would bring one.
#
#                        chunks                       a length
#   needle, callback     nothing for 5 s              nothing for 5 s
#   needle, promise      nothing for 5 s              nothing for 5 s
#   needle, read_timeout read timeout                 read timeout
#   needle, stream       ECONNRESET                   ECONNRESET
#   node-fetch 2         ERR_STREAM_PREMATURE_CLOSE   nothing for 5 s
#   node-fetch 2, signal ERR_STREAM_PREMATURE_CLOSE   aborted
#   node-fetch 3         ERR_STREAM_PREMATURE_CLOSE   ECONNRESET
#   axios                ERR_BAD_RESPONSE             ERR_BAD_RESPONSE
#   got                  ECONNRESET                   ECONNRESET
#
# What to do: give needle a read_timeout, and node-fetch 2 a signal that is aborted when it takes too long (here after three seconds). Or read
# needle's stream, or take node-fetch 3.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error needle@3.5.0 node-fetch-2@npm:node-fetch@2.7.0 node-fetch-3@npm:node-fetch@3.3.2 \
	axios@1.21.1 got@14.6.6
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import axios from 'axios';
import got from 'got';
import needle from 'needle';
import fetch2 from 'node-fetch-2';
import fetch3 from 'node-fetch-3';

// A part of the answer, and then the connection is closed.
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain', ...(request.url === '/length' && { 'content-length': 100 }) });
  response.write('a part');
  setTimeout(() => response.destroy(), 300);
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}`;

const clients = {
  'needle, callback': (path) => new Promise((resolve, reject) => { needle.get(url + path, (error) => (error ? reject(error) : resolve())); }),
  'needle, promise': (path) => needle('get', url + path),
  'needle, read_timeout': (path) => needle('get', url + path, { read_timeout: 3000 }),
  'needle, stream': async (path) => { for await (const _ of needle.get(url + path, {})); },
  'node-fetch 2': async (path) => (await fetch2(url + path)).text(),
  'node-fetch 2, signal': async (path) => (await fetch2(url + path, { signal: AbortSignal.timeout(3000) })).text(),
  'node-fetch 3': async (path) => (await fetch3(url + path)).text(),
  axios: (path) => axios.get(url + path, { proxy: false }),
  got: (path) => got(url + path, { retry: { limit: 0 } }).text(),
};
const seen = {};
await Promise.all(Object.entries(clients).map(async ([name, get]) => {
  const said = [];
  for (const path of ['/chunks', '/length']) {
    said.push(await Promise.race([get(path).then(() => 'complete', (e) => e.code ?? (e.type === 'aborted' ? e.type : e.message)), pause(5300, 'nothing for 5 s')]));
  }
  seen[name] = said.join(' | ');
}));
console.log(' '.repeat(20), 'chunks'.padEnd(28), 'a length');
for (const name of Object.keys(clients)) console.log(name.padEnd(20), seen[name].split(' | ')[0].padEnd(28), seen[name].split(' | ')[1]);
assert.deepEqual(seen, {
  'needle, callback': 'nothing for 5 s | nothing for 5 s',
  'needle, promise': 'nothing for 5 s | nothing for 5 s',
  'needle, read_timeout': 'read timeout | read timeout',
  'needle, stream': 'ECONNRESET | ECONNRESET',
  'node-fetch 2': 'ERR_STREAM_PREMATURE_CLOSE | nothing for 5 s',
  'node-fetch 2, signal': 'ERR_STREAM_PREMATURE_CLOSE | aborted',
  'node-fetch 3': 'ERR_STREAM_PREMATURE_CLOSE | ECONNRESET',
  axios: 'ERR_BAD_RESPONSE | ERR_BAD_RESPONSE',
  got: 'ECONNRESET | ECONNRESET',
});
process.exit();
EOF
timeout 60 node find.mjs
