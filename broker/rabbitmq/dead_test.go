package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// TestDead: what is in a dead queue is counted and shown however often, and stays; the jobs among
// it that somebody needs go back to work, and what is left is purged.
func TestDead(t *testing.T) {
	b := openShared(t, Options{}, "a", "b")
	ch := channel(t, shared.RabbitMQ(t).URL)
	put := func(m amqp.Publishing) {
		t.Helper()
		if err := ch.PublishWithContext(t.Context(), b.topology.workExchange(), "a", false, false, m); err != nil {
			t.Fatal(err)
		}
	}
	put(amqp.Publishing{ContentType: "text/plain", MessageId: "x1", Headers: amqp.Table{"who": "somebody"}, Body: []byte("not a job")})
	for _, id := range []string{"gone", "waits"} {
		m, err := encode(broker.Job{ID: id, Route: "b", Sequence: 7, Message: "m-" + id}, false)
		if err != nil {
			t.Fatal(err)
		}
		put(m) // of another route, so that its consumer refuses it
	}
	_, handle := given()
	stop := consume(t, b, 1, handle)
	count := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprint(want, " are dead"), func() bool {
			counts, err := b.DeadCounts([]string{"a", "b"})
			return err == nil && counts["a"] == want && counts["b"] == 0
		})
	}
	count(3)
	stop()
	// More often than a queue would deliver.
	for range 30 {
		all, err := b.DeadLetters(t.Context(), "a", 10)
		if err != nil {
			t.Fatal(err)
		}
		count(3)
		slices.SortFunc(all, func(x, y DeadLetter) int { return len(x.Message) - len(y.Message) })
		if len(all) != 3 || all[0].Message != "x1" || string(all[0].Body) != "not a job" || all[0].Size != 9 || all[0].Err == nil ||
			all[0].Reason != "rejected" || all[0].At.IsZero() || all[0].Headers["who"] != "somebody" || all[0].ContentType != "text/plain" {
			t.Fatalf("%+v", all)
		}
		if all[1].Job.ID != "gone" || all[2].Job.ID != "waits" {
			t.Fatalf("%+v", all)
		}
	}
	if all, err := b.DeadLetters(t.Context(), "a", 1); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	count(3)

	// A job of its own route.
	m, err := encode(broker.Job{ID: "mine", Route: "a", Sequence: 7, Message: "m-mine"}, false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := encode(broker.Job{ID: "needless", Route: "a", Message: "m-needless"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []amqp.Publishing{m, other} {
		if err := ch.PublishWithContext(t.Context(), b.topology.deadExchange(), "a", false, false, m); err != nil {
			t.Fatal(err)
		}
	}
	count(5)
	failure := errors.New("the store is away")
	if n, err := b.RedriveDead(t.Context(), "a", func(context.Context, []broker.Job) ([]bool, error) { return nil, failure }); n != 0 || !errors.Is(err, failure) {
		t.Errorf("%d, %v", n, err)
	}
	count(5)
	needed := func(_ context.Context, jobs []broker.Job) ([]bool, error) { return []bool{jobs[0].ID == "mine"}, nil }
	if n, err := b.RedriveDead(t.Context(), "a", needed); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	count(4)
	came, handle := given()
	defer consume(t, b, 1, handle)()
	d := next(t, came)
	if j := d.Job(); j.ID != "mine" || j.Message != "m-mine" || j.Sequence != 7 || !d.Redelivered() {
		t.Errorf("%+v", j)
	}
	d.Ack()
	if n, err := b.PurgeDead("a"); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	count(0)
	if _, err := b.DeadCounts([]string{"unknown"}); !errors.Is(err, broker.ErrUnknownRoute) {
		t.Error(err)
	}
}
