package processor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// Why the context of a handler ended, as told by [context.Cause]. The remaining
// reason is [context.DeadlineExceeded].
var (
	// ErrCanceled: the client asked for the end of the request.
	ErrCanceled = errors.New("request was canceled")
	// ErrSuperseded: another attempt of the same request counts now.
	ErrSuperseded = errors.New("attempt was superseded")
	// ErrEnded: the request has ended otherwise or was forgotten.
	ErrEnded = errors.New("request has ended")
	// ErrShutdown: the processor shuts down and its drain time is over. The
	// work goes back and starts again elsewhere.
	ErrShutdown = errors.New("processor is shutting down")
)

// ErrSkipRetry ends the request as failed, without another attempt, if an error that a handler
// returns wraps it. It is the short way for what nobody words for users; [Fail] is the other one.
//
//	return fmt.Errorf("%w: the account is closed", processor.ErrSkipRetry)
var ErrSkipRetry = errors.New("not to be tried again")

// The codes of failures that the package itself reports. Handlers choose their
// own for [Fail].
const (
	CodeError      = "error"       // a plain error
	CodePanic      = "panic"       // the handler panicked or called runtime.Goexit
	CodeCanceled   = "canceled"    // the handler stopped because of a cancellation
	CodeBadContent = "bad-content" // see [Job.Decode]
)

// What users read of a failure that its handler did not word for them.
const plainMessage = "The work could not be done."

// Fail returns an error that ends the request as failed, without another
// attempt. code is short and stable, for programs; message is for the user; the
// text of cause, which may be nil, is the detail for the developer. The owner of
// the request can read all three, so none should hold a secret.
//
// The error wraps cause, and a [*lifecycle.Failure] that [errors.As] finds.
func Fail(code, message string, cause error) error {
	f := &failError{failure: lifecycle.Failure{Code: code, Message: message}, cause: cause}
	if cause != nil {
		f.failure.Detail = cause.Error()
	}
	return f
}

type failError struct {
	failure lifecycle.Failure
	cause   error
}

func (e *failError) Error() string {
	if e.cause == nil {
		return e.failure.Error()
	}
	return e.failure.Error() + ": " + e.cause.Error()
}

func (e *failError) Unwrap() []error {
	if e.cause == nil {
		return []error{&e.failure}
	}
	return []error{&e.failure, e.cause}
}

// RetryAfter returns an error that ends the attempt, to be followed by another
// one not before d has passed, if one is left; the attempt counts like every
// failed one. With d of zero or less the usual backoff decides. If the request's
// time is over before d has passed, it fails at once. If err is one of
// [Fail], its code and message are what users see meanwhile, and at the end. See
// [Snooze] for what did not fail.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		err = errors.New("to be tried again")
	}
	return &retryError{after: d, err: err}
}

type retryError struct {
	after time.Duration
	err   error
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// Snooze returns an error that hands the request back, to be started again not before d has passed,
// or at once if d is not positive. It says that the work cannot be begun now, not that it went
// wrong: the attempt has a number, but does not count as a failed one, however often it happens.
// The request's time goes on; if it runs out before d has passed, the request becomes expired.
func Snooze(d time.Duration) error { return &snoozeError{d} }

type snoozeError struct{ after time.Duration }

func (e *snoozeError) Error() string { return fmt.Sprintf("put off for %v", e.after) }

// panicError is how a handler ended that did not return.
type panicError struct {
	value any    // nil for runtime.Goexit
	stack []byte // of the panic
}

func (e *panicError) Error() string {
	if e.value == nil {
		return "the handler called runtime.Goexit"
	}
	return fmt.Sprintf("panic: %v", e.value)
}

// ending returns the change that reports a handler's error. If errors in it disagree, the outermost
// decides, since whoever wraps one knows it; of those side by side the one without another attempt.
func ending(attempt int, err error) lifecycle.Change {
	retry, again := errors.AsType[*retryError](err)
	failure, worded := errors.AsType[*lifecycle.Failure](err)
	final := worded || errors.Is(err, ErrSkipRetry)
	if asks, ok := errors.AsType[*askError](err); ok && !again && !final {
		return asks.change(attempt)
	}
	if put, ok := errors.AsType[*snoozeError](err); ok && !again && !final {
		return lifecycle.Release{Attempt: attempt, Delay: put.after}
	}
	if again { // what is for good within it is overruled, what is around it is not
		inner, ok := errors.AsType[*lifecycle.Failure](retry)
		final = worded && (!ok || inner != failure) || errors.Is(err, ErrSkipRetry) && !errors.Is(retry, ErrSkipRetry)
	}
	return fail(attempt, err, failure, retry, final)
}

// fail returns the report of a failure, of which failure and retry are parts of err, or nil.
func fail(attempt int, err error, failure *lifecycle.Failure, retry *retryError, final bool) lifecycle.Fail {
	c := lifecycle.Fail{Attempt: attempt, Retry: !final}
	if p, ok := errors.AsType[*panicError](err); ok {
		c.Failure = lifecycle.Failure{Code: CodePanic, Message: plainMessage, Detail: p.Error(), Trace: string(p.stack)}
	} else if failure != nil {
		c.Failure = *failure
	} else {
		c.Failure = lifecycle.Failure{Code: CodeError, Message: plainMessage, Detail: err.Error()}
	}
	if retry != nil && c.Retry {
		c.Delay = retry.after
	}
	c.Failure.Detail = clip(c.Failure.Detail, maxDetail)
	c.Failure.Trace = clip(c.Failure.Trace, maxTrace)
	return c
}

// A failure travels in every event of its request, so its texts are bounded.
const (
	maxDetail = 4 << 10  // bytes
	maxTrace  = 32 << 10 // bytes
)

func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
