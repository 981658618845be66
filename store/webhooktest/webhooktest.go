// Package webhooktest holds every store against the contract in webhook/dispatch.
// A driver's own test opens it and calls [Run].
package webhooktest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Store is everything of a driver that has to do with webhooks: what stores the events,
// what delivers them, and what is compared with.
type Store interface {
	dispatch.Store
	lifecycle.Store
	lifecycle.Housekeeping
	lifecycle.Source
}

// Config is what a test asks of the store that it gets. Zero fields: the driver's
// defaults, which must not be smaller than a day.
type Config struct {
	// WebhookRetention is the age at which a sweep may forget what is settled, and
	// one-off endpoints; at twice that it must.
	WebhookRetention time.Duration
	// Stall says for how long no claim ends; nil: never.
	Stall *stall.Watch
}

// Instance is an open and empty store.
type Instance struct {
	Store Store
	// Advance moves the clock of the store forward, as all its processes see it. The clock may
	// also run by itself.
	Advance func(d time.Duration)
	// Reopen closes the store and opens it again with what it holds, as after
	// a restart. Nil if the driver has nothing of its own that could be lost.
	Reopen func() Store
	// Another opens the same store once more, as another process does. Nil if
	// only one process can have it.
	Another func() Store
}

// Run runs the suite. open is called for each test; what it opens it closes with
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T, c Config) Instance) {
	for _, test := range []struct {
		name   string
		config Config
		run    func(*suite)
	}{
		{"Endpoints", Config{}, testEndpoints},
		{"ListEndpoints", Config{}, testListEndpoints},
		{"EndpointQuota", Config{WebhookRetention: time.Hour}, testEndpointQuota},
		{"EndpointsOfOthers", Config{}, testEndpointsOfOthers},
		{"OneOff", Config{WebhookRetention: time.Hour}, testOneOff},
		{"OneOffDisabled", Config{WebhookRetention: time.Hour}, testOneOffDisabled},
		{"OneOffOfLongRequest", Config{WebhookRetention: time.Hour}, testOneOffOfLongRequest},
		{"PutIfAbsent", Config{}, testPutIfAbsent},
		{"DeleteEndpoint", Config{}, testDeleteEndpoint},
		{"Events", Config{}, testEvents},
		{"EventsWanted", Config{}, testEventsWanted},
		{"EventsOfEveryKind", Config{}, testEventsOfEveryKind},
		{"EventsForStatus", Config{}, testEventsForStatus},
		{"EventsForOneOff", Config{}, testEventsForOneOff},
		{"Enqueue", Config{}, testEnqueue},
		{"Coalesce", Config{}, testCoalesce},
		{"CoalesceNothingElse", Config{}, testCoalesceNothingElse},
		{"OnDue", Config{}, testOnDue},
		{"ClaimOrder", Config{}, testClaimOrder},
		{"ClaimNext", Config{}, testClaimNext},
		{"Lease", Config{}, testLease},
		{"LeaseAfterStall", Config{Stall: stall.New()}, testLeaseAfterStall},
		{"Concurrency", Config{}, testConcurrency},
		{"Ramp", Config{}, testRamp},
		{"Slots", Config{}, testSlots},
		{"Rate", Config{}, testRate},
		{"Hold", Config{}, testHold},
		{"Status", Config{}, testStatus},
		{"Lanes", Config{}, testLanes},
		{"LanesComeAndGo", Config{}, testLanesComeAndGo},
		{"Fairness", Config{}, testFairness},
		{"Settle", Config{}, testSettle},
		{"Health", Config{}, testHealth},
		{"Log", Config{}, testLog},
		{"Resend", Config{}, testResend},
		{"ListDeliveries", Config{}, testListDeliveries},
		{"DeleteRequest", Config{}, testDeleteRequest},
		{"Retention", Config{WebhookRetention: time.Hour}, testRetention},
		{"RetentionOfValue", Config{}, testRetentionOfValue},
		{"Reopen", Config{}, testReopen},
		{"ManyClaimers", Config{}, testManyClaimers},
		{"AgainstModel", Config{}, testAgainstModel},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := open(t, test.config)
			test.run(&suite{T: t, Store: in.Store, in: in, ctx: t.Context(), stall: test.config.Stall})
		})
	}
}

// suite is one test with its store.
type suite struct {
	*testing.T
	Store
	in    Instance
	ctx   context.Context
	stall *stall.Watch
}

const (
	alice = "alice"
	bob   = "bob"

	lease   = 10 * time.Minute // of a claim: the endpoint's timeout and the rest
	timeout = 15 * time.Second
	slack   = 10 * time.Second // that the clock of a store may run by itself during a test
)

// about reports whether what was counted down from want is still about that.
func about(got, want time.Duration) bool { return got <= want+time.Millisecond && got >= want-slack }

// around compares times that were taken in one test without advancing the clock in between.
func around(a, b time.Time) bool { return a.Sub(b).Abs() <= slack }

func submission(id string) lifecycle.Submission {
	return lifecycle.Submission{
		ID: id, Owner: alice, Route: "images", MaxAttempts: 3,
		Timeout: time.Hour, Retention: time.Hour, Fingerprint: "fingerprint of " + id,
		Content: lifecycle.Content{Type: "application/json", Data: []byte(`{"n":1}`)},
	}
}

func (s *suite) create(sub lifecycle.Submission) lifecycle.Request {
	s.Helper()
	c, err := s.Create(s.ctx, sub)
	if err != nil || c.Existed {
		s.Fatalf("create %s: existed %v, %v", sub.ID, c.Existed, err)
	}
	return c.Request
}

func (s *suite) apply(id string, c lifecycle.Change) lifecycle.Request {
	s.Helper()
	r, err := s.Apply(s.ctx, lifecycle.Named(id), c)
	if err != nil {
		s.Fatalf("apply %T to %s: %v", c, id, err)
	}
	return r
}

// add creates an endpoint of Alice's; what is not given stands for one that takes ten at a time.
func (s *suite) add(e dispatch.Endpoint) dispatch.Endpoint {
	s.Helper()
	if e.Owner == "" {
		e.Owner = alice
	}
	if e.Status == "" {
		e.Status = dispatch.Active
	}
	if e.Concurrency == 0 {
		e.Concurrency = 10
	}
	e.URL = "https://example.com/" + e.ID
	e.Timeout, e.Schedule = timeout, []time.Duration{time.Minute, time.Hour}
	created, err := s.CreateEndpoint(s.ctx, e)
	if err != nil {
		s.Fatalf("create endpoint %s: %v", e.ID, err)
	}
	return created
}

// update changes an endpoint of Alice's.
func (s *suite) update(id string, change func(*dispatch.Endpoint)) dispatch.Endpoint {
	s.Helper()
	e, _, err := s.Endpoint(s.ctx, alice, id)
	if err != nil {
		s.Fatalf("endpoint %s: %v", id, err)
	}
	change(&e)
	updated, err := s.UpdateEndpoint(s.ctx, e)
	if err != nil {
		s.Fatalf("update endpoint %s: %v", id, err)
	}
	return updated
}

func (s *suite) setStatus(id string, status dispatch.Status) {
	s.Helper()
	s.update(id, func(e *dispatch.Endpoint) { e.Status = status })
}

func (s *suite) health(id string) dispatch.Health {
	s.Helper()
	_, h, err := s.Endpoint(s.ctx, alice, id)
	if err != nil {
		s.Fatalf("endpoint %s: %v", id, err)
	}
	return h
}

func message(id, lane string) dispatch.Message {
	return dispatch.Message{ID: id, Lane: lane, Type: "request.succeeded", Body: []byte(`{"id":"` + id + `"}`)}
}

// text returns an event as it is sent.
func text(e *lifecycle.Event) string { return string(wire.JSON(e)) }

// enqueue gives messages, each in a lane of its own, to an endpoint of Alice's, one after the
// other.
func (s *suite) enqueue(endpoint string, ids ...string) {
	s.Helper()
	for _, id := range ids {
		s.enqueueInto(endpoint, "lane of "+id, id)
	}
}

func (s *suite) enqueueInto(endpoint, lane string, ids ...string) {
	s.Helper()
	for _, id := range ids {
		n, err := s.Enqueue(s.ctx, alice, endpoint, []dispatch.Message{message(id, lane)})
		if err != nil || n != 1 {
			s.Fatalf("enqueue %s for %s: %d, %v", id, endpoint, n, err)
		}
		s.in.Advance(time.Millisecond)
	}
}

// claim claims at most limit and checks which messages, in any order, those are.
func (s *suite) claim(limit int, want ...string) []dispatch.Claim {
	s.Helper()
	claims, next, err := s.Claim(s.ctx, limit, lease-timeout)
	if err != nil {
		s.Fatalf("claim: %v", err)
	}
	got := make([]string, 0, len(claims))
	for _, c := range claims {
		got = append(got, c.ID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Fatalf("claimed %v, want %v", got, want)
	}
	if next < 0 || next > dispatch.MaxNext {
		s.Errorf("next claim in %v", next)
	}
	return claims
}

// one claims the one delivery that may be claimed.
func (s *suite) one(want string) dispatch.Claim {
	s.Helper()
	return s.claim(10, want)[0]
}

// idle checks that nothing may be claimed and when something may.
func (s *suite) idle(want time.Duration) {
	s.Helper()
	claims, next, err := s.Claim(s.ctx, 10, lease-timeout)
	if err != nil || len(claims) != 0 {
		s.Fatalf("claimed %d, want none: %+v, %v", len(claims), claims, err)
	}
	if !about(next, want) {
		s.Errorf("next claim in %v, want %v", next, want)
	}
}

func outcome(state dispatch.State, after time.Duration) dispatch.Outcome {
	o := dispatch.Outcome{State: state, After: after, Attempt: dispatch.Attempt{Latency: time.Second, Status: 200}}
	if state != dispatch.Delivered {
		o.Attempt.Status, o.Attempt.Class = 503, "status"
	}
	return o
}

func (s *suite) settle(c dispatch.Claim, state dispatch.State, after time.Duration) dispatch.Health {
	s.Helper()
	h, err := s.Settle(s.ctx, c, outcome(state, after))
	if err != nil {
		s.Fatalf("settle %s: %v", c.ID, err)
	}
	return h
}

func (s *suite) delivery(endpoint, id string) dispatch.Delivery {
	s.Helper()
	d, err := s.Delivery(s.ctx, alice, endpoint, id)
	if err != nil {
		s.Fatalf("delivery %s of %s: %v", id, endpoint, err)
	}
	return d
}

// list returns the ids of all deliveries of an endpoint of Alice's, oldest first.
func (s *suite) list(endpoint string, q dispatch.Query) []string {
	s.Helper()
	ids := []string{}
	for q.Limit = max(q.Limit, 7); ; {
		page, err := s.ListDeliveries(s.ctx, alice, endpoint, q)
		if err != nil {
			s.Fatalf("deliveries of %s: %v", endpoint, err)
		}
		if len(page.Deliveries) > q.Limit {
			s.Errorf("%d deliveries, limit %d", len(page.Deliveries), q.Limit)
		}
		for _, d := range page.Deliveries {
			ids = append(ids, d.ID)
		}
		if page.Next == "" {
			slices.Reverse(ids)
			return ids
		}
		q.Cursor = page.Next
	}
}

// trust lets an endpoint of Alice's have so many successes that only its Concurrency bounds it.
// Nothing else may be due.
func (s *suite) trust(endpoint string, n int) {
	s.Helper()
	for i := range n {
		id := fmt.Sprintf("trust-%s-%d", endpoint, i)
		s.enqueue(endpoint, id)
		s.settle(s.one(id), dispatch.Delivered, 0)
	}
}

// parallel runs f n times at once.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
