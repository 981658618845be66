package rabbitmq

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// asDelivered is a message as the server hands it out.
func asDelivered(m amqp.Publishing) *amqp.Delivery {
	return &amqp.Delivery{Headers: m.Headers, ContentType: m.ContentType, MessageId: m.MessageId, Body: m.Body}
}

func TestMessage(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, want := range []broker.Job{
		{ID: "x", Route: "a"},
		{ID: "0190-_x", Route: "images", Priority: 9, NotBefore: at},
		{ID: "ü \" \x00", Route: "…", Priority: -1},
	} {
		for _, again := range []bool{false, true} {
			m, err := encode(want, again)
			if err != nil {
				t.Fatal(err)
			}
			if m.DeliveryMode != amqp.Persistent || m.MessageId != want.ID || m.Priority != uint8(4+max(want.Priority, 0)) {
				t.Errorf("%+v", m)
			}
			got, redelivered, err := decode(asDelivered(m))
			if err != nil || got != want || redelivered != again {
				t.Errorf("%+v, %v, %v; want %+v", got, redelivered, err, want)
			}
		}
	}
	m, _ := encode(broker.Job{ID: "x", Route: "a"}, false)
	m.Headers[countHeader] = int64(1)
	if _, redelivered, err := decode(asDelivered(m)); err != nil || !redelivered {
		t.Errorf("delivered before: %v, %v", redelivered, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range []string{`{"id":"x","route":"a","priority":3,"notBefore":"2030-01-02T03:04:05Z"}`, `{}`, `null`, `{"id":1}`, ``} {
		f.Add(body, contentType, int32(version))
	}
	f.Fuzz(func(t *testing.T, body, kind string, v int32) {
		j, _, err := decode(&amqp.Delivery{ContentType: kind, Headers: amqp.Table{versionHeader: v}, Body: []byte(body)})
		if err == nil && (j.ID == "" || kind != contentType || v != version) {
			t.Errorf("taken: %+v", j)
		}
	})
}

// TestReturnsOfOneID: of several publications of a request the server answers the
// oldest first.
func TestReturnsOfOneID(t *testing.T) {
	l := &publisher{
		g: &generation{link: &link{repair: make(chan struct{}, 1)}}, counts: new(counters),
		pending: make(map[uint64]*publication), byID: make(map[string]*publication), refused: make(map[string]time.Time),
	}
	of := func(exchange string) *publication {
		return &publication{exchange: exchange, key: "a", message: amqp.Publishing{MessageId: "x"}, done: make(chan error, 1)}
	}
	all := []*publication{of("work"), of("delay"), of("work"), of("work")}
	for i, p := range all {
		l.add(uint64(i+1), p)
	}
	l.sentBack(&amqp.Return{MessageId: "x", Exchange: "work", RoutingKey: "a"})
	l.sentBack(&amqp.Return{MessageId: "x", Exchange: "work", RoutingKey: "a"})
	l.sentBack(&amqp.Return{MessageId: "unknown", Exchange: "work", RoutingKey: "a"})
	for _, tag := range []uint64{2, 4, 1, 3, 7} {
		l.confirm(amqp.Confirmation{DeliveryTag: tag, Ack: true})
	}
	for i, failed := range []bool{true, false, true, false} {
		if err := <-all[i].done; (err != nil) != failed {
			t.Errorf("publication %d: %v", i+1, err)
		}
	}
	if len(l.pending)+len(l.byID) > 0 {
		t.Errorf("left over: %v %v", l.pending, l.byID)
	}
}
