package blackbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/servertest"
)

// TestFaults: what a client meets when a server refuses, in every way that it has.
// A submission is answered with 503 and nothing of it stays behind, what is stored can be
// read all the while, and the same submission, made again when the fault is over, is
// worked on once, as is what waited.
func TestFaults(t *testing.T) {
	for _, fault := range []struct {
		name        string
		begin, end  func(*servers)
		first, then time.Duration // longest that the first refusal may take, and one after it
		unready     []string      // what /health/ready says of it, with 503; nil: it stays ready
	}{
		{
			"RabbitMQ's confirm never comes",
			func(s *servers) { s.proxy.Drop(servertest.ToClient) },
			func(s *servers) { s.proxy.Restore(); s.proxy.Cut() },
			10 * time.Second, 0, // publish timeout and withdrawal
			nil,
		},
		{
			"the queue is deleted",
			func(s *servers) {
				if _, err := openChannel(s.t, s.rabbit.URL).QueueDelete(s.prefix+".work.sleep", false, false, false); err != nil {
					s.t.Fatal(err)
				}
			},
			func(*servers) {}, // the gateway declares it again
			4 * time.Second, 0, nil,
		},
		{
			"the queue is full",
			func(s *servers) {
				s.t.Cleanup(func() { s.ctl("clear_policy", "full") })
				s.ctl("set_policy", "--apply-to", "queues", "full", `^`+s.prefix+`\.work\.sleep$`, `{"max-length":1}`)
			},
			func(*servers) {}, // processors empty it
			4 * time.Second, 4 * time.Second, nil,
		},
		{
			"RabbitMQ is short of memory",
			func(s *servers) {
				// Others use it too.
				s.t.Cleanup(func() { s.ctl("set_vm_memory_high_watermark", "0.4") })
				s.ctl("set_vm_memory_high_watermark", "0")
			},
			func(s *servers) { s.ctl("set_vm_memory_high_watermark", "0.4") },
			4 * time.Second, 2 * time.Second,
			[]string{"RabbitMQ", "--amqp", "memory and disk"},
		},
		{
			"RabbitMQ is short of disk",
			func(s *servers) {
				s.t.Cleanup(func() { s.ctl("set_disk_free_limit", "50MB") })
				s.ctl("set_disk_free_limit", "1000000GB")
			},
			func(s *servers) { s.ctl("set_disk_free_limit", "50MB") },
			4 * time.Second, 2 * time.Second,
			[]string{"RabbitMQ", "--amqp", "memory and disk"},
		},
		{
			"Redis is full",
			func(s *servers) { s.set("maxmemory", "1") },
			func(s *servers) { s.set("maxmemory", "0") },
			4 * time.Second, 4 * time.Second,
			[]string{"Redis", "--redis", "maxmemory"},
		},
		{
			"Redis cannot write to its disk",
			func(s *servers) {
				if err := os.Mkdir(s.inTheWay(), 0o700); err != nil {
					s.t.Fatal(err)
				}
				if s.snapshot() {
					s.t.Fatal("it can")
				}
			},
			func(s *servers) {
				if err := os.Remove(s.inTheWay()); err != nil || !s.snapshot() {
					s.t.Fatal(err)
				}
			},
			4 * time.Second, 4 * time.Second,
			[]string{"Redis", "--redis", "takes no writes", "disk"},
		},
		{
			"Redis is a replica",
			func(s *servers) { s.replicate("127.0.0.1", "1") },
			func(s *servers) { s.replicate("NO", "ONE") },
			4 * time.Second, 4 * time.Second,
			[]string{"Redis", "--redis", "replica", "master"},
		},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s := startServers(t)
			g := start(t, s.args(s.proxy.Addr, "--samples=false")...)
			post := func(id string) answer {
				return g.call("POST", "/v1/requests", fmt.Sprintf(`{"id":%q,"route":"sleep","content":{"steps":1,"duration":"1ms","result":1}}`, id), async)
			}
			post("before").want(202)
			accepted := []string{"before"}

			fault.begin(s)
			var began time.Time
			id := ""
			for n := 0; ; n++ { // RabbitMQ notices some faults a little late
				began, id = time.Now(), fmt.Sprint("r", n)
				if a := post(id); a.status != 202 || n == 100 {
					refused(a, time.Since(began), fault.first)
					break
				}
				accepted = append(accepted, id)
			}
			gone := func() {
				t.Helper()
				g.call("GET", "/v1/requests/"+id, nil).problem(404, "request-not-found")
				for _, id := range accepted {
					g.call("GET", "/v1/requests/"+id, nil).want(200)
				}
				if n := len(g.call("GET", "/v1/requests?limit=200", nil).want(200).json()["requests"].([]any)); n != len(accepted) {
					t.Errorf("%d requests are listed, %d were accepted", n, len(accepted))
				}
			}
			gone()
			if fault.then > 0 { // it lasts
				began = time.Now()
				refused(post(id), time.Since(began), fault.then)
				gone()
			}
			if fault.unready == nil {
				g.call("GET", "/health/ready", nil).want(200)
			} else {
				a := g.call("GET", "/health/ready", nil)
				a.problem(503, "unavailable")
				says(t, a.detail(), fault.unready...)
			}

			fault.end(s)
			start(t, s.args(s.rabbit.Addr)...) // with processors
			g.eventually(func() bool {
				a := post(id)
				if a.status != 202 {
					a.problem(503, "unavailable")
				}
				return a.status == 202
			})
			g.eventually(func() bool { return g.call("GET", "/health/ready", nil).status == 200 })
			accepted = append(accepted, id)
			for _, id := range accepted {
				g.eventually(func() bool { return g.call("GET", "/v1/requests/"+id, nil).want(200).json()["status"] == "succeeded" })
				events := g.call("GET", "/v1/requests/"+id+"/events?after=0", nil, "Accept: application/json").want(200).json()["events"].([]any)
				starts := 0
				for n, e := range events {
					event := e.(map[string]any)
					if event["data"].(map[string]any)["sequence"] != float64(n+1) {
						t.Errorf("%s: event %d is %v", id, n+1, event)
					}
					if event["type"] == "request.started" {
						starts++
					}
				}
				if starts != 1 {
					t.Errorf("%s was started %d times: %v", id, starts, events)
				}
			}
		})
	}
}

// refused holds the answer to a submission during a fault against what is promised of it.
func refused(a answer, took, most time.Duration) {
	a.t.Helper()
	a.problem(503, "unavailable")
	if after := a.header.Get("Retry-After"); after != "2" {
		a.t.Errorf("Retry-After is %q", after)
	}
	if took > most {
		a.t.Errorf("the refusal took %v, at most %v are promised", took, most)
	}
}

// TestRepeatedElsewhere: a client that waits no longer for a node which cannot reach
// RabbitMQ submits again at another. What that one accepts the first does not take back.
func TestRepeatedElsewhere(t *testing.T) {
	s := startServers(t)
	silent, well := start(t, s.args(s.proxy.Addr, "--samples=false")...), start(t, s.args(s.rabbit.Addr, "--samples=false")...)
	s.proxy.Drop(servertest.ToServer | servertest.ToClient)
	// A machine may be so busy that the first node has taken its submission back before the second
	// one is asked. Then it is tried with another id.
	var ids []string
	for met := false; !met; {
		id := fmt.Sprint("a", len(ids))
		if len(ids) == 20 {
			t.Fatal("the second node was never asked while the first one waited")
		}
		body := fmt.Sprintf(`{"id":%q,"route":"sleep","content":{"steps":1,"duration":"1ms"}}`, id)
		first := make(chan int, 1)
		go func() {
			a, err := silent.try("POST", "/v1/requests", body, async)
			if err != nil {
				t.Errorf("at the first: %v", err)
			}
			first <- a.status
		}()
		well.eventually(func() bool { return well.call("GET", "/v1/requests/"+id, nil).status == 200 || len(first) > 0 })
		well.call("POST", "/v1/requests", body, async).want(202)
		ids, met = append(ids, id), <-first == 202
	}
	start(t, s.args(s.rabbit.Addr)...) // with processors
	for _, id := range ids {
		well.eventually(func() bool {
			return well.call("GET", "/v1/requests/"+id, nil).want(200).json()["status"] == "succeeded"
		})
	}
}

// TestForeignQueue: a queue that somebody made with other arguments is not worked
// with: the gateway says what differs and ends.
func TestForeignQueue(t *testing.T) {
	s := startServers(t)
	queue := s.prefix + ".work.sleep"
	if _, err := openChannel(t, s.rabbit.URL).QueueDeclare(queue, true, false, false, false, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish,
		"x-dead-letter-exchange": s.prefix + ".dead", "x-dead-letter-strategy": "at-least-once", "x-delivery-limit": 3,
	}); err != nil {
		t.Fatal(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, s.args(s.rabbit.Addr, "--listen=127.0.0.1:0")...).CombinedOutput()
	if err == nil {
		t.Error("it runs")
	}
	for _, want := range []string{queue, "x-delivery-limit is 3", "ask for 20", "rabbitmqctl delete_queue"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in what it says: %s", want, out)
		}
	}
	for _, kind := range []string{"queues", "exchanges"} {
		names, err := s.rabbit.Ctl("list_"+kind, "name")
		if err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(names) {
			if strings.HasPrefix(name, s.prefix) && name != queue {
				t.Errorf("it made %s", name)
			}
		}
	}
}
