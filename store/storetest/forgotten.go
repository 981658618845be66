package storetest

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

// feeds are those that the events of the suite's requests with topic "t" go to.
func feeds() []string { return []string{ownerChannel(alice), topicChannel(alice, "t")} }

// testForgotten: of a request that was deleted, or whose retention has passed, feeds tell nothing,
// and their offsets stay contiguous.
func testForgotten(s *suite) {
	const secret = "known to nobody any more"
	submit := func(id string, retention time.Duration, progress int) {
		s.Helper()
		sub := submission(id)
		sub.Topic, sub.Retention = "t", retention
		s.create(sub)
		s.apply(id, lifecycle.Start{})
		for range progress {
			s.apply(id, lifecycle.Progress{Message: new(secret + " of " + id)})
		}
		s.apply(id, lifecycle.Succeed{Result: &lifecycle.Content{Type: "application/json", Data: []byte(`"` + secret + " of " + id + `"`)}})
	}
	submit("deleted", 24*time.Hour, 1)
	submit("stays", 24*time.Hour, 1)
	// Its own channel does not have the oldest of its events any more.
	submit("long", 24*time.Hour, 3*s.config.History)
	submit("lapsed", time.Minute, 1)
	const each = 4
	count := map[string]int{"deleted": each, "stays": each, "long": 3 + 3*s.config.History, "lapsed": each}
	total := 0
	for _, n := range count {
		total += n
	}
	check := func(gone ...string) {
		s.Helper()
		for _, channel := range feeds() {
			c, err := lifecycle.ParseKey(channel)
			if err != nil {
				s.Fatal(err)
			}
			for _, page := range []int{3, 1000} {
				messages, left := s.all(channel, 0, page), total
				if len(messages) != total {
					s.Fatalf("%q: %d events, want %d", channel, len(messages), total)
				}
				for i, m := range messages {
					text, forgotten := wire.JSON(m.Event), reflect.DeepEqual(m.Event, lifecycle.Forgotten(c, uint64(i)+1))
					if m.Offset != uint64(i)+1 || m.Last {
						s.Errorf("%q: offset %d at %d", channel, m.Offset, i+1)
					}
					for _, id := range gone {
						if !forgotten && (bytes.Contains(text, []byte(secret+" of "+id)) || bytes.Contains(text, []byte(`"id":"`+id+"/"+life+"/"))) {
							s.Errorf("%q tells of %s: %s", channel, id, text)
						}
					}
					if forgotten {
						left--
					}
				}
				want := total
				for _, id := range gone {
					want -= count[id]
				}
				if left != want {
					s.Errorf("%q: %d events tell something without %v, want %d", channel, left, gone, want)
				}
			}
		}
		s.consistent("stays")
	}
	check()
	for _, id := range []string{"deleted", "long"} {
		if err := s.Delete(s.ctx, lifecycle.Named(id)); err != nil {
			s.Fatal(err)
		}
	}
	check("deleted", "long")
	s.in.Advance(2 * time.Minute)
	s.sweep(10)
	check("deleted", "long", "lapsed")
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
		check("deleted", "long", "lapsed")
	}
	// Another one with the id tells of itself alone.
	sub := submission("deleted")
	sub.Life, sub.Topic = "9876543210", "t"
	s.create(sub)
	total, count["deleted again"] = total+1, 1
	check("long", "lapsed", "deleted")
}

// testFeedsGo: a feed that has nothing any more costs nothing, and when it is used again none of
// its offsets comes twice.
func testFeedsGo(s *suite) {
	const topics = 20
	use := func(round int) {
		for i := range topics {
			sub := submission(fmt.Sprintf("r%d-%d", round, i))
			sub.Topic, sub.Timeout, sub.Retention = fmt.Sprintf("topic-%d", i), time.Minute, time.Minute
			s.create(sub)
		}
	}
	read := func(topic int, after uint64) lifecycle.History {
		s.Helper()
		h, err := s.Read(s.ctx, topicChannel(alice, fmt.Sprintf("topic-%d", topic)), after, 100)
		if err != nil {
			s.Fatal(err)
		}
		return h
	}
	var before uint64 // the highest offset that any feed had
	for round := range 3 {
		use(round)
		for i := range topics {
			h := read(i, 0)
			if len(h.Messages) != 1 || h.Top != h.Messages[0].Offset || h.Begin != h.Top-1 {
				s.Fatalf("round %d: %+v", round, h)
			}
			if round > 0 && h.Top <= 1 {
				s.Errorf("round %d: offset %d again", round, h.Top)
			}
			if old := read(i, h.Top-1); round > 0 && (len(old.Messages) != 1 || old.Messages[0].Offset != h.Top) {
				s.Errorf("round %d: behind what began: %+v", round, old)
			}
			before = max(before, h.Top)
		}
		for range 3 {
			s.in.Advance(3 * s.config.FeedRetention)
			s.sweep(100)
		}
		for i := range topics {
			if h := read(i, 0); h.Top != 0 || h.Begin != 0 || len(h.Messages) != 0 {
				s.Errorf("round %d: of what is gone: %+v", round, h)
			}
		}
		if s.in.Reopen != nil {
			s.Store = s.in.Reopen()
		}
	}
	// One that is followed stays, so that its follower sees no gap.
	use(9)
	followed := topicChannel(alice, "topic-0")
	if err := s.Watch(s.ctx, followed); err != nil {
		s.Fatal(err)
	}
	first := read(0, 0).Top
	for range 3 {
		s.in.Advance(3 * s.config.FeedRetention)
		s.sweep(100)
	}
	top := read(0, first).Top
	if top < first {
		s.Errorf("of what is followed: top %d, was %d", top, first)
	}
	sub := submission("next")
	sub.Topic = "topic-0"
	s.create(sub)
	if h := read(0, top); len(h.Messages) != 1 || h.Messages[0].Offset != top+1 || !strings.Contains(string(wire.JSON(h.Messages[0].Event)), "next") {
		s.Errorf("behind what is followed: %d messages up to %d, want %d", len(h.Messages), h.Top, top+1)
	}
	s.Unwatch(followed)
}
