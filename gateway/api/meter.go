package api

import (
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle"
)

// Meter is told of calls. It is called for each of them by the goroutine that answers it: it must
// not block, and should not allocate.
type Meter interface {
	// Called is told of a call when its answer is about to be sent: which resource it has reached,
	// as the table of resources names it (see [OtherRoute]), as who, with which status, and how
	// long that took. Of a call that waits for an end, or for work, that is as long as it waited;
	// of a stream until the hub had the connection.
	Called(method, route, role string, status int, took time.Duration)
	// Failed is told of each problem that a call is answered with, by the name of its type.
	Failed(problem string)
	// Limited is told of each call that has met a limit.
	Limited(policy string)
}

// OtherRoute stands for what is no resource.
const OtherRoute = "(other)"

// The roles of callers as a [Meter] is told of them: those of [lifecycle.Role], and these.
const (
	roleAnybody = "anybody" // where nobody has a key
	roleTicket  = "ticket"
	roleNone    = "none" // it did not prove who it is, or needed not
)

// Roles are all that a [Meter] is told of.
var Roles = []string{string(lifecycle.RoleAdmin), string(lifecycle.RoleProcessor), string(lifecycle.RoleClient), roleAnybody, roleTicket, roleNone}

// noteRoute notes which resource a call has reached, when it has.
func noteRoute(c *fiber.Ctx) {
	conn, route := httpbody.ConnOf(c.Context()), c.Route()
	conn.Method, conn.Route = route.Method, route.Path
}

// measured answers a call and tells the meter of it.
func (a *API) measured(ctx *fasthttp.RequestCtx, handle fasthttp.RequestHandler) {
	began := time.Now()
	handle(ctx)
	conn, status := httpbody.ConnOf(ctx), ctx.Response.StatusCode()
	method, route, role := conn.Method, conn.Route, conn.Role
	// What reaches no resource stays at what stands in front of all, whose path is that of the
	// page. That is only read, and has no errors.
	page := status < fiber.StatusBadRequest && (method == fiber.MethodGet || method == fiber.MethodHead)
	if route == "" || route == "/" && !page {
		method, route = "", OtherRoute
	}
	if role == "" {
		role = roleNone
	}
	a.Meter.Called(method, route, role, status, time.Since(began))
}

// roleOf returns the strongest role of a caller.
func (a *API) roleOf(caller auth.Caller) string {
	switch {
	case caller.Request.ID != "":
		return roleTicket
	case a.Guard.Open():
		return roleAnybody
	}
	for _, role := range []lifecycle.Role{lifecycle.RoleAdmin, lifecycle.RoleProcessor, lifecycle.RoleClient} {
		if slices.Contains(caller.Roles, role) {
			return string(role)
		}
	}
	return roleNone
}

// failed tells the meter of a problem, and of the limit that it tells of.
func (a *API) failed(p *problem.Details) {
	if a.Meter == nil {
		return
	}
	a.Meter.Failed(p.Kind.Name)
	switch policies, _ := p.Members["violated-policies"].([]string); {
	case len(policies) > 0:
		for _, policy := range policies {
			a.Meter.Limited(policy)
		}
	case p.Kind.Name == problem.RouteFull.Name:
		a.Meter.Limited(policyRoute)
	case p.Kind.Name == problem.Bytes.Name:
		a.Meter.Limited(policyBytes)
	}
}

// limited tells the meter of a limit that no problem names.
func (a *API) limited(policy string) {
	if a.Meter != nil {
		a.Meter.Limited(policy)
	}
}
