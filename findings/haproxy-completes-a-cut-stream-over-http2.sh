#!/bin/sh
# When the server's connection breaks in the middle of a chunked body, HAProxy 2.6 and lighttpd cut a client that speaks HTTP/1.1, and end the stream of
# one that speaks HTTP/2 as if all had come.
#
# haproxy 2.6.12 and lighttpd 1.4.69-1 of Debian 12, Node 20.20.2 (HAProxy 3.0.11 and 3.2.26 reset the stream; lighttpd 1.4.79 does as 1.4.69 does).
# Needs Debian 12's apt-get, and no root.
#
# Guess: a body whose last chunk is missing is incomplete (RFC 9112, section 8), whatever the client speaks, and over HTTP/2 its stream is reset.
# Seen: over HTTP/2 the last frame has END_STREAM, whether the server's connection was closed or reset. Over HTTP/1.1 the last chunk is missing, as it
# has to be.
#
#   directly  closed  HTTP/1.1 cut
#   directly  reset   HTTP/1.1 cut
#   HAProxy   closed  HTTP/1.1 cut       HTTP/2 complete
#   HAProxy   reset   HTTP/1.1 cut       HTTP/2 complete
#   lighttpd  closed  HTTP/1.1 cut       HTTP/2 complete
#   lighttpd  reset   HTTP/1.1 cut       HTTP/2 complete
#
# What to do: a newer HAProxy; say the end of a stream in the stream. Where clients have to see a cut by the end of the body, leave HTTP/2 off in front
# (in HAProxy: alpn http/1.1).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$folder" # apt-get downloads as a user of its own
cd "$folder"
apt-get download 'haproxy=2.6.12-*' liblua5.3-0 libopentracing1 libopentracing-c-wrapper0 'lighttpd=1.4.69-1*' libnettle8 libpcre2-8-0 libxxhash0 \
	>apt 2>&1 || {
	cat apt >&2
	exit 1
}
for package in *.deb; do dpkg -x "$package" .; done
cat >find.mjs <<'END'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';

const listening = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
};
const spare = async () => {
  const server = net.createServer();
  const port = await listening(server);
  server.close();
  await once(server, 'close');
  return port;
};

// One event, and then the connection breaks.
const target = await listening(http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('data: 1\n\n');
  setTimeout(() => { request.url === '/reset' ? response.socket.resetAndDestroy() : response.destroy(); }, 300);
}));

const http1get = (port, path) => new Promise((resolve) => {
  http.get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
    response.on('error', () => {}).on('close', () => resolve(response.complete ? 'complete' : 'cut')).resume();
  }).on('error', () => resolve('cut'));
});
const http2get = (port, path) => new Promise((resolve, reject) => {
  const session = http2.connect(`http://127.0.0.1:${port}`).on('error', reject);
  const stream = session.request({ ':path': path }).on('error', () => {}).resume();
  stream.on('close', () => {
    resolve(stream.rstCode === 0 ? 'complete' : `reset, ${stream.rstCode}`);
    session.destroy();
  });
});

async function start(program, config) {
  const port = await spare();
  fs.writeFileSync(`${program}.conf`, config(port));
  const child = spawn(`usr/sbin/${program}`, program === 'haproxy' ? ['-db', '-f', 'haproxy.conf'] : ['-D', '-m', 'usr/lib/lighttpd', '-f', 'lighttpd.conf'], {
    env: { LD_LIBRARY_PATH: fs.readdirSync('usr/lib').map((d) => `${process.cwd()}/usr/lib/${d}`).join(':') }, stdio: 'ignore',
  });
  process.on('exit', () => child.kill());
  for (let up = false; !up;) {
    up = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
      socket.on('error', () => setTimeout(resolve, 50, false));
    });
  }
  return port;
}

const ports = {
  directly: target,
  HAProxy: await start('haproxy', (port) => `defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
frontend f
  bind 127.0.0.1:${port}
  default_backend b
backend b
  server s 127.0.0.1:${target}
`),
  lighttpd: await start('lighttpd', (port) => `server.document-root = "${process.cwd()}"
server.bind = "127.0.0.1"
server.port = ${port}
server.modules = ("mod_proxy")
server.stream-response-body = 2
server.errorlog = "${process.cwd()}/log"
proxy.server = ("" => (("host" => "127.0.0.1", "port" => ${target})))
`),
};
const seen = [];
for (const [name, port] of Object.entries(ports)) {
  for (const how of ['closed', 'reset']) {
    let said = `${name.padEnd(9)} ${how.padEnd(7)} HTTP/1.1 ${await http1get(port, `/${how}`)}`;
    if (port !== target) said = `${said.padEnd(37)}HTTP/2 ${await http2get(port, `/${how}`)}`;
    seen.push(said);
    console.log(said);
  }
}
assert.deepEqual(seen, [
  'directly  closed  HTTP/1.1 cut',
  'directly  reset   HTTP/1.1 cut',
  'HAProxy   closed  HTTP/1.1 cut       HTTP/2 complete',
  'HAProxy   reset   HTTP/1.1 cut       HTTP/2 complete',
  'lighttpd  closed  HTTP/1.1 cut       HTTP/2 complete',
  'lighttpd  reset   HTTP/1.1 cut       HTTP/2 complete',
]);
process.exit();
END
timeout 90 node find.mjs
