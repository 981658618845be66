package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// Question is what a handler asks those who may cancel the request, see [Job.Ask].
type Question struct {
	// Name tells the question from others of its request: 1 to 64 of the characters A-Z a-z 0-9 .
	// _ -. Those that have none are named by the order in which the handler asks them ("question",
	// "question-2", …), which then has to be the same whenever it runs.
	Name    string
	Message string // for whoever is to answer
	// Schema is a JSON Schema of the answer, for whoever asks for it in turn. No answer is held
	// against it. nil: any JSON.
	Schema json.RawMessage
	// Default is the answer, in JSON, if nobody gives one in time. nil: the request fails then,
	// with the code [lifecycle.CodeUnanswered].
	Default json.RawMessage
	// Timeout is how long an answer is waited for. 0: as long as a request may take by default; it
	// is at most as long as any may take.
	Timeout time.Duration
}

// ErrAsked is wrapped by the error of [Job.Ask] with which a handler is to return, because there is
// no answer yet.
var ErrAsked = errors.New("the question is not answered yet")

// The codes of failures of questions and answers.
const (
	CodeBadQuestion = "bad-question" // it cannot be asked
	CodeBadAnswer   = "bad-answer"   // see [Ask]
)

// Ask returns the answer to a question, one JSON value. If there is none yet, its error wraps
// [ErrAsked], and the handler is to return it, itself or wrapped: only then the question is asked.
// The request waits, and the processor is free meanwhile. With the answer the handler is called
// again, from its beginning and wherever there is room, with the same [Job.Attempt]; then Ask
// returns the answer at once. So what stands before it runs at least twice, and should have no
// effect that may not happen again. Answers are kept for all attempts.
//
//	answer, err := job.Ask(ctx, processor.Question{Message: "Publish it?"})
//	if err != nil {
//		return processor.Result{}, err
//	}
//
// While the request waits no attempt is used up, and its own time stands still: that of the
// question runs. Whoever may cancel the request may answer. [Ask] reads the answer into a type.
//
// A question that cannot be asked is an error of [Fail] with [CodeBadQuestion]. If ctx has ended
// the error is its cause.
func (j *Job) Ask(ctx context.Context, q Question) (json.RawMessage, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	asks := &askError{timeout: q.Timeout, question: lifecycle.Question{
		Name: q.Name, Message: q.Message, Schema: q.Schema, Default: q.Default,
	}}
	if q.Name == "" {
		asks.question.Name = lifecycle.DefaultQuestion
		if n := j.asked.Add(1); n > 1 {
			asks.question.Name += fmt.Sprint("-", n)
		}
	}
	if err := asks.question.Valid(); err != nil {
		return nil, Fail(CodeBadQuestion, "The request cannot ask what it needs to know.", err)
	}
	if len(j.given) > 0 {
		var answers map[string]json.RawMessage
		if err := json.Unmarshal(j.given, &answers); err != nil {
			return nil, fmt.Errorf("answers of request %s: %w", j.ID, err)
		}
		if answer, ok := answers[asks.question.Name]; ok {
			return answer, nil
		}
	}
	return nil, asks
}

// Ask is [Job.Ask] with the answer as a value of a type. An answer that does not fit it ends the
// request as failed with [CodeBadAnswer]. A handler that would rather ask again takes the JSON, and
// asks by another name.
func Ask[T any](ctx context.Context, job *Job, q Question) (T, error) {
	var answer T
	text, err := job.Ask(ctx, q)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, Fail(CodeBadAnswer, "The answer is not what the question asks for.", err)
	}
	return answer, nil
}

// askError ends an attempt that has a question.
type askError struct {
	question lifecycle.Question
	timeout  time.Duration
}

func (e *askError) Error() string { return ErrAsked.Error() + ": " + e.question.Name }
func (e *askError) Unwrap() error { return ErrAsked }

// change returns the report of it.
func (e *askError) change(attempt int) lifecycle.Ask {
	return lifecycle.Ask{Attempt: attempt, Question: e.question, Timeout: e.timeout}
}
