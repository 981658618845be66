// Package storetest holds every store against the contracts in lifecycle.
// A driver's own test opens it and calls [Run].
package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// Store is everything that a driver implements.
type Store interface {
	lifecycle.Store
	lifecycle.Housekeeping
	lifecycle.Cancellations
	lifecycle.Source
}

// Config is what a test asks of the store that it gets. Zero fields: the driver's
// defaults, which must not be smaller than a thousand events and an hour.
type Config struct {
	History     int // events kept per request; up to twice as many may be
	FeedHistory int // events kept per feed; up to twice as many may be
	// Age at which a sweep may drop events from feeds; at twice that it must.
	FeedRetention time.Duration
	// Meter is told of steps; nil: nobody is.
	Meter lifecycle.StepMeter
	// Calls is told of calls; nil: nobody is.
	Calls lifecycle.CallMeter
}

// Instance is an open and empty store.
type Instance struct {
	Store Store
	// Advance moves the store's clock forward.
	Advance func(d time.Duration)
	// Reopen closes the store and opens it again with what it holds, as after
	// a restart. Nil if the driver has nothing of its own that could be lost.
	Reopen func() Store
	// Approximate says that what an owner takes is not counted in one place, so that calls of one
	// moment may go beyond its quota.
	Approximate bool
	// Anew says that slots are given anew when the store is opened.
	Anew bool
}

// Run runs the suite. open is called for each test; what it opens it closes with
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T, c Config) Instance) {
	for _, test := range []struct {
		name   string
		config Config
		run    func(*suite)
	}{
		{"Create", Config{}, testCreate},
		{"CreateRepeated", Config{}, testCreateRepeated},
		{"CreateConcurrently", Config{}, testCreateConcurrently},
		{"Key", Config{}, testKey},
		{"KeyConcurrently", Config{}, testKeyConcurrently},
		{"Content", Config{}, testContent},
		{"Begin", Config{}, testBegin},
		{"Delete", Config{}, testDelete},
		{"ContextEnded", Config{}, testContextEnded},
		{"Machine", Config{}, testMachine},
		{"Silent", Config{}, testSilent},
		{"Attempts", Config{}, testAttempts},
		{"Asking", Config{}, testAsking},
		{"AskingExpires", Config{}, testAskingExpires},
		{"AskingOneWinner", Config{}, testAskingOneWinner},
		{"Dead", Config{}, testDead},
		{"Redrive", Config{}, testRedrive},
		{"RedriveSlots", Config{}, testRedriveSlots},
		{"AgainstModel", Config{History: 200}, testAgainstModel},
		{"OneWinner", Config{}, testOneWinner},
		{"ConcurrentEvents", Config{}, testConcurrentEvents},
		{"ConcurrentProgress", Config{}, testConcurrentProgress},
		{"Read", Config{}, testRead},
		{"ReadLarge", Config{}, testReadLarge},
		{"History", Config{History: 8}, testHistory},
		{"FeedHistory", Config{FeedHistory: 8}, testFeedHistory},
		{"FeedRetention", Config{FeedRetention: time.Hour}, testFeedRetention},
		{"Forgotten", Config{History: 8}, testForgotten},
		{"FeedsGo", Config{FeedRetention: time.Hour}, testFeedsGo},
		{"Reset", Config{}, testReset},
		{"Listen", Config{}, testListen},
		{"Cancellations", Config{}, testCancellations},
		{"Expiry", Config{}, testExpiry},
		{"Extend", Config{}, testExtend},
		{"Forget", Config{}, testForget},
		{"Unfinished", Config{}, testUnfinished},
		{"Usage", Config{}, testUsage},
		{"UsageConcurrently", Config{}, testUsageConcurrently},
		{"UsageWaiting", Config{}, testUsageWaiting},
		{"Pace", Config{}, testPace},
		{"Depths", Config{}, testDepths},
		{"Steps", Config{Meter: new(stepLog)}, testSteps},
		{"Calls", Config{Calls: new(callLog)}, testCalls},
		{"Slots", Config{}, testSlots},
		{"SlotsAgainstModel", Config{}, testSlotsAgainstModel},
		{"Room", Config{}, testRoom},
		{"BatchMachine", Config{}, testBatchMachine},
		{"BatchCount", Config{}, testBatchCount},
		{"BatchCountConcurrently", Config{}, testBatchCountConcurrently},
		{"BatchConclude", Config{}, testBatchConclude},
		{"BatchConcludeConcurrently", Config{}, testBatchConcludeConcurrently},
		{"Batches", Config{}, testBatches},
		{"SweepBatches", Config{}, testSweepBatches},
		{"Position", Config{}, testPosition},
		{"PositionAgainstModel", Config{}, testPositionAgainstModel},
		{"List", Config{}, testList},
		{"ListAgainstModel", Config{}, testListAgainstModel},
		{"ListWhileOthersWrite", Config{}, testListWhileOthersWrite},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := open(t, test.config)
			test.run(&suite{T: t, Store: in.Store, in: in, ctx: t.Context(), config: test.config})
		})
	}
}

// suite is one test with its store.
type suite struct {
	*testing.T
	Store
	in     Instance
	ctx    context.Context
	config Config
}

const (
	alice = "alice"
	bob   = "bob"
)

// part is what a store does besides what all do.
func part[T any](s *suite) T {
	s.Helper()
	has, ok := s.Store.(T)
	if !ok {
		s.Fatalf("the store is no %T", new(T))
	}
	return has
}

// life is that of every request of which it does not matter.
const life = "0123456789"

func submission(id string) lifecycle.Submission {
	return lifecycle.Submission{
		ID: id, Life: life, Owner: alice, Route: "images", MaxAttempts: 3,
		Timeout: time.Hour, Retention: 24 * time.Hour, Fingerprint: "fingerprint of " + id,
		Content: lifecycle.Content{Type: "application/json", Data: []byte(`{"n":1}`)},
	}
}

// event is what the suite reads of an event.
type event struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Subject  string `json:"subject"`
	Sequence string `json:"sequence"`
	Data     struct {
		ID       string  `json:"id"`
		Status   string  `json:"status"`
		Step     *string `json:"step"`
		Position *int    `json:"position"`
		Sequence uint64  `json:"sequence"`
	} `json:"data"`
}

func (s *suite) decode(m lifecycle.Message) event {
	s.Helper()
	var e event
	if err := json.Unmarshal(wire.JSON(m.Event), &e); err != nil {
		s.Fatalf("event %d is no JSON: %v\n%s", m.Offset, err, wire.JSON(m.Event))
	}
	return e
}

// told checks that an event says of itself what is in its bytes.
func (s *suite) told(m lifecycle.Message) {
	s.Helper()
	told := *m.Event
	want, known := codec.ParseEvent(wire.JSON(&told))
	told.State, told.Place, told.Text, want.Text = nil, lifecycle.Place{}, nil, nil
	if !known { // it is about a place in a feed
		want.Type = told.Type
	}
	if !reflect.DeepEqual(&told, want) || told.Type == "" {
		s.Errorf("event %d says %+v, want %+v", m.Offset, told, want)
	}
}

func requestChannel(id string) string {
	return lifecycle.Channel{Kind: lifecycle.RequestChannel, Name: id, Life: life}.Key()
}

func ownerChannel(owner string) string {
	return lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: owner}.Key()
}

func topicChannel(owner, topic string) string {
	return lifecycle.Channel{Kind: lifecycle.TopicChannel, Owner: owner, Name: topic}.Key()
}

func (s *suite) create(sub lifecycle.Submission) lifecycle.Request {
	s.Helper()
	c, err := s.Create(s.ctx, sub)
	if err != nil {
		s.Fatalf("create %s: %v", sub.ID, err)
	}
	if c.Existed {
		s.Fatalf("create %s: it existed", sub.ID)
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

func (s *suite) get(id string) lifecycle.Request {
	s.Helper()
	r, err := s.Get(s.ctx, lifecycle.Named(id))
	if err != nil {
		s.Fatalf("get %s: %v", id, err)
	}
	return r
}

func (s *suite) position(id string, want int) {
	s.Helper()
	r := s.get(id)
	if r.Position == nil || *r.Position != want {
		s.Errorf("position of %s: %v, want %d", id, show(r.Position), want)
	}
}

func show(p *int) any {
	if p == nil {
		return "none"
	}
	return *p
}

// into brings a new request to a status.
func (s *suite) into(id string, status lifecycle.Status) lifecycle.Request {
	s.Helper()
	r := s.create(submission(id))
	switch status {
	case lifecycle.Pending:
		return r
	case lifecycle.Canceled:
		return s.apply(id, lifecycle.Cancel{})
	case lifecycle.Expired:
		s.in.Advance(time.Hour)
		return s.apply(id, lifecycle.Expire{})
	}
	r = s.apply(id, lifecycle.Start{})
	switch status {
	case lifecycle.Waiting:
		r = s.apply(id, ask(0))
	case lifecycle.Succeeded:
		r = s.apply(id, lifecycle.Succeed{})
	case lifecycle.Failed:
		r = s.apply(id, lifecycle.Fail{Failure: lifecycle.Failure{Code: "x", Message: "y"}})
	}
	return r
}

// all reads a channel to its top, in pages, and checks that offsets have no gap.
func (s *suite) all(channel string, after uint64, page int) []lifecycle.Message {
	s.Helper()
	var messages []lifecycle.Message
	for {
		h, err := s.Read(s.ctx, channel, after, page)
		if err != nil {
			s.Fatalf("read %q: %v", channel, err)
		}
		if len(h.Messages) > page {
			s.Fatalf("read %q: %d messages, limit %d", channel, len(h.Messages), page)
		}
		for _, m := range h.Messages {
			if len(messages) > 0 && m.Offset != after+1 || m.Offset <= after {
				s.Fatalf("read %q: offset %d after %d", channel, m.Offset, after)
			}
			after = m.Offset
			s.told(m)
			messages = append(messages, m)
		}
		if after >= h.Top {
			return messages
		}
		if len(h.Messages) == 0 {
			if len(messages) > 0 {
				s.Fatalf("read %q after %d: nothing, top %d", channel, after, h.Top)
			}
			return nil
		}
	}
}

// consistent checks that the newest event tells of exactly the state that is
// stored, and that own offsets are the sequence, from 1 if nothing was cut.
func (s *suite) consistent(id string) {
	s.Helper()
	r := s.get(id)
	messages := s.all(requestChannel(id), 0, 100)
	if len(messages) == 0 {
		s.Fatalf("request %s has no events", id)
	}
	for i, m := range messages {
		e := s.decode(m)
		if e.Data.Sequence != m.Offset || e.ID != lifecycle.EventID(lifecycle.Ref{ID: id, Life: life}, m.Offset) || e.Sequence != fmt.Sprintf("%010d", m.Offset) {
			s.Errorf("event %d of %s calls itself %s, sequence %s and %d", m.Offset, id, e.ID, e.Sequence, e.Data.Sequence)
		}
		newest := i == len(messages)-1
		if m.Last != (newest && r.Status.Terminal()) {
			s.Errorf("event %d of %s (%s): Last is %v", m.Offset, id, e.Type, m.Last)
		}
		if newest && (m.Offset != r.Sequence || e.Data.Status != string(r.Status)) {
			s.Errorf("newest event of %s: %d %s, but the request is at %d, %s", id, m.Offset, e.Data.Status, r.Sequence, r.Status)
		}
	}
}

// types returns the types of a request's events.
func (s *suite) types(id string) []string {
	s.Helper()
	var types []string
	for _, m := range s.all(requestChannel(id), 0, 100) {
		types = append(types, s.decode(m).Type)
	}
	return types
}

// same compares requests but for the position, which moves.
func (s *suite) same(what string, got, want lifecycle.Request) {
	s.Helper()
	got.Position, want.Position = nil, nil
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if !reflect.DeepEqual(g, w) {
		s.Errorf("%s:\n%s\nwant:\n%s", what, g, w)
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
