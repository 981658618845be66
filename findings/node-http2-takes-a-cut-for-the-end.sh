#!/bin/sh
# Over HTTP/2 a stream that is cut off is at its end, without an error, for the client in Node: when its connection is closed, and when it is reset with
# CANCEL. So it is for axios, which uses it.
#
# node:http2 of Node 20.20.2, axios 1.21.1 (httpVersion: 2), beside undici 7.30.2 (H2CClient), which takes only CANCEL for the end.
#
# Guess: END_STREAM is the end (RFC 9113, section 8.1), and everything else an error. "If the code is any value other than NGHTTP2_NO_ERROR (0), an
# 'error' event will have also been emitted", says Node's documentation of 'close'.
# Seen: there is none with rstCode 8, CANCEL, which is also what Node has for a connection that was closed, with or without GOAWAY, as that of a server
# that is stopped. 'aborted' is not emitted either, as the request has ended. HAProxy 3 resets with CANCEL a stream whose server was cut off. The server
# sends one event, and then:
#
#                     node:http2                             axios                    undici
#   END_STREAM        complete, rstCode 0                    complete                 complete
#   RST, CANCEL       complete, rstCode 8                    complete                 complete
#   RST, INTERNAL     ERR_HTTP2_STREAM_ERROR, rstCode 2      ERR_HTTP2_STREAM_ERROR   ERR_HTTP2_STREAM_ERROR
#   close             complete, rstCode 8                    complete                 UND_ERR_SOCKET
#   GOAWAY, close     complete, rstCode 8                    complete                 UND_ERR_SOCKET
#   reset             ECONNRESET, rstCode 2                  ECONNRESET               ECONNRESET
#
# What to do: look at rstCode when a stream has ended; over axios, undici and the like, whose users do not see it, read streams over HTTP/1.1, or go by an
# end that is said in the stream.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error axios@1.21.1 undici@7.30.2
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import axios from 'axios';
import { H2CClient } from 'undici';

const DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, GOAWAY = 7;
const NO_ERROR = 0, INTERNAL_ERROR = 2, CANCEL = 8;
const frame = (type, flags, stream, payload = Buffer.alloc(0)) => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};
const numbers = (...values) => Buffer.concat(values.map((value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}));
const ends = {
  END_STREAM: (socket, stream) => socket.write(frame(DATA, 1, stream)),
  'RST, CANCEL': (socket, stream) => socket.write(frame(RST_STREAM, 0, stream, numbers(CANCEL))),
  'RST, INTERNAL': (socket, stream) => socket.write(frame(RST_STREAM, 0, stream, numbers(INTERNAL_ERROR))),
  close: (socket) => socket.destroy(),
  'GOAWAY, close': (socket, stream) => {
    socket.write(frame(GOAWAY, 0, 0, numbers(stream, NO_ERROR)));
    setTimeout(() => socket.destroy(), 100);
  },
  reset: (socket) => socket.resetAndDestroy(),
};

// Answers each request with one event, and then ends it in the way that is set.
let how;
const server = net.createServer((socket) => {
  let rest = Buffer.alloc(0), preface = true;
  socket.on('error', () => {});
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    if (preface && rest.length >= 24) {
      rest = rest.subarray(24);
      preface = false;
      socket.write(frame(SETTINGS, 0, 0));
    }
    while (!preface && rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const [type, flags, stream] = [rest[3], rest[4], rest.readUInt32BE(5)];
      rest = rest.subarray(9 + rest.readUIntBE(0, 3));
      if (type === SETTINGS && flags === 0) socket.write(frame(SETTINGS, 1, 0));
      if (type !== HEADERS) continue;
      socket.write(Buffer.concat([frame(HEADERS, 4, stream, Buffer.from([0x88])), frame(DATA, 0, stream, Buffer.from('data: 1\n\n'))])); // 0x88 is ":status: 200"
      setTimeout(ends[how], 300, socket, stream);
    }
  });
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}`;

const loop = async (body) => {
  let text = '';
  for await (const chunk of body) text += chunk;
  assert.equal(text, 'data: 1\n\n');
  return 'complete';
};
const clients = {
  'node:http2': async () => {
    const session = http2.connect(url).on('error', () => {});
    const stream = session.request({ ':path': '/' });
    const said = await loop(stream).catch((e) => e.code);
    session.destroy();
    return `${said}, rstCode ${stream.rstCode}`;
  },
  axios: async () => loop((await axios.get(url, { httpVersion: 2, responseType: 'stream', proxy: false })).data),
  undici: async () => {
    const client = new H2CClient(url);
    try {
      return await loop((await client.request({ method: 'GET', path: '/' })).body);
    } finally {
      client.destroy().catch(() => {});
    }
  },
};
const seen = {};
for (how of Object.keys(ends)) {
  const row = [];
  for (const get of Object.values(clients)) row.push(await get().catch((e) => e.code));
  seen[how] = row.join(' | ');
  console.log(how.padEnd(17), row[0].padEnd(38), row[1].padEnd(24), row[2]);
}
assert.deepEqual(seen, {
  END_STREAM: 'complete, rstCode 0 | complete | complete',
  'RST, CANCEL': 'complete, rstCode 8 | complete | complete',
  'RST, INTERNAL': 'ERR_HTTP2_STREAM_ERROR, rstCode 2 | ERR_HTTP2_STREAM_ERROR | ERR_HTTP2_STREAM_ERROR',
  close: 'complete, rstCode 8 | complete | UND_ERR_SOCKET',
  'GOAWAY, close': 'complete, rstCode 8 | complete | UND_ERR_SOCKET',
  reset: 'ECONNRESET, rstCode 2 | ECONNRESET | ECONNRESET',
});
process.exit();
EOF
timeout 60 node find.mjs
