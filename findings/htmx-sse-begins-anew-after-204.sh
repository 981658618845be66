#!/bin/sh
# htmx's extension for event streams makes a new EventSource when the server has answered with 204 that there is no more, without the id of the last
# event: the page shows everything again, and goes on like that for ever.
#
# htmx-ext-sse 2.2.4, htmx.org 2.0.11; Chromium 156.0.8078.108 (Debian 12), beside its EventSource alone; Node 20.20.2.
#
# Guess: "Clients will reconnect if the connection is closed; a client can be told to stop reconnecting using the HTTP 204 No Content response code"
# (WHATWG), or at most it tries again with growing pauses.
# Seen: its onerror makes a new EventSource whenever the old one is closed, whatever closed it. A new one knows no id, so the server begins at the
# beginning, and the pause, which would grow with each failure, starts at half a second each time.
#
#   EventSource      none, 2; "one two"
#   htmx             none, 2, none, 2, none, 2, …; "one two one two one two one two one two one two"
#   htmx, sse-close  none; "one two"
#
# What to do: send an event behind the last one, and name it in sse-close, which closes for good: sse-close="end".
set -eu
if ! command -v chromium >/dev/null 2>&1; then
	echo "there is no chromium: apt-get install chromium" >&2
	exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error htmx.org@2.0.11 htmx-ext-sse@2.2.4
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';

const scripts = await Promise.all(['htmx.org/dist/htmx.min.js', 'htmx-ext-sse/sse.js'].map((file) => readFile(`node_modules/${file}`, 'utf8')));
const end = '</scr' + 'ipt>';
const report = (wait) => `<script>setTimeout(() => fetch("/seen", { method: "POST", body: document.querySelector("p").textContent.trim() }), ${wait})${end}`;
const pages = {
  EventSource: `<p></p><script>
    new EventSource("/events/EventSource").onmessage = (e) => { document.querySelector("p").textContent += e.data; };${end}${report(4000)}`,
  htmx: `${scripts.map((script) => `<script>${script}${end}`).join('')}
    <div hx-ext="sse" sse-connect="/events/htmx"><p sse-swap="message" hx-swap="beforeend"></p></div>${report(4000)}`,
  'htmx, sse-close': `${scripts.map((script) => `<script>${script}${end}`).join('')}
    <div hx-ext="sse" sse-connect="/events/closed" sse-close="end"><p sse-swap="message" hx-swap="beforeend"></p></div>${report(4000)}`,
};

const asked = { EventSource: [], htmx: [], closed: [] };
let told;
// Two events, and the stream is complete. Who has seen them is answered 204.
const server = http.createServer(async (request, response) => {
  const [, what, who] = decodeURIComponent(request.url).split('/');
  if (what === 'seen') {
    let text = '';
    for await (const chunk of request) text += chunk;
    response.end();
    told(text);
  } else if (what === 'events') {
    const id = request.headers['last-event-id'] ?? 'none';
    asked[who].push(id);
    if (id === '2') {
      response.writeHead(204).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(`retry: 100\nid: 1\ndata: one \n\nid: 2\ndata: two \n\n${who === 'closed' ? 'event: end\ndata: .\n\n' : ''}`);
  } else {
    response.writeHead(pages[what] ? 200 : 404, { 'content-type': 'text/html' });
    response.end(`<!doctype html>${pages[what] ?? ''}`);
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const shown = async (name) => {
  const text = new Promise((resolve) => { told = resolve; });
  const url = `http://127.0.0.1:${server.address().port}/${encodeURIComponent(name)}`;
  const arguments_ = ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', `--user-data-dir=${process.cwd()}/chromium`, url];
  const browser = spawn('chromium', arguments_, { stdio: 'ignore', detached: true });
  const said = await text;
  process.kill(-browser.pid);
  await once(browser, 'exit');
  return said;
};

const seen = {};
for (const [name, who] of [['EventSource', 'EventSource'], ['htmx', 'htmx'], ['htmx, sse-close', 'closed']]) {
  const text = await shown(name);
  seen[name] = [asked[who].length > 6 ? [...asked[who].slice(0, 6), '…'] : asked[who], text];
  console.log(name.padEnd(16), `${seen[name][0].join(', ')}; "${text}"`);
}
assert.deepEqual(seen.EventSource, [['none', '2'], 'one two']);
assert.deepEqual(seen.htmx[0].slice(0, 4), ['none', '2', 'none', '2']);
assert.match(seen.htmx[1], /^(one two ?){2,}$/);
assert.deepEqual(seen['htmx, sse-close'], [['none'], 'one two']);
process.exit();
EOF
timeout 60 node find.mjs
