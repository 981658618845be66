package api

import (
	"math"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

// poll is how a client looks at a request, by the query of its call. Who submits gets it back in
// where to look.
type poll struct {
	ticket bool // put one into the links
	failed bool // call it failed when it has expired
}

// pollOf reads ?ticket= and ?expired=.
func pollOf(c *fiber.Ctx) (poll, error) {
	var errs []problem.FieldError
	p := poll{ticket: wantsTrue(c, "ticket", &errs)}
	switch c.Query("expired") {
	case "", string(lifecycle.Expired):
	case string(lifecycle.Failed):
		p.failed = true
	default:
		errs = append(errs, problem.At("?expired", "must be failed, for clients that do not know the status expired, or expired"))
	}
	if len(errs) > 0 {
		return p, problem.InvalidFields(errs...)
	}
	return p, nil
}

// operation says where a request is to be looked at, as it is looked at by this call, and returns
// that.
func (a *API) operation(c *fiber.Ctx, of string, p poll) string {
	self := a.address(c, "/v1/requests/"+of)
	if p.failed {
		self += "?expired=" + string(lifecycle.Failed)
	}
	c.Set("Operation-Location", self)
	return self
}

// view is how much of a request a caller may see, and how.
func (p poll) view(caller auth.Caller) wire.View {
	v := view(caller)
	v.ExpiredFails = p.failed
	return v
}

// maxRetryAfter is the longest that a poller is told to leave between two looks, in seconds.
const maxRetryAfter = 30

// retryAfter is how many seconds from now, by the clock that the estimate is of, a poller should
// look again: when the end is estimated, after a tenth of the time that it waits for an answer
// already, or a second from now.
func (a *API) retryAfter(r *lifecycle.Request) string {
	seconds := 1.0
	switch eta := r.ETA(); {
	case !eta.IsZero():
		seconds = min(max(math.Ceil(eta.Sub(a.Now()).Seconds()), 1), maxRetryAfter)
	case r.Status == lifecycle.Waiting: // people answer when they do
		seconds = min(max(math.Ceil(a.Now().Sub(r.UpdatedAt).Seconds()/10), 1), maxRetryAfter)
	}
	return strconv.Itoa(int(seconds))
}
