#!/bin/sh
# waitUntilFinished of BullMQ does not hear of a job that ends while the connection of its QueueEvents is made again, if no event has come over it before:
# it fails when its time is over, or never settles if it was given none, although the job is done and Redis keeps the event.
#
# bullmq 6.7.0 over ioredis 6.0.0 (npm), redis-server 7.0.15 of Debian 12, Node 20.20.2. Needs Debian 12's apt-get, and no root.
#
# Guess: events are in a stream of Redis, which is read on from where it was left, so that a cut loses none.
# Seen: until its first event QueueEvents asks for what comes behind "$", which is the end of the stream at that moment, anew at each attempt. The job
# takes three seconds; its QueueEvents is made while it runs, and has no connection for a moment in which the job ends.
#
#   not cut                    completed, settled: result
#   cut                        completed, Job wait job timed out before finishing
#   cut, lastEventId           completed, settled: result
#
# What to do: give QueueEvents the id to read on from, as lastEventId: the last one in the stream (XREVRANGE) when it is made. Give waitUntilFinished a time
# to live, and look at job.getState() when that is over.
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
npm install --ignore-scripts --no-audit --no-fund --loglevel=error bullmq@6.7.0 ioredis@6.0.0
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { Queue, QueueEvents, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const spare = net.createServer().listen(0, '127.0.0.1');
await once(spare, 'listening');
const { port } = spare.address();
spare.close();
await once(spare, 'close');
const server = spawn('usr/bin/redis-server', ['--bind', '127.0.0.1', '--port', port, '--save', ''], {
  env: { LD_LIBRARY_PATH: `${process.cwd()}/usr/lib/x86_64-linux-gnu` }, stdio: 'ignore',
});
process.on('exit', () => server.kill());

// Lies between QueueEvents and Redis, so that this connection alone can be cut.
const front = { sockets: new Set(), refuses: false };
const proxy = net.createServer((socket) => {
  socket.on('error', () => {});
  if (front.refuses) return void socket.destroy();
  const behind = net.connect(port, '127.0.0.1').on('error', () => {});
  socket.pipe(behind).pipe(socket);
  front.sockets.add(socket);
  socket.on('close', () => { front.sockets.delete(socket); behind.destroy(); });
}).listen(0, '127.0.0.1');
await once(proxy, 'listening');

const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
const redis = new Redis(connection).on('error', () => {});
const quiet = (object) => object.on('error', () => {});
async function run(name, cut, resume) {
  const queue = quiet(new Queue(name, { connection }));
  quiet(new Worker(name, async () => { await pause(3000); return 'result'; }, { connection }));
  const job = await queue.add('job', {});
  await pause(800);
  const [[lastEventId]] = await redis.xrevrange(`bull:${name}:events`, '+', '-', 'COUNT', 1);
  const events = quiet(new QueueEvents(name, { connection: { ...connection, port: proxy.address().port }, ...(resume && { lastEventId }) }));
  await events.waitUntilReady();
  await pause(700);
  const over = job.waitUntilFinished(events, 8000).then((value) => `settled: ${value}`, (e) => e.message.replace(/,.*/, ''));
  if (cut) {
    front.refuses = true;
    for (const socket of front.sockets) socket.destroy();
    await pause(2500);
    front.refuses = false;
  }
  const said = await over;
  for (const socket of front.sockets) socket.destroy();
  return `${await job.getState()}, ${said}`;
}

for (let up = false; !up;) {
  up = await new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => setTimeout(resolve, 50, false));
  });
}
const seen = {
  'not cut': await run('a', false, false),
  cut: await run('b', true, false),
  'cut, lastEventId': await run('c', true, true),
};
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(26), said);
assert.deepEqual(seen, {
  'not cut': 'completed, settled: result',
  cut: 'completed, Job wait job timed out before finishing',
  'cut, lastEventId': 'completed, settled: result',
});
process.exit();
EOF
timeout 60 node find.mjs
