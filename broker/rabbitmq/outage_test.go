package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/servertest"
)

// through returns a proxy in front of the shared server and its URL.
func through(t *testing.T) (*servertest.ProxyServer, string) {
	t.Helper()
	server := shared.RabbitMQ(t)
	proxy := servertest.Proxy(t, server.Addr)
	return proxy, strings.Replace(server.URL, server.Addr, proxy.Addr, 1)
}

// taken publishes a job again until it is taken: a broker with little patience may give up on a
// busy machine.
func taken(t *testing.T, b *Broker, id string) {
	t.Helper()
	eventually(t, id+" is taken", func() bool { return b.Publish(t.Context(), job(id)) == nil })
}

// TestConfirmNeverComes: the server takes the job, its answer is lost. Here the publisher's
// patience is far shorter than the connection's, which would end the wait too, and as long as a
// busy machine may need for an answer that comes.
func TestConfirmNeverComes(t *testing.T) {
	proxy, url := through(t)
	const patience = time.Second
	b := open(t, url, Options{PublishTimeout: patience, Heartbeat: 5 * time.Second}, "a")
	forget(t, b, shared.RabbitMQ(t).URL)
	taken(t, b, "before")
	unconfirmed := b.Stats().Unconfirmed

	proxy.Drop(servertest.ToClient)
	start := time.Now()
	if err := b.Publish(t.Context(), job("unknown")); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("publish: %v", err)
	}
	if took := time.Since(start); took < patience-50*time.Millisecond {
		t.Errorf("gave up after %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, job("unknown2")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("publish with a context that ends: %v", err)
	}
	if n := b.Stats().Unconfirmed - unconfirmed; n != 2 {
		t.Errorf("%d counted", n)
	}
	eventually(t, "the silence is noticed", func() bool { return b.Ready(t.Context()) != nil })
	proxy.Restore()
	proxy.Cut() // a try that still waits for an answer
	taken(t, b, "after")

	came, handle := given()
	defer consume(t, b, 10, handle)()
	got := map[string]bool{}
	for !got["before"] || !got["after"] || !got["unknown"] {
		d := next(t, came)
		got[d.Job().ID] = true
		d.Ack()
	}
}

// TestHeldAck: an acknowledgement from before a reconnect acknowledges nothing. With
// delivery tags that start anew it would name another job.
func TestHeldAck(t *testing.T) {
	for _, end := range []struct {
		name   string
		settle func(broker.Delivery) error
	}{{"Ack", broker.Delivery.Ack}, {"Return", broker.Delivery.Return}} {
		t.Run(end.name, func(t *testing.T) {
			proxy, url := through(t)
			b := open(t, url, Options{}, "a")
			forget(t, b, shared.RabbitMQ(t).URL)
			came, handle := given()
			stop := consume(t, b, 1, handle)
			publish(t, b, job("x"))
			held := next(t, came)
			proxy.Cut()
			again := next(t, came) // the same job, by the next connection
			if again.Job().ID != "x" || !again.Redelivered() {
				t.Fatalf("%+v, redelivered %v", again.Job(), again.Redelivered())
			}
			eventually(t, "it is ready", func() bool { return b.Ready(t.Context()) == nil })
			publish(t, b, job("y"))
			if err := end.settle(held); err != nil {
				t.Errorf("settle: %v", err)
			}
			if err := end.settle(held); err == nil {
				t.Error("settled twice")
			}
			if n := b.Stats().DroppedAcks; n != 1 {
				t.Errorf("%d dropped", n)
			}
			stop() // x was not acknowledged by the right one either

			came, handle = given()
			defer consume(t, b, 1, handle)()
			for _, want := range []string{"x", "y"} {
				d := next(t, came)
				if d.Job().ID != want {
					t.Errorf("%s, want %s", d.Job().ID, want)
				}
				d.Ack()
			}
		})
	}
}

// TestHandlesGoOn: a handle that runs while the connection is lost is not disturbed,
// and does not keep the consumer from going on.
func TestHandlesGoOn(t *testing.T) {
	proxy, url := through(t)
	b := open(t, url, Options{}, "a")
	forget(t, b, shared.RabbitMQ(t).URL)
	release := make(chan struct{})
	came, handle := given()
	stop := consume(t, b, 2, func(d broker.Delivery) {
		handle(d)
		if d.Job().ID == "long" && !d.Redelivered() {
			<-release
		}
		d.Ack()
	})
	publish(t, b, job("long"))
	next(t, came)
	proxy.Cut()
	if d := next(t, came); d.Job().ID != "long" || !d.Redelivered() {
		t.Errorf("%+v", d.Job())
	}
	eventually(t, "it is ready", func() bool { return b.Ready(t.Context()) == nil })
	publish(t, b, job("more"))
	if d := next(t, came); d.Job().ID != "more" {
		t.Errorf("%+v", d.Job())
	}
	close(release)
	stop()
	if n := b.Stats().DroppedAcks; n != 1 {
		t.Errorf("%d dropped", n)
	}
}

// TestServerKilled: what was published is delivered, whatever happens to the server.
func TestServerKilled(t *testing.T) {
	const jobs, producers, kills = 2000, 16, 2
	// It has one of its own: after a kill, 3.10 stumbles over what other tests deleted.
	server := servertest.RabbitMQ(t)
	b := open(t, server.URL, Options{}, "a")
	server.Sync()

	var mu sync.Mutex
	published, seen := map[string]bool{}, map[string]int{}
	count := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return len(published), len(seen)
	}
	stop := consume(t, b, 20, func(d broker.Delivery) {
		time.Sleep(time.Millisecond)
		mu.Lock()
		seen[d.Job().ID]++
		mu.Unlock()
		d.Ack()
	})
	var producing sync.WaitGroup
	var failed int
	for p := range producers {
		producing.Go(func() {
			for n := 0; ; n++ {
				if done, _ := count(); done >= jobs {
					return
				}
				id := fmt.Sprintf("%d-%d", p, n) // a new one each time: only a success counts
				err := b.Publish(t.Context(), job(id))
				mu.Lock()
				if err == nil {
					published[id] = true
				} else {
					failed++
				}
				mu.Unlock()
				if err != nil {
					if !errors.Is(err, broker.ErrUnavailable) {
						t.Error(err)
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	for kill := range kills {
		eventually(t, "traffic", func() bool { n, _ := count(); return n >= jobs*(kill+1)/(kills+1) })
		server.Kill()
		server.Restart()
	}
	producing.Wait()
	lost := func() (ids []string) {
		mu.Lock()
		defer mu.Unlock()
		for id := range published {
			if seen[id] == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for deadline := time.Now().Add(3 * time.Minute); len(lost()) > 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	stop()
	if ids := lost(); len(ids) > 0 {
		t.Errorf("%d of %d published jobs are lost: %.200v", len(ids), len(published), ids)
	}
	twice, unknown := 0, 0
	for id, n := range seen {
		twice += n - 1
		if !published[id] {
			unknown++
		}
	}
	t.Logf("%d published, %d failed (%d of them delivered all the same), %d delivered twice; %+v", len(published), failed, unknown, twice, b.Stats())
}

// TestLeaderDies: a broker that has not published yet is connected to one node of a
// cluster, and another that leads the queue dies.
func TestLeaderDies(t *testing.T) {
	if os.Getenv("HARK_CHAOS") == "" {
		t.Skip("starts three servers: make chaos")
	}
	nodes := servertest.RabbitMQCluster(t)
	// This declares the queues, so that they are led there.
	open(t, nodes[0].URL, Options{Prefix: "leader"}, "a")
	b := open(t, nodes[1].URL, Options{Prefix: "leader"}, "a")
	for _, s := range nodes {
		s.Sync()
	}
	nodes[0].Kill()
	eventually(t, "jobs are taken again", func() bool { return b.Publish(t.Context(), job("x")) == nil })
	came, handle := given()
	defer consume(t, b, 1, handle)()
	next(t, came).Ack()
}

// TestBlocked: a server short of memory takes no jobs, and says so.
func TestBlocked(t *testing.T) {
	server := shared.RabbitMQ(t)
	b := openShared(t, Options{}, "a")
	publish(t, b, job("before"))
	ctl := func(arguments ...string) {
		t.Helper()
		if _, err := server.Ctl(arguments...); err != nil {
			t.Fatal(err)
		}
	}
	ctl("set_vm_memory_high_watermark", "0")
	unblocked := false
	defer func() {
		if !unblocked {
			ctl("set_vm_memory_high_watermark", "0.4")
		}
	}()
	// The first one that the server does not take tells this connection.
	var start time.Time
	eventually(t, "blocked", func() bool {
		start = time.Now()
		return b.Publish(t.Context(), job("more")) != nil
	})
	if took := time.Since(start); took >= b.options.PublishTimeout {
		t.Errorf("the first publish failed after %v", took)
	}
	start = time.Now()
	err := b.Publish(t.Context(), job("refused"))
	if took := time.Since(start); !errors.Is(err, broker.ErrUnavailable) || took >= b.options.PublishTimeout {
		t.Errorf("publish: %v after %v", err, took)
	}
	if err := b.Ready(t.Context()); !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "memory") {
		t.Errorf("ready: %v", err)
	}
	if !b.Stats().Blocked {
		t.Error("not blocked")
	}
	came, handle := given()
	defer consume(t, b, 1, handle)() // consumers go on
	next(t, came).Ack()
	ctl("set_vm_memory_high_watermark", "0.4")
	unblocked = true
	eventually(t, "it is ready", func() bool { return b.Ready(t.Context()) == nil })
	publish(t, b, job("after"))
	for {
		d := next(t, came)
		d.Ack()
		if d.Job().ID == "after" {
			break
		}
	}
}

// TestPaused: nothing takes for ever with a server that hangs.
func TestPaused(t *testing.T) {
	server := shared.RabbitMQ(t)
	b := openShared(t, Options{PublishTimeout: 200 * time.Millisecond}, "a")
	came, handle := given()
	stop := consume(t, b, 1, handle)
	taken(t, b, "x")
	next(t, came)
	server.Pause()
	defer server.Resume()
	start := time.Now()
	if err := b.Publish(t.Context(), job("y")); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("publish: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// TestUnreachable: a server that is not there yet is no error.
func TestUnreachable(t *testing.T) {
	proxy, url := through(t)
	proxy.Refuse()
	b := open(t, url, Options{}, "a")
	forget(t, b, shared.RabbitMQ(t).URL)
	if err := b.Ready(t.Context()); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("ready: %v", err)
	}
	came, handle := given()
	defer consume(t, b, 1, handle)()
	for _, atMost := range []time.Duration{2 * time.Second, 50 * time.Millisecond} {
		start := time.Now()
		if err := b.Publish(t.Context(), job("x")); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("publish: %v", err)
		}
		if took := time.Since(start); took > atMost {
			t.Errorf("publish took %v", took)
		}
	}
	proxy.Restore()
	eventually(t, "it is ready", func() bool { return b.Ready(t.Context()) == nil })
	publish(t, b, job("y"))
	next(t, came).Ack()
}

// TestGuestFromElsewhere: the one user of a new server may not come from another machine, which its
// refusal does not say.
func TestGuestFromElsewhere(t *testing.T) {
	for addr, hint := range map[string]bool{"rabbit:5672": true, "10.0.0.7:5672": true, "localhost:5672": false, "127.0.0.1:5672": false, "[::1]:5672": false} {
		for user, known := range map[string]bool{"guest": true, "hark": false} {
			text := (&RefusedError{addr, user, "/", amqp.ErrCredentials}).Error()
			if got := strings.Contains(text, "loopback_users"); got != (hint && known) {
				t.Error(text)
			}
		}
	}
}

// TestRefused: what trying again does not mend, New says.
func TestRefused(t *testing.T) {
	server := shared.RabbitMQ(t)
	wrong, _ := url.Parse(server.URL)
	wrong.User = url.UserPassword("guest", "s3cret")
	nowhere := *wrong
	nowhere.User, nowhere.Path = url.UserPassword("guest", "guest"), "/nowhere"
	for name, test := range map[string]struct {
		urls, routes []string
		o            Options
		want         string
	}{
		"password":     {[]string{wrong.String()}, []string{"a"}, Options{}, `RabbitMQ at ` + server.Addr + ` refuses the user "guest" in the virtual host "/": Exception (403) Reason: "ACCESS_REFUSED`},
		"vhost":        {[]string{nowhere.String()}, []string{"a"}, Options{}, `refuses the user "guest" in the virtual host "nowhere": Exception (530)`},
		"no URL":       {nil, []string{"a"}, Options{}, "no URL"},
		"other scheme": {[]string{"http://guest:s3cret@localhost"}, []string{"a"}, Options{}, "URL 1"},
		"route":        {[]string{server.URL}, []string{""}, Options{}, "route"},
		"options":      {[]string{server.URL}, []string{"a"}, Options{DeliveryLimit: -1}, "DeliveryLimit"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := New(test.urls, test.routes, test.o)
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error: %v", err)
			}
		})
	}
}
