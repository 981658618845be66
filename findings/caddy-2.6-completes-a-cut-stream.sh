#!/bin/sh
# When the server's connection breaks in the middle of a chunked body, Caddy 2.6 writes the last chunk itself, so that its client takes what was
# cut for complete.
#
# caddy 2.6.2-5 of Debian 12 (2.10.2 cuts its client's connection, too), Node 20.20.2. Needs Debian 12's apt-get, and no root.
#
# Guess: a body whose last chunk is missing is incomplete (RFC 9112, section 8), and the client's connection is cut.
# Seen: it is completed, whatever its type, and whether the server's connection is closed or reset. Only the log says "aborting with incomplete response".
#
#   directly  text/plain         closed  ECONNRESET
#   directly  text/plain         reset   ECONNRESET
#   directly  text/event-stream  closed  ECONNRESET
#   directly  text/event-stream  reset   ECONNRESET
#   Caddy     text/plain         closed  complete: "data: a\n\n"
#   Caddy     text/plain         reset   complete: "data: a\n\n"
#   Caddy     text/event-stream  closed  complete: "data: a\n\n"
#   Caddy     text/event-stream  reset   complete: "data: a\n\n"
#   4 times aborting with incomplete response
#
# What to do: a newer Caddy, and say the end of a stream in the stream.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$folder" # apt-get downloads as a user of its own
cd "$folder"
apt-get download caddy=2.6.2-5 >/dev/null 2>apt || {
	cat apt >&2
	exit 1
}
dpkg -x caddy_*.deb .
cat >find.mjs <<'END'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';

const listening = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
};
const closed = async (server) => {
  const port = server.address().port;
  server.close();
  await once(server, 'close');
  return port;
};

// Sends the head and a chunk, and breaks off before the last one.
const target = await listening(net.createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', (head) => {
    const [, type, end] = /^GET \/([^/]+\/[^/]+)\/(\w+)/.exec(head);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n`);
    setTimeout(() => end === 'reset' ? socket.resetAndDestroy() : socket.end(), 200);
  });
}));

const spare = net.createServer();
await listening(spare);
const proxy = await closed(spare);
fs.writeFileSync('Caddyfile', `{\n\tadmin off\n}\n\nhttp://127.0.0.1:${proxy} {\n\treverse_proxy 127.0.0.1:${target}\n}\n`);
const caddy = spawn('usr/bin/caddy', ['run', '--config', 'Caddyfile', '--adapter', 'caddyfile'], {
  env: { ...process.env, XDG_DATA_HOME: '.', XDG_CONFIG_HOME: '.' },
  stdio: ['ignore', 'ignore', fs.openSync('log', 'w')],
});
process.on('exit', () => caddy.kill());
for (let up = false; !up;) {
  up = await new Promise((resolve) => {
    const socket = net.connect(proxy, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => setTimeout(resolve, 50, false));
  });
}

const get = (port, path) => new Promise((resolve) => {
  http.get({ host: '127.0.0.1', port, path, agent: false }, (answer) => {
    let body = '';
    answer.on('data', (b) => { body += b; });
    answer.on('end', () => resolve(`complete: ${JSON.stringify(body)}`));
    answer.on('error', (e) => resolve(e.code));
  }).on('error', (e) => resolve(e.code));
});
const seen = {};
for (const [name, port] of [['directly', target], ['Caddy', proxy]]) {
  for (const type of ['text/plain', 'text/event-stream']) {
    for (const end of ['closed', 'reset']) {
      const what = `${name.padEnd(9)} ${type.padEnd(18)} ${end}`;
      seen[what] = await get(port, `/${type}/${end}`);
      console.log(what.padEnd(36), seen[what]);
    }
  }
}
const aborted = fs.readFileSync('log', 'utf8').match(/aborting with incomplete response/g)?.length;
console.log(aborted, 'times aborting with incomplete response');
for (const [what, said] of Object.entries(seen)) {
  assert.equal(said, what.startsWith('Caddy') ? 'complete: "data: a\\n\\n"' : 'ECONNRESET', what);
}
assert.equal(aborted, 4);
process.exit();
END
timeout 60 node find.mjs
