package blackbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"
)

// bind declares a durable queue that gets what matches from the exchange.
func bind(t *testing.T, url, exchange, queue, pattern string) {
	t.Helper()
	ch := openChannel(t, url)
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, pattern, exchange, false, nil); err != nil {
		t.Fatal(err)
	}
}

// receive passes on what a queue has, until it returns true.
func receive(t *testing.T, url, queue string, each func(amqp.Delivery) (done bool)) {
	t.Helper()
	ch := openChannel(t, url)
	defer ch.Close() // else it takes what the next is to get
	came, err := ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	late := time.After(patience)
	for {
		select {
		case d, ok := <-came:
			if !ok {
				t.Fatalf("%s: the server closed the connection", queue)
			}
			if each(d) {
				return
			}
		case <-late:
			t.Fatalf("%s: not all came", queue)
		}
	}
}

// metric reads one figure of a gateway.
func (s *server) metric(name string) int {
	s.t.Helper()
	a, err := s.try("GET", "/metrics", nil)
	if err != nil {
		return 0 // it is gone
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(a.body)
	if m == nil {
		return 0
	}
	f, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		s.t.Errorf("%s: %v", m[0], err)
	}
	return int(f)
}

// events are a request's, as GET …/events answers them.
func (s *server) events(id string) []json.RawMessage {
	s.t.Helper()
	var page struct{ Events []json.RawMessage }
	a := s.call("GET", "/v1/requests/"+id+"/events", nil, "Accept: application/json").want(200)
	if err := json.Unmarshal(a.body, &page); err != nil {
		s.t.Fatal(err)
	}
	return page.Events
}

// TestCallbackExchange publishes every event of every request to the exchange, in the
// order of each request, whatever dies meanwhile: the gateway that publishes, RabbitMQ.
func TestCallbackExchange(t *testing.T) {
	onlyRabbitMQ(t)
	t.Parallel()
	c := newCluster(t, 2, 1, "--callback-exchange=events")
	c.topics = 5
	bind(t, c.rabbit.URL, "events", "all", "#")
	bind(t, c.rabbit.URL, "events", "some", "*.2")
	c.rabbit.Sync()
	requests := chaosSize(t, 400)
	var ended atomic.Int64
	began := time.Now()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		c.load(requests, 3, "60ms", &ended, atOnce)
	}()
	for n, fault := range []func(){
		func() {
			publisher := 0
			for c.node(publisher).metric("hark_callback_published_total") == 0 {
				publisher++
			}
			t.Logf("gateway %d is killed after %d events", publisher%2, c.node(publisher).metric("hark_callback_published_total"))
			c.replaceGateway(publisher)
		},
		func() {
			t.Log("RabbitMQ is killed")
			c.rabbit.Kill()
			c.rabbit.Restart()
		},
	} {
		for ended.Load() < int64((n+1)*requests/4) {
			select {
			case <-loaded:
				t.Fatal("the load ended before the faults")
			case <-time.After(time.Millisecond):
			}
		}
		fault()
	}
	<-loaded
	t.Logf("loaded after %v", time.Since(began).Round(time.Millisecond))

	all, some := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for n := range requests {
		for _, e := range c.node(0).events(fmt.Sprintf("load-%d", n)) {
			life, sequence := lifeOf(t, e)
			id := fmt.Sprint(life, sequence)
			if all[id] = e; n%4 != 3 && n%5 == 2 {
				some[id] = e
			}
		}
	}
	for queue, want := range map[string]map[string]json.RawMessage{"all": all, "some": some} {
		last, seen, again, withdrawn := map[string]int{}, 0, 0, 0
		receive(t, c.rabbit.URL, queue, func(d amqp.Delivery) bool {
			e := cloudEvent(t, d.Body)
			if d.MessageId != e.ID() || d.Type != e.Type() || d.RoutingKey != e.Subject() || d.ContentType != "application/cloudevents+json" ||
				d.Timestamp.Unix() != e.Time().Unix() || d.DeliveryMode != amqp.Persistent {
				t.Fatalf("%+v", d)
			}
			life, sequence := lifeOf(t, d.Body)
			switch {
			case sequence <= last[life]:
				again++
				return false
			case sequence > last[life]+1:
				t.Fatalf("%s: %s after %d", queue, e.ID(), last[life])
			}
			last[life] = sequence
			switch stored, ok := want[fmt.Sprint(life, sequence)]; {
			case bytes.Equal(d.Body, stored):
				seen++
			case !ok && (sequence == 1 || sequence == 2 && bytes.Contains(d.Body, []byte(`"code":"withdrawn"`))):
				// Its submission was refused, because RabbitMQ was away, and came again.
				withdrawn++
			default:
				t.Fatalf("%s: %s, want %s", queue, d.Body, stored)
			}
			return seen == len(want)
		})
		t.Logf("%s: %d events, %d of them twice, %d of withdrawn submissions, after %v", queue, seen, again, withdrawn, time.Since(began).Round(time.Millisecond))
	}
}

// lifeOf says which request an event tells of, and which of its events it is. An id
// that was withdrawn and came again is another request, made at another time.
func lifeOf(t *testing.T, text []byte) (life string, sequence int) {
	t.Helper()
	var e struct {
		Data struct {
			ID, CreatedAt string
			Sequence      int
		}
	}
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return e.Data.ID + " of " + e.Data.CreatedAt + " ", e.Data.Sequence
}

// TestCallbackOff: nothing is collected without the option.
func TestCallbackOff(t *testing.T) {
	redis, args := callbackBackends(t)
	s := start(t, args...)
	s.process(s.submit("default", 1))
	names, err := redis.Keys(t.Context(), "*callback*").Result()
	if err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	a := s.call("GET", "/metrics", nil).want(200)
	if strings.Contains(string(a.body), "hark_callback") || s.metric("hark_rabbitmq_connected") != 1 || s.metric("hark_rabbitmq_published_total") == 0 {
		t.Errorf("metrics: %s", a.body)
	}
}

// callbackBackends starts servers for gateways inside the test.
func callbackBackends(t *testing.T) (*goredis.Client, []string) {
	t.Helper()
	if onServers() {
		t.Skip("runs on real servers in the other run of these tests")
	}
	args := sharedBackends(t)
	options, err := goredis.ParseURL(strings.TrimPrefix(args[0], "--redis="))
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client, args
}

// TestCallbackHandover: a gateway that stops gives up what it published, and another
// one that is there goes on at once. What nobody published waits for the next.
func TestCallbackHandover(t *testing.T) {
	redis, args := callbackBackends(t)
	exchange := "handover" + strings.TrimPrefix(args[2], "--prefix=")
	args = append(args, "--callback-exchange="+exchange)
	first := start(t, args...)
	rabbit := strings.TrimPrefix(args[1], "--amqp=")
	bind(t, rabbit, exchange, exchange, "#")
	t.Cleanup(func() { remove(t, rabbit, exchange) })
	arrives := func(id string, events int) {
		t.Helper()
		receive(t, rabbit, exchange, func(d amqp.Delivery) bool {
			events--
			if !strings.HasPrefix(d.MessageId, id+"/") {
				t.Fatalf("%s, want %s", d.MessageId, id)
			}
			return events == 0
		})
	}
	id := first.submit("default", 1, "topic=a")
	first.process(id)
	arrives(id, 4)
	second := start(t, args...)
	first.stop()
	id = second.submit("default", 2)
	second.process(id)
	arrives(id, 4)
	if n := second.metric("hark_callback_published_total"); n != 4 {
		t.Errorf("%d published", n)
	}
	second.stop()
	leases, err := redis.Keys(t.Context(), "*:callback:lease").Result()
	if err != nil || len(leases) != 0 {
		t.Errorf("%v are left, %v", leases, err)
	}
	off := start(t, args[:len(args)-1]...) // collects for those who have the option
	id = off.submit("default", 3)
	third := start(t, args...)
	arrives(id, 1)
	third.stop()
}

// TestCallbackRouting: the key of events is made as it was asked for, so that a queue gets the ends
// of one route alone.
func TestCallbackRouting(t *testing.T) {
	_, args := callbackBackends(t)
	exchange := "routing" + strings.TrimPrefix(args[2], "--prefix=")
	rabbit := strings.TrimPrefix(args[1], "--amqp=")
	s := start(t, append(args, "--callback-exchange="+exchange, "--callback-routing=hark.{route}.{type}")...)
	bind(t, rabbit, exchange, exchange, "hark.default.request.succeeded")
	t.Cleanup(func() { remove(t, rabbit, exchange) })
	id := s.submit("default", 1, "topic=a")
	s.process(id)
	receive(t, rabbit, exchange, func(d amqp.Delivery) bool {
		if e := cloudEvent(t, d.Body); d.RoutingKey != "hark.default.request.succeeded" || d.MessageId != id+"/4" || e.Subject() != "a" {
			t.Errorf("%s %s %s", d.RoutingKey, d.MessageId, d.Body)
		}
		return true
	})
}

func remove(t *testing.T, url, name string) {
	t.Helper()
	ch := openChannel(t, url)
	ch.QueueDelete(name, false, false, false)
	ch.ExchangeDelete(name, false, false)
}
