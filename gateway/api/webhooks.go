package api

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/hangup"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// challengeTime bounds what a call waits for an endpoint's challenge, besides the store.
const challengeTime = 90 * time.Second

func challengeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), challengeTime)
}

// ownerOf returns whose endpoint the path names, as far as the caller may reach it: its own, or, of
// an admin, anybody's. Of others it is said that there is none.
func (a *API) ownerOf(c *fiber.Ctx, caller auth.Caller) (owner, id string, err error) {
	id = param(c, "webhook")
	if !caller.Is(lifecycle.RoleAdmin) {
		return caller.Subject, id, nil
	}
	owner, err = a.Webhooks.OwnerOf(a.storeContext(), id)
	return owner, id, err
}

func send(c *fiber.Ctx, status int, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	return httpbody.SendJSON(c, status, body)
}

// createEndpoint answers POST /v1/webhooks.
func (a *API) createEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	key, err := readKey(c)
	if err != nil {
		return err
	}
	var in endpointInput
	if err := a.decode(c, &in); err != nil {
		return err
	}
	errs := in.wrong(a.routes)
	if in.URL == nil {
		errs = append(errs, problem.At("/url", "is required: where deliveries go"))
	}
	challenge, ok := dispatch.ParseChallenge(in.Challenge)
	if !ok {
		errs = append(errs, problem.At("/challenge", "must be one of none, handshake, echo"))
	}
	if in.Status != nil {
		errs = append(errs, problem.At("/status", "cannot be set when it is made"))
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	e := dispatch.Endpoint{Owner: caller.Subject}
	in.fill(&e)
	ctx, cancel := challengeContext()
	defer cancel()
	ctx, stop := hangup.Watch(ctx, httpbody.ConnOf(c.Context())) // the challenge may take long
	defer stop()
	var secret string
	if key == "" {
		e, secret, err = a.Webhooks.Create(ctx, e, in.Secret, challenge)
	} else {
		var fingerprint string
		if fingerprint, err = in.fingerprint(); err != nil {
			return err
		}
		var existed bool
		if e, secret, existed, err = a.Webhooks.CreateOnce(ctx, e, in.Secret, challenge, key, fingerprint); existed {
			c.Set("Idempotency-Replayed", "true")
		}
	}
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, a.address(c, "/v1/webhooks/"+e.ID))
	return send(c, fiber.StatusCreated, documentOf(&e, nil, secret))
}

// listEndpoints answers GET /v1/webhooks.
func (a *API) listEndpoints(c *fiber.Ctx, caller auth.Caller) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	owner, err := a.ownerOption(c, caller)
	if err != nil {
		return err
	}
	ctx := a.storeContext()
	var endpoints []dispatch.Endpoint
	if cursor := query(c, "cursor"); owner == everybody {
		endpoints, err = a.Webhooks.ListAll(ctx, cursor, limit)
	} else {
		endpoints, err = a.Webhooks.List(ctx, owner, cursor, limit)
	}
	if errors.Is(err, dispatch.ErrNotFound) {
		return problem.InvalidFields(problem.At("?cursor", "is not a cursor of this list"))
	}
	if err != nil {
		return err
	}
	page := struct {
		Webhooks []endpointDocument `json:"webhooks"`
		Next     *string            `json:"next"`
	}{Webhooks: make([]endpointDocument, len(endpoints))}
	for i := range endpoints {
		page.Webhooks[i] = documentOf(&endpoints[i], nil, "")
		if query(c, "owner") != "" {
			page.Webhooks[i].Owner = endpoints[i].Owner
		}
	}
	if len(endpoints) == limit {
		page.Next = &endpoints[limit-1].ID
	}
	return send(c, fiber.StatusOK, page)
}

func limitOf(c *fiber.Ctx) (int, error) {
	text := c.Query("limit")
	if text == "" {
		return 50, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 200 {
		return 0, problem.InvalidFields(problem.At("?limit", "must be a whole number from 1 to 200"))
	}
	return n, nil
}

// getEndpoint answers GET /v1/webhooks/{id}.
func (a *API) getEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	e, health, err := a.Webhooks.Get(a.storeContext(), owner, id)
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, &health, ""))
}

// patchEndpoint answers PATCH /v1/webhooks/{id}: what is given is changed.
func (a *API) patchEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	var in endpointInput
	if err := a.decode(c, &in); err != nil {
		return err
	}
	switch {
	case in.Secret != "":
		return problem.InvalidFields(problem.At("/secret", "is changed by rotate"))
	case in.Challenge != "":
		return problem.InvalidFields(problem.At("/challenge", "cannot be changed"))
	case in.Status != nil && *in.Status != dispatch.Active && *in.Status != dispatch.Paused:
		return problem.InvalidFields(problem.At("/status", "must be active or paused"))
	}
	if errs := in.wrong(a.routes); len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	return a.changeEndpoint(c, caller, func(e *dispatch.Endpoint) error {
		in.fill(e)
		return nil
	})
}

func (a *API) changeEndpoint(c *fiber.Ctx, caller auth.Caller, f func(*dispatch.Endpoint) error) error {
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	e, err := a.Webhooks.Update(a.storeContext(), owner, id, f)
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, nil, ""))
}

// pauseEndpoint answers POST /v1/webhooks/{id}/pause, and resumeEndpoint …/resume.
func (a *API) pauseEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	return a.changeEndpoint(c, caller, func(e *dispatch.Endpoint) error { e.Status = dispatch.Paused; return nil })
}

func (a *API) resumeEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	return a.changeEndpoint(c, caller, func(e *dispatch.Endpoint) error { e.Status = dispatch.Active; return nil })
}

// deleteEndpoint answers DELETE /v1/webhooks/{id}.
func (a *API) deleteEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	if err := a.Webhooks.Delete(a.storeContext(), owner, id); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// rotateEndpoint answers POST /v1/webhooks/{id}/rotate. The old secret signs beside the new
// one for a day, unless the body says how long.
func (a *API) rotateEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	in := struct {
		Secret  string   `json:"secret"`
		Overlap duration `json:"overlap"`
	}{Overlap: duration(24 * time.Hour)}
	if httpbody.Announced(c) {
		if err := a.decode(c, &in); err != nil {
			return err
		}
	}
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	e, secret, err := a.Webhooks.Rotate(a.storeContext(), owner, id, in.Secret, time.Duration(in.Overlap))
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, nil, secret))
}

// testEndpoint answers POST /v1/webhooks/{id}/test.
func (a *API) testEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	message, err := a.Webhooks.Test(a.storeContext(), owner, id)
	if err != nil {
		return err
	}
	href := "/v1/webhooks/" + id + "/deliveries/" + message
	c.Set(fiber.HeaderLocation, a.address(c, href))
	return send(c, fiber.StatusAccepted, map[string]any{"id": message, "links": []link{{"self", href, "GET"}}})
}

// verifyEndpoint answers POST /v1/webhooks/{id}/verify: the challenge once more.
func (a *API) verifyEndpoint(c *fiber.Ctx, caller auth.Caller) error {
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	ctx, cancel := challengeContext()
	defer cancel()
	ctx, stop := hangup.Watch(ctx, httpbody.ConnOf(c.Context()))
	defer stop()
	e, err := a.Webhooks.Verify(ctx, owner, id)
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, nil, ""))
}

// publicKey answers GET /v1/webhooks/public-key.
func (a *API) publicKey(c *fiber.Ctx, _ auth.Caller) error {
	return send(c, fiber.StatusOK, map[string]any{"keys": []string{a.Webhooks.PublicKey().String()}})
}
