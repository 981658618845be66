package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/brokertest"
)

// legacy are a queue and an exchange of somebody else's, which go with the test.
type legacy struct {
	ch              *amqp.Channel
	queue, exchange string
}

func newLegacy(t *testing.T, arguments amqp.Table) legacy {
	t.Helper()
	name := "legacy" + strings.ToLower(rand.Text()[:8])
	l := legacy{channel(t, shared.RabbitMQ(t).URL), name + ":queue", name + ":exchange"}
	if _, err := l.ch.QueueDeclare(l.queue, true, false, false, false, arguments); err != nil {
		t.Fatal(err)
	}
	l.declareExchange(t)
	t.Cleanup(func() {
		ch := channel(t, shared.RabbitMQ(t).URL)
		_, _ = ch.QueueDelete(l.queue, false, false, false)
		_ = ch.ExchangeDelete(l.exchange, false, false)
	})
	return l
}

func (l legacy) declareExchange(t *testing.T) {
	t.Helper()
	if err := l.ch.ExchangeDeclare(l.exchange, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
}

func (l legacy) bind(t *testing.T, key string) {
	t.Helper()
	if err := l.ch.QueueBind(l.queue, key, l.exchange, false, nil); err != nil {
		t.Fatal(err)
	}
}

// openTo is openShared with targets, and hands on to them what has waited.
func openTo(t *testing.T, targets map[string]Target, routes ...string) *Broker {
	t.Helper()
	b := openShared(t, Options{Targets: targets, Delays: []time.Duration{100 * time.Millisecond, 500 * time.Millisecond}}, routes...)
	t.Cleanup(func() {
		b.Close()
		for _, target := range targets {
			_ = channel(t, shared.RabbitMQ(t).URL).ExchangeDelete(b.topology.outExchange(target.Exchange), false, false)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.Relay(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	connected(t, b)
	return b
}

// TestTargetConformance: what is promised of a queue holds of somebody else's, too: of a classic
// one, and of a quorum queue behind an exchange.
func TestTargetConformance(t *testing.T) {
	brokertest.Run(t, brokertest.Facts{Priorities: 1, DelayGrain: 100 * time.Millisecond}, func(t *testing.T, routes ...string) broker.Broker {
		targets := make(map[string]Target)
		for n, route := range routes {
			if n%2 == 0 {
				targets[route] = Target{Queue: newLegacy(t, nil).queue}
				continue
			}
			l := newLegacy(t, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
			l.bind(t, "high")
			targets[route] = Target{Queue: l.queue, Exchange: l.exchange, Key: "high"}
		}
		return openTo(t, targets, routes...)
	})
}

// TestTargetMissing: a queue or an exchange that is not there is told at the start, all of them
// with what to do, and nothing is made.
func TestTargetMissing(t *testing.T) {
	url, prefix := shared.RabbitMQ(t).URL, "test"+strings.ToLower(rand.Text()[:8])
	_, err := New([]string{url}, []string{"a", "b", "c"}, Options{Prefix: prefix, Targets: map[string]Target{
		"a": {Queue: "nowhere:queue"}, "b": {Exchange: "nowhere:exchange"},
	}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err == nil {
		t.Fatal("it begins")
	}
	for _, want := range []string{
		`the queue "nowhere:queue" of the route "a" is not there`, "declare queue name=nowhere:queue", "--route-queue",
		`the exchange "nowhere:exchange" of the route "b" is not there`, "--route-exchange", "HARK_ROUTE_EXCHANGE",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := channel(t, url).QueueDeclarePassive(prefix+".work.c", true, false, false, false, nil); err == nil {
		t.Error("it has made its own queues")
	}
}

// TestTargetNames: what cannot be is refused.
func TestTargetNames(t *testing.T) {
	for name, targets := range map[string]map[string]Target{
		"name a queue or an exchange": {"a": {Key: "k"}},
		"without control characters":  {"a": {Queue: "a\nb"}},
		"is Hark's own":               {"a": {Queue: "hark.work.a"}},
		"have the same queue":         {"a": {Queue: "q"}, "b": {Queue: "q"}},
		"too long":                    {"a": {Exchange: strings.Repeat("x", 250)}},
	} {
		if _, err := newTopology([]string{"a", "b"}, Options{Targets: targets}.withDefaults()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newTopology([]string{"b"}, Options{Targets: map[string]Target{"a": {}}}.withDefaults()); err != nil {
		t.Errorf("of a route that there is not: %v", err)
	}
}

// TestTargetUnroutable: what an exchange routes to no queue is refused, and so is what is for an
// exchange that is gone, without harm to other routes; what has waited is handed on when there is a
// queue again.
func TestTargetUnroutable(t *testing.T) {
	l := newLegacy(t, nil)
	b := openTo(t, map[string]Target{"a": {Exchange: l.exchange, Key: "high"}}, "a", "b")
	other := broker.Job{ID: "other", Route: "b"}
	refused := func(what string) {
		t.Helper()
		if err := b.Publish(t.Context(), job("x")); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
		publish(t, b, other)
		if n := b.Stats().Connections; n != 2 {
			t.Fatalf("%s: %d connections were made", what, n)
		}
	}
	told := func() bool {
		b.troubles.mu.Lock()
		defer b.troubles.mu.Unlock()
		return !b.troubles.told["a"].IsZero()
	}
	refused("no queue is bound")
	if !told() {
		t.Error("nothing is said of it")
	}
	publish(t, b, delayed("late", 300*time.Millisecond)) // Hark's own queue takes that
	l.bind(t, "high")
	if d := inQueue(t, l.ch, l.queue); d.MessageId == "" || !strings.Contains(string(d.Body), `"id":"late"`) || d.RoutingKey != "high" {
		t.Errorf("%+v", d)
	}
	if err := l.ch.ExchangeDelete(l.exchange, false, false); err != nil {
		t.Fatal(err)
	}
	refused("the exchange is gone")
	l.declareExchange(t)
	l.bind(t, "high")
	eventually(t, "the exchange is taken up again", func() bool { return b.Publish(t.Context(), job("again")) == nil })
	if told() {
		t.Error("it is said still")
	}
	if d := inQueue(t, l.ch, l.queue); !strings.Contains(string(d.Body), `"id":"again"`) {
		t.Errorf("%s", d.Body)
	}
	if err := b.Consume(t.Context(), []string{"a"}, 1, func(broker.Delivery) {}); !errors.Is(err, broker.ErrUnknownRoute) || !strings.Contains(err.Error(), l.exchange) {
		t.Errorf("nobody knows what to consume: %v", err)
	}
}

// TestTargetStrangers: a message in somebody else's queue that is no job of Hark's is not lost: a
// copy is in the dead queue.
func TestTargetStrangers(t *testing.T) {
	l := newLegacy(t, nil)
	b := openTo(t, map[string]Target{"a": {Queue: l.queue}}, "a")
	if err := l.ch.PublishWithContext(t.Context(), "", l.queue, true, false, amqp.Publishing{
		ContentType: "application/json", MessageId: "stranger", Headers: amqp.Table{"x-tenant": "t"}, Body: []byte(`{"order":1}`),
	}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, job("mine"))
	came, handle := given()
	defer consume(t, b, 4, handle)()
	d := next(t, came)
	if d.Job().ID != "mine" {
		t.Errorf("%+v", d.Job())
	}
	_ = d.Ack()
	dead := inQueue(t, l.ch, b.topology.deadQueue("a"))
	if dead.MessageId != "stranger" || string(dead.Body) != `{"order":1}` || dead.Headers["x-tenant"] != "t" {
		t.Errorf("%+v", dead)
	}
}

// TestTargetDeliveryLimit: returning a job does not use up a limit of somebody else's queue.
func TestTargetDeliveryLimit(t *testing.T) {
	l := newLegacy(t, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": int32(2)})
	b := openTo(t, map[string]Target{"a": {Queue: l.queue}}, "a")
	publish(t, b, job("x"))
	came, handle := given()
	defer consume(t, b, 1, handle)()
	for range 8 {
		if err := next(t, came).Return(); err != nil {
			t.Fatal(err)
		}
	}
	_ = next(t, came).Ack()
}

// TestTargetBefore: jobs that were queued before a route had a target are handed on.
func TestTargetBefore(t *testing.T) {
	l := newLegacy(t, nil)
	before := openShared(t, Options{}, "a")
	publish(t, before, job("before"))
	b := openShared(t, Options{Prefix: before.options.Prefix, Targets: map[string]Target{"a": {Queue: l.queue}}}, "a")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.Relay(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	if d := inQueue(t, l.ch, l.queue); !strings.Contains(string(d.Body), `"id":"before"`) {
		t.Errorf("%s", d.Body)
	}
}
