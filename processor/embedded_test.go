package processor_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hark-push/hark/broker/memory"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/store/bolt"
)

// The processor with the real service, store and broker of a single process.
func TestEmbedded(t *testing.T) {
	store, err := bolt.Open(filepath.Join(t.TempDir(), "hark.db"), bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	queue := memory.New([]string{"work"}, memory.Options{})
	defer queue.Close()
	service := lifecycle.New(store, processor.Queue(queue), lifecycle.Options{Limits: lifecycle.Limits{RetryBase: time.Millisecond}})

	waiting := make(chan string, 1)
	p := processor.New(service, store, queue, processor.Routes{"work": processor.HandlerFunc(
		func(ctx context.Context, job *processor.Job) (processor.Result, error) {
			if err := job.Progress(ctx, "working", 50, "half"); err != nil {
				return processor.Result{}, err
			}
			switch kind := string(job.Content.Data); {
			case kind == "echo":
				return processor.Bytes(job.Content.Type, job.Content.Data), nil
			case kind == "flaky" && job.Attempt < 3:
				return processor.Result{}, errors.New("not yet")
			case kind == "flaky":
				return processor.JSON(job.Attempt)
			case kind == "wait":
				waiting <- job.ID
				<-ctx.Done()
				return processor.Result{}, ctx.Err()
			}
			return processor.Result{}, processor.Fail("odd", "What is this?", nil)
		})}, processor.Options{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()

	alice := lifecycle.Principal{Subject: "alice"}
	kinds := []string{"echo", "flaky", "odd", "wait"}
	for i := range 40 {
		kind := kinds[i%3]
		if i == 39 {
			kind = "wait"
		}
		_, err := service.Submit(t.Context(), alice, lifecycle.Submission{
			ID: fmt.Sprint(i), Route: "work", Content: lifecycle.Content{Type: "text/plain", Data: []byte(kind)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := service.Cancel(t.Context(), alice, lifecycle.Named(<-waiting)); err != nil {
		t.Fatal(err)
	}

	for i := range 40 {
		id := fmt.Sprint(i)
		want := map[int]string{0: "succeeded 1", 1: "succeeded 3", 2: "failed 1"}[i%3]
		if i == 39 {
			want = "canceled 1"
		}
		var r lifecycle.Request
		for poll := time.NewTicker(time.Millisecond); !r.Status.Terminal(); <-poll.C {
			if r, err = service.Get(t.Context(), alice, lifecycle.Named(id)); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprint(r.Status, " ", r.Attempt); got != want || r.Step != "working" {
			t.Errorf("request %d: %s in step %q, want %s", i, got, r.Step, want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := queue.Waiting(); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
}
