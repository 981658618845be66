package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

// bound is how often the status expired is answered before polling is given up, which nothing else
// ends.
const bound = 3

// outcome is what polling came to, as a line of the standard output.
type outcome struct {
	// Why the answer to the submission is none that can be polled.
	Refused string          `json:"refused,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`   // the final value
	Code    string          `json:"code,omitempty"`    // of the error
	Bounded bool            `json:"bounded,omitempty"` // it went on polling what has expired
	Polls   []string        `json:"polls"`             // the statuses that were answered, in order
}

// watch is a policy that remembers which statuses were answered, and calls stop at the bound.
type watch struct {
	polls   []string
	expired int
	stop    func()
}

func (w *watch) Do(q *policy.Request) (*http.Response, error) {
	response, err := q.Next()
	if err != nil || q.Raw().Method != http.MethodGet {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	var document struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(body, &document) == nil {
		w.polls = append(w.polls, document.Status)
		if document.Status == "expired" {
			w.expired++
		}
		if w.expired == bound {
			w.stop()
		}
	}
	return response, err
}

// poll submits what its standard input holds with azcore, as an SDK that is made with it does, and
// polls until the end.
func poll(url string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := &watch{polls: []string{}, stop: cancel}
	pipeline := runtime.NewPipeline("clienttest", "v0.0.0", runtime.PipelineOptions{PerCall: []policy.Policy{seen}}, nil)
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	request, err := runtime.NewRequest(ctx, http.MethodPost, url)
	if err != nil {
		return err
	}
	request.Raw().Header.Set("Prefer", "respond-async")
	if err := request.SetBody(streaming.NopCloser(bytes.NewReader(body)), "application/json"); err != nil {
		return err
	}
	response, err := pipeline.Do(request)
	if err != nil {
		return err
	}
	var out outcome
	poller, err := runtime.NewPoller[json.RawMessage](response, pipeline, nil)
	if err != nil {
		out.Refused = err.Error()
	} else {
		out.Value, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
		var failed *azcore.ResponseError
		switch {
		case errors.As(err, &failed):
			out.Code = failed.ErrorCode
		case errors.Is(err, context.Canceled):
			out.Bounded = true
		case err != nil:
			return err
		}
	}
	out.Polls = seen.polls
	return json.NewEncoder(os.Stdout).Encode(out)
}
