#!/bin/sh
# When the process that makes a stream of resumable-stream dies, those who have resumed it wait for ever, without an error, and for a day its id can
# neither be resumed nor be begun anew.
#
# resumable-stream 2.2.13 over redis 6.3.1 (npm), redis-server 7.0.15 of Debian 12, Node 20.20.2. Needs Debian 12's apt-get, and no root.
#
# Guess: a follower is told within a while, by an error or the end; and resumableStream, whose function "is only executed if the stream is not yet in
# progress", makes a stream that nobody makes any more.
# Seen: what is in Redis is a mark that there is such a stream, for 24 hours. The text is in the memory of the process that makes it, which sends it by
# pub/sub; nobody looks whether that is there.
#
#   resumeExistingStream         Timeout waiting for ack
#   resumableStream              Timeout waiting for ack
#   followed, 10 s after         still open, nothing more
#   the mark lives for           about 24 h
#
# What to do: a time limit for silence in who follows. When resuming fails with this error, delete the mark (resumable-stream:rs:sentinel:ID), or begin
# under another id.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$folder" # apt-get downloads as a user of its own
cd "$folder"
apt-get download 'redis-tools=5:7.0.15-*' libatomic1 libjemalloc2 liblzf1 >apt 2>&1 || {
	cat apt >&2
	exit 1
}
for package in *.deb; do dpkg -x "$package" .; done
ln -s redis-check-rdb usr/bin/redis-server
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error resumable-stream@2.2.13 redis@6.3.1
cat >producer.mjs <<'EOF'
import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from 'redis';
import { createResumableStreamContext } from 'resumable-stream';

const connect = () => createClient({ url: process.argv[2] }).connect();
const context = createResumableStreamContext({ waitUntil: null, publisher: await connect(), subscriber: await connect() });
const stream = await context.resumableStream('answer', () => new ReadableStream({
  async start(controller) {
    for (let i = 0; i < 600; i++) {
      controller.enqueue(`${i} `);
      await pause(100);
    }
    controller.close();
  },
}));
console.log('begun');
for await (const _ of stream); // as one who reads it
EOF
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from 'redis';
import { createResumableStreamContext } from 'resumable-stream';

const spare = net.createServer().listen(0, '127.0.0.1');
await once(spare, 'listening');
const { port } = spare.address();
spare.close();
await once(spare, 'close');
const server = spawn('usr/bin/redis-server', ['--bind', '127.0.0.1', '--port', port, '--save', ''], {
  env: { LD_LIBRARY_PATH: `${process.cwd()}/usr/lib/x86_64-linux-gnu` }, stdio: 'ignore',
});
process.on('exit', () => server.kill());
for (let up = false; !up;) {
  up = await new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => setTimeout(resolve, 50, false));
  });
}
const url = `redis://127.0.0.1:${port}`;
const connect = () => createClient({ url }).connect();
const context = createResumableStreamContext({ waitUntil: null, publisher: await connect(), subscriber: await connect() });

const producer = spawn(process.execPath, ['producer.mjs', url], { stdio: ['ignore', 'pipe', 'inherit'] });
process.on('exit', () => producer.kill('SIGKILL'));
await once(producer.stdout, 'data');
await pause(500);
let text = '', end;
(async () => {
  for await (const part of await context.resumeExistingStream('answer')) text += part;
  return 'the end';
})().then((said) => { end = said; }, (e) => { end = e.message; });
await pause(1000);
assert.match(text, /^0 1 2 /);
producer.kill('SIGKILL');
await once(producer, 'exit');
await pause(500);
const had = text;
const seen = {};
const result = (promise) => promise.then((stream) => (stream ? 'a stream' : String(stream)), (e) => e.message);
seen.resumeExistingStream = await result(context.resumeExistingStream('answer'));
seen.resumableStream = await result(context.resumableStream('answer', () => new ReadableStream({
  start(controller) {
    controller.enqueue('anew');
    controller.close();
  },
})));
await pause(10_000);
seen['followed, 10 s after'] = end ?? (text === had ? 'still open, nothing more' : 'goes on');
const left = await (await connect()).ttl('resumable-stream:rs:sentinel:answer');
seen['the mark lives for'] = left > 86_000 && left <= 86_400 ? 'about 24 h' : `${left} s`;
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(28), said);
assert.deepEqual(seen, {
  resumeExistingStream: 'Timeout waiting for ack',
  resumableStream: 'Timeout waiting for ack',
  'followed, 10 s after': 'still open, nothing more',
  'the mark lives for': 'about 24 h',
});
process.exit();
EOF
timeout 60 node find.mjs
