package storetest

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// callLog counts the calls that it is told of.
type callLog struct {
	mu     sync.Mutex
	calls  map[lifecycle.Operation]int
	failed int
}

// Stored implements lifecycle.CallMeter.
func (l *callLog) Stored(o lifecycle.Operation, _ time.Duration, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls == nil {
		l.calls = make(map[lifecycle.Operation]int)
	}
	l.calls[o]++
	if failed {
		l.failed++
	}
}

func (l *callLog) take() (calls map[lifecycle.Operation]int, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls, failed = l.calls, l.failed
	l.calls, l.failed = nil, 0
	return calls, failed
}

// testCalls: the meter is told of each call that the interfaces have an operation for, once, and a
// refusal, or somebody who does not wait, is no failure of the store.
func testCalls(s *suite) {
	log, ok := s.config.Calls.(*callLog)
	if !ok {
		s.Fatal("the suite has another meter")
	}
	a := lifecycle.Named("a")
	_ = s.create(submission("a"))
	if _, _, err := s.Begin(s.ctx, a, lifecycle.Start{}); err != nil {
		s.Fatal(err)
	}
	s.apply("a", lifecycle.Succeed{Attempt: 1, Result: &lifecycle.Content{Type: "text/plain", Data: []byte("done")}})
	log.take()

	told := func(o lifecycle.Operation, call func(ctx context.Context) error, fails bool) {
		s.Helper()
		if err := call(s.ctx); (err != nil) != fails {
			s.Errorf("%v: %v", o, err)
		}
		if calls, failed := log.take(); !maps.Equal(calls, map[lifecycle.Operation]int{o: 1}) || failed > 0 {
			s.Errorf("%v: told of %v, %d of which failed", o, calls, failed)
		}
		given, cancel := context.WithCancel(s.ctx)
		cancel()
		_ = call(given)
		if _, failed := log.take(); failed > 0 {
			s.Errorf("%v: who does not wait counts as a failure", o)
		}
	}
	told(lifecycle.OpGet, func(ctx context.Context) error { _, err := s.Get(ctx, a); return err }, false)
	told(lifecycle.OpContent, func(ctx context.Context) error { _, err := s.Content(ctx, a, lifecycle.Input); return err }, false)
	told(lifecycle.OpList, func(ctx context.Context) error {
		_, err := s.List(ctx, lifecycle.Query{Owner: submission("a").Owner, Limit: 10})
		return err
	}, false)
	told(lifecycle.OpHistory, func(ctx context.Context) error { _, err := s.Read(ctx, "request:a", 0, 10); return err }, false)
	told(lifecycle.OpSweep, func(ctx context.Context) error { _, err := s.Sweep(ctx, 10); return err }, false)
	told(lifecycle.OpReply, func(ctx context.Context) error {
		return s.SaveReply(ctx, a, submission("a").Owner, "no such key", lifecycle.Reply{Status: 202})
	}, false)
	told(lifecycle.OpApply, func(ctx context.Context) error { _, err := s.Apply(ctx, a, lifecycle.Cancel{}); return err }, true)
	told(lifecycle.OpBegin, func(ctx context.Context) error { _, _, err := s.Begin(ctx, a, lifecycle.Start{}); return err }, true)
	told(lifecycle.OpCreate, func(ctx context.Context) error { _, err := s.Create(ctx, submission("a")); return err }, false)
	told(lifecycle.OpDelete, func(ctx context.Context) error { return s.Delete(ctx, lifecycle.Named("b")) }, true)
}
