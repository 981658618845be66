package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

// receiver collects what Listen is given.
type receiver struct {
	mu       sync.Mutex
	received map[string][]lifecycle.Message
	notified chan struct{}
}

func (l *receiver) receive(channel string, m lifecycle.Message) {
	l.mu.Lock()
	l.received[channel] = append(l.received[channel], m)
	l.mu.Unlock()
	select {
	case l.notified <- struct{}{}:
	default:
	}
}

// until waits for a message at or above an offset.
func (l *receiver) until(s *suite, channel string, offset uint64) []lifecycle.Message {
	s.Helper()
	late := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		received := slices.Clone(l.received[channel])
		l.mu.Unlock()
		if n := len(received); n > 0 && received[n-1].Offset >= offset {
			return received
		}
		select {
		case <-l.notified:
		case <-late:
			s.Fatalf("%q: %d messages received, none with offset %d", channel, len(received), offset)
		}
	}
}

func testListen(s *suite) {
	l := &receiver{received: map[string][]lifecycle.Message{}, notified: make(chan struct{}, 1)}
	s.Listen(l.receive)
	const lives, events = 8, 10
	channels := map[string]uint64{ownerChannel(alice): lives * events, topicChannel(alice, "t"): lives * events}
	for i := range lives {
		channels[requestChannel(fmt.Sprintf("r%d", i))] = events
	}
	for channel := range channels {
		if err := s.Watch(s.ctx, channel); err != nil {
			s.Fatal(err)
		}
	}
	parallel(lives, func(i int) { s.life(fmt.Sprintf("r%d", i), "t", events) })
	for channel, top := range channels {
		received := l.until(s, channel, top)
		stored := s.all(channel, 0, 1000)
		for _, m := range received {
			s.told(m)
		}
		// Nothing failed here, so nothing may be missing; repeats are allowed.
		received = slices.CompactFunc(received, func(a, b lifecycle.Message) bool { return a.Offset == b.Offset })
		if !slices.EqualFunc(received, stored, func(a, b lifecycle.Message) bool {
			return a.Offset == b.Offset && a.Last == b.Last && bytes.Equal(wire.JSON(a.Event), wire.JSON(b.Event))
		}) {
			s.Errorf("%q: received %d messages, stored are %d, or they differ", channel, len(received), len(stored))
		}
	}
	s.Unwatch(ownerChannel(alice))
	s.life("later", "t", 3)
	l.until(s, topicChannel(alice, "t"), lives*events+3)
	if err := s.Watch(s.ctx, ownerChannel(alice)); err != nil {
		s.Fatal(err)
	}
	s.life("latest", "", 3)
	l.until(s, ownerChannel(alice), lives*events+6)
}

func testCancellations(s *suite) {
	told := make(chan string, 16)
	stop := s.OnCancel(func(of lifecycle.Ref) { told <- of.ID })
	next := func(want string) {
		s.Helper()
		select {
		case id := <-told:
			if id != want {
				s.Errorf("told of %s, want %s", id, want)
			}
		case <-time.After(20 * time.Second):
			s.Fatalf("not told of %s", want)
		}
	}
	s.into("pending", lifecycle.Pending)
	s.into("a", lifecycle.Processing)
	s.into("b", lifecycle.Processing)
	s.apply("pending", lifecycle.Cancel{}) // ended at once: nobody works on it
	s.apply("a", lifecycle.Cancel{})
	s.apply("a", lifecycle.Cancel{}) // known
	s.apply("b", lifecycle.Cancel{})
	next("a")
	next("b")
	if r := s.get("a"); r.Status != lifecycle.Processing || !r.CancelRequested {
		s.Errorf("canceled while processing: %+v", r)
	}

	stop()
	again := make(chan string, 16)
	defer s.OnCancel(func(of lifecycle.Ref) { again <- of.ID })()
	s.into("c", lifecycle.Processing)
	s.apply("c", lifecycle.Cancel{})
	select {
	case id := <-again:
		if id != "c" {
			s.Errorf("told of %s, want c", id)
		}
	case <-time.After(20 * time.Second):
		s.Fatal("not told of c")
	}
	if len(told) > 0 {
		s.Errorf("told of %s after stop", <-told)
	}
}
