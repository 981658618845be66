#!/bin/sh
# When what it sends on fails half-way, @fastify/sse completes the client's stream if that came from an async iterable, and leaves it open for ever if
# it came from a Readable. In neither case is it cut, so that a client takes the one for the end, and waits for more in the other.
#
# @fastify/sse 0.6.0 with fastify 5.12.8, beside hono 4.13.19 (streamSSE) with @hono/node-server 2.1.9, Node 20.20.2.
#
# Guess: whatever a handler gives to reply.sse.send(), the client's connection is broken when that fails, as Node's pipeline and Response do it.
# Seen: send() of an iterable throws, and the plugin ends the response before it throws on. send() of a Readable logs the error, resolves, and sets the
# flag by which the plugin knows that there is something to end; its pipeline() has { end: false } and so does not destroy the response either.
# Heartbeats stop with it. streamSSE of hono ends the response, too; a Response whose body fails is cut.
#
#   hono, Response                      cut
#   hono, streamSSE                     complete, 1 event
#   @fastify/sse, iterable              complete, 1 event
#   @fastify/sse, Readable              open for 3 s more, 1 event
#   @fastify/sse, iterable, destroyed   cut
#   @fastify/sse, Readable, destroyed   cut
#
# What to do: who sends on a stream destroys reply.raw when that fails: around send() of an iterable with try and catch, for a Readable by its error
# listener. With hono return the Response, or a new one with its body.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @fastify/sse@0.6.0 fastify@5.12.8 hono@4.13.19 @hono/node-server@2.1.9
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { Readable } from 'node:stream';
import sse from '@fastify/sse';
import { serve } from '@hono/node-server';
import Fastify from 'fastify';
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';

console.error = () => {}; // hono's streamSSE tells the error there

const port = async (server) => {
  if (!server.listening) await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}/`;
};

// What is sent on: one event, and then the connection is cut.
const source = await port(http.createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('data: 1\n\n');
  setTimeout(() => response.destroy(), 300);
}).listen(0, '127.0.0.1'));

async function* events() {
  for await (const chunk of (await fetch(source)).body) yield { data: Buffer.from(chunk).length };
}

async function seen(url) {
  let events = 0;
  try {
    const answer = await fetch(url, { headers: { accept: 'text/event-stream' }, signal: AbortSignal.timeout(3300) });
    for await (const chunk of answer.body) events += Buffer.from(chunk).toString().split('data:').length - 1;
    return `complete, ${events} event`;
  } catch (e) {
    return e.name === 'TimeoutError' ? `open for 3 s more, ${events} event` : 'cut';
  }
}

const hono = async (handler) => seen(await port(serve({ fetch: new Hono().get('/', handler).fetch, port: 0, hostname: '127.0.0.1' })));
const fastify = async (handler) => {
  const app = Fastify();
  await app.register(sse);
  app.get('/', { sse: 'only' }, handler);
  return seen(await app.listen({ port: 0, host: '127.0.0.1' }));
};

const all = {
  'hono, Response': await hono(() => fetch(source)),
  'hono, streamSSE': await hono((c) => streamSSE(c, async (stream) => {
    for await (const { data } of events()) await stream.writeSSE({ data: String(data) });
  })),
  '@fastify/sse, iterable': await fastify(async (request, reply) => { await reply.sse.send(events()); }),
  '@fastify/sse, Readable': await fastify(async (request, reply) => { await reply.sse.send(Readable.from(events())); }),
  '@fastify/sse, iterable, destroyed': await fastify(async (request, reply) => {
    try { await reply.sse.send(events()); } catch { reply.raw.destroy(); }
  }),
  '@fastify/sse, Readable, destroyed': await fastify(async (request, reply) => {
    await reply.sse.send(Readable.from(events()).on('error', () => reply.raw.destroy()));
  }),
};
for (const [what, said] of Object.entries(all)) console.log(what.padEnd(35), said);
assert.deepEqual(all, {
  'hono, Response': 'cut',
  'hono, streamSSE': 'complete, 1 event',
  '@fastify/sse, iterable': 'complete, 1 event',
  '@fastify/sse, Readable': 'open for 3 s more, 1 event',
  '@fastify/sse, iterable, destroyed': 'cut',
  '@fastify/sse, Readable, destroyed': 'cut',
});
process.exit();
EOF
timeout 60 node find.mjs
