#!/bin/sh
# HAProxy keeps each event of a chunked stream for 200 ms, and passes it on at once if the stream has no chunks but ends by close.
#
# haproxy 2.6.12 of Debian 12, Node 20.20.2, Linux 6. Needs Debian 12's apt-get, and no root.
#
# Guess: how the end of a body is told does not matter to when its parts are passed on. HAProxy's manual knows a delay of "around 200 ms", for exchanges in
# both directions within one request.
# Seen: as long as HAProxy expects more of a body, by its length or its last chunk, it lets the kernel wait for a full segment. The middle one of nine events,
# 300 ms apart, was late by
#
#   directly       chunked   at once
#   directly       length    at once
#   directly       close     at once
#   HAProxy        chunked   about 200 ms
#   HAProxy        length    about 200 ms
#   HAProxy        close     at once
#   http-no-delay  chunked   at once
#   http-no-delay  length    at once
#   http-no-delay  close     at once
#
# What to do: option http-no-delay.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$folder" # apt-get downloads as a user of its own
cd "$folder"
apt-get download 'haproxy=2.6.12-*' liblua5.3-0 libopentracing1 libopentracing-c-wrapper0 >apt 2>&1 || {
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
import net from 'node:net';

const listening = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Sends an event each 300 ms, in a body whose end is told as the path says.
const event = (i) => `data: ${i}\n\n`;
const sent = [];
const target = await listening(net.createServer((socket) => {
  socket.setNoDelay();
  socket.on('error', () => {});
  socket.once('data', async (head) => {
    const kind = /^GET \/(\w+)/.exec(head)[1];
    const field = { chunked: 'Transfer-Encoding: chunked', length: `Content-Length: ${9 * event(0).length}`, close: 'Connection: close' }[kind];
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${field}\r\n\r\n`);
    for (let i = 0; i < 9; i++) {
      await sleep(300);
      sent[i] = performance.now();
      socket.write(kind === 'chunked' ? `${event(i).length.toString(16)}\r\n${event(i)}\r\n` : event(i));
    }
    await sleep(300);
    socket.end(kind === 'chunked' ? '0\r\n\r\n' : '');
  });
}));

// Returns by how much the middle one of nine events is late.
const delay = (port, kind) => new Promise((resolve, reject) => {
  http.get({ host: '127.0.0.1', port, path: `/${kind}`, agent: false }, (answer) => {
    const late = [];
    answer.on('data', () => late.push(performance.now() - sent[late.length]));
    answer.on('end', () => resolve(late.sort((a, b) => a - b)[4]));
    answer.on('error', reject);
  }).on('error', reject);
});

async function haproxy(option) {
  const spare = net.createServer();
  const port = await listening(spare);
  spare.close();
  await once(spare, 'close');
  fs.writeFileSync('haproxy.cfg', `defaults
  mode http
  ${option}
  timeout connect 5s
  timeout client 50s
  timeout server 50s
frontend f
  bind 127.0.0.1:${port}
  default_backend b
backend b
  server s 127.0.0.1:${target}
`);
  const proxy = spawn('usr/sbin/haproxy', ['-db', '-f', 'haproxy.cfg'], {
    env: { LD_LIBRARY_PATH: fs.readdirSync('usr/lib').map((d) => `${process.cwd()}/usr/lib/${d}`).join(':') }, stdio: 'ignore',
  });
  process.on('exit', () => proxy.kill());
  for (let up = false; !up;) {
    up = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
      socket.on('error', () => setTimeout(resolve, 50, false));
    });
  }
  return port;
}

const ports = { directly: target, HAProxy: await haproxy(''), 'http-no-delay': await haproxy('option http-no-delay') };
const seen = {};
for (const [name, port] of Object.entries(ports)) {
  for (const kind of ['chunked', 'length', 'close']) {
    const what = `${name.padEnd(14)} ${kind}`;
    const late = await delay(port, kind);
    seen[what] = late > 150 && late < 400 ? 'about 200 ms' : late < 50 ? 'at once' : `${late} ms`;
    console.log(what.padEnd(24), seen[what]);
  }
}
for (const [what, said] of Object.entries(seen)) {
  assert.equal(said, /^HAProxy +(chunked|length)/.test(what) ? 'about 200 ms' : 'at once', what);
}
process.exit();
END
timeout 90 node find.mjs
