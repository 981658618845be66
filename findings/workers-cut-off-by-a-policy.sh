#!/bin/sh
# A worker whose script came with a Content-Security-Policy may not connect to where its page may, and in WebKit nothing tells it why: the event
# that says so is not fired in workers. What a refused EventSource and WebSocket do there is three different things in three engines.
#
# Chromium 156.0.8078.108, Firefox ESR 153.8.0, WebKitGTK 2.50.6 (Debian 12: chromium, firefox-esr, webkit2gtk-driver for its MiniBrowser, xvfb for
# a screen; all have to be there), Node 20.20.2.
#
# Guess: `securitypolicyviolation` is fired once for each of the three, in the worker, as the standard has it; EventSource and WebSocket are made, and
# fire `error`.
# Seen: of a shared worker, and the same of a dedicated one,
#
#   Chromium   fetch TypeError, EventSource error, WebSocket error, violations 3
#   Firefox    fetch TypeError, EventSource error, WebSocket threw NS_ERROR_CONTENT_BLOCKED, violations 2
#   WebKit     fetch TypeError, EventSource threw SecurityError, WebSocket threw SecurityError, violations 0
#
# What to do: serve the script of a worker with a policy of its own (`connect-src`), or let the worker not be used for other origins than
# its own. Take an exception of a constructor for a failed connection, and do not wait for the event.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
webkit=$(find /usr/lib /usr/libexec -path '*webkit*' -name MiniBrowser 2>/dev/null | sort | tail -n 1)
for program in chromium firefox-esr Xvfb "${webkit:-MiniBrowser}"; do
	if ! command -v "$program" >/dev/null; then
		echo "there is no $program: apt-get install chromium firefox-esr webkit2gtk-driver xvfb" >&2
		exit 1
	fi
done
cd "$folder"
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import http from 'node:http';

const worker = `
  const elsewhere = location.host.replace('127.0.0.1', '127.0.0.2');
  const said = { violations: 0 };
  const named = (e) => (/NS_ERROR_CONTENT_BLOCKED/.exec(String(e)) ?? [e.name])[0];
  addEventListener('securitypolicyviolation', () => said.violations++);
  fetch('http://' + elsewhere).catch((e) => { said.fetch = named(e); });
  for (const [name, make] of [['EventSource', () => new EventSource('http://' + elsewhere)], ['WebSocket', () => new WebSocket('ws://' + elsewhere)]]) {
    try {
      make().onerror = () => { said[name] = 'error'; };
    } catch (e) {
      said[name] = 'threw ' + named(e);
    }
  }
  // What the policy allows, a while behind what it does not, so that an event that comes late has come.
  setTimeout(() => fetch('/said?' + (globalThis.SharedWorkerGlobalScope ? 'shared' : 'dedicated'), { method: 'POST', body: JSON.stringify(said) }), 2000);`;
const page = '<!doctype html><script>new Worker("/worker.js"); new SharedWorker("/worker.js");</script>';

let took;
const server = http.createServer(async (request, response) => {
  const [path, kind] = request.url.split('?');
  if (path === '/said') {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { fetch, EventSource, WebSocket, violations } = JSON.parse(body);
    took(kind, `fetch ${fetch}, EventSource ${EventSource}, WebSocket ${WebSocket}, violations ${violations}`);
    response.end();
  } else if (path === '/worker.js') {
    response.writeHead(200, { 'content-type': 'text/javascript', 'content-security-policy': "default-src 'self'" });
    response.end(worker);
  } else {
    response.writeHead(path === '/' ? 200 : 404, { 'content-type': 'text/html' });
    response.end(path === '/' ? page : '');
  }
});
server.listen(0);
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}/`;

const own = [];
const run = (command, args, more) => {
  const child = spawn(command, args, { stdio: 'ignore', detached: true, ...more });
  own.push(child);
  return child;
};
process.on('exit', () => {
  for (const { pid } of own) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch { /* it has ended */ }
  }
});
const screen = run('Xvfb', ['-displayfd', '3', '-screen', '0', '800x600x24', '-nolisten', 'tcp'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
const [display] = await once(screen.stdio[3], 'data');
const browsers = {
  Chromium: ['chromium', ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--user-data-dir=chromium', url]],
  Firefox: ['firefox-esr', ['--headless', '--no-remote', '--profile', 'firefox', url]],
  WebKit: [process.argv[2], [url]],
};
mkdirSync('firefox');
const env = { ...process.env, DISPLAY: `:${String(display).trim()}`, GDK_BACKEND: 'x11', HOME: process.cwd(), XDG_RUNTIME_DIR: process.cwd() };
const seen = {};
for (const [name, [command, args]] of Object.entries(browsers)) {
  const said = {};
  const both = new Promise((resolve) => {
    took = (kind, text) => {
      said[kind] = text;
      if (said.shared && said.dedicated) resolve();
    };
  });
  const child = run(command, args, { env });
  await both;
  process.kill(-child.pid, 'SIGKILL');
  await once(child, 'exit');
  assert.equal(said.shared, said.dedicated);
  seen[name] = said.shared;
  console.log(name.padEnd(10), said.shared);
}
assert.deepEqual(seen, {
  Chromium: 'fetch TypeError, EventSource error, WebSocket error, violations 3',
  Firefox: 'fetch TypeError, EventSource error, WebSocket threw NS_ERROR_CONTENT_BLOCKED, violations 2',
  WebKit: 'fetch TypeError, EventSource threw SecurityError, WebSocket threw SecurityError, violations 0',
});
process.exit();
EOF
timeout 110 node find.mjs "$webkit"
