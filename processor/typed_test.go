package processor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// TestHandle: a typed handler gets the content as its type, and what it returns is the result, by
// its type; content that does not fit ends the request before it is called.
func TestHandle(t *testing.T) {
	type order struct {
		Copies int
	}
	for name, test := range map[string]struct {
		handler   processor.Handler
		mediaType string
		content   string
		want      processor.Result
		failure   string // "" if it succeeds
	}{
		"a value": {
			handler:   processor.Handle(func(_ context.Context, _ *processor.Job, in order) (int, error) { return 2 * in.Copies, nil }),
			mediaType: "application/json", content: `{"copies":21}`,
			want: processor.Result{Type: "application/json", Data: []byte("42")},
		},
		"a type with a suffix": {
			handler: processor.Handle(func(_ context.Context, _ *processor.Job, in []string) (string, error) {
				return strings.Join(in, "+"), nil
			}),
			mediaType: "application/vnd.order+json; charset=utf-8", content: `["a","b"]`,
			want: processor.Result{Type: "application/json", Data: []byte(`"a+b"`)},
		},
		"a result as it stands": {
			handler: processor.Handle(func(_ context.Context, _ *processor.Job, in *order) (processor.Result, error) {
				return processor.Bytes("text/plain", fmt.Append(nil, in.Copies)), nil
			}),
			mediaType: "application/json", content: `{"copies":3}`,
			want: processor.Bytes("text/plain", []byte("3")),
		},
		"no result": {
			handler:   processor.Handle(func(context.Context, *processor.Job, any) (processor.Result, error) { return processor.Result{}, nil }),
			mediaType: "application/json", content: `null`,
		},
		"a value that cannot be encoded": {
			handler:   processor.Handle(func(context.Context, *processor.Job, any) (func(), error) { return nil, nil }),
			mediaType: "application/json", content: `1`, failure: "bad-result",
		},
		"a value beside an error": {
			handler: processor.Handle(func(context.Context, *processor.Job, any) (int, error) {
				return 1, processor.Fail("odd", "It is odd.", nil)
			}),
			mediaType: "application/json", content: `1`, failure: "odd",
		},
		"content of another type": {
			handler:   processor.Handle(func(context.Context, *processor.Job, order) (int, error) { panic("called") }),
			mediaType: "text/plain", content: `{}`, failure: processor.CodeBadContent,
		},
		"content that is no JSON": {
			handler:   processor.Handle(func(context.Context, *processor.Job, order) (int, error) { panic("called") }),
			mediaType: "application/json", content: `{"copies":`, failure: processor.CodeBadContent,
		},
		"content of another shape": {
			handler:   processor.Handle(func(context.Context, *processor.Job, order) (int, error) { panic("called") }),
			mediaType: "application/json", content: `{"copies":"many"}`, failure: processor.CodeBadContent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			job := processor.NewJob(lifecycle.Request{ID: "r"}, lifecycle.Content{Type: test.mediaType, Data: []byte(test.content)}, nil)
			got, err := test.handler.Process(t.Context(), job)
			if got.Type != test.want.Type || string(got.Data) != string(test.want.Data) {
				t.Errorf("%s %q, want %s %q", got.Type, got.Data, test.want.Type, test.want.Data)
			}
			failure, ok := errors.AsType[*lifecycle.Failure](err)
			if ok != (test.failure != "") || ok && failure.Code != test.failure || !ok && err != nil {
				t.Errorf("%v, want %q", err, test.failure)
			}
		})
	}
}

// TestMiddlewareOrder: the first middleware is the outermost, what is put on one route is within
// what all have, and the routes that With was called on stay as they are.
func TestMiddlewareOrder(t *testing.T) {
	var trail []string
	named := func(name string) processor.Middleware {
		return func(next processor.Handler) processor.Handler {
			return processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
				trail = append(trail, name+" in")
				defer func() { trail = append(trail, name+" out") }()
				return next.Process(ctx, job)
			})
		}
	}
	plain := processor.HandlerFunc(func(context.Context, *processor.Job) (processor.Result, error) {
		trail = append(trail, "work")
		return processor.Result{}, nil
	})
	bare := processor.Routes{"a": named("own")(plain), "b": plain}
	routes := bare.With(named("first"), named("second"))
	for _, test := range []struct {
		handler processor.Handler
		want    string
	}{
		{routes["a"], "first in, second in, own in, work, own out, second out, first out"},
		{routes["b"], "first in, second in, work, second out, first out"},
		{bare["b"], "work"},
		{bare.With()["b"], "work"},
	} {
		trail = nil
		if _, err := test.handler.Process(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if got := strings.Join(trail, ", "); got != test.want {
			t.Errorf("%s; want %s", got, test.want)
		}
	}
}

// TestMiddlewareOutcomes: a panic passes through middleware and is recovered outside of it, be it
// the handler's or the middleware's own; an error that middleware wraps or replaces decides.
func TestMiddlewareOutcomes(t *testing.T) {
	wrap := func(f func(ctx context.Context, next processor.Handler, job *processor.Job) (processor.Result, error)) processor.Middleware {
		return func(next processor.Handler) processor.Handler {
			return processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) { return f(ctx, next, job) })
		}
	}
	type calls struct{ handler, unwound int }
	for name, test := range map[string]struct {
		handler    func() error
		middleware func(c *calls) processor.Middleware
		code       string // "" for success
		attempts   int
		calls      calls
	}{
		"a panic of the handler": {
			handler: func() error { panic("oh") },
			middleware: func(c *calls) processor.Middleware {
				return wrap(func(ctx context.Context, next processor.Handler, job *processor.Job) (processor.Result, error) {
					defer func() { c.unwound++ }()
					return next.Process(ctx, job)
				})
			},
			code: processor.CodePanic, attempts: 2, calls: calls{2, 2},
		},
		"a panic of the middleware": {
			handler: func() error { return nil },
			middleware: func(*calls) processor.Middleware {
				return wrap(func(context.Context, processor.Handler, *processor.Job) (processor.Result, error) { panic("oh") })
			},
			code: processor.CodePanic, attempts: 2,
		},
		"an error wrapped": {
			handler: func() error { return processor.Fail("odd", "It is odd.", nil) },
			middleware: func(*calls) processor.Middleware {
				return wrap(func(ctx context.Context, next processor.Handler, job *processor.Job) (processor.Result, error) {
					result, err := next.Process(ctx, job)
					return result, fmt.Errorf("middleware: %w", err)
				})
			},
			code: "odd", attempts: 1, calls: calls{handler: 1},
		},
		"an error made one of another kind": {
			handler: func() error { return errors.New("no luck") },
			middleware: func(*calls) processor.Middleware {
				return wrap(func(ctx context.Context, next processor.Handler, job *processor.Job) (processor.Result, error) {
					result, err := next.Process(ctx, job)
					return result, fmt.Errorf("%w: %w", processor.ErrSkipRetry, err)
				})
			},
			code: processor.CodeError, attempts: 1, calls: calls{handler: 1},
		},
		"instead of the handler": {
			handler: func() error { return errors.New("no luck") },
			middleware: func(*calls) processor.Middleware {
				return wrap(func(context.Context, processor.Handler, *processor.Job) (processor.Result, error) {
					return processor.Result{}, nil
				})
			},
			attempts: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c calls
				w := newWorld()
				w.submit(lifecycle.Request{ID: "r", MaxAttempts: 2}, lifecycle.Content{})
				stop := w.run(handle(func(int) (processor.Result, error) {
					c.handler++
					return processor.Result{}, test.handler()
				}).With(test.middleware(&c)), processor.Options{})
				r := w.await("r")
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				code := ""
				if r.Error != nil {
					code = r.Error.Code
				}
				if code != test.code || r.Attempt != test.attempts || c != test.calls {
					t.Errorf("%q after %d attempts and %+v, want %q after %d and %+v", code, r.Attempt, c, test.code, test.attempts, test.calls)
				}
			})
		})
	}
}

// TestStatsOfSnooze: an attempt that was put off is counted among those handed back.
func TestStatsOfSnooze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		p := processor.New(w, w, w.queue, handle(func(n int) (processor.Result, error) {
			if n == 1 {
				return processor.Result{}, processor.Snooze(time.Minute)
			}
			return processor.Result{}, nil
		}), processor.Options{})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		w.await("r")
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got, want := p.Stats(), (processor.Stats{Concurrency: 8, Succeeded: 1, Returned: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
