package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/brokertest"
	"github.com/hark-push/hark/servertest"
)

// shared is the server of all tests that do not harm it.
var shared servertest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	shared.Stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// open returns a broker of a server with names of its own, which go with the test.
func open(t testing.TB, url string, o Options, routes ...string) *Broker {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = "test" + strings.ToLower(rand.Text()[:8])
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	b, err := New([]string{url}, routes, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// forget deletes what a broker declared, once it is closed.
func forget(t testing.TB, b *Broker, url string) {
	t.Cleanup(func() {
		b.Close()
		ch := channel(t, url)
		for _, route := range b.topology.routes {
			for _, q := range b.topology.routeQueues(route) {
				ch.QueueDelete(q.name, false, false, false)
			}
		}
		for _, step := range b.topology.options.Delays {
			for _, q := range b.topology.delayQueues(step) {
				ch.QueueDelete(q.name, false, false, false)
				ch.ExchangeDelete(q.exchange, false, false)
			}
		}
		ch.ExchangeDelete(b.topology.workExchange(), false, false)
		ch.ExchangeDelete(b.topology.deadExchange(), false, false)
	})
}

// openShared is open on the shared server.
func openShared(t testing.TB, o Options, routes ...string) *Broker {
	t.Helper()
	url := shared.RabbitMQ(t).URL
	b := open(t, url, o, routes...)
	forget(t, b, url)
	return b
}

// connected waits until a broker is.
func connected(t testing.TB, b *Broker) {
	t.Helper()
	eventually(t, "it is connected", func() bool { return b.Ready(t.Context()) == nil })
}

// channel opens a channel on a connection of the test's own.
func channel(t testing.TB, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// eventually waits for a condition, long, because a machine may be busy.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	const patience = 3 * time.Minute
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// publish publishes once the broker is connected, which on a busy machine may take longer than
// a Publish waits.
func publish(t testing.TB, b *Broker, jobs ...broker.Job) {
	t.Helper()
	connected(t, b)
	for _, j := range jobs {
		if err := b.Publish(t.Context(), j); err != nil {
			t.Fatalf("publish %s: %v", j.ID, err)
		}
	}
}

func job(id string) broker.Job { return broker.Job{ID: id, Route: "a"} }

// consume runs a Consume until stop, or the end of the test.
func consume(t testing.TB, b *Broker, prefetch int, handle func(broker.Delivery)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Consume(ctx, b.topology.routes, prefetch, handle) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, broker.ErrClosed) {
			t.Errorf("consume: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// given is a handle that passes on its deliveries.
func given() (chan broker.Delivery, func(broker.Delivery)) {
	c := make(chan broker.Delivery, 1000)
	return c, func(d broker.Delivery) { c <- d }
}

func next(t testing.TB, c <-chan broker.Delivery) broker.Delivery {
	t.Helper()
	select {
	case d := <-c:
		return d
	case <-time.After(3 * time.Minute):
		t.Fatal("no delivery")
		return nil
	}
}

func TestConformance(t *testing.T) {
	// Of two ranks neither is first, see TestPriorities.
	b := openShared(t, Options{}, "a")
	connected(t, b)
	levels := 1
	if Ranks(b.ranks.Load()) == AllRanks {
		levels = 10
	}
	brokertest.Run(t, brokertest.Facts{Priorities: levels, DelayGrain: 100 * time.Millisecond}, func(t *testing.T, routes ...string) broker.Broker {
		b := openShared(t, Options{Delays: []time.Duration{100 * time.Millisecond, 500 * time.Millisecond}}, routes...)
		connected(t, b)
		return b
	})
}
