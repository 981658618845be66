package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// openExchange opens a broker with an exchange of its own, which goes with the test.
func openExchange(t *testing.T, url string, o Options) (b *Broker, exchange string) {
	t.Helper()
	if o.CallbackExchange == "" {
		o.CallbackExchange = "callback" + strings.ToLower(t.Name())
	}
	b = open(t, url, o, "a")
	server := shared.RabbitMQ(t).URL
	forget(t, b, server)
	t.Cleanup(func() { channel(t, server).ExchangeDelete(o.CallbackExchange, false, false) })
	return b, o.CallbackExchange
}

// bound binds a queue of the test's own to an exchange and consumes from it.
func bound(t *testing.T, exchange, key string) <-chan amqp.Delivery {
	t.Helper()
	ch := channel(t, shared.RabbitMQ(t).URL)
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(q.Name, key, exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	came, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return came
}

func received(t *testing.T, came <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d := <-came:
		return d
	case <-time.After(3 * time.Minute):
		t.Fatal("no event")
		return amqp.Delivery{}
	}
}

func event(n int, topic string) Event {
	return Event{
		ID: fmt.Sprintf("r/%d", n), Type: "request.progress", Key: topic,
		Time: time.Unix(1_700_000_000, 0), Body: fmt.Appendf(nil, `{"n":%d}`, n),
	}
}

// TestPublishEvents: events come to the queues that are bound, in order and as they are.
func TestPublishEvents(t *testing.T) {
	b, exchange := openExchange(t, shared.RabbitMQ(t).URL, Options{})
	if n, err := b.PublishEvents(t.Context(), []Event{event(0, "")}); n != 1 || err != nil {
		t.Fatalf("without a queue: %d, %v", n, err)
	}
	all := bound(t, exchange, "#")
	some := bound(t, exchange, "order.*")
	const count = 500
	var events []Event
	for n := range count {
		events = append(events, event(n, []string{"", "order.1", "order.1.x"}[n%3]))
	}
	if n, err := b.PublishEvents(t.Context(), events); n != count || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	for _, want := range events {
		d := received(t, all)
		if d.MessageId != want.ID || d.Type != want.Type || d.RoutingKey != want.Key || string(d.Body) != string(want.Body) ||
			!d.Timestamp.Equal(want.Time) || d.ContentType != "application/cloudevents+json" || d.DeliveryMode != amqp.Persistent {
			t.Fatalf("%+v, want %+v", d, want)
		}
		if want.Key == "order.1" {
			if d := received(t, some); d.MessageId != want.ID {
				t.Fatalf("%s, want %s", d.MessageId, want.ID)
			}
		}
	}
	if s := b.Stats(); s.Published != count+1 || s.Pending != 0 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPublishEventsAfterLoss: an exchange that was deleted, or a connection that was
// cut, costs an error; what was not confirmed is published again.
func TestPublishEventsAfterLoss(t *testing.T) {
	proxy, url := through(t)
	b, exchange := openExchange(t, url, Options{})
	insist := func(e Event) {
		t.Helper()
		eventually(t, e.ID, func() bool {
			n, err := b.PublishEvents(t.Context(), []Event{e})
			if (n == 1) != (err == nil) || err != nil && !errors.Is(err, broker.ErrUnavailable) {
				t.Fatal(n, err)
			}
			return err == nil
		})
	}
	insist(event(1, ""))
	if err := channel(t, shared.RabbitMQ(t).URL).ExchangeDelete(exchange, false, false); err != nil {
		t.Fatal(err)
	}
	if n, err := b.PublishEvents(t.Context(), []Event{event(2, ""), event(3, "")}); n != 0 || !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("without an exchange: %d, %v", n, err)
	}
	insist(event(2, ""))
	proxy.Cut()
	insist(event(3, ""))
}

// TestEventsRefused: the count says from where on to publish again.
func TestEventsRefused(t *testing.T) {
	b, exchange := openExchange(t, shared.RabbitMQ(t).URL, Options{})
	ch := channel(t, shared.RabbitMQ(t).URL)
	q, err := ch.QueueDeclare("", false, false, true, false, amqp.Table{amqp.QueueMaxLenArg: 2, amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish})
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(q.Name, "#", exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	n, err := b.PublishEvents(t.Context(), []Event{event(0, ""), event(1, ""), event(2, ""), event(3, "")})
	if n != 2 || !errors.Is(err, broker.ErrUnavailable) {
		t.Fatalf("%d, %v", n, err)
	}
}

// TestExchangeMismatch: an exchange of another type is told in plain words.
func TestExchangeMismatch(t *testing.T) {
	server := shared.RabbitMQ(t)
	ch := channel(t, server.URL)
	name := "fanout" + strings.ToLower(t.Name())
	if err := ch.ExchangeDeclare(name, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ch.ExchangeDelete(name, false, false) })
	for _, exchange := range []string{name, "mismatch.work"} {
		b, err := New([]string{server.URL}, []string{"a"}, Options{Prefix: "mismatch", CallbackExchange: exchange})
		if err == nil {
			b.Close()
		}
		got, ok := errors.AsType[*MismatchError](err)
		if !ok || got.Kind != "exchange" || got.Name != exchange || got.Setting != "type" || got.Want != "topic" || got.Have == "topic" {
			t.Errorf("%+v, %v", got, err)
		}
		if err == nil || !strings.Contains(err.Error(), "Choose another name") || strings.Contains(err.Error(), "delete_queue") {
			t.Errorf("error: %v", err)
		}
	}
	forget(t, open(t, server.URL, Options{Prefix: "mismatch"}, "a"), server.URL)
}

func TestValidExchange(t *testing.T) {
	for name, want := range map[string]bool{
		"events": true, "app.events/v1": true, "ä": true, strings.Repeat("x", 255): true,
		"": false, strings.Repeat("x", 256): false, "amq.topic": false, "a\nb": false, "\xff": false,
	} {
		if ValidExchange(name) != want {
			t.Errorf("%q: want %v", name, want)
		}
	}
	if _, err := New([]string{"amqp://localhost"}, []string{"a"}, Options{CallbackExchange: "amq.topic"}); err == nil || !strings.Contains(err.Error(), "amq.") {
		t.Errorf("error: %v", err)
	}
	b := openShared(t, Options{}, "a")
	if _, err := b.PublishEvents(context.Background(), []Event{event(0, "")}); err == nil {
		t.Error("published without an exchange")
	}
}
