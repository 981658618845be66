package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

func delayed(id string, d time.Duration) broker.Job {
	return broker.Job{ID: id, Route: "a", NotBefore: time.Now().Add(d)}
}

// TestDelayOvertakes: a job that waits long holds back none that waits less.
func TestDelayOvertakes(t *testing.T) {
	b := openShared(t, Options{}, "a")
	came, handle := given()
	stop := consume(t, b, 10, handle)
	defer stop()
	start := time.Now()
	publish(t, b, delayed("late", 10*time.Second), delayed("soon", 300*time.Millisecond))
	d := next(t, came)
	if took := time.Since(start); d.Job().ID != "soon" || took < 300*time.Millisecond || took > 3*time.Second {
		t.Errorf("%s came after %v", d.Job().ID, took)
	}
	d.Ack()
}

// TestDelaySteps: what remains after a step is waited for on the next ones, and no
// step counts as a delivery.
func TestDelaySteps(t *testing.T) {
	b := openShared(t, Options{Delays: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}}, "a")
	came, handle := given()
	defer consume(t, b, 10, handle)()
	job := delayed("x", 1730*time.Millisecond) // 1 s, three times 200 ms, twice 50 ms, and 30 ms
	publish(t, b, job)
	d := next(t, came)
	late := time.Since(job.NotBefore)
	if late < 0 || late > 2*time.Second {
		t.Errorf("came %v late", late)
	}
	if !d.Job().NotBefore.Equal(job.NotBefore) || d.Redelivered() {
		t.Errorf("%+v, redelivered %v", d.Job(), d.Redelivered())
	}
	if n := b.Stats().Deferred; n < 2 {
		t.Errorf("sent on %d times", n)
	}
	t.Logf("%v late, sent on %d times", late.Round(time.Millisecond), b.Stats().Deferred)
	d.Ack()
}

func TestExchangeFor(t *testing.T) {
	now := time.Now().Add(time.Hour) // not this node's clock, but the one that it is given
	p, err := newTopology([]string{"a"}, Options{Now: func() time.Time { return now }}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for wait, want := range map[time.Duration]string{
		-time.Hour: "hark.work", 0: "hark.work", 90 * time.Millisecond: "hark.work",
		150 * time.Millisecond: "hark.delay.100ms", 9 * time.Second: "hark.delay.2s", 11 * time.Second: "hark.delay.10s",
		3 * time.Minute: "hark.delay.2m", 59 * time.Minute: "hark.delay.10m", 2 * time.Hour: "hark.delay.1h", 1000 * time.Hour: "hark.delay.24h",
	} {
		if got := p.exchangeFor(broker.Job{NotBefore: now.Add(wait)}); got != want {
			t.Errorf("%v: %s, want %s", wait, got, want)
		}
		if want != "hark.work" {
			want += ".urgent"
		}
		if got := p.exchangeFor(broker.Job{NotBefore: now.Add(wait), Priority: 1}); got != want {
			t.Errorf("%v with a priority: %s, want %s", wait, got, want)
		}
	}
	if got := p.exchangeFor(broker.Job{}); got != "hark.work" {
		t.Errorf("at once: %s", got)
	}
	if got := stepName(90 * time.Second); got != "1m30s" {
		t.Error(got)
	}
}

// TestQuietStart: on a server where nothing is yet, a start leaves one line of level error in its
// log, whatever the number of routes, and the next ones leave none.
func TestQuietStart(t *testing.T) {
	server := shared.RabbitMQ(t)
	o := Options{Prefix: "first" + strings.ToLower(rand.Text()[:8])}
	lines := func() (n int) {
		for line := range strings.Lines(server.Log()) {
			if strings.Contains(line, "[error]") && strings.Contains(line, o.Prefix) {
				n++
			}
		}
		return n
	}
	forget(t, open(t, server.URL, o, "a", "b", "c"), server.URL)
	eventually(t, "the first start is in the log", func() bool { return lines() > 0 })
	open(t, server.URL, o, "a", "b", "c")
	open(t, server.URL, o, "a", "b", "c", "d") // asks for what is new
	eventually(t, "the new route is in the log", func() bool { return lines() > 1 })
	if n := lines(); n != 2 {
		t.Errorf("%d lines, want one of the first start and one of the new route", n)
	}
}

func TestMismatch(t *testing.T) {
	b := openShared(t, Options{DeliveryLimit: 20}, "a")
	for _, test := range []struct {
		name string
		o    Options
		want MismatchError
	}{
		{"other limit", Options{DeliveryLimit: 5}, MismatchError{Kind: "queue", Name: b.topology.workQueue("a"), Setting: "x-delivery-limit", Want: "5", Have: "20"}},
		{"a bound", Options{MaxWaiting: 9}, MismatchError{Kind: "queue", Name: b.topology.workQueue("a"), Setting: "x-max-length", Want: "9", Have: "not set"}},
		{"retention", Options{DeadRetention: time.Hour}, MismatchError{Kind: "queue", Name: b.topology.deadQueue("a"), Setting: "x-message-ttl", Want: "3600000", Have: "604800000"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Prefix = b.options.Prefix
			other, err := New([]string{shared.RabbitMQ(t).URL}, []string{"a"}, test.o)
			if err == nil {
				other.Close()
			}
			got, ok := errors.AsType[*MismatchError](err)
			if !ok {
				t.Fatalf("error: %v", err)
			}
			if got.Kind != test.want.Kind || got.Name != test.want.Name || got.Setting != test.want.Setting || got.Want != test.want.Want || got.Have != test.want.Have {
				t.Errorf("%+v, want %+v", got, test.want)
			}
			t.Log(err)
		})
	}
	publish(t, b, job("fine")) // nobody else is disturbed
}

// inQueue takes the only message of a queue.
func inQueue(t *testing.T, ch *amqp.Channel, name string) amqp.Delivery {
	t.Helper()
	var m amqp.Delivery
	eventually(t, "a message in "+name, func() bool {
		var ok bool
		var err error
		if m, ok, err = ch.Get(name, true); err != nil {
			t.Fatal(err)
		}
		return ok
	})
	return m
}

// TestPoison: a job whose consumers always die ends in the dead queue.
func TestPoison(t *testing.T) {
	const limit = 2
	b := openShared(t, Options{DeliveryLimit: limit}, "a")
	publish(t, b, job("poison"))
	for n := range limit + 1 {
		came, handle := given()
		stop := consume(t, b, 1, handle)
		if d := next(t, came); d.Redelivered() != (n > 0) {
			t.Errorf("delivery %d: redelivered is %v", n+1, d.Redelivered())
		}
		stop() // neither Ack nor Return
	}
	m := inQueue(t, channel(t, shared.RabbitMQ(t).URL), b.topology.deadQueue("a"))
	deaths, _ := m.Headers["x-death"].([]any)
	if len(deaths) != 1 || deaths[0].(amqp.Table)["reason"] != "delivery_limit" || m.MessageId != "poison" {
		t.Errorf("%s: %v", m.MessageId, m.Headers)
	}
}

// TestReturnsAreNoPoison: giving a job back, as during an outage of the store, may
// happen as often as it wants.
func TestReturnsAreNoPoison(t *testing.T) {
	b := openShared(t, Options{DeliveryLimit: 2}, "a")
	publish(t, b, job("x"))
	came, handle := given()
	defer consume(t, b, 1, handle)()
	counted := false // from RabbitMQ 4.3 it is not
	for n := range 12 {
		d := next(t, came)
		counted = counted || d.(*delivery).earlier > 0
		if d.Redelivered() != (n > 0) {
			t.Errorf("delivery %d: redelivered is %v", n+1, d.Redelivered())
		}
		if err := d.Return(); err != nil {
			t.Fatal(err)
		}
	}
	next(t, came).Ack()
	if n := b.Stats().Republished; (n > 0) != counted {
		t.Errorf("%d were published anew; counted: %v", n, counted)
	}
}

func TestBadMessages(t *testing.T) {
	b := openShared(t, Options{}, "a")
	ch := channel(t, shared.RabbitMQ(t).URL)
	bad := []amqp.Publishing{
		{Body: []byte("garbage")},
		{ContentType: contentType, Body: []byte(`{"id":"x","route":"a"}`)}, // no version
		{ContentType: contentType, Headers: amqp.Table{versionHeader: int32(version)}, Body: []byte("{")},
		{ContentType: contentType, Headers: amqp.Table{versionHeader: int32(version)}, Body: []byte(`{"id":"x","route":"other"}`)},
	}
	for _, m := range bad {
		if err := ch.Publish(b.topology.workExchange(), "a", false, false, m); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, job("good"))
	came, handle := given()
	defer consume(t, b, 1, handle)()
	d := next(t, came)
	if d.Job().ID != "good" {
		t.Errorf("%+v", d.Job())
	}
	d.Ack()
	for _, want := range bad {
		if m := inQueue(t, ch, b.topology.deadQueue("a")); string(m.Body) != string(want.Body) {
			t.Errorf("%q in the dead queue, want %q", m.Body, want.Body)
		}
	}
	if n := b.Stats().BadMessages; n != int64(len(bad)) {
		t.Errorf("%d counted", n)
	}
}

// TestFull: the server refuses (nack) what exceeds the bound.
func TestFull(t *testing.T) {
	b := openShared(t, Options{MaxWaiting: 3}, "a", "b")
	var err error
	eventually(t, "a connection", func() bool { return b.Publish(t.Context(), job("0")) == nil })
	n := 1
	for ; err == nil && n < 50; n++ { // the server notices a little late
		err = b.Publish(t.Context(), job(fmt.Sprint(n)))
	}
	if !errors.Is(err, broker.ErrUnavailable) || n < 4 {
		t.Fatalf("after %d jobs: %v", n, err)
	}
	publish(t, b, broker.Job{ID: "elsewhere", Route: "b"})
	var done atomic.Int64
	defer consume(t, b, 5, func(d broker.Delivery) { d.Ack(); done.Add(1) })()
	eventually(t, "empty queues", func() bool { return done.Load() == int64(n) })
	eventually(t, "room", func() bool { return b.Publish(t.Context(), job("more")) == nil })
}

// TestQueueDeleted: a job without a queue is not taken, and the queue comes back.
func TestQueueDeleted(t *testing.T) {
	b := openShared(t, Options{}, "a", "b")
	ch := channel(t, shared.RabbitMQ(t).URL)
	remove := func() {
		t.Helper()
		if _, err := ch.QueueDelete(b.topology.workQueue("a"), false, false, false); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	err := b.Publish(t.Context(), job("x"))
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "NO_ROUTE") {
		t.Errorf("publish without a queue: %v", err)
	}
	publish(t, b, broker.Job{ID: "elsewhere", Route: "b"})
	eventually(t, "the queue is there again", func() bool { return b.Publish(t.Context(), job("y")) == nil })

	came, handle := given()
	defer consume(t, b, 5, handle)()
	next(t, came).Ack()
	next(t, came).Ack()
	remove() // below a consumer
	eventually(t, "the queue is there again", func() bool { return b.Publish(t.Context(), job("z")) == nil })
	if d := next(t, came); d.Job().ID != "z" {
		t.Errorf("%+v", d.Job())
	} else {
		d.Ack()
	}
	if n := b.Stats().Connections; n != 2 {
		t.Errorf("%d connections were made", n)
	}
}

// TestPlaces: several routes share the bound of a Consume.
func TestPlaces(t *testing.T) {
	const prefetch, jobs = 3, 20
	b := openShared(t, Options{}, "a", "b")
	for i := range jobs {
		publish(t, b, broker.Job{ID: fmt.Sprint(i), Route: []string{"a", "b"}[i%2]})
	}
	var running, most, done atomic.Int64
	defer consume(t, b, prefetch, func(d broker.Delivery) {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		running.Add(-1)
		d.Ack()
		done.Add(1)
	})()
	eventually(t, "all are done", func() bool { return done.Load() == jobs })
	if n := most.Load(); n != prefetch {
		t.Errorf("up to %d at a time, want %d", n, prefetch)
	}
}

func TestPublishInvalid(t *testing.T) {
	b := openShared(t, Options{}, "a")
	for _, id := range []string{"", strings.Repeat("x", 256)} {
		if err := b.Publish(context.Background(), job(id)); err == nil || errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("id of %d bytes: %v", len(id), err)
		}
	}
	publish(t, b, job(strings.Repeat("x", 255)))
}
