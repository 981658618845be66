package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// Job is one attempt at one request, as its [Handler] sees it. The fields are for
// reading; the methods may be called by many goroutines at once.
type Job struct {
	ID       string // the request's; the same for every attempt
	Route    string
	Topic    string // "" if it has none
	Priority int    // 0 to 9, higher is more urgent

	Attempt     int  // from 1
	LastAttempt bool // a failure of this one is final

	Subject     string    // who submitted it
	SubmittedAt time.Time // by the clock of the store
	// By the local clock, at the start; zero if there is none. Extend moves the context's, not this
	// one.
	Deadline time.Time

	// Content is what was submitted. The handler owns the bytes.
	Content lifecycle.Content
	// Call is the HTTP call that the request was made from, nil if it was
	// submitted as a document.
	Call *lifecycle.Call
	// Headers are the safe-listed headers of the submission, those of the trace
	// context included, and those that the gateway forwards besides
	// (--forward-headers); never credentials. See Header.
	Headers map[string]string

	given []byte // the answers that the request has got, a JSON object; empty if it has none
	asked atomic.Int32
	send  func(context.Context, lifecycle.Progress) error // nil: reports go nowhere
}

// NewJob returns a job for testing a handler without a gateway. report, if not
// nil, gets every progress report as it is made, without the merging that a
// [Processor] does; it may be called by many goroutines at once. What [Job.Ask] returns
// is in the request's Given.
func NewJob(r lifecycle.Request, content lifecycle.Content, report func(lifecycle.Progress)) *Job {
	j := newJob(r, content)
	if report != nil {
		j.send = func(_ context.Context, p lifecycle.Progress) error {
			report(p)
			return nil
		}
	}
	return j
}

func newJob(r lifecycle.Request, content lifecycle.Content) *Job {
	return &Job{
		ID:          r.ID,
		Route:       r.Route,
		Topic:       r.Topic,
		Priority:    r.Priority,
		Attempt:     r.Attempt,
		LastAttempt: r.Failures+1 >= r.MaxAttempts,
		Subject:     r.Owner,
		SubmittedAt: r.CreatedAt,
		Content:     content,
		Call:        r.Call,
		Headers:     r.Headers,
		given:       r.Given,
	}
}

// Header returns a header of the submission by its name in any case, "" if it
// was not sent or is not passed on.
func (j *Job) Header(name string) string {
	if v, ok := j.Headers[name]; ok {
		return v
	}
	for k, v := range j.Headers {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// TraceContext returns the W3C trace context that the request was submitted
// with, to be continued by the handler's own calls; "" for what is not there.
func (j *Job) TraceContext() (traceparent, tracestate string) {
	return j.Header("traceparent"), j.Header("tracestate")
}

// Decode reads the content as one JSON value into v. Its error is one of [Fail]
// with [CodeBadContent] and a message for the user, so a handler can return it as
// it is.
func (j *Job) Decode(v any) error {
	if !lifecycle.IsJSON(j.Content.Type) {
		return Fail(CodeBadContent, fmt.Sprintf("This route takes JSON, not %s.", mediaType(j.Content.Type)), nil)
	}
	return DecodeJSON(j.Content.Data, v)
}

// DecodeJSON is [Job.Decode] for JSON that comes from elsewhere.
func DecodeJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*json.InvalidUnmarshalError](err); ok {
		return err // the handler's mistake, not the user's
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		// The text of err names types of the program, so it stays here.
		if wrong.Field == "" {
			return Fail(CodeBadContent, fmt.Sprintf("The content must not be a JSON %s.", wrong.Value), nil)
		}
		return Fail(CodeBadContent, fmt.Sprintf("The field %q must not be a JSON %s.", wrong.Field, wrong.Value), nil)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return Fail(CodeBadContent, fmt.Sprintf("The content is not valid JSON, see byte %d.", syntax.Offset), err)
	}
	return Fail(CodeBadContent, "The content has a value that this route does not take.", err)
}

// mediaType names a media type for a message, without its parameters.
func mediaType(s string) string {
	if t, _, err := mime.ParseMediaType(s); err == nil {
		return t
	}
	return "content of an unknown type"
}
