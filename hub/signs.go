package hub

import (
	"strconv"
	"time"
)

// comments are the heartbeats of streams whose clients need not see them.
var comments = [wires][]byte{
	wireSSE:   wireSSE.framed([]byte(":\n")),
	wirePlain: wirePlain.framed([]byte(":\n")),
}

// signs of life that a client sees. They say in how many seconds the next one is due, so that it knows when the silence of
// a connection means that it is dead, which neither a browser's EventSource nor its WebSocket finds out. And they say at which pace to come
// back, in milliseconds: an EventSource keeps the field `retry` to itself, and a WebSocket has none. All connections share them.
type signs struct {
	block  []byte        // of a stream
	blocks [wires][]byte // the same, framed
	pong   []byte        // the answer to a WebSocket client that asks
}

func newSigns(interval int, retry time.Duration) signs {
	about := `"interval":` + strconv.Itoa(interval) + `,"retry":` + strconv.FormatInt(retry.Milliseconds(), 10) + `}`
	s := signs{block: namedBlock(nameHeartbeat, `{`+about, ""), pong: []byte(`{"op":"pong",` + about)}
	for _, w := range []wire{wireSSE, wirePlain} {
		s.blocks[w] = w.framed(s.block)
	}
	return s
}
