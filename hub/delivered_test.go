package hub

import (
	"os"
	"testing"
	"time"
)

// madeAt is an event of a time.
type madeAt time.Time

func (madeAt) Subject() (string, bool) { return "", false }
func (m madeAt) Made() time.Time       { return time.Time(m) }

// TestDelivered: whoever wants to know it is told when what was handed to followers was made: once
// for what came together, and nothing of what nobody follows or has no time.
func TestDelivered(t *testing.T) {
	told := make(chan time.Time, 10)
	h := New(new(benchSource), Options{Delivered: func(made time.Time) { told <- made }})
	defer h.Close()
	channel := Channel{Key: "a", Name: "a"}
	for range 3 {
		server, _ := tcpPair(t) // which takes the few bytes of this without being read
		h.ServeStream(server, channel, StreamOptions{})
	}
	ch := h.shard(channel.Key).channels[channel.Key]
	first, second := time.Unix(1, 0), time.Unix(2, 0)
	ch.deliver([]Message{{Offset: 1, Event: []byte("{}"), About: madeAt(first)}, {Offset: 2, Event: []byte("{}"), About: madeAt(second)}}, nil)
	ch.deliver([]Message{{Offset: 3, Event: []byte("{}")}}, nil)
	ch.deliver([]Message{{Offset: 4, Event: []byte("{}"), About: madeAt(time.Time{})}}, nil)
	ch.deliver([]Message{{Offset: 5, Event: []byte("{}"), About: madeAt(second)}}, nil)
	for _, want := range []time.Time{first, second} {
		if got := <-told; !got.Equal(want) {
			t.Errorf("told %v, want %v", got, want)
		}
	}
	if len(told) > 0 {
		t.Errorf("told %v, too", <-told)
	}
}

// BenchmarkDelivered is BenchmarkBroadcast to one follower, with somebody who wants to know when
// it was delivered, and without.
func BenchmarkDelivered(b *testing.B) {
	for name, told := range map[string]func(time.Time){"off": nil, "on": func(time.Time) {}} {
		b.Run(name, func(b *testing.B) {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = null.Close() }()
			h := New(new(benchSource), Options{Heartbeat: time.Hour, Delivered: told})
			defer h.Close()
			channel := Channel{Key: "a", Name: "a"}
			h.ServeStream(nullConn{file: null}, channel, StreamOptions{})
			ch := h.shard(channel.Key).channels[channel.Key]
			made, event := madeAt(time.Now()), make([]byte, 600)
			b.ReportAllocs()
			var offset uint64
			for b.Loop() {
				offset++
				ch.deliver([]Message{{Offset: offset, Event: event, About: &made}}, nil)
			}
		})
	}
}
