package processor_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// TestRetryPolicy: pauses are those of the route's policy, for plain errors and panics alike,
// unless the handler says when, or the request.
func TestRetryPolicy(t *testing.T) {
	plain := func(int) error { return errors.New("no luck") }
	policy := map[string]processor.RetryPolicy{"work": {Base: time.Minute, Factor: 3, Max: 5 * time.Minute}}
	for name, test := range map[string]struct {
		retry   map[string]processor.RetryPolicy
		request lifecycle.Request
		handle  func(attempt int) error
		want    []time.Duration // between attempts; those of the policy give or take a fifth
		exact   bool
	}{
		"the policy":          {retry: policy, handle: plain, want: []time.Duration{time.Minute, 3 * time.Minute, 5 * time.Minute, 5 * time.Minute}},
		"of a panic":          {retry: policy, handle: func(int) error { panic("oh") }, want: []time.Duration{time.Minute, 3 * time.Minute, 5 * time.Minute, 5 * time.Minute}},
		"its defaults":        {retry: map[string]processor.RetryPolicy{"work": {Base: 2 * time.Minute}}, handle: plain, want: []time.Duration{2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute}},
		"the same each time":  {retry: map[string]processor.RetryPolicy{"work": {Base: time.Minute, Factor: 1}}, handle: plain, want: []time.Duration{time.Minute, time.Minute, time.Minute, time.Minute}},
		"what the handler is": {retry: policy, handle: func(int) error { return processor.RetryAfter(time.Hour, nil) }, want: []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}, exact: true},
		// As the world has it.
		"none":                 {handle: plain, want: []time.Duration{time.Second, time.Second, time.Second, time.Second}, exact: true},
		"the request's before": {retry: policy, request: lifecycle.Request{RetryDelay: time.Hour}, handle: plain, want: []time.Duration{time.Second, time.Second, time.Second, time.Second}, exact: true},
		"failures, not snoozes": {
			retry: policy,
			handle: func(n int) error {
				if n%2 == 1 {
					return processor.Snooze(time.Hour)
				}
				return errors.New("no luck")
			},
			want: []time.Duration{time.Hour, time.Minute, time.Hour, 3 * time.Minute, time.Hour, 5 * time.Minute, time.Hour, 5 * time.Minute, time.Hour},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				w := newWorld()
				test.request.ID, test.request.MaxAttempts, test.request.ExpiresAt = "r", 5, time.Now().Add(100*time.Hour)
				w.submit(test.request, lifecycle.Content{})
				stop := w.run(handle(func(n int) (processor.Result, error) {
					at = append(at, time.Now())
					return processor.Result{}, test.handle(n)
				}), processor.Options{Retry: test.retry})
				w.await("r")
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if len(at) != len(test.want)+1 {
					t.Fatalf("%d attempts, want %d", len(at), len(test.want)+1)
				}
				for i, want := range test.want {
					got := at[i+1].Sub(at[i])
					if got < want*8/10 || got > want*12/10 || test.exact && got != want {
						t.Errorf("attempt %d came after %v, want %v", i+2, got, want)
					}
				}
			})
		})
	}
}

// TestRetryTooLate: a request whose time would be over before the next attempt ends at once, with
// the error that it has.
func TestRetryTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		begin := time.Now()
		w.submit(lifecycle.Request{ID: "r", ExpiresAt: begin.Add(time.Minute)}, lifecycle.Content{})
		stop := w.run(handle(func(int) (processor.Result, error) {
			return processor.Result{}, processor.RetryAfter(time.Hour, errors.New("busy"))
		}), processor.Options{})
		defer stop()
		if r := w.await("r"); r.Status != lifecycle.Failed || r.Error.Detail != "busy" || time.Since(begin) != 0 {
			t.Errorf("%s (%v) after %v", r.Status, r.Error, time.Since(begin))
		}
	})
}

// TestBadRetryPolicies: a policy that is none, or of a route that is not served, is refused when
// the processor is made.
func TestBadRetryPolicies(t *testing.T) {
	for name, retry := range map[string]map[string]processor.RetryPolicy{
		"no base":         {"work": {Factor: 2}},
		"a base below 0":  {"work": {Base: -time.Second}},
		"shrinking":       {"work": {Base: time.Second, Factor: 0.5}},
		"below its base":  {"work": {Base: time.Hour, Max: time.Minute}},
		"another's route": {"play": {Base: time.Second}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it was taken", name)
				}
			}()
			w := newWorld()
			processor.New(w, w, w.queue, handle(nil), processor.Options{Retry: retry})
		}()
	}
}
