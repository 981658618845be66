package main

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// TestCount: a handler is tested without a gateway, with a job made by hand.
func TestCount(t *testing.T) {
	for content, want := range map[string]string{
		`{"text":"to be or not to be"}`: `{"words":6,"distinct":4}`,
		`{"text":" "}`:                  "no-words",
		`{"text":1}`:                    processor.CodeBadContent,
	} {
		job := processor.NewJob(lifecycle.Request{ID: "r"}, lifecycle.Content{Type: "application/json", Data: []byte(content)}, nil)
		result, err := routes(slog.New(slog.DiscardHandler))["words"].Process(t.Context(), job)
		got := string(result.Data)
		if failure, ok := errors.AsType[*lifecycle.Failure](err); ok {
			got = failure.Code
		} else if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", content, got, want)
		}
	}
}

// TestRetriesAreOfRoutes: each retry policy is one, of a route that is served.
func TestRetriesAreOfRoutes(t *testing.T) {
	// Which panics if not.
	processor.New(nil, nil, nil, routes(slog.New(slog.DiscardHandler)), processor.Options{Retry: retries})
}
