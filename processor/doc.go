// Package processor is the SDK for doing the work of a Hark gateway's requests.
//
// # A handler
//
// The work of a route is a [Handler], shaped like one of net/http: it gets a
// [Job] and returns a [Result].
//
//	func thumbnail(ctx context.Context, job *processor.Job) (processor.Result, error) {
//		picture, err := shrink(ctx, job.Content.Data)
//		if err != nil {
//			return processor.Result{}, err
//		}
//		return processor.Bytes("image/png", picture), nil
//	}
//
// A result is bytes with a media type ([Bytes]), a JSON value ([JSON]), or the zero
// Result for success without one. [Job.Decode] reads JSON content, and its error is fit
// to be shown to the user.
//
// For JSON that comes and goes [Handle] does both, and the function has the types:
//
//	func greet(ctx context.Context, job *processor.Job, in Person) (Greeting, error)
//
//	processor.Routes{"greet": processor.Handle(greet)}
//
// What several handlers have around them is [Middleware]; [Routes.With] puts it there, the
// outermost first.
//
// # Running it
//
// A [Processor] takes the work of its routes from a broker and runs the handlers:
//
//	p := processor.New(service, store, broker, processor.Routes{
//		"thumbnails": processor.HandlerFunc(thumbnail),
//	}, processor.Options{})
//	err := p.Run(ctx) // until ctx ends and what was running is settled
//
// service is a [lifecycle.Service]; store tells of cancellations. Any number
// of processors in any number of processes may serve the same route.
//
// # Failing
//
// How an attempt ended is told by the error. A plain error is tried again with a
// backoff while attempts are left; users read a general message and developers
// its text. The same goes for a panic, which also passes through all middleware and
// is recovered outside of it. [Fail] ends the request at once with a code
// and a message of the handler's choice, [ErrSkipRetry] with neither; [RetryAfter]
// decides when the next attempt begins. [Snooze] hands the request back for a while,
// which costs no attempt, nor does it to ask something, see [Job.Ask].
//
//	return processor.Result{}, processor.Fail("not-an-image", "This is not an image.", err)
//	return processor.Result{}, processor.RetryAfter(time.Minute, err)
//	return processor.Result{}, processor.Snooze(time.Minute)
//
// How long the backoff is can be said by route, with a [RetryPolicy]. A request whose
// time would be over before its next attempt fails at once, with the error that it has.
//
// Errors that wrap these mean the same, and [errors.Is] and [errors.As] find what they
// were made of.
//
// # Telling how far it is
//
// [Job.Progress] pushes a step, a percentage and a message to whoever follows the
// request. It may be called as often as is convenient, see there how reports are
// paced. Its error is not nil only when nobody wants the work any more, so that
// it can be returned as it is. [Job.Extend] asks for more time.
//
// # Stopping
//
// The handler's context ends when its answer is not wanted any more, and
// [context.Cause] tells why: [ErrCanceled], [ErrSuperseded], [ErrEnded],
// [ErrShutdown] or [context.DeadlineExceeded]. (Its Err is [context.Canceled] in
// each case; its deadline can move, so use the cause.) The handler returns
// whatever error it likes then: the cause decides what is reported.
//
//	cause                      the request becomes
//	ErrCanceled                canceled
//	context.DeadlineExceeded   expired, by the store's clock
//	ErrShutdown                pending: it starts again elsewhere, at no cost
//	ErrSuperseded, ErrEnded    whatever it is already
//
// # What is promised
//
// Work is done at least once: an attempt that dies is followed by another one, and
// one that was cut off from the store may be going on while the next runs. Only
// one of them counts, since every report carries its attempt and those of a
// superseded one are refused. A delivery is acknowledged after the final report
// has been stored, and a report that meets a store that is down is made again
// until the request's time or the drain time is over. So what a handler does to
// the outside world should be keyed by [Job.ID], and nothing else needs care.
package processor
