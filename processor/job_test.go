package processor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

func TestJobSaysEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.submit(lifecycle.Request{
			ID: "r", Owner: "alice", Topic: "order-42", Priority: 7, MaxAttempts: 1,
			Call:    &lifecycle.Call{Method: "PUT", Path: "/a", Query: "b=c"},
			Headers: map[string]string{"Traceparent": "00-1-2-01", "accept-language": "de"},
		}, lifecycle.Content{Type: "text/plain", Data: []byte("hello")})
		var job *processor.Job
		stop := w.run(processor.Routes{"work": processor.HandlerFunc(func(_ context.Context, j *processor.Job) (processor.Result, error) {
			job = j
			return processor.Result{}, nil
		})}, processor.Options{})
		w.await("r")
		_ = stop()

		if job.ID != "r" || job.Route != "work" || job.Topic != "order-42" || job.Priority != 7 || job.Attempt != 1 || !job.LastAttempt ||
			job.Subject != "alice" || job.SubmittedAt.IsZero() || job.Deadline.Sub(job.SubmittedAt) != time.Hour ||
			job.Content.Type != "text/plain" || string(job.Content.Data) != "hello" || *job.Call != (lifecycle.Call{Method: "PUT", Path: "/a", Query: "b=c"}) {
			t.Errorf("%+v", job)
		}
		if parent, state := job.TraceContext(); parent != "00-1-2-01" || state != "" {
			t.Errorf("trace context %q, %q", parent, state)
		}
		if job.Header("Accept-Language") != "de" || job.Header("accept-language") != "de" || job.Header("Cookie") != "" {
			t.Error("headers are wrong")
		}
	})
}

func TestDecode(t *testing.T) {
	type order struct {
		Steps int `json:"steps"`
		Deep  struct {
			Name string `json:"name"`
		} `json:"deep"`
	}
	tests := map[string]struct {
		mediaType, content, message string
	}{
		"good":        {"application/json", `{"steps":3}`, ""},
		"good +json":  {"application/geo+json; charset=utf-8", `{"steps":3}`, ""},
		"other type":  {"text/plain; charset=utf-8", `{"steps":3}`, "This route takes JSON, not text/plain."},
		"no type":     {"", `{}`, "This route takes JSON, not content of an unknown type."},
		"syntax":      {"application/json", `{"steps":3,}`, "The content is not valid JSON, see byte 12."},
		"empty":       {"application/json", ``, "The content is not valid JSON, see byte 0."},
		"wrong field": {"application/json", `{"steps":"3"}`, `The field "steps" must not be a JSON string.`},
		"deep field":  {"application/json", `{"deep":{"name":1}}`, `The field "deep.name" must not be a JSON number.`},
		"wrong whole": {"application/json", `[1]`, "The content must not be a JSON array."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			job := processor.NewJob(lifecycle.Request{}, lifecycle.Content{Type: test.mediaType, Data: []byte(test.content)}, nil)
			var v order
			err := job.Decode(&v)
			if test.message == "" {
				if err != nil || v.Steps != 3 {
					t.Errorf("got %+v, %v", v, err)
				}
				return
			}
			if f, ok := errors.AsType[*lifecycle.Failure](err); !ok || f.Code != processor.CodeBadContent || f.Message != test.message {
				t.Errorf("got %v, want message %q", err, test.message)
			}
		})
	}
	t.Run("the handler's mistake", func(t *testing.T) {
		err := processor.NewJob(lifecycle.Request{}, lifecycle.Content{Type: "application/json", Data: []byte("{}")}, nil).Decode(order{})
		if _, ok := errors.AsType[*lifecycle.Failure](err); err == nil || ok {
			t.Errorf("got %v", err)
		}
	})
}
