#!/bin/sh
# Memory of 10,000 waiting connections, each on a request of its own, with the
# hub's bookkeeping, beside what it is meant to be.
set -eu
n=${CONNECTIONS:-10000}
echo "target: at most 1.5 KB for a waiting SSE stream"
go run ./loadtest idle --wire=sse --connections="$n"
echo "target: at most 6 KB for a waiting WebSocket"
go run ./loadtest idle --wire=ws --connections="$n"
