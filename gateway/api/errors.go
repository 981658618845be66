package api

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/durable"
	"github.com/hark-push/hark/gateway/lease"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// notReady is an error that says to callers what a node cannot work without.
type notReady interface {
	error
	NotReady() string
}

// tell logs what whoever runs the gateway should know of a call that was answered with a problem,
// because the caller is not told.
func (a *API) tell(err error, p *problem.Details, about ...any) {
	if _, made := errors.AsType[*problem.Details](err); made {
		return
	}
	about = append(about, slog.Any("error", err))
	_, unready := errors.AsType[notReady](err)
	switch {
	case unready:
		a.log.Warn("not ready", about...)
	case p.Kind == problem.Internal:
		a.log.Error("internal error", about...)
	case errors.Is(err, lifecycle.ErrUnavailable):
		a.log.Warn("call refused", about...)
	}
}

// asProblem is the one place where errors become statuses. What is not known
// here is told as internal, without its text.
func (a *API) asProblem(err error) *problem.Details {
	if p, ok := errors.AsType[*problem.Details](err); ok {
		return p
	}
	if f, ok := errors.AsType[*hub.FormError](err); ok {
		return &problem.Details{
			Kind: problem.Message, Detail: "The message asks for a form that there is not: see errors.",
			Errors: []problem.FieldError{problem.At("/form", wrongForm(f.Form))},
		}
	}
	if m, ok := errors.AsType[*lifecycle.MemberError](err); ok {
		at := "/requests/" + strconv.Itoa(m.Member) + "/id"
		if errors.Is(m.Err, lifecycle.ErrUnfitID) {
			return unfitID(at)
		}
		p := a.asProblem(m.Err)
		p.Errors = []problem.FieldError{problem.At(at, "is the id of another request")}
		return p
	}
	if t, ok := errors.AsType[*lifecycle.TransitionError](err); ok {
		p := &problem.Details{Kind: problem.Transition, Detail: "The request is " + string(t.From) + ".", Members: map[string]any{"requestStatus": t.From, "attempt": t.Current}}
		switch t.Reason {
		case lifecycle.ReasonBatch:
			p.Detail = "The request is a batch, which no processor works on."
		case lifecycle.ReasonAnswered:
			p.Kind, p.Detail = problem.Answered, "The question was answered already. Nothing was changed."
		case lifecycle.ReasonQuestion:
			p.Detail = "The request is " + string(t.From) + ", and asks nothing."
			if t.From == lifecycle.Waiting {
				p.Detail = "The request asks another question, see its document."
			}
		case lifecycle.ReasonNotFailed:
			p.Detail = "The request is " + string(t.From) + ", and only one that has failed can be redriven. Nothing was changed."
		case lifecycle.ReasonSlot:
			p.Detail = "As many requests of its concurrencyKey, or of its route, are worked on as may be at the same time. It is handed out when it is its turn."
		case lifecycle.ReasonAlive:
			p.Detail = "Attempt " + strconv.Itoa(t.Current) + " has a lease and has reported within it."
		case lifecycle.ReasonStale:
			p.Kind, p.Detail = problem.Superseded, "The report comes from attempt "+strconv.Itoa(t.Attempt)+", but attempt "+strconv.Itoa(t.Current)+" counts."
		}
		return p
	}
	if errors.Is(err, lifecycle.ErrAnswer) {
		return &problem.Details{Kind: problem.TooLarge, Detail: "An answer has at most " + strconv.Itoa(lifecycle.MaxAnswer>>10) + " KiB."}
	}
	if errors.Is(err, lease.ErrSuperseded) {
		return &problem.Details{Kind: problem.Worker, Detail: "Another session of this worker has called for work since."}
	}
	if e, ok := errors.AsType[*fiber.Error](err); ok {
		return fiberProblem(e)
	}
	if e, ok := errors.AsType[notReady](err); ok {
		return &problem.Details{Kind: problem.Unavailable, Detail: "The node is not ready: " + e.NotReady() + " Its log says more.", RetryAfter: 2}
	}
	if q, ok := errors.AsType[*lifecycle.QuotaError](err); ok {
		return a.overQuota(q)
	}
	if f, ok := errors.AsType[*lifecycle.FullError](err); ok && f.Alone {
		p := tooManyInBatch("brings " + strconv.FormatInt(f.Wanted, 10) + " requests to the route " + f.Route + ", and at most " + strconv.FormatInt(f.Most, 10) +
			" may wait on one (--max-waiting-per-route)")
		p.Members = map[string]any{"route": f.Route}
		return p
	}
	if f, ok := errors.AsType[*lifecycle.FullError](err); ok {
		return &problem.Details{
			Kind: problem.RouteFull, RetryAfter: a.whenRoom(f), Members: map[string]any{"route": f.Route},
			Detail: "On the route " + f.Route + " more than " + strconv.FormatInt(f.Most, 10) + " requests would wait.",
		}
	}
	if e, ok := errors.AsType[*dispatch.InvalidError](err); ok {
		return problem.InvalidFields(problem.At("/"+e.Field, e.Detail))
	}
	if e, ok := errors.AsType[*dispatch.UnprovenError](err); ok {
		return &problem.Details{Kind: problem.Unproven, Detail: e.Detail}
	}
	if d, ok := errors.AsType[*lifecycle.DamageError](err); ok { // the store has logged it
		p := &problem.Details{Kind: problem.Damaged, Detail: "Stored data is damaged, and is not handed out."}
		if d.ID != "" {
			p.Detail = "Of the request " + d.ID + " " + d.What + " is damaged, and is not handed out."
			p.Members = map[string]any{"requestId": d.ID}
		}
		return p
	}
	if t, ok := errors.AsType[*auth.TokenError](err); ok {
		return &problem.Details{Kind: problem.Unauthorized, Detail: t.Detail}
	}
	if e, ok := errors.AsType[*auth.UnreadError](err); ok {
		return &problem.Details{
			Kind: problem.Unavailable, Detail: "The token names a key that is not known yet, and the keys cannot be read at the moment. Nothing was changed; repeat the call.",
			RetryAfter: int(math.Ceil(e.Retry.Seconds())),
		}
	}
	if p := streamProblem(err); p != nil {
		return p
	}
	known := func(k problem.Kind, detail string) *problem.Details { return &problem.Details{Kind: k, Detail: detail} }
	switch {
	case errors.Is(err, lifecycle.ErrNotFound):
		return known(problem.NoRequest, "The id names no request of yours.")
	case errors.Is(err, lifecycle.ErrUnfitID):
		return unfitID("/id")
	case errors.Is(err, lifecycle.ErrIDTaken):
		return known(problem.IDTaken, "Another request has this id.")
	case errors.Is(err, lifecycle.ErrKeyReused):
		return known(problem.KeyReused, "The Idempotency-Key was used with another body.")
	case errors.Is(err, lifecycle.ErrKeyInProgress):
		return &problem.Details{Kind: problem.KeyInProgress, Detail: "The first call with this Idempotency-Key has not been answered yet.", RetryAfter: 1}
	case errors.Is(err, lifecycle.ErrNotEnded):
		return known(problem.NotEnded, "The request has not ended.")
	case errors.Is(err, dispatch.ErrNotFound):
		return known(problem.NoWebhook, "The id names no webhook of yours, or no delivery to it.")
	case errors.Is(err, dispatch.ErrQuota):
		return &problem.Details{
			Kind: problem.Webhooks, Detail: "You have as many webhook endpoints as you may have.", RetryAfter: quotaRetry,
			Members: map[string]any{"violated-policies": []string{"webhooks-per-caller"}},
		}
	case errors.Is(err, dispatch.ErrOneOffs):
		return &problem.Details{
			Kind: problem.Webhooks, RetryAfter: quotaRetry,
			Detail: "You have named as many URLs for one request alone as are kept at a time. Name one again, " +
				"or an endpoint that lasts; one that is named no more is forgotten with its deliveries.",
			Members: map[string]any{"violated-policies": []string{"one-off-webhooks-per-caller"}},
		}
	case errors.Is(err, dispatch.ErrConflict):
		return known(problem.WebhookState, "The webhook or the delivery does not stand where this is possible.")
	case errors.Is(err, lifecycle.ErrCursor):
		return problem.InvalidFields(problem.At("?cursor", "is not a cursor of this list"))
	case errors.Is(err, lifecycle.ErrChannelName), errors.Is(err, errNoChannel):
		return known(problem.Channel, "The name is not that of a channel that you may follow.")
	case errors.Is(err, hub.ErrMessage):
		return known(problem.Message, "The message is not a JSON object of this protocol.")
	case errors.Is(err, hub.ErrUnknownOp):
		return known(problem.UnknownOp, "Known are subscribe, unsubscribe, ping and auth.")
	case errors.Is(err, hub.ErrNotSubscribed):
		return known(problem.NotSubscribed, "There is no subscription to this channel.")
	case errors.Is(err, hub.ErrTooMany):
		return known(problem.Subscriptions, "The connection has as many subscriptions as it may have.")
	case errors.Is(err, hub.ErrNoTokens):
		return known(problem.NoTokens, "This gateway runs without keys and takes no tokens.")
	case errors.Is(err, hub.ErrUnproven):
		return known(problem.Unauthorized, "Say who you are first, by the op auth.")
	case errors.Is(err, auth.ErrUnauthenticated):
		return known(problem.Unauthorized, "The call does not prove who makes it.")
	case errors.Is(err, lifecycle.ErrFull):
		return &problem.Details{
			Kind: problem.Unavailable, RetryAfter: 2,
			Detail: "The store has no space left: the disk of --data is full, or the memory of Redis. The request was not taken; nothing was changed. " +
				"What was accepted is kept, and goes on when there is room.",
		}
	case errors.Is(err, lifecycle.ErrUnavailable):
		return &problem.Details{Kind: problem.Unavailable, Detail: "The request was not taken; nothing was changed.", RetryAfter: 2}
	default:
		return known(problem.Internal, "Something went wrong inside the gateway.")
	}
}

// streamProblem translates what is said of streams, nil for anything else.
func streamProblem(err error) *problem.Details {
	if e, ok := errors.AsType[*durable.Error](err); ok {
		return problem.MalformedAt(e.At, e.Detail)
	}
	if e, ok := errors.AsType[*stream.SizeError](err); ok {
		if e.What == "owner" {
			return &problem.Details{
				Kind: problem.Stored, RetryAfter: quotaRetry, Detail: "You may have " + strconv.FormatInt(e.Limit, 10) + " bytes stored (--max-stored-per-caller). Nothing was appended.",
				Members: map[string]any{"violated-policies": []string{lifecycle.PolicyStored}},
			}
		}
		return &problem.Details{Kind: problem.TooLarge, Detail: "A stream may have " + strconv.FormatInt(e.Limit, 10) + " bytes (--max-output). Nothing was appended."}
	}
	if e, ok := errors.AsType[*stream.ClosedError](err); ok {
		return &problem.Details{Kind: problem.StreamClosed, Detail: "The stream is closed. Nothing was appended.", Members: map[string]any{"offset": e.Stream.Offset(e.Stream.Tail)}}
	}
	if e, ok := errors.AsType[*stream.StaleError](err); ok {
		return &problem.Details{Kind: problem.ProducerStale, Detail: "The producer's epoch has ended: " + strconv.FormatInt(e.Epoch, 10) + " counts. Nothing was appended."}
	}
	if e, ok := errors.AsType[*stream.GapError](err); ok {
		return &problem.Details{
			Kind:   problem.ProducerGap,
			Detail: "The producer's sequence number is " + strconv.FormatInt(e.Received, 10) + ", and " + strconv.FormatInt(e.Expected, 10) + " comes next. Nothing was appended.",
		}
	}
	known := func(k problem.Kind, detail string) *problem.Details { return &problem.Details{Kind: k, Detail: detail} }
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return known(problem.NoStream, "The path names no stream of yours.")
	case errors.Is(err, stream.ErrGone):
		return known(problem.GoneStream, "The stream was deleted. Others that were forked from it still use its bytes.")
	case errors.Is(err, stream.ErrConflict):
		return known(problem.StreamTaken, "A stream is there that is not as it is wanted, or what is to be forked is deleted or of another media type.")
	case errors.Is(err, stream.ErrDepth):
		return known(problem.StreamTaken, "What is to be forked is a fork of a fork, "+strconv.Itoa(stream.MaxDepth)+" deep: make a stream of its bytes, and fork that.")
	case errors.Is(err, stream.ErrType):
		return known(problem.StreamType, "The stream has another media type. Nothing was appended.")
	case errors.Is(err, stream.ErrSeq):
		return known(problem.StreamSeq, "The Stream-Seq does not lie behind that of the last append. Nothing was appended.")
	case errors.Is(err, stream.ErrEmpty):
		return known(problem.Malformed, "There is nothing to append: the body is empty, or an empty array.")
	case errors.Is(err, stream.ErrJSON):
		return known(problem.Malformed, "The stream is of JSON messages, and the body is no JSON in UTF-8.")
	case errors.Is(err, stream.ErrOffset):
		return known(problem.Malformed, "The stream has no such offset.")
	case errors.Is(err, stream.ErrEpoch):
		return problem.MalformedAt("Producer-Seq", "must be 0: a new epoch begins there")
	}
	return nil
}

// fiberProblem translates what the HTTP server itself refuses.
func fiberProblem(e *fiber.Error) *problem.Details {
	switch e.Code {
	case http.StatusNotFound:
		return &problem.Details{Kind: problem.NotFound, Detail: "There is nothing at this path. The API is under /v1, and /openapi.yaml describes it."}
	case http.StatusMethodNotAllowed:
		return &problem.Details{Kind: problem.Method, Detail: "The resource does not know this method; the field Allow lists those that it does."}
	case http.StatusRequestTimeout:
		return &problem.Details{Kind: problem.Timeout, Detail: "The call did not arrive whole in time."}
	case http.StatusRequestEntityTooLarge:
		return &problem.Details{Kind: problem.TooLarge, Detail: "The body is larger than this gateway takes."}
	case http.StatusRequestHeaderFieldsTooLarge:
		return &problem.Details{Kind: problem.Headers, Detail: "The header of the request is too large."}
	default:
		if e.Code >= 400 && e.Code < 500 {
			return &problem.Details{Kind: problem.Malformed, Detail: "The request is not valid HTTP."}
		}
		return &problem.Details{Kind: problem.Internal, Detail: "Something went wrong inside the gateway."}
	}
}

// fail answers with an error. It is Fiber's error handler.
func (a *API) fail(c *fiber.Ctx, err error) error {
	p := a.asProblem(err)
	a.failed(p)
	about := []any{slog.String("method", c.Method()), slog.String("path", c.Route().Path)}
	if path := c.Route().Path; strings.HasPrefix(path, "/v1/requests/") || strings.HasPrefix(path, "/v1/batches/") || strings.HasPrefix(path, "/v1/work/") {
		about = append(about, slog.String("request", c.Params("id")))
	}
	a.tell(err, p, about...)
	if p.RetryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(p.RetryAfter))
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set(fiber.HeaderContentType, "application/problem+json")
	c.Response().Header.Del(fiber.HeaderETag)
	return c.Status(p.Kind.Status).Send(p.JSON(problem.Instance(c.Request().URI().PathOriginal())))
}

// outcomeProblem is how a request that ended without success answers whoever
// asked for its result.
func outcomeProblem(r *lifecycle.Request) *problem.Details {
	p := &problem.Details{Kind: problem.Failed, Members: map[string]any{"requestId": r.ID}}
	switch r.Status {
	case lifecycle.Canceled:
		p.Kind, p.Detail = problem.Canceled, "The request was canceled."
	case lifecycle.Expired:
		p.Kind, p.Detail = problem.Expired, "The request's time ran out before it was done."
	}
	if r.Error != nil {
		if r.Status == lifecycle.Failed {
			p.Detail = r.Error.Message
		}
		p.Members["code"] = r.Error.Code
		p.Members["error"] = map[string]string{"code": r.Error.Code, "message": r.Error.Message, "detail": r.Error.Detail}
	}
	return p
}

// unfitID is the problem of an id that a limited request cannot have.
func unfitID(at string) *problem.Details {
	return problem.InvalidFields(problem.At(at, "cannot be chosen for a request with a concurrencyKey, or of a route that is limited, because the store has several partitions. "+
		"Leave it out, and send an Idempotency-Key to submit safely again"))
}
