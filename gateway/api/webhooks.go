package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// challengeTime bounds what a call waits for an endpoint's challenge, besides the store.
const challengeTime = 90 * time.Second

func challengeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), challengeTime)
}

// endpointInput is an endpoint as clients write it. What is nil was not given.
type endpointInput struct {
	URL         *string           `json:"url"`
	Description *string           `json:"description"`
	Status      *dispatch.Status  `json:"status"`
	Events      *[]string         `json:"events"`
	Routes      *[]string         `json:"routes"`
	Topics      *[]string         `json:"topics"`
	Headers     map[string]string `json:"headers"`
	Timeout     *duration         `json:"timeout"`
	Schedule    *[]duration       `json:"schedule"`
	Rate        *float64          `json:"rate"`
	Concurrency *int              `json:"concurrency"`
	Coalesce    *bool             `json:"coalesce"`

	Secret    string `json:"secret"`    // only when it is made
	Challenge string `json:"challenge"` // likewise
}

// duration is one in JSON: a string in one of the forms that parseDuration reads.
type duration time.Duration

func (d *duration) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return errDuration
	}
	v, err := parseDuration(text)
	*d = duration(v)
	return err
}

func (d duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// decode reads a JSON object into a struct, and says which field is wrong.
func decode(c *fiber.Ctx, into any) error {
	content, err := readContent(c)
	if err != nil {
		return err
	}
	if !isPlainJSON(content.Type) {
		return &problem{kind: kindMediaType, detail: "The body is to be application/json."}
	}
	fields, err := readObject(content.Data)
	if err != nil {
		return err
	}
	var errs []fieldError
	for name, raw := range fields {
		one, err := json.Marshal(map[string]json.RawMessage{name: raw})
		if err != nil {
			return err
		}
		decoder := json.NewDecoder(bytes.NewReader(one))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			errs = append(errs, fieldError{"/" + escapePointer(name), wrongField(err)})
		}
	}
	if len(errs) > 0 {
		return invalid(errs...)
	}
	return nil
}

func wrongField(err error) string {
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "must not be a JSON " + mistyped.Value
	}
	if errors.Is(err, errDuration) {
		return errDuration.Error()
	}
	return "is not a field of this resource"
}

// fill writes what was given into an endpoint.
func (in *endpointInput) fill(e *dispatch.Endpoint) {
	set(&e.URL, in.URL)
	set(&e.Description, in.Description)
	set(&e.Status, in.Status)
	set(&e.Types, in.Events)
	set(&e.Routes, in.Routes)
	set(&e.Topics, in.Topics)
	set(&e.Rate, in.Rate)
	set(&e.Concurrency, in.Concurrency)
	set(&e.Coalesce, in.Coalesce)
	if in.Headers != nil {
		e.Headers = in.Headers
	}
	if in.Timeout != nil {
		e.Timeout = time.Duration(*in.Timeout)
	}
	if in.Schedule != nil {
		e.Schedule = make([]time.Duration, len(*in.Schedule))
		for i, d := range *in.Schedule {
			e.Schedule[i] = time.Duration(d)
		}
	}
}

func set[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// endpointDocument is an endpoint as clients see it. It holds no secret.
type endpointDocument struct {
	ID          string            `json:"id"`
	URL         string            `json:"url"`
	Description string            `json:"description"`
	Status      dispatch.Status   `json:"status"`
	Reason      string            `json:"reason,omitempty"`
	Events      []string          `json:"events"`
	Routes      []string          `json:"routes"`
	Topics      []string          `json:"topics"`
	Headers     map[string]string `json:"headers"`
	Timeout     duration          `json:"timeout"`
	Schedule    []duration        `json:"schedule"`
	Rate        float64           `json:"rate"`
	Concurrency int               `json:"concurrency"`
	Coalesce    bool              `json:"coalesce"`
	Challenge   string            `json:"challenge"`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
	Health      *dispatch.Health  `json:"health,omitempty"`
	Secret      string            `json:"secret,omitempty"` // when it is made or changed, never again
	Links       []link            `json:"links"`
}

type link struct {
	Rel    string `json:"rel"`
	Href   string `json:"href"`
	Method string `json:"method"`
}

func documentOf(e *dispatch.Endpoint, health *dispatch.Health, secret string) endpointDocument {
	self := "/v1/webhooks/" + e.ID
	d := endpointDocument{
		ID: e.ID, URL: e.URL, Description: e.Description, Status: e.Status, Reason: e.Reason,
		Events: list(e.Types), Routes: list(e.Routes), Topics: list(e.Topics), Headers: e.Headers,
		Timeout: duration(e.Timeout), Schedule: make([]duration, len(e.Schedule)), Rate: e.Rate, Concurrency: e.Concurrency,
		Coalesce: e.Coalesce, Challenge: e.Challenge, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, Health: health, Secret: secret,
		Links: []link{
			{"self", self, "GET"},
			{"deliveries", self + "/deliveries", "GET"},
			{"test", self + "/test", "POST"},
			{"rotate", self + "/rotate", "POST"},
			{"recover", self + "/recover", "POST"},
			{"public-key", "/v1/webhooks/public-key", "GET"},
		},
	}
	if d.Headers == nil {
		d.Headers = map[string]string{}
	}
	if d.Challenge == "" {
		d.Challenge = string(dispatch.ChallengeNone)
	}
	for i, s := range e.Schedule {
		d.Schedule[i] = duration(s)
	}
	return d
}

// list is never null in JSON.
func list(items []string) []string {
	if items == nil {
		return []string{}
	}
	return items
}

func send(c *fiber.Ctx, status int, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	return sendJSON(c, status, body)
}

// createEndpoint answers POST /v1/webhooks.
func (a *API) createEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	var in endpointInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var errs []fieldError
	if in.URL == nil {
		errs = append(errs, fieldError{"/url", "is required: where deliveries go"})
	}
	challenge, ok := dispatch.ParseChallenge(in.Challenge)
	if !ok {
		errs = append(errs, fieldError{"/challenge", "must be one of none, handshake, echo"})
	}
	if in.Status != nil {
		errs = append(errs, fieldError{"/status", "cannot be set when it is made"})
	}
	if len(errs) > 0 {
		return invalid(errs...)
	}
	e := dispatch.Endpoint{Owner: caller.Subject}
	in.fill(&e)
	ctx, cancel := challengeContext()
	defer cancel()
	e, secret, err := a.Webhooks.Create(ctx, e, in.Secret, challenge)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, "/v1/webhooks/"+e.ID)
	return send(c, fiber.StatusCreated, documentOf(&e, nil, secret))
}

// listEndpoints answers GET /v1/webhooks.
func (a *API) listEndpoints(c *fiber.Ctx, caller lifecycle.Principal) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	ctx, cancel := storeContext()
	defer cancel()
	endpoints, err := a.Webhooks.List(ctx, caller.Subject, query(c, "cursor"), limit)
	if errors.Is(err, dispatch.ErrNotFound) {
		return invalid(fieldError{"?cursor", "is not a cursor of this list"})
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
		return 0, invalid(fieldError{"?limit", "must be a whole number from 1 to 200"})
	}
	return n, nil
}

// getEndpoint answers GET /v1/webhooks/{id}.
func (a *API) getEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	ctx, cancel := storeContext()
	defer cancel()
	e, health, err := a.Webhooks.Get(ctx, caller.Subject, param(c, "id"))
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, &health, ""))
}

// patchEndpoint answers PATCH /v1/webhooks/{id}: what is given is changed.
func (a *API) patchEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	var in endpointInput
	if err := decode(c, &in); err != nil {
		return err
	}
	switch {
	case in.Secret != "":
		return invalid(fieldError{"/secret", "is changed by rotate"})
	case in.Challenge != "":
		return invalid(fieldError{"/challenge", "cannot be changed"})
	case in.Status != nil && *in.Status != dispatch.Active && *in.Status != dispatch.Paused:
		return invalid(fieldError{"/status", "must be active or paused"})
	}
	return a.changeEndpoint(c, caller, func(e *dispatch.Endpoint) error {
		in.fill(e)
		return nil
	})
}

func (a *API) changeEndpoint(c *fiber.Ctx, caller lifecycle.Principal, f func(*dispatch.Endpoint) error) error {
	ctx, cancel := storeContext()
	defer cancel()
	e, err := a.Webhooks.Update(ctx, caller.Subject, param(c, "id"), f)
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, nil, ""))
}

// pauseEndpoint answers POST /v1/webhooks/{id}/pause, and resumeEndpoint …/resume.
func (a *API) pauseEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	return a.changeEndpoint(c, caller, func(e *dispatch.Endpoint) error { e.Status = dispatch.Paused; return nil })
}

func (a *API) resumeEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	return a.changeEndpoint(c, caller, func(e *dispatch.Endpoint) error { e.Status = dispatch.Active; return nil })
}

// deleteEndpoint answers DELETE /v1/webhooks/{id}.
func (a *API) deleteEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	ctx, cancel := storeContext()
	defer cancel()
	if err := a.Webhooks.Delete(ctx, caller.Subject, param(c, "id")); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// rotateEndpoint answers POST /v1/webhooks/{id}/rotate. The old secret signs beside the new
// one for a day, unless the body says how long.
func (a *API) rotateEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	in := struct {
		Secret  string   `json:"secret"`
		Overlap duration `json:"overlap"`
	}{Overlap: duration(24 * time.Hour)}
	if len(c.Request().Body()) > 0 {
		if err := decode(c, &in); err != nil {
			return err
		}
	}
	ctx, cancel := storeContext()
	defer cancel()
	e, secret, err := a.Webhooks.Rotate(ctx, caller.Subject, param(c, "id"), in.Secret, time.Duration(in.Overlap))
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, nil, secret))
}

// testEndpoint answers POST /v1/webhooks/{id}/test.
func (a *API) testEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	ctx, cancel := storeContext()
	defer cancel()
	id := param(c, "id")
	message, err := a.Webhooks.Test(ctx, caller.Subject, id)
	if err != nil {
		return err
	}
	href := "/v1/webhooks/" + id + "/deliveries/" + message
	c.Set(fiber.HeaderLocation, href)
	return send(c, fiber.StatusAccepted, map[string]any{"id": message, "links": []link{{"self", href, "GET"}}})
}

// verifyEndpoint answers POST /v1/webhooks/{id}/verify: the challenge once more.
func (a *API) verifyEndpoint(c *fiber.Ctx, caller lifecycle.Principal) error {
	ctx, cancel := challengeContext()
	defer cancel()
	e, err := a.Webhooks.Verify(ctx, caller.Subject, param(c, "id"))
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, documentOf(&e, nil, ""))
}

// publicKey answers GET /v1/webhooks/public-key.
func (a *API) publicKey(c *fiber.Ctx, _ lifecycle.Principal) error {
	return send(c, fiber.StatusOK, map[string]any{"keys": []string{a.Webhooks.PublicKey().String()}})
}
