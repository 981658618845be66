package redis_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/webhook/dispatch"
)

func endpoint(t testing.TB, s *redis.Store, e dispatch.Endpoint) {
	t.Helper()
	e.Owner, e.URL, e.Status = "alice", "https://example.com/"+e.ID, dispatch.Active
	if e.Concurrency == 0 {
		e.Concurrency = 8
	}
	if _, err := s.CreateEndpoint(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// delivered lists the messages of Alice's endpoint, oldest first.
func delivered(t testing.TB, s *redis.Store, id string, state dispatch.State) (messages []string) {
	t.Helper()
	for q := (dispatch.Query{State: state, Limit: 100}); ; {
		page, err := s.ListDeliveries(t.Context(), "alice", id, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Deliveries {
			messages = append(messages, d.ID)
		}
		if page.Next == "" {
			slices.Reverse(messages)
			return messages
		}
		q.Cursor = page.Next
	}
}

func TestClusterWebhookConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Cluster")
	}
	testWebhooks(t, servertest.RedisCluster(t, false).URL, redis.Options{Prefix: "hooks", Partitions: 64})
}

// TestDeliveriesOfOutbox: if a process dies between its step and the relay, the deliveries are made
// by the next sweep, once and in order. So are those of entries that an older version left.
func TestDeliveriesOfOutbox(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	const partitions = 4
	s := open(t, server.URL, redis.Options{Partitions: partitions})
	endpoint(t, s, dispatch.Endpoint{ID: "all"})
	endpoint(t, s, dispatch.Endpoint{ID: "once", OneOff: true})
	blocked := make([]string, partitions)
	for i := range blocked {
		blocked[i] = fmt.Sprintf("hark:{p%d}:relayed", i)
		if err := admin.LPush(t.Context(), blocked[i], "of a wrong type").Err(); err != nil {
			t.Fatal(err)
		}
	}
	const requests = 12
	for i := range requests {
		sub := submission(fmt.Sprint("r", i))
		sub.Webhook = &lifecycle.Webhook{Endpoint: "once", Types: []lifecycle.EventType{lifecycle.EventSucceeded}}
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		apply(t, s, sub.ID, lifecycle.Start{})
		apply(t, s, sub.ID, lifecycle.Succeed{})
	}
	if n := len(delivered(t, s, "all", "")); n == 3*requests {
		t.Fatalf("nothing waits: %d deliveries", n)
	}
	if err := admin.Del(t.Context(), blocked...).Err(); err != nil {
		t.Fatal(err)
	}
	var sweeping sync.WaitGroup
	for range 4 {
		node := open(t, server.URL, redis.Options{})
		sweeping.Go(func() {
			if _, err := node.Sweep(t.Context(), 10); err != nil {
				t.Error(err)
			}
		})
	}
	sweeping.Wait()
	feed, err := s.Read(t.Context(), aliceFeed.Key(), 0, 1000)
	if err != nil || len(feed.Messages) != 3*requests {
		t.Fatalf("%d events in the feed, %v", len(feed.Messages), err)
	}
	all := delivered(t, s, "all", "")
	if len(all) != len(feed.Messages) {
		t.Fatalf("%d deliveries, want %d", len(all), len(feed.Messages))
	}
	for i, m := range feed.Messages {
		if d, err := s.Delivery(t.Context(), "alice", "all", all[i]); err != nil || string(wire.JSON(d.Event)) != string(wire.JSON(m.Event)) {
			t.Errorf("delivery %d: %s, %v, want %s", i, wire.JSON(d.Event), err, wire.JSON(m.Event))
		}
	}
	once := delivered(t, s, "once", "")
	if slices.Sort(once); len(once) != requests || !strings.HasSuffix(once[0], "_3") {
		t.Errorf("one-off: %v", once)
	}

	var old lifecycle.Request // of an older version, which knew nothing of webhooks
	old.ID, old.Owner, old.Route, old.Sequence = "old", "alice", "images", 1
	home := 0
	for i := range partitions {
		if admin.Exists(t.Context(), fmt.Sprintf("hark:{p%d}:t:%s", i, aliceFeed.Key())).Val() == 1 {
			home = i
		}
	}
	outbox := fmt.Sprintf("hark:{p%d}:x:%d", (home+1)%partitions, home)
	event := string(wire.AppendEvent(nil, &old, lifecycle.EventAccepted))
	if err := admin.Do(t.Context(), "XADD", outbox, "9000000000000000-1", "c", aliceFeed.Key(), "e", event).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if all := delivered(t, s, "all", ""); all[len(all)-1] != "old_1" {
		t.Errorf("%v", all)
	}
}

// TestClaimsOfManyPartitions: whatever partitions the owners are in, all are claimed, none twice,
// and none has to wait for the others.
func TestClaimsOfManyPartitions(t *testing.T) {
	server := servertest.Redis(t)
	nodes := []*redis.Store{open(t, server.URL, redis.Options{Partitions: 7})}
	nodes = append(nodes, open(t, server.URL, redis.Options{}))
	const owners, each = 20, 10
	for i := range owners {
		e := dispatch.Endpoint{ID: fmt.Sprint("e", i), Owner: fmt.Sprint("owner", i), Status: dispatch.Active, Concurrency: 4}
		if _, err := nodes[0].CreateEndpoint(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		messages := make([]dispatch.Message, each)
		for j := range messages {
			messages[j] = dispatch.Message{ID: fmt.Sprintf("m%d", j), Lane: fmt.Sprintf("l%d", j), Body: []byte("{}")}
		}
		if n, err := nodes[0].Enqueue(t.Context(), e.Owner, e.ID, messages); err != nil || n != each {
			t.Fatal(n, err)
		}
	}
	first := make(map[string]bool) // owners who had a turn in the first two calls
	for _, node := range nodes {
		claims, next, err := node.Claim(t.Context(), owners/2, time.Minute)
		if err != nil || len(claims) != owners/2 || next != 0 {
			t.Fatalf("%d claims, next in %v, %v", len(claims), next, err)
		}
		for _, c := range claims {
			first[c.Endpoint.Owner] = true
			if _, err := node.Settle(t.Context(), c, dispatch.Outcome{State: dispatch.Delivered}); err != nil {
				t.Error(err)
			}
		}
	}
	if len(first) < owners/2 {
		t.Errorf("only %d owners had a turn", len(first))
	}
	var mu sync.Mutex
	settled := owners
	var claiming sync.WaitGroup
	for _, node := range nodes {
		for range 3 {
			claiming.Go(func() {
				for {
					claims, next, err := node.Claim(t.Context(), 7, time.Minute)
					if err != nil || len(claims) == 0 && next == dispatch.MaxNext {
						if err != nil {
							t.Error(err)
						}
						return
					}
					for _, c := range claims {
						if _, err := node.Settle(t.Context(), c, dispatch.Outcome{State: dispatch.Delivered}); err != nil {
							t.Error(err)
						}
						mu.Lock()
						settled++
						mu.Unlock()
					}
				}
			})
		}
	}
	claiming.Wait()
	if settled != owners*each {
		t.Errorf("%d settled, want %d", settled, owners*each)
	}
}

// TestWebhooksLeaveNothing: when all is forgotten, so are the bodies, and what counts and orders.
func TestWebhooksLeaveNothing(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			prefix := fmt.Sprint("left", partitions)
			s := open(t, server.URL, redis.Options{Prefix: prefix, Partitions: partitions, WebhookRetention: time.Hour})
			endpoint(t, s, dispatch.Endpoint{ID: "swept"})
			endpoint(t, s, dispatch.Endpoint{ID: "deleted", Concurrency: 1, Coalesce: true})
			endpoint(t, s, dispatch.Endpoint{ID: "once", OneOff: true})
			for i := range 300 {
				sub := submission(fmt.Sprint("r", i))
				sub.Timeout, sub.Retention = time.Minute, time.Minute
				sub.Webhook = &lifecycle.Webhook{Endpoint: "once"}
				if _, err := s.Create(t.Context(), sub); err != nil {
					t.Fatal(err)
				}
			}
			kept := func() (found []string) {
				for _, key := range keys(t, admin, prefix) {
					if strings.Contains(key, "}:w:") {
						found = append(found, key)
					}
				}
				return found
			}
			bodies := 0
			for _, key := range kept() {
				if strings.Contains(key, "}:w:m:") {
					bodies++
				}
			}
			if bodies != 300 {
				t.Errorf("%d bodies of 300 events", bodies)
			}
			failures := 0
			for range 300 { // the ramp begins at one
				claims, _, err := s.Claim(t.Context(), 100, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range claims {
					o := dispatch.Outcome{State: dispatch.Delivered}
					if c.Endpoint.ID == "deleted" {
						if failures++; failures%2 == 0 {
							o.State, o.After = dispatch.Waiting, time.Hour
						}
					}
					if _, err := s.Settle(t.Context(), c, o); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n := len(delivered(t, s, "swept", dispatch.Delivered)); n != 300 {
				t.Errorf("%d delivered", n)
			}
			if err := s.DeleteEndpoint(t.Context(), "alice", "deleted"); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				s.Advance(61 * time.Minute)
				for done := 1; done > 0; {
					swept, err := s.Sweep(t.Context(), 1000)
					if err != nil {
						t.Fatal(err)
					}
					done = swept.Done
				}
				// Requests that expired had another event.
				for {
					claims, _, err := s.Claim(t.Context(), 100, time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					if len(claims) == 0 {
						break
					}
					for _, c := range claims {
						if _, err := s.Settle(t.Context(), c, dispatch.Outcome{State: dispatch.Dead}); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if err := s.DeleteEndpoint(t.Context(), "alice", "swept"); err != nil {
				t.Fatal(err)
			}
			if found := kept(); len(found) != 0 {
				t.Errorf("%d keys are left: %q", len(found), found[:min(len(found), 10)])
			}
		})
	}
}

// TestOneOffsOfBefore: one-off endpoints that a version made which did not count them are counted
// when they are named again.
func TestOneOffsOfBefore(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{})
	name := func(id string) error {
		_, err := s.CreateEndpoint(t.Context(), dispatch.Endpoint{ID: id, Owner: "alice", Status: dispatch.Active, OneOff: true, Quota: 2})
		return err
	}
	for _, id := range []string{"a", "b"} {
		if err := name(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := client(t, server).Del(t.Context(), "hark:{p0}:w:ones:alice").Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "a"} {
		if err := name(id); err != nil {
			t.Errorf("%s, which is there: %v", id, err)
		}
	}
	if err := name("c"); !errors.Is(err, dispatch.ErrQuota) {
		t.Errorf("one more than it may: %v", err)
	}
}
