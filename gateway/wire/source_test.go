package wire_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// events is a store that holds what it is told to.
type events struct {
	history lifecycle.History
	failure error // of everything
	tell    func(channel string, m lifecycle.Message)
}

func (s *events) Read(context.Context, string, uint64, int) (lifecycle.History, error) {
	return s.history, s.failure
}

func (s *events) Reset(context.Context, string) (lifecycle.Message, error) {
	return lifecycle.Message{Offset: 3, Event: lifecycle.FeedReset(feed, 3), Last: true}, s.failure
}
func (s *events) Watch(context.Context, string) error                { return s.failure }
func (s *events) Unwatch(string)                                     {}
func (s *events) Listen(f func(channel string, m lifecycle.Message)) { s.tell = f }

var feed = lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "o"}

// TestSource: what is followed comes with the bytes that clients get, the same ones in each
// channel, and with what it is about; what nobody follows is not written.
func TestSource(t *testing.T) {
	r := sample()
	progress, reset := lifecycle.NewEvent(&r, lifecycle.EventProgress), lifecycle.FeedReset(feed, 3)
	store := &events{history: lifecycle.History{
		Messages: []lifecycle.Message{{Offset: 2, Event: progress}, {Offset: 3, Event: reset, Last: true}}, Top: 3, Ended: true, Begin: 1,
	}}
	source := wire.Source(store)
	check := func(m hub.Message, offset uint64, last bool, e *lifecycle.Event) {
		t.Helper()
		if m.Offset != offset || m.Last != last || string(m.Event) != string(wire.JSON(e)) {
			t.Errorf("%d %v %s", m.Offset, m.Last, m.Event)
		}
		name, isProgress := m.About.Subject()
		if name != e.Request.String() || isProgress != (e == progress) {
			t.Errorf("%s is about %q, progress %v", m.Event, name, isProgress)
		}
	}
	h, err := source.Read(t.Context(), "owner:o", 1, 10)
	if err != nil || len(h.Messages) != 2 || h.Top != 3 || !h.Ended || h.Begin != 1 {
		t.Fatalf("%+v, %v", h, err)
	}
	check(h.Messages[0], 2, false, progress)
	check(h.Messages[1], 3, true, reset)
	m, err := source.Reset(t.Context(), "owner:o")
	if err != nil {
		t.Fatal(err)
	}
	check(m, 3, true, reset)

	received := make(map[string][]hub.Message)
	source.Listen(func(channel string, m hub.Message) { received[channel] = append(received[channel], m) })
	tell := func() {
		for _, channel := range []string{"request:r1", "topic:t", "owner:o"} {
			store.tell(channel, lifecycle.Message{Offset: 2, Event: progress, Last: channel == "request:r1"})
		}
	}
	tell()
	if len(received) != 0 {
		t.Errorf("nobody follows, and there came %v", received)
	}
	for _, channel := range []string{"request:r1", "owner:o"} {
		if err := source.Watch(t.Context(), channel); err != nil {
			t.Fatal(err)
		}
	}
	tell()
	if len(received) != 2 || len(received["request:r1"]) != 1 || len(received["owner:o"]) != 1 {
		t.Fatalf("%v", received)
	}
	one, other := received["request:r1"][0], received["owner:o"][0]
	check(one, 2, true, progress)
	check(other, 2, false, progress)
	if &one.Event[0] != &other.Event[0] {
		t.Error("an event was written twice")
	}
	store.tell("owner:o", lifecycle.Message{Offset: 7}) // its end was replaced
	if m := received["owner:o"][1]; m.Event != nil || m.Offset != 7 {
		t.Errorf("%+v", m)
	}
	source.Unwatch("owner:o")
	tell()
	if len(received["owner:o"]) != 2 || len(received["request:r1"]) != 2 {
		t.Errorf("%v", received)
	}

	store.failure = errors.New("away")
	if err := source.Watch(t.Context(), "topic:t"); !errors.Is(err, store.failure) {
		t.Errorf("%v", err)
	}
	if _, err := source.Read(t.Context(), "topic:t", 0, 1); !errors.Is(err, store.failure) {
		t.Errorf("%v", err)
	}
	if _, err := source.Reset(t.Context(), "topic:t"); !errors.Is(err, store.failure) {
		t.Errorf("%v", err)
	}
	if tell(); len(received["topic:t"]) != 0 {
		t.Errorf("%v", received)
	}
}
