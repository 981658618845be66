package blackbox_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestWorkBeginsOnce: requests that have one attempt only, half of them delayed, are worked on by
// calls that come and go. None is begun twice, on RabbitMQ, where a call that ends gives back what
// it has not begun.
func TestWorkBeginsOnce(t *testing.T) {
	t.Parallel()
	servers := startServers(t)
	nodes := []*server{
		start(t, servers.args(servers.rabbit.Addr, "--samples=false", "--requeue=1s")...),
		start(t, servers.args(servers.rabbit.Addr, "--samples=false", "--requeue=1s")...),
	}
	const requests = 400
	ids := make([]string, requests)
	var submitting sync.WaitGroup
	for n := range requests {
		submitting.Go(func() {
			fields := ""
			if n%2 == 1 {
				fields = fmt.Sprintf(`,"delay":"%dms"`, 300+10*n%2000)
			}
			ids[n] = fmt.Sprint("once-", n)
			nodes[n%2].call("POST", "/v1/requests", fmt.Sprintf(`{"id":"%s","content":%d,"maxAttempts":1%s}`, ids[n], n, fields), async).want(202)
		})
		if n%50 == 49 {
			submitting.Wait()
		}
	}
	var done atomic.Int64
	var working sync.WaitGroup
	for n := range 8 {
		s := nodes[n%2]
		working.Go(func() {
			for began := time.Now(); done.Load() < requests && time.Since(began) < 2*time.Minute; {
				for _, w := range s.lease(`,"max":3,"wait":"150ms"`) {
					s.call("PUT", w.reports("result"), fmt.Sprint(w.Attempt)).want(200)
					done.Add(1)
				}
			}
		})
	}
	working.Wait()
	for _, id := range ids {
		doc := nodes[0].call("GET", "/v1/requests/"+id, nil).want(200).json()
		if doc["status"] != "succeeded" || doc["attempt"] != 1.0 {
			t.Errorf("%s: %v, attempt %v, %v", id, doc["status"], doc["attempt"], doc["error"])
		}
	}
	if n := done.Load(); n != requests {
		t.Errorf("%d were worked on", n)
	}
}

// TestJobsLeaveWithTheirRequests: jobs of requests that have ended leave their queue although
// nobody consumes the route, and the others are worked on when somebody does.
func TestJobsLeaveWithTheirRequests(t *testing.T) {
	t.Parallel()
	servers := startServers(t)
	s := start(t, servers.args(servers.rabbit.Addr, "--samples=false")...)
	for n := range 20 {
		s.call("POST", "/v1/requests", fmt.Sprintf(`{"content":%d,"timeout":"1s"}`, n), async).want(202)
	}
	canceled, stays := s.submit("default", "canceled"), s.submit("default", "stays")
	s.call("POST", "/v1/requests/"+canceled+"/cancel", nil).want(200)
	s.eventually(func() bool {
		out, err := servers.rabbit.Ctl("list_queues", "name", "messages")
		return err == nil && strings.Contains(out, servers.prefix+".work.default\t1\n")
	})
	if w := s.leaseOne(""); w.ID != stays || w.Attempt != 1 {
		t.Errorf("%+v", w)
	}
}
