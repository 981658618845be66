package lifecycle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Question is what a running request needs to know from outside before it can go on.
type Question struct {
	Name    string `json:"name"`    // among those of its request; see [ValidQuestion]
	Message string `json:"message"` // for whoever is to answer
	// What an answer should look like, in whatever way the two sides have agreed upon, as a JSON
	// Schema: JSON for whoever asks for the answer. Answers are not held against it. nil: any.
	Schema json.RawMessage `json:"schema,omitzero"`
	// The answer, in JSON, if nobody gives one in time; nil: the request fails then.
	Default json.RawMessage `json:"default,omitzero"`
}

// Bounds of questions and answers, in bytes if nothing else is said.
const (
	// MaxQuestion is what message, schema and default of a question may have together. They travel
	// in each document of a request that waits.
	MaxQuestion = 16 << 10
	MaxAnswer   = 64 << 10 // of one answer
	// Answers are read, and written again, as a whole. With more of them no further question is
	// taken, so that an answer is never refused because of those before it.
	maxAnswers = 128 << 10
	maxAsked   = 100 // questions of one request
)

// DefaultQuestion is the name of a question that was given none.
const DefaultQuestion = "question"

// CodeUnanswered is the code of the failure of a request whose question nobody answered in time.
const CodeUnanswered = "unanswered"

// CodeTooManyQuestions is the code of the failure of a request that has asked too much.
const CodeTooManyQuestions = "too-many-questions"

// ErrQuestion is the error of a question that cannot be asked. What wraps it says why.
var ErrQuestion = errors.New("the question cannot be asked")

// ErrAnswer is the error of an answer that is none.
var ErrAnswer = errors.New("the answer is not one JSON value of at most " + strconv.Itoa(MaxAnswer>>10) + " KiB")

// ValidQuestion reports whether a name is one that a question can have.
func ValidQuestion(name string) bool { return ValidRoute(name) }

// Valid returns why a question cannot be asked, wrapping ErrQuestion; nil if it can.
func (q *Question) Valid() error {
	switch {
	case !ValidQuestion(q.Name):
		return fmt.Errorf("%w: its name must be 1 to 64 of the characters A-Z a-z 0-9 . _ -", ErrQuestion)
	case q.Message == "":
		return fmt.Errorf("%w: it has no message", ErrQuestion)
	case q.Schema != nil && !oneValue(q.Schema), q.Default != nil && !oneValue(q.Default):
		return fmt.Errorf("%w: its schema and its default must be JSON", ErrQuestion)
	case len(q.Message)+len(q.Schema)+len(q.Default) > MaxQuestion:
		return fmt.Errorf("%w: message, schema and default must have at most %d KiB together", ErrQuestion, MaxQuestion>>10)
	}
	return nil
}

// compact returns JSON in one line, as events have it; nil for nil.
func compact(text json.RawMessage) json.RawMessage {
	var line bytes.Buffer
	if text == nil || json.Compact(&line, text) != nil {
		return text
	}
	return line.Bytes()
}

// oneValue reports whether text is one JSON value.
func oneValue(text []byte) bool { return json.Valid(text) && validUTF8(text) }

// Ask is how an attempt asks something and lets go: processing → waiting. As long as the request
// waits nobody works on it, its own time stands still, and the question's runs.
//
// Asking the same once more, while it waits for the answer, changes nothing. What was answered is
// not asked again, see [Service.Report].
type Ask struct {
	Attempt  int // the attempt that asks; 0 for whichever is running
	Question Question
	Timeout  time.Duration // for how long an answer is waited for, more than 0

	// What follows is the service's to fill in: the number of the question, from 0, and the answers
	// that there are with the question's default, if it has one.
	Asked   int
	Answers *Content
}

func (Ask) name() string { return "ask" }

func (c Ask) apply(r *Request, now time.Time) (EventType, error) {
	report := c.report()
	if r.Status == Waiting && r.Reported == report {
		return unchanged, nil
	}
	if err := fence(r, c, c.Attempt); err != nil {
		return "", err
	}
	if c.Asked != r.Asked {
		return "", refuseFor(ReasonQuestion, r, c, 0)
	}
	r.reported(report)
	if c.Answers != nil {
		r.AnswersSize = int64(len(c.Answers.Data))
	}
	if r.CancelRequested {
		return r.end(Canceled, now), nil
	}
	r.Status = Waiting
	r.Asked++
	r.Question = new(c.Question)
	r.StartedBy, r.Lease = "", 0
	r.Left = max(r.ExpiresAt.Sub(now), 0)
	r.ExpiresAt = now.Add(c.Timeout)
	return EventWaiting, nil
}

// Answer gives a request what it waits for: waiting → pending, where its next start goes on with
// the attempt that has asked.
type Answer struct {
	Asked   int      // how many questions the request has asked, of which this is to the last
	Answers *Content // all that there are, a JSON object, as [Service.Answer] makes it
}

func (Answer) name() string { return "answer" }

func (c Answer) apply(r *Request, now time.Time) (EventType, error) {
	if r.Status != Waiting {
		reason := ReasonQuestion
		switch {
		case r.Status.Terminal():
			reason = ReasonEnded
		case r.Batch != nil:
			reason = ReasonBatch
		case r.Asked >= c.Asked && c.Asked > 0:
			reason = ReasonAnswered
		}
		return "", refuseFor(reason, r, c, 0)
	}
	if r.Asked != c.Asked {
		return "", refuseFor(ReasonQuestion, r, c, 0)
	}
	if c.Answers != nil {
		r.AnswersSize = int64(len(c.Answers.Data))
	}
	return r.resume(now), nil
}

// resume moves r back to pending with its answer.
func (r *Request) resume(now time.Time) EventType {
	r.Status = Pending
	r.ExpiresAt = now.Add(r.Left)
	r.NotBefore = time.Time{}
	r.Question, r.Left, r.Resumes = nil, 0, true
	return EventAnswered
}

// Answer answers the question that one of the caller's requests asks, and hands the request to the
// queue again. Who may cancel a request may answer it. value is one JSON value of at most
// [MaxAnswer] bytes, else ErrAnswer. name, unless it is "", is the question that is meant.
//
// A [*TransitionError] says why there is nothing to answer: ReasonAnswered if somebody did,
// ReasonQuestion if the request asks something else, or nothing, ReasonEnded if it has ended. An
// answer that was given with an outcome that is not known can be given again: it is taken once.
func (s *Service) Answer(ctx context.Context, caller Principal, of Ref, name string, value json.RawMessage) (Request, error) {
	if len(value) > MaxAnswer || !oneValue(value) {
		return Request{}, ErrAnswer
	}
	r, err := s.Get(ctx, caller, of)
	if err != nil {
		return Request{}, err
	}
	c := Answer{Asked: r.Asked}
	if r.Status == Waiting && name != "" && name != r.Question.Name || r.Status != Waiting && name != "" && !r.Status.Terminal() {
		answers, err := s.answers(ctx, &r)
		if _, answered := answers[name]; answered && err == nil {
			err = refuseFor(ReasonAnswered, &r, c, 0)
		}
		return Request{}, cmp.Or(err, refuseFor(ReasonQuestion, &r, c, 0))
	}
	if r.Status == Waiting {
		if c.Answers, err = s.answersWith(ctx, &r, r.Question.Name, value); err != nil {
			return Request{}, err
		}
	}
	if r, err = s.store.Apply(ctx, r.Ref(), c); err != nil {
		return Request{}, err
	}
	s.tell(r)
	s.enqueueAgain(ctx, r)
	return r, nil
}

// ask completes a question: with its number, and the answers that there are. What was answered is
// refused with ReasonAnswered, since whoever asks was given the answer at its start.
func (s *Service) ask(ctx context.Context, of Ref, c Ask) (Request, error) {
	if err := c.Question.Valid(); err != nil {
		return Request{}, err
	}
	c.Question.Schema, c.Question.Default = compact(c.Question.Schema), compact(c.Question.Default)
	if c.Timeout <= 0 {
		c.Timeout = s.Limits().Timeout
	}
	c.Timeout = min(c.Timeout, s.Limits().MaxTimeout)
	for {
		r, err := s.store.Get(ctx, of)
		if err != nil {
			return Request{}, err
		}
		if r.Status == Processing {
			answers, err := s.answers(ctx, &r)
			if err != nil {
				return Request{}, err
			}
			if _, answered := answers[c.Question.Name]; answered {
				return Request{}, refuseFor(ReasonAnswered, &r, c, c.Attempt)
			}
			if r.Asked >= maxAsked || r.AnswersSize > maxAnswers {
				return s.Report(ctx, r.Ref(), Fail{Attempt: c.Attempt, Failure: Failure{
					Code: CodeTooManyQuestions, Message: "The request has asked more than it may.",
				}})
			}
			if c.Answers = nil; c.Question.Default != nil {
				if c.Answers, err = s.answersWith(ctx, &r, c.Question.Name, c.Question.Default); err != nil {
					return Request{}, err
				}
			}
		}
		c.Asked = r.Asked
		after, err := s.store.Apply(ctx, r.Ref(), c)
		refused, ok := errors.AsType[*TransitionError](err)
		if ok && refused.Reason == ReasonQuestion {
			continue // it has asked something meanwhile, and got an answer
		}
		if err == nil {
			s.tell(after)
		}
		return after, err
	}
}

// answers returns those that a request has got, by the name of their question.
func (s *Service) answers(ctx context.Context, r *Request) (map[string]json.RawMessage, error) {
	if r.AnswersSize == 0 {
		return nil, nil
	}
	content, err := s.store.Content(ctx, r.Ref(), Answers)
	if err != nil {
		return nil, fmt.Errorf("answers of request %s: %w", r.ID, err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(content.Data, &all); err != nil {
		return nil, fmt.Errorf("answers of request %s: %w", r.ID, err)
	}
	if r.Question != nil {
		delete(all, r.Question.Name) // that is its default
	}
	return all, nil
}

// answersWith returns the answers of a request with one more.
func (s *Service) answersWith(ctx context.Context, r *Request, name string, value json.RawMessage) (*Content, error) {
	all, err := s.answers(ctx, r)
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = make(map[string]json.RawMessage)
	}
	all[name] = value
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(all); err != nil {
		return nil, err
	}
	return &Content{Type: "application/json", Data: bytes.TrimSpace(data.Bytes())}, nil
}

// give puts the answers that there are into a request that is about to be worked on.
func (s *Service) give(ctx context.Context, r *Request) error {
	if r.AnswersSize == 0 {
		return nil
	}
	content, err := s.store.Content(ctx, r.Ref(), Answers)
	switch {
	case errors.Is(err, ErrNotFound): // else it would seem that the request is not there
		return &DamageError{ID: r.ID, What: "the answers", Err: err}
	case err != nil:
		return fmt.Errorf("answers of request %s: %w", r.ID, err)
	}
	r.Given = content.Data
	return nil
}
