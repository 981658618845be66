package hub

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// log notes in which order followers get what.
type log struct {
	mu      sync.Mutex
	entries []entry
}

type entry struct {
	channel     string
	first, last uint64 // 0: everything was replaced
}

func (l *log) add(e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

func (l *log) until(t *testing.T, done func([]entry) bool) []entry {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		l.mu.Lock()
		entries := slices.Clone(l.entries)
		l.mu.Unlock()
		if done(entries) {
			return entries
		}
	}
	t.Fatal("not everything was delivered")
	return nil
}

// noting is a follower that notes what it gets, unless it has no log, and waits at its gate.
type noting struct {
	log  *log
	gate chan struct{}
}

func (*noting) begin(*subscription, uint64, uint64, bool) {}
func (*noting) room(context.Context, bool) error          { return nil }
func (*noting) broken(*subscription, error)               {}
func (*noting) ended(*subscription, uint64)               {}

func (n *noting) send(_ *subscription, b *batch, _ bool) {
	if n.gate != nil {
		<-n.gate
	}
	if n.log == nil {
		return
	}
	e := entry{channel: b.channel}
	if len(b.messages) > 0 {
		e.first, e.last = b.messages[0].Offset, b.messages[len(b.messages)-1].Offset
	}
	n.log.add(e)
}

// pass lets a follower that waits at its gate go on.
func pass(t *testing.T, gate chan struct{}) {
	t.Helper()
	select {
	case gate <- struct{}{}:
	case <-time.After(3 * time.Minute):
		close(gate)
		t.Fatal("nothing more is sent to many")
	}
}

// following is a shard with a channel of many followers, of whom the first one waits at a gate, and
// one of few.
func following(t *testing.T) (s *shard, said *log, gate chan struct{}) {
	t.Helper()
	h := &Hub{}
	s = &shard{channels: make(map[string]*channel), wake: make(chan struct{}, 1)}
	said, gate = new(log), make(chan struct{})
	for name, followers := range map[string]int{"many": 300, "few": 1} {
		for i := range followers {
			ch := s.join(h, Channel{Key: name, Name: name})
			s.leave(ch)
			n := new(noting)
			if i == 0 {
				n.log = said
				if name == "many" {
					n.gate = gate
				}
			}
			ch.add(&subscription{ch: ch, to: n, any: true})
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return s, said, gate
}

// TestTurns: what many get, and much of it, does not keep from others what they wait for.
func TestTurns(t *testing.T) {
	s, said, gate := following(t)
	large := make([]byte, 15<<10)
	const messages = 100
	for n := range uint64(messages) {
		s.push("many", Message{Offset: n + 1, Event: large})
	}
	pass(t, gate) // the first turn, of what had come until then
	pass(t, gate) // the next turn has begun: all the others have come
	s.push("few", Message{Offset: 1, Event: []byte("{}")})
	close(gate)
	entries := said.until(t, func(entries []entry) bool {
		return len(entries) > 0 && slices.ContainsFunc(entries, func(e entry) bool { return e.last == messages }) &&
			slices.ContainsFunc(entries, func(e entry) bool { return e.channel == "few" })
	})
	at := slices.IndexFunc(entries, func(e entry) bool { return e.channel == "few" })
	if sent := entries[at-1].last; sent > 5 {
		t.Errorf("the one of few came behind %d messages to many: %v", sent, entries)
	}
	next := uint64(1)
	for _, e := range entries {
		if e.channel == "many" {
			if e.first != next {
				t.Fatalf("%d follows on %d", e.first, next-1)
			}
			next = e.last + 1
		}
	}
}

// TestTurnsOfWhatWasReplaced: what waits for its turn is not told when it does not hold any more.
func TestTurnsOfWhatWasReplaced(t *testing.T) {
	s, said, gate := following(t)
	large := make([]byte, 15<<10)
	for n := range uint64(100) {
		s.push("many", Message{Offset: n + 1, Event: large})
	}
	pass(t, gate)
	s.push("many", Message{})
	s.push("many", Message{Offset: 1, Event: large})
	close(gate)
	entries := said.until(t, func(entries []entry) bool {
		return len(entries) > 2 && entries[len(entries)-2].last == 0 && entries[len(entries)-1].last == 1
	})
	if turns := len(entries) - 2; turns > 3 {
		t.Errorf("%d turns of what does not hold: %v", turns, entries)
	}
}

// TestTurn: a turn is bounded by what it costs, but for the first message, and what each follower
// gets is worth a send.
func TestTurn(t *testing.T) {
	of := func(n, size int) (m []Message) {
		for range n {
			m = append(m, Message{Event: make([]byte, size)})
		}
		return m
	}
	for _, c := range []struct {
		messages  []Message
		followers int
		want      int
	}{
		{of(1, 1<<20), 10000, 1},
		{of(100, 9<<10), 1, 100},
		{of(100, 9<<10), 1000, 1},
		{of(100, 15<<10), 300, 1},
		{of(100, 100), 300, 100},
		{of(1000, 100), 10000, 163},
	} {
		if got := turn(c.messages, c.followers); got != c.want {
			t.Errorf("%d of %d bytes to %d followers: %d in a turn, want %d", len(c.messages), len(c.messages[0].Event), c.followers, got, c.want)
		}
	}
}
