#!/bin/sh
# When a handler fails in the middle of a stream, Tornado writes the last chunk, so that its client takes what was cut off for complete, and Daphne leaves
# the connection open for ever, so that it waits for more.
#
# tornado 6.2.0 and daphne 4.0.0, beside uvicorn 0.17.6, of Debian 12, with its Python 3.11; Node 20.20.2. Of Debian 13, tornado 6.4.2, daphne 4.1.2 and
# uvicorn 0.32.0 do the same. Needs Debian 12's apt-get, and no root.
#
# Guess: what has not been said to be whole is cut: an exception ends the connection when the head has been sent, as uvicorn and others do it.
# Seen: Tornado logs "Cannot send error response after headers written", and finishes the response. Daphne logs the exception, and nothing else happens; it
# is the same when an application returns without having said that there is no more. The handler sends one event, and raises an exception:
#
#   uvicorn           cut, 1 event
#   tornado           complete, 1 event
#   tornado, closed   cut, 1 event
#   daphne            open for 5 s more, 1 event
#
# What to do: in Tornado catch what the source of a stream throws, and close the connection (below, for "/closed"). With Daphne we found no way to cut: say
# the end of a stream, and that it failed, in the stream, or serve it by another server.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$folder" # apt-get downloads as a user of its own
cd "$folder"
apt-get download 'python3-tornado=6.2.0-*' 'python3-daphne=4.0.0-*' 'python3-uvicorn=0.17.6-*' python3-asgiref python3-attr python3-autobahn python3-automat \
	python3-click python3-constantly python3-h11 python3-hyperlink python3-idna python3-incremental python3-twisted python3-txaio \
	python3-typing-extensions python3-zope.interface python3-cffi-backend python3-cryptography python3-pkg-resources python3-six >apt 2>&1 || {
	cat apt >&2
	exit 1
}
for package in *.deb; do dpkg -x "$package" .; done
cat >app.py <<'EOF'
import asyncio
import sys

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await asyncio.sleep(0.3)
    raise RuntimeError("the source has failed")

async def tornado(port):
    from tornado.web import Application, RequestHandler

    class Handler(RequestHandler):
        async def get(self):
            self.set_header("Content-Type", "text/event-stream")
            self.write("data: 1\n\n")
            await self.flush()
            await asyncio.sleep(0.3)
            if self.request.path == "/closed":
                self.request.connection.stream.close()
            raise RuntimeError("the source has failed")

    Application([("/.*", Handler)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(tornado(int(sys.argv[1])))
EOF
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';

async function start(...command) {
  const spare = net.createServer().listen(0, '127.0.0.1');
  await once(spare, 'listening');
  const { port } = spare.address();
  spare.close();
  await once(spare, 'close');
  const child = spawn('/usr/bin/python3', ['-S', ...command].map((word) => (word === 'PORT' ? String(port) : word)), {
    env: { PYTHONPATH: `${process.cwd()}/usr/lib/python3/dist-packages`, HOME: process.cwd() }, stdio: 'ignore',
  });
  process.on('exit', () => child.kill('SIGKILL'));
  for (let up = false; !up;) {
    assert.equal(child.exitCode, null, `${command} has ended`);
    up = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
      socket.on('error', () => setTimeout(resolve, 50, false));
    });
  }
  return `http://127.0.0.1:${port}/`;
}

async function get(url) {
  let events = 0;
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5300) });
    for await (const chunk of answer.body) events += Buffer.from(chunk).toString().split('data:').length - 1;
    return `complete, ${events} event`;
  } catch (e) {
    return `${e.name === 'TimeoutError' ? 'open for 5 s more' : 'cut'}, ${events} event`;
  }
}

const seen = {
  uvicorn: await get(await start('-m', 'uvicorn', '--http', 'h11', '--port', 'PORT', 'app:app')),
  tornado: await get(await start('app.py', 'PORT')),
  'tornado, closed': await get(`${await start('app.py', 'PORT')}closed`),
  daphne: await get(await start('-m', 'daphne', '-b', '127.0.0.1', '-p', 'PORT', 'app:app')),
};
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(17), said);
assert.deepEqual(seen, {
  uvicorn: 'cut, 1 event', tornado: 'complete, 1 event', 'tornado, closed': 'cut, 1 event', daphne: 'open for 5 s more, 1 event',
});
process.exit();
EOF
timeout 90 node find.mjs
