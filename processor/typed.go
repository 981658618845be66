package processor

import "context"

// Handle returns the [Handler] that a typed function is: in is what was submitted, read as
// [Job.Decode] reads it, and what comes out is the result, encoded as by [JSON].
//
//	func resize(ctx context.Context, job *processor.Job, in Order) (Picture, error)
//
//	routes := processor.Routes{"resize": processor.Handle(resize)}
//
// Content that does not fit T ends the request as failed with [CodeBadContent] and a message for
// the user; f is not called. If R is [Result], what f returns is the result as it stands: bytes of
// another media type, or, as Result{}, success without a result. What f returns beside an error is
// dropped.
func Handle[T, R any](f func(ctx context.Context, job *Job, in T) (R, error)) Handler {
	return HandlerFunc(func(ctx context.Context, job *Job) (Result, error) {
		var in T
		if err := job.Decode(&in); err != nil {
			return Result{}, err
		}
		out, err := f(ctx, job, in)
		if err != nil {
			return Result{}, err
		}
		if result, ok := any(out).(Result); ok {
			return result, nil
		}
		return JSON(out)
	})
}
