package processor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hark-push/hark/broker/memory"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/store/bolt"
)

// TestAskWithoutGateway: a handler is given what it asks for, and returns what says that it asks.
func TestAskWithoutGateway(t *testing.T) {
	handler := processor.Handle(func(ctx context.Context, job *processor.Job, _ any) (string, error) {
		size, err := processor.Ask[int](ctx, job, processor.Question{Name: "size", Message: "How large?"})
		if err != nil {
			return "", fmt.Errorf("before it begins: %w", err)
		}
		if _, err := job.Ask(ctx, processor.Question{Message: "Sure?"}); err != nil {
			return "", err
		}
		really, err := job.Ask(ctx, processor.Question{Message: "Really?"})
		return fmt.Sprint(size, string(really)), err
	})
	content := lifecycle.Content{Type: "application/json", Data: []byte("null")}
	for given, want := range map[string]string{
		``:                        "before it begins: the question is not answered yet: size",
		`{}`:                      "before it begins: the question is not answered yet: size",
		`{"size":3}`:              "the question is not answered yet: question",
		`{"size":3,"question":1}`: "the question is not answered yet: question-2",
		`{"size":"x"}`:            "before it begins: bad-answer: The answer is not what the question asks for.: json: cannot unmarshal string into Go value of type int",
		`{"size":3,"question":null,"question-2":"yes"}`: "",
	} {
		job := processor.NewJob(lifecycle.Request{ID: "r", Given: json.RawMessage(given)}, content, nil)
		result, err := handler.Process(t.Context(), job)
		if want == "" {
			if err != nil || string(result.Data) != `"3\"yes\""` {
				t.Errorf("%s: %s, %v", given, result.Data, err)
			}
			continue
		}
		if err == nil || err.Error() != want || errors.Is(err, processor.ErrAsked) != (given != `{"size":"x"}`) {
			t.Errorf("%s: %v, want %s", given, err, want)
		}
	}
	job := processor.NewJob(lifecycle.Request{ID: "r"}, content, nil)
	for _, bad := range []processor.Question{{}, {Name: "a b", Message: "x"}, {Message: "x", Default: json.RawMessage("{")}} {
		_, err := job.Ask(t.Context(), bad)
		if failure, ok := errors.AsType[*lifecycle.Failure](err); !ok || failure.Code != processor.CodeBadQuestion {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(processor.ErrCanceled)
	if _, err := job.Ask(ctx, processor.Question{Message: "x"}); !errors.Is(err, processor.ErrCanceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestAsk: a processor is free while its request waits, and goes on with the answer in the same
// attempt, after a failure too; what the handler makes of the error decides.
func TestAsk(t *testing.T) {
	store, err := bolt.Open(filepath.Join(t.TempDir(), "hark.db"), bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	queue := memory.New([]string{"work"}, memory.Options{})
	defer queue.Close()
	service := lifecycle.New(store, processor.Queue(queue), lifecycle.Options{Limits: lifecycle.Limits{RetryBase: time.Millisecond}})
	defer service.Close()
	runs := make(chan string, 100)
	p := processor.New(service, store, queue, processor.Routes{"work": processor.HandlerFunc(
		func(ctx context.Context, job *processor.Job) (processor.Result, error) {
			runs <- fmt.Sprint(job.ID, " ", job.Attempt)
			kind := string(job.Content.Data)
			preset := json.RawMessage(nil)
			if kind == "default" {
				preset = json.RawMessage(`"nobody"`)
			}
			answer, err := job.Ask(ctx, processor.Question{Message: "So?", Timeout: map[bool]time.Duration{true: time.Millisecond}[kind == "default" || kind == "late"], Default: preset})
			switch {
			case err != nil && kind == "swallows":
				return processor.JSON("went on without")
			case err != nil && kind == "overrules":
				return processor.Result{}, processor.Fail("impatient", "It does not wait.", err)
			case err != nil:
				return processor.Result{}, fmt.Errorf("wrapped: %w", err)
			case kind == "fails" && job.Attempt == 1:
				return processor.Result{}, errors.New("not yet")
			}
			return processor.Bytes("application/json", answer), nil
		})}, processor.Options{Concurrency: 1})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	alice := lifecycle.Principal{Subject: "alice"}
	until := func(id string, holds func(lifecycle.Request) bool) (r lifecycle.Request) {
		t.Helper()
		for poll := time.NewTicker(time.Millisecond); !holds(r); <-poll.C {
			if r, err = service.Get(t.Context(), alice, lifecycle.Named(id)); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	sweep := func() {
		swept, err := store.Sweep(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		service.Swept(swept.Ended)
	}
	for kind, want := range map[string]string{
		"plain": `succeeded 1 "yes"`, "fails": `succeeded 2 "yes"`, "swallows": `succeeded 1 "went on without"`,
		"overrules": "failed 1 impatient", "default": `succeeded 1 "nobody"`, "late": "failed 1 unanswered",
	} {
		if _, err := service.Submit(t.Context(), alice, lifecycle.Submission{
			ID: kind, Route: "work", Content: lifecycle.Content{Type: "text/plain", Data: []byte(kind)},
		}); err != nil {
			t.Fatal(err)
		}
		if kind == "plain" || kind == "fails" { // concurrency is 1, so none of the others would run
			r := until(kind, func(r lifecycle.Request) bool { return r.Status == lifecycle.Waiting })
			if r.Question.Name != "question" || r.Failures != 0 {
				t.Errorf("%s: %+v", kind, r)
			}
			if _, err := service.Answer(t.Context(), alice, lifecycle.Named(kind), "", json.RawMessage(`"yes"`)); err != nil {
				t.Fatal(err)
			}
		}
		r := until(kind, func(r lifecycle.Request) bool { sweep(); return r.Status.Terminal() })
		got := fmt.Sprint(r.Status, " ", r.Attempt, " ")
		if r.Error != nil {
			got += r.Error.Code
		} else {
			got += string(r.Result.Value)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	close(runs)
	var all []string
	for run := range runs {
		all = append(all, run)
	}
	slices.Sort(all)
	want := []string{"default 1", "default 1", "fails 1", "fails 1", "fails 2", "late 1", "overrules 1", "plain 1", "plain 1", "swallows 1"}
	if !slices.Equal(all, want) {
		t.Errorf("handlers ran %q, want %q", all, want)
	}
	if stats := p.Stats(); stats.Returned != 4 || stats.Succeeded != 4 || stats.Failed != 2 {
		t.Errorf("%+v", stats)
	}
}
