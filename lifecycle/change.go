package lifecycle

import (
	"bytes"
	"encoding/json"
	"mime"
	"strings"
	"time"
)

// Change is one step of a request's life, as reported by a processor, asked for by a client, or due
// by the clock. The types in this file, and those of batches in batch.go, are all there are.
type Change interface {
	name() string
	// apply changes r, which is the transition's own copy, and returns the type of the event that
	// tells of it: silent if followers need not know, unchanged if nothing was changed.
	apply(r *Request, now time.Time) (EventType, error)
}

// What a change returns that has no event.
const (
	unchanged EventType = ""
	silent    EventType = "silent"
)

// Effect is what a change does to a request, which is all that a store has to know of it.
type Effect struct {
	Request Request   // as it is after the change
	Event   EventType // that tells of it; "" if it has none of its own
	Changed bool      // there is something to store, as there always is with an event
	// Its end was asked for just now: whoever works on it is to be told, see [Cancellations].
	Asked bool
}

// Transition is the state machine. Sequence and UpdatedAt are advanced with the event. r itself is
// not changed. The error is a [*TransitionError]; with it the request is as it was.
//
// It is pure: the store supplies the time, so that one clock rules.
func Transition(r Request, c Change, now time.Time) (Effect, error) {
	next := r
	event, err := c.apply(&next, now)
	switch {
	case err != nil || event == unchanged:
		return Effect{Request: r}, err
	case event == silent:
		asked := next.CancelRequested && !r.CancelRequested && next.Status == Processing
		return Effect{Request: next, Changed: true, Asked: asked}, nil
	}
	next.Sequence++
	next.UpdatedAt = now
	return Effect{Request: next, Event: event, Changed: true}, nil
}

// BodyOf returns what is stored beside a request if the change is made, nil for nothing, and as
// which part of it. Answers replace those that were there.
func BodyOf(c Change) (*Content, Part) {
	switch c := c.(type) {
	case Succeed:
		return c.Result, Output
	case *Succeed:
		return c.Result, Output
	case Conclude:
		return c.Result, Output
	case Ask:
		return c.Answers, Answers
	case Answer:
		return c.Answers, Answers
	}
	return nil, 0
}

// Start begins an attempt, or goes on with the one that has got its answer: pending → processing.
//
// A queue may hand a message out late or twice, and more than one message may stand for the same
// work. So a start that stems from one says from which, and for what that was made: it begins
// nothing of another route, nothing that waits for another message since, and supersedes no attempt
// but the one that this very message began.
type Start struct {
	Route   string // that the message was made for; "" for any
	Message string // the queue's id of the message; "" if the start stems from none
	// That of the event since which the request waited when the message was made; 0 if that is not
	// known.
	Sequence uint64
	// Redelivered says that the queue handed this message out before and took it back because its
	// processor went away. Only then may a request that is processing be started again, as a new
	// attempt that fences off the old one, unless that has a lease and has reported within it.
	Redelivered bool
	// Attempt, with Redelivered, is the attempt that is believed to be dead; 0 for the one that the
	// message began, or whichever runs if the start stems from none.
	Attempt int
	// Insist, with Redelivered, supersedes an attempt within its lease, too.
	Insist bool
	// Lease is for how long the new attempt may be silent; 0: nobody has said.
	Lease time.Duration
}

func (Start) name() string { return "start" }

func (c Start) apply(r *Request, now time.Time) (EventType, error) {
	switch {
	case r.Batch != nil || r.Status.Terminal():
		return "", refuse(r, c, 0)
	case c.Route != "" && c.Route != r.Route:
		return "", refuseFor(ReasonMessage, r, c, 0)
	case r.Status == Pending:
		if c.Sequence != 0 && c.Sequence < r.Sequence {
			// It has begun, and waits again, for another message.
			return "", refuseFor(ReasonMessage, r, c, 0)
		}
	case r.Status == Processing && c.Redelivered:
		switch {
		case c.Message != "" && c.Message != r.StartedBy:
			return "", refuseFor(ReasonMessage, r, c, 0)
		case c.Attempt != 0 && c.Attempt != r.Attempt:
			return "", refuse(r, c, c.Attempt)
		case r.leased(now) && !c.Insist:
			return "", refuseFor(ReasonAlive, r, c, 0)
		}
		r.Failures++ // the attempt before this one died
		if r.CancelRequested {
			return r.end(Canceled, now), nil
		}
		if r.Failures >= r.MaxAttempts {
			r.Error = &Failure{Code: "attempts-exhausted", Message: "Every attempt ended without an answer from its processor."}
			return r.end(Failed, now), nil
		}
	default:
		return "", refuse(r, c, 0)
	}
	r.Status = Processing
	r.StartedBy, r.Lease = c.Message, c.Lease
	if r.Error = nil; !r.Resumes {
		r.Attempt++
		r.Step, r.Message, r.Percent = "", "", nil
	}
	r.Resumes = false
	r.NotBefore = time.Time{}
	if r.StartedAt.IsZero() {
		r.StartedAt = now
	}
	return EventStarted, nil
}

// Progress reports how far an attempt is. What is nil keeps its value.
type Progress struct {
	Attempt int // the attempt that reports; 0 for whichever is running
	Step    *string
	Percent *float64 // 0 to 100
	Message *string
	// Extend, if positive, lets the request's time run out this long from now
	// instead of when it would have.
	Extend time.Duration
}

func (Progress) name() string { return "progress" }

func (c Progress) apply(r *Request, now time.Time) (EventType, error) {
	if err := fence(r, c, c.Attempt); err != nil {
		return "", err
	}
	if c.Step != nil {
		r.Step = *c.Step
	}
	if c.Percent != nil && *c.Percent == *c.Percent { // JSON knows no NaN
		r.Percent = new(min(max(*c.Percent, 0), 100))
	}
	if c.Message != nil {
		r.Message = *c.Message
	}
	if c.Extend > 0 {
		r.ExpiresAt = now.Add(c.Extend)
	}
	return EventProgress, nil
}

// Succeed ends the running attempt and with it the request.
type Succeed struct {
	Attempt int
	Result  *Content // nil: success without a result
}

func (Succeed) name() string { return "succeed" }

func (c Succeed) apply(r *Request, now time.Time) (EventType, error) {
	report := c.report()
	if r.Reported == report {
		return unchanged, nil
	}
	if err := fence(r, c, c.Attempt); err != nil {
		return "", err
	}
	r.reported(report)
	if c.Result != nil {
		r.Result = resultOf(*c.Result)
	}
	r.Percent = new(100.0)
	r.Error = nil
	return r.end(Succeeded, now), nil
}

// Fail ends the running attempt, and the request unless it may be tried again. It may not if its
// time would be over before the next attempt: to wait for that would only hide why it failed. A
// request whose cancellation was asked for ends as canceled.
type Fail struct {
	Attempt int
	Failure Failure
	Retry   bool          // back to pending if an attempt is left, and time for it
	Delay   time.Duration // before the next attempt
	// Somebody else reports it, because the attempt's lease has run out; it is refused if it has
	// not.
	Silent bool
	// The queue's message by which whoever is meant works on it, "" for any: an attempt that has
	// asked something goes on by another one, maybe with somebody else.
	Message string
}

func (Fail) name() string { return "fail" }

func (c Fail) apply(r *Request, now time.Time) (EventType, error) {
	report := c.report()
	if r.Reported == report {
		return unchanged, nil
	}
	if err := fence(r, c, c.Attempt); err != nil {
		return "", err
	}
	if c.Message != "" && c.Message != r.StartedBy {
		return "", refuseFor(ReasonMessage, r, c, 0)
	}
	if c.Silent && r.leased(now) {
		return "", refuseFor(ReasonAlive, r, c, 0)
	}
	r.reported(report)
	r.Failures++
	r.Error = new(c.Failure)
	if r.CancelRequested {
		return r.end(Canceled, now), nil
	}
	again := now.Add(c.Delay)
	inTime := r.ExpiresAt.IsZero() || again.Before(r.ExpiresAt)
	if c.Retry && r.Failures < r.MaxAttempts && inTime {
		return r.wait(again), nil
	}
	return r.end(Failed, now), nil
}

// Release hands work back that a processor puts off, or cannot finish because it shuts down:
// processing → pending. It costs none of the allowed attempts.
type Release struct {
	Attempt int
	Delay   time.Duration // before the next attempt
	// Lost says that somebody else hands it back, because the processor is gone. What it did until
	// then may have had effects, and may be what ended it. So that costs nothing only as often as
	// the request may be tried again; then it is a failure, as it always is of a request that
	// allows one attempt.
	Lost    bool
	Message string // see [Fail]
}

// codeLost is the code of the failure of an attempt whose processor was lost once too often.
const codeLost = "processor-lost"

func (Release) name() string { return "release" }

func (c Release) apply(r *Request, now time.Time) (EventType, error) {
	report := c.report()
	if r.Reported == report {
		return unchanged, nil
	}
	if err := fence(r, c, c.Attempt); err != nil {
		return "", err
	}
	if c.Message != "" && c.Message != r.StartedBy {
		return "", refuseFor(ReasonMessage, r, c, 0)
	}
	r.reported(report)
	// All attempts but those that failed were handed back, or will be with this one. Those that
	// were put off are among them: why each was handed back is not kept.
	if c.Lost && r.Attempt-r.Past-r.Failures >= r.MaxAttempts {
		r.Failures++
		r.Error = &Failure{Code: codeLost, Message: "The processor was started again before it had answered."}
	}
	switch {
	case r.CancelRequested:
		return r.end(Canceled, now), nil
	case c.Lost && r.Failures >= r.MaxAttempts:
		return r.end(Failed, now), nil
	}
	return r.wait(now.Add(max(c.Delay, 0))), nil
}

// Repeat tells of a second submission of a request that waits. Both may be answered,
// and the first may still learn that the work could not be queued: from now on it is
// not withdrawn any more.
type Repeat struct{}

func (Repeat) name() string { return "repeat" }

func (c Repeat) apply(r *Request, _ time.Time) (EventType, error) {
	switch {
	case r.Status != Pending:
		return "", refuse(r, c, 0)
	case r.Repeated:
		return unchanged, nil
	}
	r.Repeated = true
	return silent, nil
}

// Cancel asks for the end. What is pending or waiting ends at once; what is processing is marked,
// and ends when its processor has reacted. A batch is marked, and ends with its members. Canceling
// twice is no error.
type Cancel struct {
	// Withdrawn says that the request was never accepted, because its work could not
	// be queued. It is about to be forgotten; if that fails, this tells it from one
	// that somebody canceled. It is refused once a processor has begun, because then the
	// work was queued after all, and once it was submitted again, see [Repeat].
	Withdrawn bool
}

const codeWithdrawn = "withdrawn"

// withdrawn reports whether r was never accepted.
func (r *Request) withdrawn() bool {
	return r.Status == Canceled && r.Error != nil && r.Error.Code == codeWithdrawn
}

func (Cancel) name() string { return "cancel" }

func (c Cancel) apply(r *Request, now time.Time) (EventType, error) {
	if c.Withdrawn && r.Status != Canceled && (r.Attempt > 0 || r.Repeated || r.Batch != nil && r.Status != Pending) {
		return "", refuse(r, c, 0)
	}
	switch r.Status {
	case Pending:
		if r.Batch != nil && !c.Withdrawn { // its members may have begun: it ends with them
			return r.askToCancel(), nil
		}
		r.CancelRequested = true
		if c.Withdrawn {
			r.Error = &Failure{Code: codeWithdrawn, Message: "The request was not accepted, because its work could not be queued."}
		}
		return r.end(Canceled, now), nil
	case Waiting:
		r.CancelRequested = true
		return r.end(Canceled, now), nil
	case Processing:
		return r.askToCancel(), nil
	case Canceled:
		return unchanged, nil
	default:
		return "", refuse(r, c, 0)
	}
}

func (r *Request) askToCancel() EventType {
	if r.CancelRequested {
		return unchanged
	}
	r.CancelRequested = true
	return silent
}

// Expire ends a request whose time has run out. The time of one that waits is that of its question:
// with it the request fails, or goes on with the question's default.
type Expire struct{}

func (Expire) name() string { return "expire" }

func (c Expire) apply(r *Request, now time.Time) (EventType, error) {
	if r.Status.Terminal() {
		return "", refuse(r, c, 0)
	}
	if now.Before(r.ExpiresAt) {
		return "", refuseFor(ReasonEarly, r, c, 0)
	}
	if r.Status == Waiting {
		if r.Question != nil && r.Question.Default != nil {
			return r.resume(now), nil
		}
		r.Error = &Failure{Code: CodeUnanswered, Message: "The question of the request was not answered in time."}
		return r.end(Failed, now), nil
	}
	r.Error = &Failure{Code: "expired", Message: "The request's time ran out before it was done."}
	return r.end(Expired, now), nil
}

// end moves r to a terminal status.
func (r *Request) end(s Status, now time.Time) EventType {
	r.Status = s
	r.EndedAt = now
	r.ExpiresAt = now.Add(r.Retention)
	r.NotBefore = time.Time{}
	r.StartedBy, r.Lease = "", 0
	r.Question, r.Left, r.Resumes = nil, 0, false
	return EventType("request." + string(s))
}

// wait moves r back to pending.
func (r *Request) wait(notBefore time.Time) EventType {
	r.Status = Pending
	r.NotBefore = notBefore
	r.StartedBy, r.Lease = "", 0
	return EventRetrying
}

// leased reports whether the running attempt has a lease, and has reported within it.
func (r *Request) leased(now time.Time) bool {
	return r.Lease > 0 && now.Before(r.UpdatedAt.Add(r.Lease))
}

// fence lets only the attempt that counts report, and only while it runs. No attempt is made at a
// batch.
func fence(r *Request, c Change, attempt int) error {
	if r.Batch != nil || r.Status != Processing || (attempt != 0 && attempt != r.Attempt) {
		return refuse(r, c, attempt)
	}
	return nil
}

func refuse(r *Request, c Change, attempt int) error {
	reason := ReasonStatus
	switch {
	case attempt != 0 && attempt != r.Attempt:
		reason = ReasonStale
	case r.Status.Terminal():
		reason = ReasonEnded
	case r.Batch != nil:
		reason = ReasonBatch
	}
	return refuseFor(reason, r, c, attempt)
}

func refuseFor(reason Reason, r *Request, c Change, attempt int) error {
	return &TransitionError{ID: r.ID, Change: c.name(), From: r.Status, Reason: reason, Attempt: attempt, Current: r.Attempt}
}

// resultOf describes what came out.
func resultOf(c Content) *Result {
	return &Result{ContentInfo: ContentInfo{Type: c.Type, Size: int64(len(c.Data))}, Value: inline(c)}
}

// inline returns a small valid JSON body in one line, nil for every other body.
func inline(c Content) json.RawMessage {
	if len(c.Data) == 0 || len(c.Data) > InlineLimit || !IsJSON(c.Type) {
		return nil
	}
	var line bytes.Buffer
	if json.Compact(&line, c.Data) != nil || !validUTF8(line.Bytes()) {
		return nil
	}
	return line.Bytes()
}

// IsJSON reports whether a media type is JSON: application/json or a +json type
// (RFC 6839), whatever its parameters.
func IsJSON(mediaType string) bool {
	if mediaType == "application/json" { // as nearly everybody writes it
		return true
	}
	t, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
}
