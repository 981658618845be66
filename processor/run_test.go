package processor_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// untilTheEnd is a handler that works until its context ends and tells why.
func untilTheEnd(cause *error) processor.Routes {
	return processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, _ *processor.Job) (processor.Result, error) {
		<-ctx.Done()
		*cause = context.Cause(ctx)
		return processor.Result{}, ctx.Err()
	})}
}

func TestEndOfTheContext(t *testing.T) {
	tests := map[string]struct {
		request         lifecycle.Request
		options         processor.Options
		meanwhile       func(w *world, stop func() error)
		cause           error
		status          lifecycle.Status // after all
		changes         string           // that were made
		acked, returned int
	}{
		"canceled": {
			meanwhile: func(w *world, _ func() error) { w.cancel("r", true) },
			cause:     processor.ErrCanceled, status: lifecycle.Canceled,
			changes: "Start Cancel Fail(canceled)", acked: 1,
		},
		"out of time": {
			// synctest starts at 2000-01-01.
			request:   lifecycle.Request{ExpiresAt: time.Date(2000, 1, 1, 0, 0, 30, 0, time.UTC)},
			meanwhile: func(w *world, _ func() error) { time.Sleep(time.Minute) },
			// It stays so until the next sweep.
			cause: context.DeadlineExceeded, status: lifecycle.Processing,
			changes: "Start", acked: 1,
		},
		"drain time over": {
			options:   processor.Options{Drain: time.Second},
			meanwhile: func(_ *world, stop func() error) { _ = stop() },
			cause:     processor.ErrShutdown, status: lifecycle.Pending,
			changes: "Start Release", acked: 1,
		},
		"no drain time at all": {
			options:   processor.Options{Drain: -1},
			meanwhile: func(_ *world, stop func() error) { _ = stop() },
			cause:     processor.ErrShutdown, status: lifecycle.Pending,
			changes: "Start Release", acked: 1,
		},
		"canceled before the start was answered": {
			request:   lifecycle.Request{CancelRequested: true}, // as if marked in between
			meanwhile: func(*world, func() error) {},
			status:    lifecycle.Canceled, // the handler is not even called
			changes:   "Start Fail(canceled)", acked: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				test.request.ID = "r"
				w.submit(test.request, lifecycle.Content{})
				var cause error
				stop := w.run(untilTheEnd(&cause), test.options)
				synctest.Wait()
				stopped := false
				test.meanwhile(w, func() error { stopped = true; return stop() })
				synctest.Wait()
				if !stopped {
					_ = stop()
				}
				if !errors.Is(cause, test.cause) {
					t.Errorf("cause %v, want %v", cause, test.cause)
				}
				if got := w.get("r").Status; got != test.status {
					t.Errorf("status %s, want %s", got, test.status)
				}
				if got := w.story(); got != test.changes {
					t.Errorf("changes %s, want %s", got, test.changes)
				}
				if acked, returned, _ := w.queue.counts(); acked != test.acked || returned != test.returned {
					t.Errorf("%d acked, %d returned; want %d, %d", acked, returned, test.acked, test.returned)
				}
			})
		})
	}
}

func TestSuccessAfterACancellationCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, _ *processor.Job) (processor.Result, error) {
			<-ctx.Done()
			return processor.Bytes("text/plain", []byte("done anyway")), nil
		})}, processor.Options{})
		synctest.Wait()
		w.cancel("r", true)
		if r := w.await("r"); r.Status != lifecycle.Succeeded {
			t.Errorf("status %s", r.Status)
		}
		_ = stop()
	})
}

// A hint may get lost: the answer to a progress report tells, too.
func TestCancellationIsLearntFromProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
			for i := range 100 {
				if err := job.Percent(ctx, float64(i)); err != nil {
					return processor.Result{}, err
				}
				time.Sleep(time.Second)
			}
			return processor.Result{}, nil
		})}, processor.Options{})
		time.Sleep(10 * time.Second)
		w.cancel("r", false)
		if r := w.await("r"); r.Status != lifecycle.Canceled {
			t.Errorf("status %s", r.Status)
		}
		_ = stop()
	})
}

func TestSupersededAttempt(t *testing.T) {
	for name, notice := range map[string]func(w *world){
		// Another process has started the work: the next report is refused.
		"elsewhere": func(w *world) {
			_, _ = w.apply(context.Background(), "r", lifecycle.Start{Redelivered: true})
		},
		// The queue hands the work out again, to this very process.
		"here": func(w *world) {
			w.queue.put(delivery{queue: w.queue, job: broker.Job{ID: "r", Route: "work"}, redelivered: true})
		},
		"forgotten": func(w *world) {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.requests, "r")
		},
		"ended": func(w *world) {
			_, _ = w.apply(context.Background(), "r", lifecycle.Succeed{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
				causes := make(chan error, 2)
				stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
					if job.Attempt > 1 {
						return processor.Bytes("text/plain", []byte("second")), nil
					}
					for i := 0.0; ; i++ {
						if err := job.Percent(ctx, i); err != nil {
							causes <- err
							return processor.Result{}, errors.New("of no interest")
						}
						time.Sleep(time.Second)
					}
				})}, processor.Options{})
				synctest.Wait()
				notice(w)
				cause := <-causes
				synctest.Wait()
				_ = stop()

				want := processor.ErrSuperseded
				if name == "forgotten" || name == "ended" {
					want = processor.ErrEnded
				}
				if cause != want {
					t.Errorf("cause %v, want %v", cause, want)
				}
				if name == "here" && w.get("r").Status != lifecycle.Succeeded {
					t.Errorf("the new attempt did not succeed: %s", w.get("r").Status)
				}
				if acked, returned, waiting := w.queue.counts(); returned != 0 || waiting != 0 || acked == 0 {
					t.Errorf("%d acked, %d returned, %d waiting", acked, returned, waiting)
				}
			})
		})
	}
}

// TestStartsAtOnce: a request whose submission was repeated is queued twice, and after an outage
// both may be handed to one process at once. In whichever order the answers to their starts come,
// the younger attempt lives on: the other delivery is acknowledged, so nobody else would do the
// work.
func TestStartsAtOnce(t *testing.T) {
	for name, answers := range map[string][2]time.Duration{
		"the older is answered first": {time.Second, 2 * time.Second}, "the younger is answered first": {2 * time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.answer = func(attempt int) time.Duration { return answers[attempt-1] }
				w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
				stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, _ *processor.Job) (processor.Result, error) {
					select {
					case <-ctx.Done():
						return processor.Result{}, ctx.Err()
					case <-time.After(3 * time.Second):
						return processor.Bytes("text/plain", []byte("done")), nil
					}
				})}, processor.Options{})
				synctest.Wait() // the first start is made
				w.queue.put(delivery{queue: w.queue, job: broker.Job{ID: "r", Route: "work"}, redelivered: true})
				time.Sleep(10 * time.Second)
				_ = stop()
				if r := w.get("r"); r.Status != lifecycle.Succeeded || r.Attempt != 2 {
					t.Errorf("%s in attempt %d", r.Status, r.Attempt)
				}
				if acked, returned, waiting := w.queue.counts(); returned != 0 || waiting != 0 || acked != 2 {
					t.Errorf("%d acked, %d returned, %d waiting", acked, returned, waiting)
				}
			})
		})
	}
}

func TestDrainLetsHandlersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for i := range 10 {
			w.submit(lifecycle.Request{ID: fmt.Sprint(i)}, lifecycle.Content{})
		}
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, _ *processor.Job) (processor.Result, error) {
			time.Sleep(10 * time.Second)
			return processor.Result{}, ctx.Err()
		})}, processor.Options{Concurrency: 3})
		synctest.Wait()
		begin := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		var succeeded, pending int
		for i := range 10 {
			switch w.get(fmt.Sprint(i)).Status {
			case lifecycle.Succeeded:
				succeeded++
			case lifecycle.Pending:
				pending++
			}
		}
		if succeeded != 3 || pending != 7 {
			t.Errorf("%d succeeded, %d are pending; want 3 and 7", succeeded, pending)
		}
	})
}

func TestHandlerThatIgnoresTheShutdownIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		release, late := make(chan struct{}), make(chan error)
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
			<-release
			late <- job.Step(context.Background(), "late")
			return processor.Result{}, nil
		})}, processor.Options{Drain: time.Second, Grace: 2 * time.Second})
		synctest.Wait()
		begin := time.Now()
		_ = stop()
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v, want drain and grace", took)
		}
		if got := w.get("r").Status; got != lifecycle.Pending {
			t.Errorf("status %s, want the work to have gone back", got)
		}
		close(release)
		if err := <-late; err != processor.ErrEnded {
			t.Errorf("late report: %v", err)
		}
	})
}

func TestExtendMovesTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r", ExpiresAt: time.Now().Add(time.Minute)}, lifecycle.Content{})
		begin := time.Now()
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
			if got := job.Deadline.Sub(begin); got != time.Minute {
				t.Errorf("deadline after %v", got)
			}
			time.Sleep(50 * time.Second)
			if err := job.Extend(ctx, 2*time.Minute); err != nil {
				t.Error(err)
			}
			if deadline, ok := ctx.Deadline(); !ok || deadline.Sub(begin) != 170*time.Second {
				t.Errorf("moved to %v", deadline.Sub(begin))
			}
			if err := job.Extend(ctx, -1); err == nil {
				t.Error("extended by a negative time")
			}
			<-ctx.Done()
			return processor.Result{}, ctx.Err()
		})}, processor.Options{})
		defer stop()
		synctest.Wait()
		time.Sleep(170*time.Second - 1)
		if acked, _, _ := w.queue.counts(); acked != 0 {
			t.Error("ended too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if acked, _, _ := w.queue.counts(); acked != 1 {
			t.Error("did not end")
		}
	})
}

func TestDuplicateDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{ID: "r"}, lifecycle.Content{})
		_ = w.queue.Publish(t.Context(), broker.Job{ID: "r", Route: "work"})
		_ = w.queue.Publish(t.Context(), broker.Job{ID: "unknown", Route: "work"})
		stop := w.run(handle(func(int) (processor.Result, error) { return processor.Result{}, nil }), processor.Options{})
		w.await("r")
		synctest.Wait()
		_ = stop()
		if acked, returned, _ := w.queue.counts(); acked != 3 || returned != 0 {
			t.Errorf("%d acked, %d returned", acked, returned)
		}
		if got := w.story(); got != "Start Succeed" {
			t.Errorf("changes %s", got)
		}
	})
}

func TestRunReturnsTheBrokersError(t *testing.T) {
	w := newWorld()
	p := processor.New(w, nil, closedBroker{w.queue}, handle(nil), processor.Options{})
	if err := p.Run(t.Context()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

type closedBroker struct{ broker.Broker }

func (closedBroker) Consume(context.Context, []string, int, func(broker.Delivery)) error {
	return broker.ErrClosed
}

func TestNewRefusesNonsense(t *testing.T) {
	for name, routes := range map[string]processor.Routes{"no routes": nil, "nil handler": {"work": nil}} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			w := newWorld()
			processor.New(w, w, w.queue, routes, processor.Options{})
		})
	}
}
