#!/bin/sh
# The reference server of Durable Streams and its client hand over other text live, over server-sent events, than what was appended and what a plain
# read of the same stream returns.
#
# @durable-streams/server 0.3.7 and @durable-streams/client 0.2.7 (npm), Node 20.20.2.
#
# Guess: "Once written and acknowledged, bytes persist", and offsets are of bytes, so live: "sse" and live: false give the same text.
# Seen: three of four texts differ live. A blank at the beginning of an append is gone, because the server writes "data:" without a space and the reader
# takes one away, as the standard has it. A carriage return is a line feed. A character whose bytes come in two appends is two of U+FFFD. A line
# feed stays.
#
#   appended             read plainly         live, over SSE
#   "Hello" " world"     "Hello world"        "Helloworld"
#   "a\rb"               "a\rb"               "a\nb"
#   "\xe2\x82" "\xac"    "€"                  "��"
#   "a\nb"               "a\nb"               "a\nb"
#
# What to do: append whole words with the blank behind them, whole characters, and no carriage returns, or give the stream a type that is no text: then
# the events are base64. A server of the protocol writes a space behind the colon where a line begins with one, holds an unfinished character back until
# its rest is there, and answers text with carriage returns in base64, which this client understands whatever the type is.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @durable-streams/server@0.3.7 @durable-streams/client@0.2.7
cat >find.mjs <<'EOS'
import assert from 'node:assert/strict';
import { DurableStreamTestServer } from '@durable-streams/server';
import { stream } from '@durable-streams/client';

const server = new DurableStreamTestServer({ port: 0, host: '127.0.0.1' });
const base = await server.start() ?? server.url;
const texts = {
  'a blank': [Buffer.from('Hello'), Buffer.from(' world')],
  'a carriage return': [Buffer.from('a\rb')],
  'half a character': [Buffer.from([0xe2, 0x82]), Buffer.from([0xac])],
  'a line feed': [Buffer.from('a\nb')],
};
const seen = {};
for (const [what, parts] of Object.entries(texts)) {
  const url = `${base}/v1/stream/${what.replaceAll(' ', '-')}`;
  const headers = { 'content-type': 'text/plain' };
  await fetch(url, { method: 'PUT', headers });
  const live = await stream({ url, live: 'sse', offset: '-1' });
  let text = '';
  live.subscribeText((chunk) => { text += chunk.text; });
  await new Promise((resolve) => setTimeout(resolve, 300)); // it follows now
  for (const body of parts) {
    await fetch(url, { method: 'POST', headers, body });
    await new Promise((resolve) => setTimeout(resolve, 200)); // so that each is told by itself
  }
  await fetch(url, { method: 'POST', headers: { 'stream-closed': 'true' } });
  await live.closed;
  await new Promise((resolve) => setTimeout(resolve, 100)); // the last chunk comes behind that
  const plain = await (await stream({ url, live: false })).text();
  seen[what] = [plain, text];
  console.log(what.padEnd(20), JSON.stringify(seen[what]));
}
assert.deepEqual(seen, {
  'a blank': ['Hello world', 'Helloworld'],
  'a carriage return': ['a\rb', 'a\nb'],
  'half a character': ['€', '��'],
  'a line feed': ['a\nb', 'a\nb'],
});
process.exit();
EOS
timeout 60 node find.mjs
