package processor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// demo lets a handler do one request in a gateway in memory and returns the
// request as it is in the end. In a program, a lifecycle.Service, a store and a
// broker stand where the demo has its own.
func demo(h processor.Handler, mediaType, content string) lifecycle.Request {
	w := newWorld()
	ctx, cancel := context.WithCancel(context.Background())
	p := processor.New(w, w, w.queue, processor.Routes{"work": h}, processor.Options{})
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()

	w.submit(lifecycle.Request{ID: "1", MaxAttempts: 2}, lifecycle.Content{Type: mediaType, Data: []byte(content)})
	r := w.await("1")
	cancel()
	<-done
	return r
}

func Example() {
	shout := func(_ context.Context, job *processor.Job) (processor.Result, error) {
		return processor.Bytes("text/plain", []byte(strings.ToUpper(string(job.Content.Data)))), nil
	}
	r := demo(processor.HandlerFunc(shout), "text/plain", "hello")
	fmt.Println(r.Status, r.Result.Type, r.Result.Size)
	// Output: succeeded text/plain 5
}

func ExampleJSON() {
	count := func(_ context.Context, job *processor.Job) (processor.Result, error) {
		return processor.JSON(map[string]int{"words": len(strings.Fields(string(job.Content.Data)))})
	}
	r := demo(processor.HandlerFunc(count), "text/plain", "to be or not to be")
	fmt.Println(r.Status, string(r.Result.Value))
	// Output: succeeded {"words":6}
}

func ExampleJob_Decode() {
	greet := func(_ context.Context, job *processor.Job) (processor.Result, error) {
		var order struct {
			Name string `json:"name"`
		}
		if err := job.Decode(&order); err != nil {
			return processor.Result{}, err // permanent, with a message for the user
		}
		return processor.JSON("hello " + order.Name)
	}
	r := demo(processor.HandlerFunc(greet), "application/json", `{"name":"Ada"}`)
	fmt.Println(r.Status, string(r.Result.Value))
	r = demo(processor.HandlerFunc(greet), "application/json", `{"name":42}`)
	fmt.Println(r.Status, r.Error)
	// Output:
	// succeeded "hello Ada"
	// failed bad-content: The field "name" must not be a JSON number.
}

// A typed function is a handler: what was submitted is read for it, and what it returns is encoded.
func ExampleHandle() {
	type person struct {
		Name string `json:"name"`
	}
	type greeting struct {
		Text string `json:"text"`
	}
	greet := func(_ context.Context, _ *processor.Job, in person) (greeting, error) {
		if in.Name == "" {
			return greeting{}, processor.Fail("nameless", "Whom shall I greet?", nil)
		}
		return greeting{"hello " + in.Name}, nil
	}
	h := processor.Handle(greet)
	r := demo(h, "application/json", `{"name":"Ada"}`)
	fmt.Println(r.Status, string(r.Result.Value))
	r = demo(h, "application/json", `{"name":42}`)
	fmt.Println(r.Status, r.Error)
	r = demo(h, "text/plain", "Ada")
	fmt.Println(r.Status, r.Error)
	// Output:
	// succeeded {"text":"hello Ada"}
	// failed bad-content: The field "name" must not be a JSON number.
	// failed bad-content: This route takes JSON, not text/plain.
}

// Middleware is what several handlers have around them.
func ExampleRoutes_With() {
	named := func(name string) processor.Middleware {
		return func(next processor.Handler) processor.Handler {
			return processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
				fmt.Println(name, "begins")
				result, err := next.Process(ctx, job)
				fmt.Println(name, "saw:", err)
				return result, err
			})
		}
	}
	work := func(_ context.Context, _ *processor.Job, in string) (processor.Result, error) {
		fmt.Println("the work of", in)
		return processor.Result{}, processor.Fail("closed", "We are closed.", nil)
	}
	routes := processor.Routes{"work": processor.Handle(work)}.With(named("outer"), named("inner"))
	r := demo(routes["work"], "application/json", `"Ada"`)
	fmt.Println(r.Status)
	// Output:
	// outer begins
	// inner begins
	// the work of Ada
	// inner saw: closed: We are closed.
	// outer saw: closed: We are closed.
	// failed
}

func ExampleFail() {
	divide := func(_ context.Context, job *processor.Job) (processor.Result, error) {
		var by float64
		if err := job.Decode(&by); err != nil {
			return processor.Result{}, err
		}
		if by == 0 {
			return processor.Result{}, processor.Fail("divided-by-zero", "Zero is no divisor.", nil)
		}
		return processor.JSON(1 / by)
	}
	r := demo(processor.HandlerFunc(divide), "application/json", "0")
	fmt.Println(r.Status, "in attempt", r.Attempt)
	fmt.Println(r.Error.Code)
	fmt.Println(r.Error.Message)
	// Output:
	// failed in attempt 1
	// divided-by-zero
	// Zero is no divisor.
}

func ExampleRetryAfter() {
	flaky := func(_ context.Context, job *processor.Job) (processor.Result, error) {
		if job.Attempt == 1 {
			return processor.Result{}, processor.RetryAfter(10*time.Millisecond, errors.New("not yet"))
		}
		return processor.Result{}, nil
	}
	r := demo(processor.HandlerFunc(flaky), "", "")
	fmt.Println(r.Status, "in attempt", r.Attempt)
	// Output: succeeded in attempt 2
}

// What cannot be begun now is put off, which costs no attempt.
func ExampleSnooze() {
	open := false
	shop := func(context.Context, *processor.Job) (processor.Result, error) {
		if !open {
			open = true
			return processor.Result{}, processor.Snooze(10 * time.Millisecond)
		}
		return processor.Result{}, nil
	}
	r := demo(processor.HandlerFunc(shop), "", "")
	fmt.Println(r.Status, "in attempt", r.Attempt, "after", r.Failures, "failures")
	// Output: succeeded in attempt 2 after 0 failures
}

// A handler asks what it needs to know. It is called again when somebody has answered, and finds
// the answer.
func ExampleJob_Ask() {
	publish := func(ctx context.Context, job *processor.Job) (processor.Result, error) {
		answer, err := job.Ask(ctx, processor.Question{Name: "publish", Message: "Publish it?"})
		if err != nil {
			return processor.Result{}, err // the request waits, and the processor is free
		}
		return processor.JSON("Publish it? " + string(answer))
	}
	for _, given := range []string{``, `{"publish":true}`} { // by POST /v1/requests/1/input
		job := processor.NewJob(lifecycle.Request{ID: "1", Given: []byte(given)}, lifecycle.Content{}, nil)
		result, err := processor.HandlerFunc(publish).Process(context.Background(), job)
		fmt.Println(string(result.Data), err)
	}
	// Output:
	//  the question is not answered yet: publish
	// "Publish it? true" <nil>
}

func ExampleJob_Progress() {
	steps := func(ctx context.Context, job *processor.Job) (processor.Result, error) {
		for i, step := range []string{"loading", "working", "saving"} {
			if err := job.Progress(ctx, step, float64(100*i/3), ""); err != nil {
				return processor.Result{}, err // nobody waits any more
			}
		}
		return processor.Result{}, nil
	}
	r := demo(processor.HandlerFunc(steps), "", "")
	fmt.Println(r.Status, r.Step, *r.Percent)
	// Output: succeeded saving 100
}

// A handler is tested with a job made by hand.
func ExampleNewJob() {
	h := processor.HandlerFunc(func(ctx context.Context, job *processor.Job) (processor.Result, error) {
		if err := job.Step(ctx, "echoing"); err != nil {
			return processor.Result{}, err
		}
		return processor.Bytes(job.Content.Type, job.Content.Data), nil
	})
	job := processor.NewJob(lifecycle.Request{ID: "1"}, lifecycle.Content{Type: "text/plain", Data: []byte("hi")},
		func(p lifecycle.Progress) { fmt.Println("step:", *p.Step) })
	result, err := h.Process(context.Background(), job)
	fmt.Println(result.Type, string(result.Data), err)
	// Output:
	// step: echoing
	// text/plain hi <nil>
}

func ExampleProcessor_Run() {
	w := newWorld() // in a program: a lifecycle.Service, a store and a broker
	w.submit(lifecycle.Request{ID: "1"}, lifecycle.Content{})
	w.submit(lifecycle.Request{ID: "2"}, lifecycle.Content{})

	ctx, stop := context.WithCancel(context.Background())
	started := make(chan struct{}, 2)
	slow := func(ctx context.Context, _ *processor.Job) (processor.Result, error) {
		started <- struct{}{}
		<-ctx.Done() // it would take for ever
		fmt.Println(context.Cause(ctx))
		return processor.Result{}, ctx.Err()
	}
	p := processor.New(w, w, w.queue, processor.Routes{"work": processor.HandlerFunc(slow)},
		processor.Options{Concurrency: 2, Drain: 10 * time.Millisecond})
	go func() {
		<-started
		<-started
		stop() // as on SIGTERM
	}()
	fmt.Println(p.Run(ctx))
	fmt.Println(w.get("1").Status, w.get("2").Status)
	// Output:
	// processor is shutting down
	// processor is shutting down
	// <nil>
	// pending pending
}
