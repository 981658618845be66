package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/hangup"
	"github.com/hark-push/hark/gateway/lease"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// What a lease may ask for, and what it gets if it does not say.
const (
	mostLeases   = 100
	leaseWait    = 20 * time.Second
	leaseTime    = time.Minute
	leastLease   = time.Second
	longestLease = time.Hour
)

// lease answers POST /v1/work/lease: with work that has been started, as soon as there is some.
func (a *API) lease(c *fiber.Ctx, caller auth.Caller) error {
	var fields map[string]json.RawMessage
	if err := readReport(c, a.maxDocument(), &fields, nil); err != nil {
		return err
	}
	order, errs := parseLease(fields, a.routes)
	for i, route := range order.Routes {
		if len(errs) == 0 && a.Elsewhere != nil && a.Elsewhere(route) {
			errs = append(errs, problem.At(fmt.Sprintf("/routes/%d", i),
				"is consumed from RabbitMQ by others: its work goes to an exchange, and no queue of it is named here (--route-queue)"))
		}
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	order.Wait = min(order.Wait, a.MaxWait)
	order.Worker.Owner = caller.Subject
	allowed, release := caller.Until(a.ctx)
	defer release()
	conn := httpbody.ConnOf(c.Context())
	present, stop := hangup.Watch(allowed, conn)
	defer stop()
	work, err := a.Leases.Take(present, order)
	if err != nil {
		return err
	}
	conn.Await(func() { a.Leases.HandBack(work) })
	if present.Err() != nil && allowed.Err() == nil { // the caller has hung up
		conn.Missed()
		work = nil // should it read on all the same, it has got none
	}
	if err := caller.Ended(); err != nil {
		conn.Missed()
		return err
	}
	if err := a.answerLease(c, work); err != nil {
		conn.Missed()
		return err
	}
	return nil
}

// answerLease answers with work that has been started.
func (a *API) answerLease(c *fiber.Ctx, work []lease.Work) error {
	out := assignments{api: a}
	out.text([]byte(`{"work":[`))
	for i, w := range work {
		if i > 0 {
			out.text([]byte(","))
		}
		one := newAssignment(&w.Request, w.Content)
		one.LeaseExpires = timestamp(w.Expires)
		if err := out.add(one, w.Request.Ref(), w.Content); err != nil {
			return err
		}
	}
	out.text([]byte("]}"))
	c.Set(fiber.HeaderCacheControl, "no-store")
	return out.send(c)
}

// leaseFields are those of a lease, which may be null.
var leaseFields = []string{"routes", "max", "wait", "lease", "worker", "session"}

// parseLease reads the fields of a lease. Null is as good as absent.
func parseLease(fields map[string]json.RawMessage, routes map[string]bool) (lease.Order, []problem.FieldError) {
	o := lease.Order{Max: 1, Wait: leaseWait, Lease: leaseTime}
	var errs []problem.FieldError
	wrong := func(pointer, format string, args ...any) {
		errs = append(errs, problem.At(pointer, fmt.Sprintf(format, args...)))
	}
	for name, raw := range jsonobject.InOrder(fields) {
		if string(raw) == "null" && slices.Contains(leaseFields, name) {
			continue
		}
		switch name {
		case "routes":
			if why := jsonobject.Crowded(raw); why != "" {
				wrong("/routes", "%s", why)
			} else if json.Unmarshal(raw, &o.Routes) != nil {
				o.Routes = nil
				wrong("/routes", "must be a list of routes")
			}
		case "max":
			n, err := field.ParseInteger(string(raw))
			if err != nil || n < 1 || n > mostLeases {
				wrong("/max", "must be a whole number from 1 to %d", mostLeases)
			}
			o.Max = n
		case "wait":
			d, err := field.ParseSeconds(raw)
			if err != nil {
				wrong("/wait", "%v", err)
			}
			o.Wait = d
		case "lease":
			d, err := field.ParseSeconds(raw)
			if err != nil {
				wrong("/lease", "%v", err)
			} else if d < leastLease || d > longestLease {
				wrong("/lease", "must be from %v to %v", leastLease, longestLease)
			}
			o.Lease = d
		case "worker", "session":
			to := &o.Worker.Name
			if name == "session" {
				to = &o.Worker.Session
			}
			if json.Unmarshal(raw, to) != nil || !lifecycle.ValidWorker(*to) {
				wrong("/"+name, "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : @ ~ and -")
			}
		default:
			wrong("/"+strictjson.Escape(name), "is not a field of a lease%s", suggest.Mean(name, leaseFields))
		}
	}
	if o.Worker.Session != "" && o.Worker.Name == "" && len(errs) == 0 {
		wrong("/session", "is of a worker: name it in the member worker")
	}
	switch {
	case len(errs) == 0 && len(o.Routes) == 0:
		wrong("/routes", "is required: the routes to take work of")
	default:
		for i, route := range o.Routes {
			if !routes[route] {
				wrong(fmt.Sprintf("/routes/%d", i), "%s", field.UnknownRoute(route, routes))
			}
		}
	}
	return o, errs
}
