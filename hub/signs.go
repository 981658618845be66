package hub

import (
	"strconv"
	"time"
)

// signs of life, which all connections of a transport share. Those that a client sees say in how
// many seconds the next one is due, so that it knows when the silence of a connection means that it
// is dead, which neither a browser's EventSource nor its WebSocket finds out. And they say at which
// pace to come back, in milliseconds: an EventSource keeps the field `retry` to itself, and a
// WebSocket has none.
type signs struct {
	about       string // the members that say that, which end a JSON object
	quiet, seen [forms][]byte
	pong        []byte // the answer to a WebSocket client that asks
}

func newSigns(interval int, retry time.Duration) signs {
	s := signs{about: `"interval":` + strconv.Itoa(interval) + `,"retry":` + strconv.FormatInt(retry.Milliseconds(), 10) + `}`}
	s.pong = []byte(`{"op":"pong",` + s.about)
	for f, t := range transports {
		s.quiet[f], s.seen[f] = t.heartbeat(""), t.heartbeat(s.about)
	}
	return s
}
