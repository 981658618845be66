package api

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// submitBatch answers POST /v1/batches: at once, or with Prefer: wait=N when the batch has ended.
func (a *API) submitBatch(c *fiber.Ctx, caller auth.Caller) error {
	p, err := pollOf(c)
	if err != nil {
		return err
	}
	read, err := a.submissions().readBatch(c, a.oneOffs(caller))
	if err != nil {
		return err
	}
	routed := read.members
	if read.then != nil {
		routed = append(slices.Clip(routed), *read.then)
	}
	return a.submitAndAnswer(c, caller, read.sub, submitOptions{
		async: true, poll: p, routes: routesOf(routed),
		submit: func(ctx context.Context, sub lifecycle.Submission) (lifecycle.Created, error) {
			return a.Service.Batches().Submit(ctx, caller.Principal, sub, read.members, read.then)
		},
		ended: a.batchEnded,
	})
}

// batchEnded answers with the status document of a batch that has ended: what it brings is counts,
// and a joined result stands in it or behind a link.
func (a *API) batchEnded(c *fiber.Ctx, caller auth.Caller, r *lifecycle.Request, prefer field.Preference, p poll) error {
	c.Set(fiber.HeaderContentLocation, "/v1/requests/"+r.ID)
	a.operation(c, r.ID, p)
	c.Set(fiber.HeaderCacheControl, "no-store")
	if applied := prefer.Applied(false); applied != "" {
		c.Set("Preference-Applied", applied)
	}
	return httpbody.SendJSON(c, fiber.StatusOK, wire.AppendDocument(nil, r, p.view(caller)))
}

// getBatch answers GET /v1/batches/{id} as GET /v1/requests/{id} is.
func (a *API) getBatch(c *fiber.Ctx, caller auth.Caller) error {
	if _, err := a.Service.Batches().Get(a.storeContext(), caller.Principal, named(c)); err != nil {
		return err
	}
	return a.get(c, caller)
}

// batchRequests answers GET /v1/batches/{id}/requests.
func (a *API) batchRequests(c *fiber.Ctx, caller auth.Caller) error {
	of, from, limit := named(c), hub.Cursor{}, 50
	var errs []problem.FieldError
	if s := c.Query("cursor"); s != "" {
		var err error
		from, err = hub.ParseCursor(s)
		if of.Life = cmp.Or(from.Epoch, of.Life); err != nil || from.Offset < 1 || from.Offset > maxBatch || from.String() != s {
			errs = append(errs, problem.At("?cursor", "is not a cursor of this list"))
		}
	}
	if s := c.Query("limit"); s != "" {
		var err error
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > 200 {
			errs = append(errs, problem.At("?limit", "must be a whole number from 1 to 200"))
		}
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	members, life, next, err := a.Service.Batches().Members(a.storeContext(), caller.Principal, of, int(from.Offset), limit)
	if err != nil {
		return err
	}
	page := lifecycle.Page{Requests: members}
	if next > 0 {
		page.Next = hub.Cursor{Offset: uint64(next), Epoch: life}.String()
	}
	return sendPage(c, view(caller), page)
}
