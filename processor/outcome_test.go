package processor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// handle makes a handler of a function of the attempt's number.
func handle(f func(attempt int) (processor.Result, error)) processor.Routes {
	return processor.Routes{"work": processor.HandlerFunc(func(_ context.Context, job *processor.Job) (processor.Result, error) {
		return f(job.Attempt)
	})}
}

func TestOutcomes(t *testing.T) {
	always := func(r processor.Result, err error) func(int) (processor.Result, error) {
		return func(int) (processor.Result, error) { return r, err }
	}
	none := processor.Result{}
	json, _ := processor.JSON(map[string]int{"n": 1})
	tests := map[string]struct {
		handle   func(attempt int) (processor.Result, error)
		status   lifecycle.Status
		attempts int
		output   string // "type body", "" for none
		failure  lifecycle.Failure
		after    time.Duration // between submission and end, 0 for at once
	}{
		"none":        {handle: always(none, nil), status: lifecycle.Succeeded, attempts: 1},
		"bytes":       {handle: always(processor.Bytes("image/png", []byte("\x89PNG")), nil), status: lifecycle.Succeeded, attempts: 1, output: "image/png \x89PNG"},
		"empty bytes": {handle: always(processor.Bytes("text/plain", nil), nil), status: lifecycle.Succeeded, attempts: 1, output: "text/plain "},
		"untyped":     {handle: always(processor.Result{Data: []byte("x")}, nil), status: lifecycle.Succeeded, attempts: 1, output: "application/octet-stream x"},
		"JSON":        {handle: always(json, nil), status: lifecycle.Succeeded, attempts: 1, output: `application/json {"n":1}`},
		"bad JSON": {
			handle: func(int) (processor.Result, error) { return processor.JSON(math.NaN()) },
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "bad-result", Message: "The result could not be encoded.", Detail: "json: unsupported value: NaN"},
		},
		"plain error, every time": {
			handle: always(none, errors.New("disk 7 is full")),
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Second,
			failure: lifecycle.Failure{Code: "error", Message: "The work could not be done.", Detail: "disk 7 is full"},
		},
		"plain error, then success": {
			handle: func(n int) (processor.Result, error) {
				if n < 2 {
					return none, errors.New("no luck")
				}
				return json, nil
			},
			status: lifecycle.Succeeded, attempts: 2, after: time.Second, output: `application/json {"n":1}`,
		},
		"permanent": {
			handle: always(none, processor.Fail("too-big", "Smaller, please.", io.ErrShortBuffer)),
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "too-big", Message: "Smaller, please.", Detail: "short buffer"},
		},
		"permanent, wrapped": {
			handle: always(none, fmt.Errorf("step 2: %w", processor.Fail("too-big", "Smaller, please.", nil))),
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "too-big", Message: "Smaller, please."},
		},
		"the domain's own failure": {
			handle: always(none, &lifecycle.Failure{Code: "c", Message: "m", Trace: "t"}),
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "c", Message: "m", Trace: "t"},
		},
		"retry after": {
			handle: always(none, processor.RetryAfter(time.Minute, errors.New("busy"))),
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Minute,
			failure: lifecycle.Failure{Code: "error", Message: "The work could not be done.", Detail: "busy"},
		},
		"retry after, worded": {
			handle: always(none, processor.RetryAfter(0, processor.Fail("busy", "The printer is busy.", nil))),
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Second,
			failure: lifecycle.Failure{Code: "busy", Message: "The printer is busy."},
		},
		"for good, unworded": {
			handle: always(none, fmt.Errorf("step 2: %w: no such account", processor.ErrSkipRetry)),
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "error", Message: "The work could not be done.", Detail: "step 2: not to be tried again: no such account"},
		},
		"retry after, wrapped": {
			handle: always(none, fmt.Errorf("step 2: %w", processor.RetryAfter(time.Minute, errors.New("busy")))),
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Minute,
			failure: lifecycle.Failure{Code: "error", Message: "The work could not be done.", Detail: "step 2: busy"},
		},
		"retry after what was for good": {
			handle: always(none, processor.RetryAfter(time.Minute, processor.ErrSkipRetry)),
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Minute,
			failure: lifecycle.Failure{Code: "error", Message: "The work could not be done.", Detail: "not to be tried again"},
		},
		"for good what was to be retried": {
			handle: always(none, processor.Fail("given-up", "It was busy.", processor.RetryAfter(time.Minute, errors.New("busy")))),
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "given-up", Message: "It was busy.", Detail: "busy"},
		},
		"for good, unworded, what was to be retried, worded": {
			handle: always(none, fmt.Errorf("%w: %w", processor.ErrSkipRetry, processor.RetryAfter(time.Minute, processor.Fail("busy", "It was busy.", nil)))),
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "busy", Message: "It was busy."},
		},
		"snooze, five times, which is more than there are attempts": {
			handle: func(n int) (processor.Result, error) {
				if n <= 5 {
					return none, fmt.Errorf("not yet: %w", processor.Snooze(time.Minute))
				}
				return json, nil
			},
			status: lifecycle.Succeeded, attempts: 6, after: 5 * time.Minute, output: `application/json {"n":1}`,
		},
		"snooze between failures": {
			handle: func(n int) (processor.Result, error) {
				if n%2 == 0 {
					return none, processor.Snooze(0)
				}
				return none, errors.New("no luck")
			},
			status: lifecycle.Failed, attempts: 5, after: 2 * time.Second,
			failure: lifecycle.Failure{Code: "error", Message: "The work could not be done.", Detail: "no luck"},
		},
		"for good what was put off": {
			handle: always(none, processor.Fail("given-up", "It never came.", processor.Snooze(time.Minute))),
			status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "given-up", Message: "It never came.", Detail: "put off for 1m0s"},
		},
		"panic": {
			handle: func(int) (processor.Result, error) { panic("oh") },
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Second,
			failure: lifecycle.Failure{Code: "panic", Message: "The work could not be done.", Detail: "panic: oh", Trace: "outcome_test.go"},
		},
		"panic with nil": {
			handle: func(int) (processor.Result, error) { panic(nil) },
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Second,
			failure: lifecycle.Failure{Code: "panic", Message: "The work could not be done.", Detail: "panic: panic called with nil argument", Trace: "outcome_test.go"},
		},
		"Goexit": {
			handle: func(int) (processor.Result, error) { runtime.Goexit(); return none, nil },
			status: lifecycle.Failed, attempts: 3, after: 2 * time.Second,
			failure: lifecycle.Failure{Code: "panic", Message: "The work could not be done.", Detail: "the handler called runtime.Goexit"},
		},
		"result beside an error": {
			handle: always(json, processor.Fail("c", "m", nil)), status: lifecycle.Failed, attempts: 1,
			failure: lifecycle.Failure{Code: "c", Message: "m"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				begin := time.Now()
				w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
				stop := w.run(handle(test.handle), processor.Options{})
				r := w.await("r")
				took := time.Since(begin)
				if err := stop(); err != nil {
					t.Fatal(err)
				}

				if r.Status != test.status || r.Attempt != test.attempts || took != test.after {
					t.Errorf("%s after %d attempts and %v, want %s after %d and %v", r.Status, r.Attempt, took, test.status, test.attempts, test.after)
				}
				output := ""
				if c, ok := w.outputs["r"]; ok {
					output = c.Type + " " + string(c.Data)
				}
				if output != test.output {
					t.Errorf("output %q, want %q", output, test.output)
				}
				var got lifecycle.Failure
				if r.Error != nil {
					got = *r.Error
				}
				if !strings.Contains(got.Trace, test.failure.Trace) || (got.Trace == "") != (test.failure.Trace == "") {
					t.Errorf("trace %q, want one with %q", got.Trace, test.failure.Trace)
				}
				got.Trace, test.failure.Trace = "", ""
				if got != test.failure {
					t.Errorf("failure %+v, want %+v", got, test.failure)
				}
				if acked, returned, waiting := w.queue.counts(); acked != test.attempts || returned != 0 || waiting != 0 {
					t.Errorf("%d acked, %d returned, %d waiting; want %d, 0, 0", acked, returned, waiting, test.attempts)
				}
			})
		})
	}
}

func TestLongTextsAreClipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r", MaxAttempts: 1}, lifecycle.Content{})
		stop := w.run(handle(func(int) (processor.Result, error) {
			return processor.Result{}, errors.New(strings.Repeat("ä", 1<<20))
		}), processor.Options{})
		defer stop()
		if r := w.await("r"); len(r.Error.Detail) > 5<<10 {
			t.Errorf("detail of %d bytes", len(r.Error.Detail))
		}
	})
}

func TestErrorsUnwrap(t *testing.T) {
	err := processor.RetryAfter(time.Second, processor.Fail("c", "m", io.ErrUnexpectedEOF))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if f, ok := errors.AsType[*lifecycle.Failure](err); !ok || f.Code != "c" {
		t.Error("the failure is lost")
	}
}

// TestSnoozeOfWhatIsNotWanted: what was canceled is not put off but ends.
func TestSnoozeOfWhatIsNotWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		stop := w.run(handle(func(int) (processor.Result, error) {
			w.cancel("r", false)
			return processor.Result{}, processor.Snooze(time.Minute)
		}), processor.Options{})
		defer stop()
		if r := w.await("r"); r.Status != lifecycle.Canceled || r.Attempt != 1 {
			t.Errorf("%s in attempt %d", r.Status, r.Attempt)
		}
	})
}
