package api

import (
	"context"
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/hangup"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// storeTime bounds what a call waits for the store and the queue.
const storeTime = 15 * time.Second

// submit answers POST /v1/requests.
func (a *API) submit(c *fiber.Ctx, caller auth.Caller) error {
	p, err := pollOf(c)
	if err != nil {
		return err
	}
	sub, err := a.submissions().read(c, a.oneOffs(caller))
	if err != nil {
		return err
	}
	return a.submitRequest(c, caller, sub, p)
}

// call answers any method on /v1/call/{route}/{path…}: a request made of the HTTP
// call itself.
func (a *API) call(c *fiber.Ctx, caller auth.Caller) error {
	route := param(c, "route")
	if !a.routes[route] {
		return &problem.Details{Kind: problem.NotFound, Detail: "The path names a route: " + quoted(route) + " " + field.UnknownRoute(route, a.routes) + "."}
	}
	sub, err := a.submissions().readCall(c, route)
	if err != nil {
		return err
	}
	return a.submitRequest(c, caller, sub, poll{}) // whose query is the processor's
}

// submissions returns what is taken for one.
func (a *API) submissions() rules {
	return rules{Limits: a.Service.Limits(), Routes: a.routes, MaxBody: a.MaxBody, MaxBatch: a.MaxBatch, IDHeader: a.IDHeader}
}

// oneOffs returns what makes the endpoint of a request that names one of its own.
func (a *API) oneOffs(caller auth.Caller) func(*oneOff) (*lifecycle.Webhook, error) {
	return func(w *oneOff) (*lifecycle.Webhook, error) {
		ctx, cancel := challengeContext()
		defer cancel()
		id, err := a.Webhooks.OneOff(ctx, caller.Subject, dispatch.Own{URL: *w.URL, Secret: w.Secret, ContentType: w.Type, Form: w.Form})
		if wrong, ok := errors.AsType[*dispatch.InvalidError](err); ok {
			return nil, problem.InvalidFields(problem.At(w.pointer(wrong.Field), wrong.Detail))
		}
		return &lifecycle.Webhook{Endpoint: id, Types: w.Events}, err
	}
}

// submitRequest stores a submission and answers when it has ended, when the client or the
// server will wait no longer, or at once, as preferred.
func (a *API) submitRequest(c *fiber.Ctx, caller auth.Caller, sub lifecycle.Submission, p poll) error {
	return a.submitAndAnswer(c, caller, sub, submitOptions{
		async: a.AsyncDefault, poll: p, routes: []string{sub.Route},
		submit: func(ctx context.Context, sub lifecycle.Submission) (lifecycle.Created, error) {
			return a.Service.Submit(ctx, caller.Principal, sub)
		},
		ended: a.outcome,
	})
}

// submitOptions are what differs between requests and batches.
type submitOptions struct {
	async  bool     // answer at once unless the caller wants to wait
	poll   poll     // how the caller will look at it
	routes []string // where the work goes
	submit func(context.Context, lifecycle.Submission) (lifecycle.Created, error)
	// Answers with what has ended.
	ended func(*fiber.Ctx, auth.Caller, *lifecycle.Request, field.Preference, poll) error
}

// submitAndAnswer is submitRequest for everything that can be submitted.
func (a *API) submitAndAnswer(c *fiber.Ctx, caller auth.Caller, sub lifecycle.Submission, o submitOptions) error {
	key, err := readKey(c)
	if err != nil {
		return err
	}
	prefer := a.preferred(c)
	c.Vary("Prefer")
	wait := a.MaxWait
	if (prefer.Async || o.async) && prefer.Wait == nil {
		wait = 0
	}
	if prefer.Wait != nil {
		wait = *prefer.Wait
	}
	headers, err := a.readHeaders(c)
	if err != nil {
		return err
	}
	sub.Headers = a.traced(c, headers)
	sub.Key, sub.KeyLock = key, wait+storeTime
	// Who does not want to wait needs no answer of the first call: the links are what it would get.
	sub.Join = wait == 0

	stored := httpbody.Storing(c)
	created, err := o.submit(a.storeContext(), sub)
	stored()
	if err != nil {
		return err
	}
	o.submit = nil // who waits needs no memory for what it has handed over
	httpbody.Released(c)
	r := created.Request
	if created.Existed && created.Reply != nil {
		c.Set("Idempotency-Replayed", "true")
		if created.Reply.Status == fiber.StatusAccepted {
			return a.answerAccepted(c, caller, &r, prefer, created.Reply.Body, o)
		}
		if !r.Status.Terminal() { // it was redriven since: how it ends is not known any more
			return a.answerAccepted(c, caller, &r, prefer, wire.AppendDocument(nil, &r, o.poll.view(caller)), o)
		}
		return o.ended(c, caller, &r, prefer, o.poll)
	}
	if created.Joined {
		c.Set("Idempotency-Replayed", "true")
		return a.answerAccepted(c, caller, &r, prefer, wire.AppendDocument(nil, &r, o.poll.view(caller)), o)
	}
	if wait > 0 && !r.Status.Terminal() {
		r, err = a.waitFor(c, caller, r, wait, func(r *lifecycle.Request) bool { return r.Status.Terminal() })
		// Whose proof has ended meanwhile was a caller when the request was accepted: told
		// otherwise, it would be made again.
		if err != nil && !errors.Is(err, auth.ErrUnauthenticated) {
			return err
		}
	}
	reply := lifecycle.Reply{Status: fiber.StatusAccepted}
	ended := r.Status.Terminal() && wait > 0
	if ended {
		reply.Status = fiber.StatusOK
	} else {
		reply.Body = wire.AppendDocument(nil, &r, o.poll.view(caller))
	}
	if key != "" {
		if err := a.saveReply(caller, r.Ref(), key, reply); err != nil {
			return err
		}
	}
	if ended {
		return o.ended(c, caller, &r, prefer, o.poll)
	}
	return a.answerAccepted(c, caller, &r, prefer, reply.Body, o)
}

func (a *API) saveReply(caller auth.Caller, of lifecycle.Ref, key string, reply lifecycle.Reply) error {
	ctx := a.storeContext()
	return a.Service.SaveReply(ctx, caller.Principal, of, key, reply)
}

// answerAccepted answers 202 with a status document, a ticket in its links if that is wanted, and
// warnings, which are of this answer alone.
func (a *API) answerAccepted(c *fiber.Ctx, caller auth.Caller, r *lifecycle.Request, prefer field.Preference, document []byte, o submitOptions) error {
	if o.poll.ticket {
		var err error
		if document, err = a.withTicket(document, caller, r.Ref()); err != nil {
			return err
		}
	}
	if r.Status == lifecycle.Pending || r.Batch != nil {
		document = withWarnings(document, a.unserved(o.routes))
	}
	c.Set(fiber.HeaderLocation, a.operation(c, r.ID, o.poll))
	c.Set(fiber.HeaderRetryAfter, a.retryAfter(r))
	c.Set(fiber.HeaderCacheControl, "no-store")
	if applied := prefer.Applied(true); applied != "" {
		c.Set("Preference-Applied", applied)
	}
	return httpbody.SendJSON(c, fiber.StatusAccepted, document)
}

// outcome answers with what became of a request that has ended.
func (a *API) outcome(c *fiber.Ctx, _ auth.Caller, r *lifecycle.Request, prefer field.Preference, p poll) error {
	c.Set(fiber.HeaderContentLocation, "/v1/requests/"+r.ID+"/result")
	a.operation(c, r.ID, p)
	c.Set(fiber.HeaderCacheControl, "no-store")
	if applied := prefer.Applied(false); applied != "" {
		c.Set("Preference-Applied", applied)
	}
	return a.sendResult(c, r, true) // conditions and ranges of a call are not about its result
}

// waitFor returns the request once done holds, or as it is when limit has passed or the
// server drains, or the client has hung up.
func (a *API) waitFor(c *fiber.Ctx, caller auth.Caller, r lifecycle.Request, limit time.Duration, done func(*lifecycle.Request) bool) (lifecycle.Request, error) {
	ctx, cancel := context.WithTimeout(a.ctx, limit)
	defer cancel()
	ctx, release := caller.Until(ctx)
	defer release()
	waiter, err := a.Hub.Wait(ctx, ChannelOf(r.Channel()))
	if err != nil {
		return r, nil // no notifications, no waiting: the client can poll
	}
	defer waiter.Close()
	load := func() error {
		next, err := a.Service.Get(context.WithoutCancel(ctx), caller.Principal, r.Ref())
		if err == nil {
			r = next
		}
		return err
	}
	if err := load(); err != nil || done(&r) {
		return r, err
	}
	present, stop := hangup.Watch(ctx, httpbody.ConnOf(c.Context()))
	defer stop()
	for {
		select {
		case <-waiter.C:
		case <-present.Done():
			return r, caller.Ended()
		}
		if err := load(); err != nil || done(&r) {
			return r, err
		}
	}
}

// ChannelOf returns a channel as the hub knows it.
func ChannelOf(c lifecycle.Channel) hub.Channel {
	return hub.Channel{Key: c.Key(), Name: c.String(), Epoch: c.Life, Live: c.Feed()}
}

// preferred returns what the caller prefers, as far as it is granted.
func (a *API) preferred(c *fiber.Ctx) field.Preference {
	var fields []string
	for _, field := range c.Request().Header.PeekAll("Prefer") {
		fields = append(fields, string(field))
	}
	p := field.ParsePrefer(fields)
	if p.Wait != nil && *p.Wait > a.MaxWait {
		p.Wait = &a.MaxWait
	}
	return p
}

// view is how much of a request a caller may see.
func view(caller auth.Caller) wire.View {
	return wire.View{Trace: caller.Is(lifecycle.RoleAdmin)}
}
