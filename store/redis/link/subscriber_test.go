package link_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis/link"
)

// recorder is a handler that passes on what it is told: what was published, or that something was
// missed.
type recorder chan string

func (r recorder) Message(payload string) { r <- payload }
func (r recorder) Missed()                { r <- "missed" }

func (r recorder) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-r:
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(3 * time.Minute):
		t.Fatalf("%q has not come", want)
	}
}

// connect returns a client and a subscriber of a server.
func connect(t *testing.T, url string) (*link.Client, *link.Subscriber) {
	t.Helper()
	options, err := link.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := link.Connect(options, 5*time.Second)
	s := link.NewSubscriber(client, false, 5*time.Second, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	s.Run(ctx)
	t.Cleanup(func() {
		stop()
		s.Close()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client, s
}

// TestSubscriber: a handler gets what is published once its subscription is confirmed, is told when
// the connection was lost, and is kept by a channel that is wanted again soon.
func TestSubscriber(t *testing.T) {
	client, s := connect(t, servertest.Redis(t).URL)
	ctx := t.Context()
	publish := func(payload string) {
		t.Helper()
		if err := client.Publish(ctx, "a", payload).Err(); err != nil {
			t.Fatal(err)
		}
	}
	first, second := make(recorder, 10), make(recorder, 10)
	if err := s.SubscribeNow(ctx, "a", first); err != nil {
		t.Fatal(err)
	}
	publish("one")
	first.want(t, "one")
	s.Unsubscribe("a")
	if confirmed := s.Subscribe("a", second); confirmed != nil {
		t.Error("it is subscribed to yet")
	}
	publish("two")
	first.want(t, "two")
	if handlers := s.Subscribed(); !slices.Equal(handlers, []link.Handler{first}) || s.Handler("a") != first || s.Handler("b") != nil {
		t.Errorf("handlers %v", handlers)
	}

	if err := client.ClientKillByFilter(ctx, "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	first.want(t, "missed")
	publish("three")
	first.want(t, "three")

	s.Unsubscribe("a")
	for deadline := time.Now().Add(3 * time.Minute); s.Handler("a") != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a channel that nobody wants stays")
		}
	}
	if err := s.SubscribeNow(ctx, "a", second); err != nil {
		t.Fatal(err)
	}
	publish("four")
	second.want(t, "four")
}

// TestProbe: it comes back as long as messages do.
func TestProbe(t *testing.T) {
	client, s := connect(t, servertest.Redis(t).URL)
	for range 3 {
		if err := s.Probe(t.Context(), "mine"); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.ClientPause(t.Context(), 300*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s.Probe(ctx, "mine") == nil {
		t.Error("it came back from a server that does nothing")
	}
}
