#!/bin/sh
# The EventSource of WebKit keeps what it has read of an event when its connection is reset, and takes it for the beginning of what
# the next connection says: the event that is sent again is torn, or comes under a name that nobody listens to.
#
# WebKitGTK 2.50.6 (Debian 12: webkit2gtk-driver for its MiniBrowser, xvfb for a screen; both have to be there), Node 20.20.2.
#
# Guess: what is not complete is dropped, as the standard has it: "Once the end of the file is reached, any pending data must be discarded."
# Seen: it is, if the connection ends by FIN, with or without the last chunk of the body. If it is reset, nothing is dropped. The server sends
# the second event again, behind a line "retry: 100", and in the last four behind something else first, of which "start" is
# ":\nevent: start\ndata: {}\nid: 1\n\n":
#
#   FIN after "data: tw"            "one" / "two" / "three"
#   RST after "data: tw"            "one" / "twretry: 100\ntwo" / "three"
#   RST after "data: two\n"         "one" / "two\ntwo" / "three"
#   RST after "event: so"           "one" / "three"
#   RST after "data: tw", "\n\n"    "one" / "tw" / "two" / "three"
#   RST after "data: tw", start     "one" / "two" / "three"
#   RST after "event: so", start    "one" / "two" / "three"
#   RST after "two\nid: 2", start   "one" / "two" / "three"
#
# What to do: begin each stream with a comment, which ends a line that was left over, and a block with a name and data, which swallows the rest:
# no onmessage is called for it. Give it the id that the client came with, as the rest may hold a newer one. Two line feeds do half of that:
# the rest is handed over as an event.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
browser=$(find /usr/lib /usr/libexec -path '*webkit*' -name MiniBrowser 2>/dev/null | sort | tail -n 1)
if [ -z "$browser" ] || ! command -v Xvfb >/dev/null; then
	echo "install webkit2gtk-driver and xvfb (apt-get install webkit2gtk-driver xvfb)" >&2
	exit 1
fi
cd "$folder"
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';

const START = ':\nevent: start\ndata: {}\nid: 1\n\n';
// What is sent of the second event, how the connection ends then, and how the next one begins.
const cases = {
  'FIN after "data: tw"': ['data: tw', 'FIN', ''],
  'RST after "data: tw"': ['data: tw', 'RST', ''],
  'RST after "data: two\\n"': ['data: two\n', 'RST', ''],
  'RST after "event: so"': ['event: so', 'RST', ''],
  'RST after "data: tw", "\\n\\n"': ['data: tw', 'RST', '\n\n'],
  'RST after "data: tw", start': ['data: tw', 'RST', START],
  'RST after "event: so", start': ['event: so', 'RST', START],
  'RST after "two\\nid: 2", start': ['data: two\nid: 2', 'RST', START],
};
const page = `<!doctype html><script>
  for (const name of ${JSON.stringify(Object.keys(cases))}) {
    const source = new EventSource('/stream?' + encodeURIComponent(name));
    const data = [];
    source.onmessage = (e) => {
      data.push(e.data);
      if (e.data !== 'three') return;
      source.close();
      fetch('/saw', { method: 'POST', body: JSON.stringify([name, data]) });
    };
  }
</script>`;

const seen = {};
const server = http.createServer(async (request, response) => {
  if (request.url === '/saw') {
    let body = '';
    for await (const chunk of request) body += chunk;
    const [name, data] = JSON.parse(body);
    seen[name] = data.map((text) => JSON.stringify(text)).join(' / ');
    response.end();
  } else if (request.url.startsWith('/stream')) {
    const [part, how, start] = cases[decodeURIComponent(request.url.slice(8))];
    response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'close' });
    if (request.headers['last-event-id'] === '1') {
      response.write(`${start}retry: 100\ndata: two\nid: 2\n\ndata: three\nid: 3\n\n`);
      return;
    }
    response.write('retry: 100\ndata: one\nid: 1\n\n');
    setTimeout(() => { response.write(part); }, 200);
    setTimeout(() => { how === 'FIN' ? response.socket.end() : response.socket.resetAndDestroy(); }, 600); // when it has been read
  } else {
    response.writeHead(request.url === '/' ? 200 : 404, { 'content-type': 'text/html' });
    response.end(request.url === '/' ? page : '');
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const own = [];
process.on('exit', () => own.forEach((child) => child.kill('SIGKILL')));
const screen = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '800x600x24', '-nolisten', 'tcp'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
own.push(screen);
const [display] = await once(screen.stdio[3], 'data');
own.push(spawn(process.argv[2], [`http://127.0.0.1:${server.address().port}/`], {
  stdio: 'ignore', env: { ...process.env, DISPLAY: `:${String(display).trim()}`, GDK_BACKEND: 'x11', HOME: process.cwd(), XDG_RUNTIME_DIR: process.cwd() },
}));
while (Object.keys(seen).length < Object.keys(cases).length) await new Promise((resolve) => setTimeout(resolve, 50));

for (const name of Object.keys(cases)) console.log(name.padEnd(31), seen[name]);
assert.deepEqual(seen, {
  'FIN after "data: tw"': '"one" / "two" / "three"',
  'RST after "data: tw"': '"one" / "twretry: 100\\ntwo" / "three"',
  'RST after "data: two\\n"': '"one" / "two\\ntwo" / "three"',
  'RST after "event: so"': '"one" / "three"',
  'RST after "data: tw", "\\n\\n"': '"one" / "tw" / "two" / "three"',
  'RST after "data: tw", start': '"one" / "two" / "three"',
  'RST after "event: so", start': '"one" / "two" / "three"',
  'RST after "two\\nid: 2", start': '"one" / "two" / "three"',
});
process.exit();
EOF
timeout 60 node find.mjs "$browser"
