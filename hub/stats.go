package hub

import "sync/atomic"

// reason is why a connection was closed.
type reason uint8

const (
	reasonNone      reason = iota
	reasonGone             // the client went away, or its network did
	reasonEnded            // nothing follows in its channel
	reasonSlow             // it did not keep up
	reasonShutdown         // this node goes away
	reasonProtocol         // it broke the protocol
	reasonSource           // its channel could not be read
	reasonShed             // there were too many
	reasonExpired          // what it was let in with holds no longer
	reasonUnproven         // it did not say who it is
	reasonForbidden        // it said who it is, and may not be here
	reasonSilent           // it answered no ping
	reasonTurned           // it is to come back for another encoding, or its stream was deleted
	reasons                // how many there are
)

var reasonNames = [reasons]string{"none", "gone", "ended", "slow", "shutdown", "protocol", "source", "shed", "expired", "unauthenticated", "forbidden", "silent", "turned"}

type counters struct {
	open      [forms]atomic.Int64
	closes    [reasons]atomic.Uint64
	delivered atomic.Uint64
	resets    atomic.Uint64
	resyncs   atomic.Uint64
	slow      atomic.Uint64
	full      atomic.Uint64
	coalesced atomic.Uint64
	reads     atomic.Uint64
	met       [len(limits)]atomic.Uint64
}

func (c *counters) opened(f form) { c.open[f].Add(1) }

func (c *counters) openNow() (n int64) {
	for f := range forms {
		n += c.open[f].Load()
	}
	return n
}

// meets counts a connection that has met a limit, and returns how its client is sent away.
func (c *counters) meets(l *limit) *farewell {
	c.met[l.number].Add(1)
	return l.farewell()
}

// shed counts a connection that was not taken on.
func (c *counters) shed() { c.closes[reasonShed].Add(1) }

func (c *counters) closed(f form, why reason) {
	c.open[f].Add(-1)
	c.closes[why].Add(1)
}

// Stats is what a hub counts since it was made; Streams and Sockets are what is
// open now.
type Stats struct {
	Streams, Sockets int64
	Delivered        uint64 // messages handed to subscriptions
	Resets           uint64 // losses told to followers
	// Subscriptions that missed a notification and read the source.
	Resyncs uint64
	Reads   uint64 // histories read from the source
	// Times that a socket was full, so that something had to wait; not counted with TLS.
	Full uint64
	// Superseded progress that was dropped for connections at their bound.
	Coalesced uint64
	// Connections that did not keep up; they are closed once what is queued has left.
	Slow   uint64
	Closed map[string]uint64 // connections closed, by reason
	Met    map[string]uint64 // connections that were not taken on, by the limit that they met
}

// Open returns how many connections there are.
func (h *Hub) Open() int { return int(h.stats.openNow()) }

// Stats returns the counts of now.
func (h *Hub) Stats() Stats {
	s := Stats{
		Delivered: h.stats.delivered.Load(), Resets: h.stats.resets.Load(), Resyncs: h.stats.resyncs.Load(), Reads: h.stats.reads.Load(),
		Full: h.stats.full.Load(), Coalesced: h.stats.coalesced.Load(), Slow: h.stats.slow.Load(),
		Closed: make(map[string]uint64, reasons), Met: make(map[string]uint64, len(limits)),
	}
	for i, l := range limits {
		s.Met[l.policy] = h.stats.met[i].Load()
	}
	for f, t := range transports {
		if open := h.stats.open[f].Load(); t.converses() {
			s.Sockets += open
		} else {
			s.Streams += open
		}
	}
	for why := reasonGone; why < reasons; why++ {
		s.Closed[reasonNames[why]] = h.stats.closes[why].Load()
	}
	return s
}
