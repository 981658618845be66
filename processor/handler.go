package processor

import "context"

// Handler does the work of one route.
//
// Process is called once for every attempt, by many goroutines at once. What it
// returns decides how the attempt ends:
//
//   - a nil error: the request succeeds with the [Result], which may be empty;
//   - an error from [Fail], or any that wraps a [lifecycle.Failure]: the request
//     fails with that code and message, and is not tried again;
//   - an error that wraps [ErrSkipRetry]: it fails, and is not tried again;
//   - an error from [RetryAfter]: tried again after that delay while attempts are
//     left;
//   - an error from [Snooze]: handed back until that delay has passed, at no cost;
//   - an error from [Job.Ask]: handed back until the question is answered, at no cost;
//   - any other error, a panic or [runtime.Goexit]: tried again after a backoff
//     while attempts are left.
//
// Each may be wrapped by others. If they disagree, the outermost decides.
//
// ctx ends when nobody needs the answer any more; [context.Cause] tells why: one
// of [ErrCanceled], [ErrSuperseded], [ErrEnded], [ErrShutdown], or
// [context.DeadlineExceeded] when the request's time has run out. Process should
// then return soon. A success that it returns all the same still counts if the
// request is still there to take it.
//
// The same request may be processed more than once, also at the same time on two
// machines that do not see each other. What a handler does to the outside world
// should therefore be keyed by [Job.ID].
type Handler interface {
	Process(ctx context.Context, job *Job) (Result, error)
}

// HandlerFunc is a function that is a [Handler].
type HandlerFunc func(ctx context.Context, job *Job) (Result, error)

// Process calls f.
func (f HandlerFunc) Process(ctx context.Context, job *Job) (Result, error) { return f(ctx, job) }

// Routes says which handler does the work of which route. A processor consumes
// exactly these routes.
type Routes map[string]Handler
