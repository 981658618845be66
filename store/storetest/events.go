package storetest

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

// life takes a request from its creation to its end in n events.
func (s *suite) life(id, topic string, n int) {
	sub := submission(id)
	sub.Topic = topic
	steps := []lifecycle.Change{lifecycle.Start{}}
	for i := range n - 3 {
		steps = append(steps, lifecycle.Progress{Percent: new(float64(i))})
	}
	steps = append(steps, lifecycle.Succeed{})
	if _, err := s.Create(s.ctx, sub); err != nil {
		s.Error(err)
		return
	}
	for _, c := range steps {
		if _, err := s.Apply(s.ctx, lifecycle.Named(id), c); err != nil {
			s.Error(err)
		}
	}
}

func testConcurrentEvents(s *suite) {
	const lives, events = 24, 8
	parallel(lives, func(i int) { s.life(fmt.Sprintf("r%d", i), fmt.Sprintf("t%d", i%2), events) })
	for i := range lives {
		s.consistent(fmt.Sprintf("r%d", i))
	}
	for channel, want := range map[string]int{
		ownerChannel(alice): lives * events, topicChannel(alice, "t0"): lives * events / 2, topicChannel(alice, "t1"): lives * events / 2,
	} {
		messages := s.all(channel, 0, 7)
		if len(messages) != want || messages[0].Offset != 1 {
			s.Errorf("feed %q: %d events from %d, want %d", channel, len(messages), messages[0].Offset, want)
		}
		sequence := map[string]uint64{}
		for _, m := range messages {
			e := s.decode(m)
			if sequence[e.Data.ID]++; sequence[e.Data.ID] != e.Data.Sequence {
				s.Errorf("feed %q: %s out of order", channel, e.ID)
			}
			if m.Last {
				s.Errorf("feed %q: %s is said to be the last", channel, e.ID)
			}
			own, err := s.Read(s.ctx, requestChannel(e.Data.ID), e.Data.Sequence-1, 1)
			if err != nil || len(own.Messages) != 1 || !bytes.Equal(wire.JSON(own.Messages[0].Event), wire.JSON(m.Event)) {
				s.Errorf("feed %q: %s is not the same in its own channel (%v)", channel, e.ID, err)
			}
		}
	}
}

func testConcurrentProgress(s *suite) {
	const writers, each = 16, 10
	s.into("a", lifecycle.Processing)
	var mu sync.Mutex
	var sequences []uint64
	parallel(writers, func(w int) {
		for range each {
			r, err := s.Apply(s.ctx, lifecycle.Named("a"), lifecycle.Progress{Attempt: 1, Step: new(fmt.Sprint(w))})
			if err != nil {
				s.Error(err)
			}
			mu.Lock()
			sequences = append(sequences, r.Sequence)
			mu.Unlock()
		}
	})
	slices.Sort(sequences)
	for i, n := range sequences {
		if n != uint64(i+3) {
			s.Fatalf("sequences %v", sequences)
		}
	}
	s.consistent("a")
}

func testRead(s *suite) {
	s.life("a", "t", 10)
	s.create(submission("b"))
	for _, channel := range []string{requestChannel("a"), topicChannel(alice, "t")} {
		for _, test := range []struct {
			after       uint64
			limit       int
			first, last uint64 // 0: nothing
		}{
			{0, 100, 1, 10},
			{0, 3, 1, 3},
			{4, 3, 5, 7},
			{9, 100, 10, 10},
			{10, 100, 0, 0},
			{11, 100, 0, 0},
			{math.MaxUint64, 100, 0, 0},
			{math.MaxInt64, 0, 0, 0},
		} {
			h, err := s.Read(s.ctx, channel, test.after, test.limit)
			if err != nil || h.Top != 10 {
				s.Fatalf("read %q after %d: top %d, %v", channel, test.after, h.Top, err)
			}
			if ended := channel == requestChannel("a"); h.Ended != ended { // whatever part was read
				s.Errorf("read %q after %d, limit %d: ended %v, want %v", channel, test.after, test.limit, h.Ended, ended)
			}
			var first, last uint64
			if n := len(h.Messages); n > 0 {
				first, last = h.Messages[0].Offset, h.Messages[n-1].Offset
			}
			if first != test.first || last != test.last || test.last > 0 && len(h.Messages) != int(last-first+1) {
				s.Errorf("read %q after %d, limit %d: %d to %d (%d)", channel, test.after, test.limit, first, last, len(h.Messages))
			}
		}
	}
	if h, err := s.Read(s.ctx, requestChannel("b"), 1, 10); err != nil || h.Top != 1 || h.Ended {
		s.Errorf("read what goes on: %+v, %v", h, err)
	}
	// Names that are the beginning of another, and names of another kind.
	for _, channel := range []string{
		requestChannel("unknown"), requestChannel("aa"), ownerChannel("alic"), ownerChannel("alicea"),
		topicChannel(alice, "tt"), topicChannel("alic", "t"), topicChannel(bob, "t"),
	} {
		h, err := s.Read(s.ctx, channel, 0, 10)
		if err != nil || h.Top != 0 || len(h.Messages) != 0 || h.Ended {
			s.Errorf("read %q: %d events, top %d, %v", channel, len(h.Messages), h.Top, err)
		}
	}
}

func testReadLarge(s *suite) {
	s.into("a", lifecycle.Processing)
	message := strings.Repeat("x", lifecycle.PageBytes/10)
	for range 38 {
		s.apply("a", lifecycle.Progress{Message: &message})
	}
	longer := strings.Repeat("x", 2*lifecycle.PageBytes) // than any answer, but by itself
	for range 2 {
		s.apply("a", lifecycle.Progress{Message: &longer})
	}
	h, err := s.Read(s.ctx, requestChannel("a"), 0, 1000)
	if err != nil {
		s.Fatal(err)
	}
	size := 0
	for _, m := range h.Messages {
		size += len(wire.JSON(m.Event))
	}
	if len(h.Messages) < 2 || size > lifecycle.PageBytes*5/4 { // which is of what is stored
		s.Errorf("one answer of %d messages, %d bytes", len(h.Messages), size)
	}
	if n := len(s.all(requestChannel("a"), 0, 1000)); n != 42 {
		s.Errorf("%d events in all", n)
	}
}

// cut checks that of a channel with top events about keep are left.
func (s *suite) cut(channel string, top uint64, keep int) {
	s.Helper()
	messages := s.all(channel, 0, 1000)
	if n := len(messages); n < keep || n > 2*keep || messages[n-1].Offset != top {
		s.Fatalf("%q: %d events are left, want %d to %d up to offset %d", channel, n, keep, 2*keep, top)
	}
	// From the middle, and from what is gone.
	oldest := messages[0].Offset
	for _, after := range []uint64{oldest + 1, oldest - 1, oldest - 2} {
		h, err := s.Read(s.ctx, channel, after, 1)
		if err != nil || len(h.Messages) != 1 || h.Messages[0].Offset != max(after+1, oldest) || h.Top != top {
			s.Errorf("%q after %d: %+v, %v", channel, after, h, err)
		}
	}
}

func testHistory(s *suite) {
	s.life("a", "", 50)
	s.cut(requestChannel("a"), 50, s.config.History)
	if h, err := s.Read(s.ctx, requestChannel("a"), 50, 1); err != nil || !h.Ended {
		s.Errorf("ended, and cut: %+v, %v", h, err)
	}
	s.consistent("a")
	if n := len(s.all(ownerChannel(alice), 0, 1000)); n != 50 {
		s.Errorf("the feed has %d events", n)
	}
	if err := s.Delete(s.ctx, lifecycle.Named("a")); err != nil {
		s.Fatal(err)
	}
	s.gone("a")
}

func testFeedHistory(s *suite) {
	s.life("a", "t", 50)
	s.cut(ownerChannel(alice), 50, s.config.FeedHistory)
	s.cut(topicChannel(alice, "t"), 50, s.config.FeedHistory)
	if n := len(s.all(requestChannel("a"), 0, 1000)); n != 50 {
		s.Errorf("the request has %d events", n)
	}
}

func testFeedRetention(s *suite) {
	s.life("a", "t", 10)
	s.in.Advance(s.config.FeedRetention / 2)
	s.sweep(10)
	if n := len(s.all(ownerChannel(alice), 0, 100)); n != 10 {
		s.Errorf("%d events before their time", n)
	}
	s.in.Advance(s.config.FeedRetention * 3 / 2)
	sub := submission("b")
	sub.Topic, sub.Timeout = "t", 24*time.Hour
	s.create(sub)
	s.sweep(10)
	s.aged(10, 11)
	s.in.Advance(2 * s.config.FeedRetention)
	s.sweep(10)
	s.aged(0, 0) // all gone, and nothing is kept of it
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
		s.aged(0, 0)
	}
	s.apply("b", lifecycle.Start{})
	s.aged(11, 12) // but no offset comes again
	if n := len(s.all(requestChannel("a"), 0, 100)); n != 10 {
		s.Errorf("the request has %d events", n)
	}
}

// aged checks that the feeds hold what is after one offset up to their top.
func (s *suite) aged(after, top uint64) {
	s.Helper()
	for _, channel := range []string{ownerChannel(alice), topicChannel(alice, "t")} {
		h, err := s.Read(s.ctx, channel, 0, 100)
		if err != nil || h.Top != top || uint64(len(h.Messages)) != top-after || top > after && h.Messages[0].Offset != after+1 {
			s.Errorf("%q: %d events, top %d, %v; want %d, top %d", channel, len(h.Messages), h.Top, err, top-after, top)
		}
		if m, err := s.Reset(s.ctx, channel); err != nil || m.Offset != top {
			s.Errorf("reset of %q: %d, %v", channel, m.Offset, err)
		}
	}
}

func testReset(s *suite) {
	s.life("a", "t", 5)
	s.into("b", lifecycle.Pending)
	for id, last := range map[string]bool{"a": true, "b": false} {
		r := s.get(id)
		m, err := s.Reset(s.ctx, requestChannel(id))
		if err != nil {
			s.Fatal(err)
		}
		text, want := wire.JSON(m.Event), wire.AppendEvent(nil, &r, lifecycle.EventReset)
		if m.Offset != r.Sequence || m.Last != last || !bytes.Equal(text, want) {
			s.Errorf("reset of %s: %d, last %v\n%s\nwant\n%s", id, m.Offset, m.Last, text, want)
		}
	}
	for channel, top := range map[string]uint64{ownerChannel(alice): 6, topicChannel(alice, "t"): 5, ownerChannel(bob): 0} {
		c, err := lifecycle.ParseKey(channel)
		if err != nil {
			s.Fatal(err)
		}
		m, err := s.Reset(s.ctx, channel)
		if err != nil || m.Offset != top || m.Last || !reflect.DeepEqual(m.Event, lifecycle.FeedReset(c, top)) {
			s.Errorf("reset of %q: %d, last %v, %v: %+v", channel, m.Offset, m.Last, err, m.Event)
		}
	}
}
