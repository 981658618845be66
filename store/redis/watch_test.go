package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestWatchThenReadMissesNothing: whoever watches a channel and then reads it gets
// every message either from the reading or from a notification.
func TestWatchThenReadMissesNothing(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	// Channel key → *atomic.Uint64, the newest offset that the listener was notified of.
	var notified sync.Map
	s.Listen(func(channel string, m lifecycle.Message) {
		if top, ok := notified.Load(channel); ok {
			top.(*atomic.Uint64).Store(m.Offset)
		}
	})
	ctx := context.Background()
	for n := range 200 {
		id := fmt.Sprint("r", n)
		created, err := s.Create(ctx, submission(id))
		if err != nil {
			t.Fatal(err)
		}
		key := created.Request.Channel().Key()
		var starting sync.WaitGroup
		starting.Go(func() {
			if _, err := s.Apply(ctx, lifecycle.Named(id), lifecycle.Start{}); err != nil {
				t.Error(err)
			}
		})
		top := new(atomic.Uint64)
		notified.Store(key, top)
		if err := s.Watch(ctx, key); err != nil {
			t.Fatal(err)
		}
		history, err := s.Read(ctx, key, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		starting.Wait()
		if history.Top < 2 {
			within(t, "the notification", func() bool { return top.Load() >= 2 })
		}
		s.Unwatch(key)
		notified.Delete(key)
	}
}

// TestInterest: what nobody watches any more is not subscribed to.
func TestInterest(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	admin := client(t, server)
	channels := func() int {
		names, err := admin.PubSubChannels(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	var watching sync.WaitGroup
	for i := range 1000 {
		watching.Go(func() {
			if err := s.Watch(t.Context(), fmt.Sprint("owner:", i)); err != nil {
				t.Error(err)
			}
		})
	}
	watching.Wait()
	if n := channels(); n != 1000 {
		t.Errorf("%d channels, want 1000", n)
	}
	for i := range 990 {
		s.Unwatch(fmt.Sprint("owner:", i))
	}
	if err := s.Watch(t.Context(), "owner:5"); err != nil {
		t.Fatal(err)
	}
	within(t, "11 channels are left", func() bool { return channels() == 11 })
	if err := s.Watch(t.Context(), "owner:6"); err != nil || channels() != 12 {
		t.Error(err)
	}
}

// TestFeedsOfNobody: an event is published in a feed if somebody watches that, whichever partition
// it comes from and whoever watches it, and otherwise it is not.
func TestFeedsOfNobody(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			o := redis.Options{Prefix: fmt.Sprint("nobody", partitions), Partitions: partitions}
			s, other := open(t, server.URL, o), open(t, server.URL, o)
			received := make(chan string, 16)
			other.Listen(func(channel string, m lifecycle.Message) { received <- fmt.Sprint(channel, m.Offset) })
			topic := lifecycle.Channel{Kind: lifecycle.TopicChannel, Owner: "alice", Name: "t"}.Key()
			n := 0
			submit := func() {
				sub := submission(fmt.Sprint("r", n))
				sub.Topic = "t"
				n++
				if _, err := s.Create(t.Context(), sub); err != nil {
					t.Fatal(err)
				}
			}
			published := func() int {
				info, err := admin.Info(t.Context(), "commandstats").Result()
				if err != nil {
					t.Fatal(err)
				}
				_, rest, _ := strings.Cut(info, "cmdstat_publish:calls=")
				calls, _, _ := strings.Cut(rest, ",")
				count, _ := strconv.Atoi(calls)
				return count
			}
			const events = 8 // from several partitions
			before := published()
			for range events {
				submit()
			}
			if got := published() - before; got != events { // in the requests' own channels
				t.Errorf("%d messages for %d events of feeds that nobody watches", got, events)
			}
			if err := other.Watch(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
			before = published()
			for range events {
				submit()
			}
			if got := published() - before; got != 2*events {
				t.Errorf("%d messages for %d events of which one feed is watched", got, events)
			}
			for i := range events {
				select {
				case got := <-received:
					if want := fmt.Sprint(topic, events+i+1); got != want {
						t.Errorf("received %q, want %q", got, want)
					}
				case <-time.After(3 * time.Minute):
					t.Fatal("nothing is received")
				}
			}
		})
	}
}

// TestUsedAgain: the listener is notified of a request whose id was used before.
func TestUsedAgain(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	received := make(chan uint64, 16)
	s.Listen(func(_ string, m lifecycle.Message) { received <- m.Offset })
	if err := s.Watch(t.Context(), "request:a"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Create(t.Context(), submission("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(t.Context(), lifecycle.Named("a"), lifecycle.Cancel{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), lifecycle.Named("a")); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []uint64{1, 2, 1, 2} {
		select {
		case got := <-received:
			if got != want {
				t.Errorf("received %d, want %d", got, want)
			}
		case <-time.After(3 * time.Minute):
			t.Fatalf("%d was not received", want)
		}
	}
}
