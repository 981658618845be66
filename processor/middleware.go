package processor

import "slices"

// Middleware makes a handler of a handler: one that does something before, after or instead of it.
// What it passes on may have another context, which has to be made of the one that it got, or
// another error, which should wrap the one that it got: outcomes are told by what errors wrap, see
// [Handler].
//
// A panic passes through it, like through any caller, to the recover of [Processor], which is the
// outermost; so a middleware that has to know of it looks in a deferred function.
type Middleware func(Handler) Handler

// With returns routes of which each handler has all of the middleware. The first is the outermost:
// it is called first and sees last how the attempt ended. r is not changed, so routes with
// middleware of their own can be put together:
//
//	routes := processor.Routes{
//		"mail": limited(processor.Handle(mail)),
//		"scan": processor.Handle(scan),
//	}.With(logged, measured) // logged(measured(limited(mail)))
//
// It panics if a handler is nil.
func (r Routes) With(all ...Middleware) Routes {
	with := make(Routes, len(r))
	for route, h := range r {
		if h == nil {
			panic("processor: no handler for route " + route)
		}
		for _, m := range slices.Backward(all) {
			h = m(h)
		}
		with[route] = h
	}
	return with
}
