package api

import (
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle"
)

// submitBatch answers POST /v1/batches: at once, or with Prefer: wait=N when the batch has ended.
func (a *API) submitBatch(c *fiber.Ctx, caller auth.Caller) error {
	ticket, err := wantsTicket(c)
	if err != nil {
		return err
	}
	key, err := readKey(c)
	if err != nil {
		return err
	}
	sub, members, err := a.readBatch(c, caller)
	if err != nil {
		return err
	}
	prefer := a.preferred(c)
	c.Vary("Prefer")
	wait := time.Duration(0)
	if prefer.wait != nil {
		wait = *prefer.wait
	}
	sub.Headers = a.traced(c, readHeaders(c))
	sub.Key, sub.KeyLock = key, wait+storeTime
	created, err := a.Service.SubmitBatch(a.storeContext(), caller.Principal, sub, members)
	if err != nil {
		return err
	}
	r := created.Request
	if created.Existed && created.Reply != nil {
		c.Set("Idempotency-Replayed", "true")
		if created.Reply.Status == fiber.StatusAccepted {
			return a.accepted(c, caller, &r, prefer, created.Reply.Body, ticket)
		}
		return a.batchEnded(c, caller, &r, prefer)
	}
	if wait > 0 && !r.Status.Terminal() {
		if r, err = a.waitFor(caller, r, wait, func(r *lifecycle.Request) bool { return r.Status.Terminal() }); err != nil {
			return err
		}
	}
	reply := lifecycle.Reply{Status: fiber.StatusOK}
	ended := r.Status.Terminal() && wait > 0
	if !ended {
		reply = lifecycle.Reply{Status: fiber.StatusAccepted, Body: lifecycle.AppendDocument(nil, &r, view(caller))}
	}
	if key != "" {
		if err := a.saveReply(caller, key, reply); err != nil {
			return err
		}
	}
	if ended {
		return a.batchEnded(c, caller, &r, prefer)
	}
	return a.accepted(c, caller, &r, prefer, reply.Body, ticket)
}

// batchEnded answers with the status document of a batch that has ended, which is all that it brings.
func (a *API) batchEnded(c *fiber.Ctx, caller auth.Caller, r *lifecycle.Request, prefer preference) error {
	self := "/v1/requests/" + r.ID
	c.Set(fiber.HeaderContentLocation, self)
	c.Set("Operation-Location", self)
	c.Set(fiber.HeaderCacheControl, "no-store")
	if applied := prefer.applied(false); applied != "" {
		c.Set("Preference-Applied", applied)
	}
	return sendJSON(c, fiber.StatusOK, lifecycle.AppendDocument(nil, r, view(caller)))
}

// getBatch answers GET /v1/batches/{id} as GET /v1/requests/{id} is.
func (a *API) getBatch(c *fiber.Ctx, caller auth.Caller) error {
	if _, err := a.Service.GetBatch(a.storeContext(), caller.Principal, param(c, "id")); err != nil {
		return err
	}
	return a.get(c, caller)
}

// batchRequests answers GET /v1/batches/{id}/requests.
func (a *API) batchRequests(c *fiber.Ctx, caller auth.Caller) error {
	from, limit := 0, 50
	var errs []fieldError
	if s := c.Query("cursor"); s != "" {
		var err error
		if from, err = strconv.Atoi(s); err != nil || from < 1 || strconv.Itoa(from) != s {
			errs = append(errs, fieldError{"?cursor", "is not a cursor of this list"})
		}
	}
	if s := c.Query("limit"); s != "" {
		var err error
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > 200 {
			errs = append(errs, fieldError{"?limit", "must be a whole number from 1 to 200"})
		}
	}
	if len(errs) > 0 {
		return invalid(errs...)
	}
	members, next, err := a.Service.Members(a.storeContext(), caller.Principal, param(c, "id"), from, limit)
	if err != nil {
		return err
	}
	page := lifecycle.Page{Requests: members}
	if next > 0 {
		page.Next = strconv.Itoa(next)
	}
	return sendPage(c, caller, page)
}
