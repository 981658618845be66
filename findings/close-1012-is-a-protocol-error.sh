#!/bin/sh
# The close codes 1012 (service restart) and 1013 (try again later), which are registered with IANA, are a protocol error, 1002, to clients of
# faye-websocket, and no close code at all to those of gobwas/ws.
#
# faye-websocket 0.11.4, Go gobwas/ws 1.5.0, beside ws 8.23.0; Node 20.20.2, Go 1.26.
#
# Guess: any code from 1000 to 4999 that may stand in a frame is passed on, or at least those that are registered.
# Seen: both have a list of the codes of RFC 6455, section 7.4.1, to which these were added later. faye-websocket tells 1002 with the
# peer's reason, so that it looks as if the peer had complained. gobwas/ws answers with a close frame that is not masked, against section 5.1.
#
#   ws              1011, 1012, 1013
#   faye-websocket  1011, 1002, 1002
#     the server got WS_ERR_EXPECTED_MASK (twice)
#   gobwas/ws       1011, "status code is not defined in spec", "status code is not defined in spec"
#
# What to do: servers may close with them, and clients must come back after a protocol error as well.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error faye-websocket@0.11.4 ws@8.23.0
mkdir gobwas
cat >gobwas/main.go <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func main() {
	conn, buffered, _, err := ws.Dial(context.Background(), os.Args[1])
	if err != nil {
		panic(err)
	}
	var from io.Reader = conn
	if buffered != nil {
		from = buffered
	}
	_, err = wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{from, conn})
	var closed wsutil.ClosedError
	if errors.As(err, &closed) {
		fmt.Print(int(closed.Code))
		return
	}
	fmt.Printf("%q", err.Error())
}
EOF
(
	cd gobwas
	go mod init finding >go.log 2>&1
	go get github.com/gobwas/ws@v1.5.0 >>go.log 2>&1
	go build -o ../gobwas.bin . || { cat go.log; exit 1; }
)
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import faye from 'faye-websocket';
import { WebSocket, WebSocketServer } from 'ws';

const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
server.on('connection', (socket, request) => {
  socket.on('error', (e) => console.log(`  the server got ${e.code}`));
  socket.close(Number(request.url.slice(1)), 'because');
});
await once(server, 'listening');
const url = (code) => `ws://127.0.0.1:${server.address().port}/${code}`;

const closed = (make) => (code) => new Promise((resolve) => { make(url(code)).onclose = (e) => resolve(String(e.code)); });
const clients = {
  ws: closed((u) => new WebSocket(u)),
  'faye-websocket': closed((u) => new faye.Client(u)),
  'gobwas/ws': async (code) => (await promisify(execFile)('./gobwas.bin', [url(code)])).stdout,
};
const seen = {};
for (const [name, code] of Object.entries(clients)) {
  seen[name] = [await code(1011), await code(1012), await code(1013)].join(', ');
  console.log(name.padEnd(15), seen[name]);
}
const unknown = '"status code is not defined in spec"';
assert.deepEqual(seen, { ws: '1011, 1012, 1013', 'faye-websocket': '1011, 1002, 1002', 'gobwas/ws': `1011, ${unknown}, ${unknown}` });
process.exit();
EOF
timeout 60 node find.mjs
