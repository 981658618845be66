package api

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

// storeContext is that of a call to the store and the queue, which nobody cancels: it ends by
// itself.
func (a *API) storeContext() context.Context { return a.stored.Context() }

// named is the request that the path names: whichever life the id has now.
func named(c *fiber.Ctx) lifecycle.Ref { return lifecycle.Named(param(c, "id")) }

// get answers GET /v1/requests/{id}: at once, or with Prefer: wait=N when something has
// happened since the state that the client knows.
func (a *API) get(c *fiber.Ctx, caller auth.Caller) error {
	ctx := a.storeContext()
	r, err := a.Service.Get(ctx, caller.Principal, named(c))
	if err != nil {
		return err
	}
	p, err := pollOf(c)
	if err != nil {
		return err
	}
	prefer := a.preferred(c)
	known := c.Get(fiber.HeaderIfNoneMatch)
	c.Vary("Prefer")
	if prefer.Wait != nil && !r.Status.Terminal() && (known == "" || matches(known, etag(&r))) {
		since := r.Sequence
		r, err = a.waitFor(c, caller, r, *prefer.Wait, func(r *lifecycle.Request) bool {
			return r.Sequence != since || r.Status.Terminal()
		})
		if err != nil {
			return err
		}
	}
	if prefer.Wait != nil {
		c.Set("Preference-Applied", field.Preference{Wait: prefer.Wait}.Applied(false))
	}
	c.Set(fiber.HeaderETag, etag(&r))
	c.Set(fiber.HeaderCacheControl, "no-cache")
	if !r.Status.Terminal() {
		c.Set(fiber.HeaderRetryAfter, a.retryAfter(&r))
	}
	document := wire.AppendDocument(nil, &r, p.view(caller))
	switch {
	case p.ticket: // which is new each time, so this is never 304
		if document, err = a.withTicket(document, caller, r.Ref()); err != nil {
			return err
		}
		c.Set(fiber.HeaderCacheControl, "no-store")
	case known != "" && matches(known, etag(&r)):
		return c.Status(fiber.StatusNotModified).Send(nil)
	}
	return httpbody.SendJSON(c, fiber.StatusOK, document)
}

// etag is weak, because the queue position changes without an event.
func etag(r *lifecycle.Request) string {
	return `W/"` + version(r) + `"`
}

// version names a state of a request, which no other one has, also of another life of its id.
func version(r *lifecycle.Request) string {
	return strings.TrimPrefix(r.Life+"-"+strconv.FormatUint(r.Sequence, 10), "-")
}

// matches compares If-None-Match weakly (RFC 9110, section 13.1.2).
func matches(ifNoneMatch, tag string) bool {
	opaque := strings.TrimPrefix(tag, "W/")
	for _, candidate := range field.SplitUnquoted(ifNoneMatch, ',') {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || uncoded(strings.TrimPrefix(candidate, "W/"), opaque) == opaque {
			return true
		}
	}
	return false
}

// uncoded returns a tag without what a proxy put behind it when it compressed the answer:
// mod_deflate of Apache and of lighttpd make "3" to "3-gzip", others to "3;br", and hand that on as
// it comes back. Ours have no such end.
func uncoded(candidate, tag string) string {
	rest, ok := strings.CutPrefix(candidate, strings.TrimSuffix(tag, `"`))
	if ok && len(rest) > len(`-"`) && (rest[0] == '-' || rest[0] == ';') && strings.HasSuffix(rest, `"`) {
		return tag
	}
	return candidate
}

// list answers GET /v1/requests.
func (a *API) list(c *fiber.Ctx, caller auth.Caller) error {
	q := lifecycle.Query{Route: query(c, "route"), Topic: query(c, "topic"), Cursor: query(c, "cursor"), Limit: 50}
	owner, err := a.ownerOption(c, caller)
	if err != nil {
		return err
	}
	q.Owner, q.All = owner, owner == everybody
	var errs []problem.FieldError
	if s := c.Query("status"); s != "" {
		if q.Status, err = lifecycle.ParseStatus(s); err != nil {
			errs = append(errs, problem.At("?status", "must be one of pending, processing, waiting, succeeded, failed, canceled, expired"))
		}
	}
	if s := c.Query("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 200 {
			errs = append(errs, problem.At("?limit", "must be a whole number from 1 to 200"))
		}
		q.Limit = n
	}
	// What no request can have would be answered with an empty list.
	if q.Route != "" && !lifecycle.ValidRoute(q.Route) {
		errs = append(errs, problem.At("?route", "must be the name of a route: 1 to 64 of the characters A-Z a-z 0-9 . _ -"))
	}
	if q.Topic != "" && !lifecycle.ValidTopic(q.Topic) {
		errs = append(errs, problem.At("?topic", "must be 1 to 200 of the characters A-Z a-z 0-9 . _ : @ ~ -"))
	}
	q.Since, q.Until = timeOption(c, "since", &errs), timeOption(c, "until", &errs)
	if len(errs) == 0 && !q.Until.IsZero() && !q.Until.After(q.Since) {
		errs = append(errs, problem.At("?until", "must be later than since: nothing was created in between"))
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	var page lifecycle.Page
	if ctx := a.storeContext(); q.All || owner != caller.Subject {
		page, err = a.Service.ListOf(ctx, q)
	} else {
		page, err = a.Service.List(ctx, caller.Principal, q)
	}
	if err != nil {
		return err
	}
	v := view(caller)
	v.Owner = query(c, "owner") != ""
	return sendPage(c, v, page)
}

// sendPage answers with a page of a list of requests.
func sendPage(c *fiber.Ctx, v wire.View, page lifecycle.Page) error {
	body := []byte(`{"requests":[`)
	for i := range page.Requests {
		if i > 0 {
			body = append(body, ',')
		}
		body = wire.AppendDocument(body, &page.Requests[i], v)
	}
	if page.Next == "" {
		body = append(body, `],"next":null}`...)
	} else {
		body = append(append(append(body, `],"next":"`...), page.Next...), `"}`...)
	}
	c.Set(fiber.HeaderCacheControl, "no-cache")
	return httpbody.SendJSON(c, fiber.StatusOK, body)
}

// cancel answers POST /v1/requests/{id}/cancel.
func (a *API) cancel(c *fiber.Ctx, caller auth.Caller) error {
	ctx := a.storeContext()
	r, err := a.Service.Cancel(ctx, caller.Principal, named(c))
	if err != nil {
		return err
	}
	status := fiber.StatusOK
	if !r.Status.Terminal() { // its processor has been asked
		status = fiber.StatusAccepted
		c.Set(fiber.HeaderLocation, a.address(c, "/v1/requests/"+r.ID))
		c.Set(fiber.HeaderRetryAfter, a.retryAfter(&r))
	}
	return httpbody.SendJSON(c, status, wire.AppendDocument(nil, &r, view(caller)))
}

// forget answers DELETE /v1/requests/{id}.
func (a *API) forget(c *fiber.Ctx, caller auth.Caller) error {
	ctx := a.storeContext()
	if err := a.Service.Delete(ctx, caller.Principal, named(c)); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// submissionDocument is what a request was submitted with, beside what its status document says.
type submissionDocument struct {
	ID          string            `json:"id"`
	Caller      string            `json:"caller"`
	Priority    int               `json:"priority"`
	MaxAttempts int               `json:"maxAttempts"`
	Headers     map[string]string `json:"headers"`
	Call        *lifecycle.Call   `json:"call"`
	ContentType string            `json:"contentType,omitzero"`

	// And the content, see [assignments.add].
}

// submitted answers GET /v1/requests/{id}/submission.
func (a *API) submitted(c *fiber.Ctx, caller auth.Caller) error {
	r, content, err := a.Service.Submitted(a.storeContext(), caller.Principal, named(c), httpbody.RoomFor(c))
	if err != nil {
		return err
	}
	d := submissionDocument{
		ID: r.ID, Caller: r.Owner, Priority: r.Priority, MaxAttempts: r.MaxAttempts, Headers: r.Headers, Call: r.Call, ContentType: content.Type,
	}
	if d.Headers == nil {
		d.Headers = map[string]string{}
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	if r.Batch != nil { // whose requests have contents
		return send(c, fiber.StatusOK, d)
	}
	out := assignments{api: a}
	if err := out.add(d, r.Ref(), content); err != nil {
		return err
	}
	return out.send(c)
}

// result answers GET /v1/requests/{id}/result.
func (a *API) result(c *fiber.Ctx, caller auth.Caller) error {
	ctx := a.storeContext()
	r, err := a.Service.Get(ctx, caller.Principal, named(c))
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-cache")
	return a.sendResult(c, &r, false)
}

// sendResult answers with what a request brought: its bytes, nothing, its error, or
// that it is not ready. whole is without regard to ranges and conditions.
func (a *API) sendResult(c *fiber.Ctx, r *lifecycle.Request, whole bool) error {
	switch {
	case !r.Status.Terminal():
		p := &problem.Details{Kind: problem.NotReady, Detail: "The request is " + string(r.Status) + ".", Members: map[string]any{"requestStatus": r.Status, "position": r.Position}}
		p.RetryAfter, _ = strconv.Atoi(a.retryAfter(r))
		return p
	case r.Status != lifecycle.Succeeded && (r.Batch == nil || r.Result == nil):
		// A batch joins what there is, however it ended.
		return outcomeProblem(r)
	case r.Result == nil:
		return c.SendStatus(fiber.StatusNoContent)
	}
	// What a processor made is shown, never run in this origin.
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderContentSecurityPolicy, "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'")
	tag := `"` + r.ID + "-" + version(r) + `"`
	body := a.contentOf(r.Ref(), lifecycle.Output, r.Result.Size)
	// Before anything is answered it is known whether it is there.
	first := make([]byte, min(r.Result.Size, httpbody.PieceSize))
	if n, err := body.Head(first); err != nil {
		return err
	} else if n < len(first) {
		return io.ErrUnexpectedEOF
	}
	if !whole {
		httpbody.SetRange(c, int(r.Result.Size))
		knownTags(c, tag)
		if c.Get(fiber.HeaderRange) != "" || c.Get(fiber.HeaderIfNoneMatch) != "" || c.Get(fiber.HeaderIfMatch) != "" {
			return httpbody.SendRange(c, body, r.Result.Type, tag, r.EndedAt)
		}
		c.Set(fiber.HeaderAcceptRanges, "bytes")
	}
	c.Set(fiber.HeaderETag, tag)
	c.Set(fiber.HeaderContentType, r.Result.Type)
	c.Status(fiber.StatusOK)
	if int64(len(first)) == r.Result.Size {
		return c.Send(first)
	}
	c.Context().Response.SetBodyStream(body, int(r.Result.Size))
	return nil
}

// contentOf returns so many bytes of what was submitted with a request or came out of it, to be
// read while they are sent.
func (a *API) contentOf(of lifecycle.Ref, part lifecycle.Part, size int64) *httpbody.Section {
	return httpbody.NewSection(size, func(p []byte, offset int64) (int, error) {
		n, err := a.Service.ReadContent(a.storeContext(), of, part, p, offset)
		if err != nil {
			a.log.Warn("a body could not be sent to its end", slog.String("request", of.ID), slog.Any("error", err))
		}
		return n, err
	})
}

// knownTags leaves If-None-Match in a call as net/http compares it.
func knownTags(c *fiber.Ctx, tag string) {
	if known := c.Get(fiber.HeaderIfNoneMatch); known != "" && matches(known, tag) {
		c.Request().Header.Set(fiber.HeaderIfNoneMatch, tag)
	}
}
