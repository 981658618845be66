#!/bin/sh
# In Firefox text() and json() of an answer whose connection is reset reject with an AbortError, which is what a program knows its own abort() by: it
# passes over the failure as if it had asked for it.
#
# Firefox ESR 153.8.0, beside Chromium 156.0.8078.108 (Debian 12: firefox-esr, chromium; both have to be there), Node 20.20.2.
#
# Guess: a TypeError, as fetch has it for a network error; an AbortError if there was a signal and it was aborted.
# Seen: nobody has a signal here. If the connection is closed instead, and if the body is read by its reader, it is a TypeError in Firefox, too. A body
# that is whole but for its last chunk:
#
#                       Chromium     Firefox
#   close, text()       TypeError    TypeError
#   close, getReader()  TypeError    TypeError
#   reset, text()       TypeError    AbortError
#   reset, json()       TypeError    AbortError
#   reset, getReader()  TypeError    TypeError
#
# What to do: ask the signal that was given, signal.aborted, and not the name of the error.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
for program in chromium firefox-esr; do
	if ! command -v $program >/dev/null; then
		echo "there is no $program: apt-get install chromium firefox-esr" >&2
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

const page = `<!doctype html><script type="module">
  const readers = {
    'text()': (answer) => answer.text(),
    'json()': (answer) => answer.json(),
    'getReader()': async (answer) => {
      for (const reader = answer.body.getReader(); !(await reader.read()).done;);
    },
  };
  const said = {};
  for (const what of ['close, text()', 'close, getReader()', 'reset, text()', 'reset, json()', 'reset, getReader()']) {
    const [how, read] = what.split(', ');
    said[what] = await fetch('/' + how).then(readers[read]).then(() => 'complete', (e) => e.name);
  }
  fetch('/said', { method: 'POST', body: JSON.stringify(said) });
</script>`;
let told;
const server = http.createServer(async (request, response) => {
  if (request.url === '/said') {
    let body = '';
    for await (const chunk of request) body += chunk;
    response.end();
    told(JSON.parse(body));
  } else if (request.url === '/close' || request.url === '/reset') {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{}');
    setTimeout(() => { request.url === '/reset' ? response.socket.resetAndDestroy() : response.destroy(); }, 300);
  } else {
    response.writeHead(request.url === '/' ? 200 : 404, { 'content-type': 'text/html' });
    response.end(request.url === '/' ? page : '');
  }
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}/`;

mkdirSync('firefox');
const browsers = {
  Chromium: ['chromium', ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--user-data-dir=chromium', url]],
  Firefox: ['firefox-esr', ['--headless', '--no-remote', '--profile', 'firefox', url]],
};
const seen = {};
for (const [name, [program, args]] of Object.entries(browsers)) {
  const child = spawn(program, args, { stdio: 'ignore', detached: true, env: { ...process.env, HOME: process.cwd() } });
  const kill = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch { /* it has ended */ }
  };
  process.on('exit', kill);
  seen[name] = await new Promise((resolve) => { told = resolve; });
  kill();
  await once(child, 'exit');
}
console.log(' '.repeat(19), 'Chromium    ', 'Firefox');
for (const what of Object.keys(seen.Chromium)) console.log(what.padEnd(19), seen.Chromium[what].padEnd(12), seen.Firefox[what]);
const all = (error) => ({
  'close, text()': 'TypeError', 'close, getReader()': 'TypeError', 'reset, text()': error, 'reset, json()': error, 'reset, getReader()': 'TypeError',
});
assert.deepEqual(seen, { Chromium: all('TypeError'), Firefox: all('AbortError') });
process.exit();
EOF
timeout 100 node find.mjs
