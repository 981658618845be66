package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// problem is an error as clients see it: problem details (RFC 9457).
type problem struct {
	kind       kind
	detail     string
	errors     []fieldError   // of invalid input, at most maxErrors
	more       int            // how many beside these
	members    map[string]any // extension members
	retryAfter int            // seconds, 0 for none
}

// fieldError is one thing that is wrong with the input.
type fieldError struct {
	// Pointer is a JSON pointer into the body (RFC 6901), ?name of a query parameter, the name of a
	// header field, or {name} of a part of the path.
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

func (p *problem) Error() string { return p.kind.Title + ": " + p.detail }

// kind is a problem type: the last part of its URI, which never changes, its
// status and its title. /problems/{name} explains it.
type kind struct {
	Name    string
	Status  int
	Title   string
	Explain string
}

// The problem types.
var (
	kindMalformed     = kind{"malformed-request", 400, "Malformed request", "The target, the body or a header field cannot be read as what it claims to be. Sending the same bytes again will fail again."}
	kindUnauthorized  = kind{"unauthenticated", 401, "Not authenticated", "The call does not prove who makes it: by an API key or a JSON Web Token in the field Authorization, as a Bearer token."}
	kindForbidden     = kind{"forbidden", 403, "Not allowed", "The caller has not the role that this call needs, or the token is that of another caller."}
	kindOrigin        = kind{"origin-not-allowed", 403, "Origin not allowed", "A browser sent this on behalf of a page from another origin, or to a host name that this gateway does not go by. Origins are allowed with --origins."}
	kindNotFound      = kind{"not-found", 404, "No such resource", "There is nothing at this path."}
	kindNoRequest     = kind{"request-not-found", 404, "No such request", "The id names no request of the caller: it was never accepted, or it was forgotten after its retention."}
	kindNotReady      = kind{"result-not-ready", 404, "The result is not ready", "The request has not ended. The member requestStatus says where it stands and position how many came before it."}
	kindMethod        = kind{"method-not-allowed", 405, "Method not allowed", "The resource does not know this method; the field Allow lists those that it does."}
	kindNotAcceptable = kind{"not-acceptable", 406, "Not acceptable", "The resource has none of the media types in the field Accept."}
	kindTimeout       = kind{"request-timeout", 408, "Request timeout", "The call did not arrive in time: its head has a minute, and its body may not stand still for as long, nor come more slowly than a kibibyte a second."}
	kindIDTaken       = kind{"id-taken", 409, "The id is taken", "Another request has this id. The same id may be sent again only with the same body."}
	kindKeyInProgress = kind{"idempotency-key-in-progress", 409, "Still in progress", "The first call with this Idempotency-Key has not been answered yet. Repeat the call later."}
	kindTransition    = kind{"invalid-transition", 409, "Not in this status", "The request does not stand where this step is possible. The member requestStatus says where it stands."}
	kindSuperseded    = kind{"attempt-superseded", 409, "The attempt was superseded", "Another attempt works on the request now; this one must stop. The member attempt is the one that counts."}
	kindNotEnded      = kind{"not-ended", 409, "The request has not ended", "Only a request that has ended can be forgotten. Cancel it first."}
	kindCanceled      = kind{"request-canceled", 409, "The request was canceled", "The request was canceled and has no result."}
	kindNoWebhook     = kind{"webhook-not-found", 404, "No such webhook", "The id names no webhook endpoint of the caller, or no delivery to it."}
	kindWebhookState  = kind{"webhook-conflict", 409, "Not possible now", "The webhook endpoint or the delivery does not stand where this is possible: it is disabled, has not been proven, is being sent, or was changed meanwhile."}
	kindUnproven      = kind{"webhook-not-proven", 409, "The webhook was not proven", "The endpoint did not answer its challenge, so nothing is delivered to it. The detail says what was wrong; verify tries again."}
	kindPrecondition  = kind{"precondition-failed", 412, "Precondition failed", "The call is conditional, by If-Match or If-Unmodified-Since, on a state that the resource is not in."}
	kindTooLarge      = kind{"content-too-large", 413, "Content too large", "The body is larger than this gateway takes."}
	kindMediaType     = kind{"unsupported-media-type", 415, "Unsupported media type", "The body's Content-Type or Content-Encoding is not one that the resource takes."}
	kindRange         = kind{"range-not-satisfiable", 416, "Range not satisfiable", "The result has no such range of bytes."}
	kindInvalid       = kind{"invalid-request", 422, "Invalid request", "The body can be read, but some of its values are not allowed. The member errors lists each with a pointer to it."}
	kindKeyReused     = kind{"idempotency-key-reused", 422, "The idempotency key was reused", "This Idempotency-Key was used before with another body."}
	kindUpgrade       = kind{"upgrade-required", 426, "Upgrade required", "This resource speaks WebSocket (RFC 6455) only."}
	kindHeaders       = kind{"header-fields-too-large", 431, "Header fields too large", "The header of the request is larger than this gateway takes."}
	kindFailed        = kind{"request-failed", 500, "The request failed", "The processor could not do the work. The member error says why; the gateway itself is well."}
	kindInternal      = kind{"internal", 500, "Internal error", "Something went wrong inside the gateway. It has been logged."}
	kindDamaged       = kind{"stored-data-damaged", 500, "Stored data is damaged", "What is stored of the request is not any more what was stored, by its checksum, so it is not handed out. Nothing was changed, and other requests are not concerned. It has been logged; whoever runs the gateway brings back a copy of its store."}
	kindUnavailable   = kind{"unavailable", 503, "Temporarily unavailable", "The gateway cannot take or look up requests at the moment. Nothing was changed; repeat the call after Retry-After."}
	kindExpired       = kind{"request-expired", 504, "The request expired", "The request's time ran out before it was done."}
	kindMessage       = kind{"malformed-message", 400, "Malformed message", "The WebSocket message is not a JSON object of this protocol."}
	kindUnknownOp     = kind{"unknown-op", 400, "Unknown op", "The WebSocket message asks for an operation that the protocol hark.v1 does not have."}
	kindChannel       = kind{"channel-not-found", 404, "No such channel", "The name is not that of a channel that the caller may follow."}
	kindNotSubscribed = kind{"not-subscribed", 409, "Not subscribed", "The connection has no subscription to this channel."}
	kindCalls         = kind{"too-many-calls", 429, "Too many calls at a time", "The caller, or its address, has as many calls under way as it may have. The member violated-policies says which. Repeat the call after Retry-After."}
	kindConnections   = kind{"too-many-connections", 429, "Too many connections", "The address has as many connections as it may have. Use them for more than one call each, and close those that are not needed."}
	kindOpen          = kind{"too-many-open-requests", 429, "Too many open requests", "The caller has as many requests that have not ended as it may have, those of batches included. Nothing was stored. Repeat the call when some have ended; requests that are not needed can be canceled."}
	kindStored        = kind{"storage-quota-exceeded", 429, "Storage quota exceeded", "As many bytes of contents and results are kept for the caller as may be. Nothing was stored. Requests that have ended can be deleted, or submitted with a shorter retention."}
	kindWebhooks      = kind{"too-many-webhooks", 429, "Too many webhooks", "The caller has as many webhook endpoints as it may have. Those that are not needed can be deleted."}
	kindSubscriptions = kind{"too-many-subscriptions", 429, "Too many subscriptions", "The connection has as many subscriptions as it may have."}
	kindBytes         = kind{"too-many-bytes", 429, "Too many bytes at once", "Calls of one caller, or from one address, have more bytes of bodies under way at the same time than their share of this gateway's memory. Repeat the call after Retry-After."}
	kindNoTokens      = kind{"tokens-not-used", 400, "No tokens", "This gateway runs without keys and takes no tokens."}
)

// kinds are all problem types, for their pages.
var kinds = []kind{
	kindMalformed, kindUnauthorized, kindForbidden, kindOrigin, kindNotFound, kindNoRequest, kindNotReady, kindMethod,
	kindNotAcceptable, kindIDTaken, kindKeyInProgress, kindTransition, kindSuperseded, kindNotEnded, kindCanceled,
	kindNoWebhook, kindWebhookState, kindUnproven,
	kindTimeout, kindPrecondition, kindTooLarge, kindMediaType, kindRange, kindInvalid, kindKeyReused, kindUpgrade, kindHeaders, kindFailed, kindInternal, kindDamaged,
	kindUnavailable, kindExpired, kindMessage, kindUnknownOp, kindChannel, kindNotSubscribed, kindCalls, kindConnections, kindOpen, kindStored, kindWebhooks, kindSubscriptions, kindBytes, kindNoTokens,
}

// notReady is an error that says to callers what a node cannot work without.
type notReady interface {
	error
	NotReady() string
}

// maxDetail is how many bytes of a detail, or a pointer, are told: what a caller has sent may be in
// it.
const maxDetail = 2000

func invalid(errs ...fieldError) *problem {
	told := min(len(errs), maxErrors)
	return &problem{kind: kindInvalid, detail: "Some values are not allowed.", errors: errs[:told], more: len(errs) - told}
}

// asProblem is the one place where errors become statuses. What is not known
// here is logged and told as internal, without its text.
func (a *API) asProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if m, ok := errors.AsType[*lifecycle.MemberError](err); ok {
		p := a.asProblem(m.Err)
		p.errors = []fieldError{{"/requests/" + strconv.Itoa(m.Member) + "/id", "is the id of another request"}}
		return p
	}
	if t, ok := errors.AsType[*lifecycle.TransitionError](err); ok {
		p := &problem{kind: kindTransition, detail: "The request is " + string(t.From) + ".", members: map[string]any{"requestStatus": t.From, "attempt": t.Current}}
		switch t.Reason {
		case lifecycle.ReasonBatch:
			p.detail = "The request is a batch, which no processor works on."
		case lifecycle.ReasonAlive:
			p.detail = "Attempt " + strconv.Itoa(t.Current) + " has a lease and has reported within it."
		case lifecycle.ReasonStale:
			p.kind, p.detail = kindSuperseded, "The report comes from attempt "+strconv.Itoa(t.Attempt)+", but attempt "+strconv.Itoa(t.Current)+" counts."
		}
		return p
	}
	if e, ok := errors.AsType[*fiber.Error](err); ok {
		return fiberProblem(e)
	}
	if e, ok := errors.AsType[notReady](err); ok {
		a.log.Warn("not ready", slog.Any("error", err))
		return &problem{kind: kindUnavailable, detail: "The node is not ready: " + e.NotReady() + " Its log says more.", retryAfter: 2}
	}
	if q, ok := errors.AsType[*lifecycle.QuotaError](err); ok {
		return overQuota(q)
	}
	if e, ok := errors.AsType[*dispatch.InvalidError](err); ok {
		return invalid(fieldError{"/" + e.Field, e.Detail})
	}
	if e, ok := errors.AsType[*dispatch.UnprovenError](err); ok {
		return &problem{kind: kindUnproven, detail: e.Detail}
	}
	if d, ok := errors.AsType[*lifecycle.DamageError](err); ok { // the store has logged it
		p := &problem{kind: kindDamaged, detail: "Stored data is damaged, and is not handed out."}
		if d.ID != "" {
			p.detail = "Of the request " + d.ID + " " + d.What + " is damaged, and is not handed out."
			p.members = map[string]any{"requestId": d.ID}
		}
		return p
	}
	if t, ok := errors.AsType[*auth.TokenError](err); ok {
		return &problem{kind: kindUnauthorized, detail: t.Detail}
	}
	if e, ok := errors.AsType[*auth.UnreadError](err); ok {
		return &problem{
			kind: kindUnavailable, detail: "The token names a key that is not known yet, and the keys cannot be read at the moment. Nothing was changed; repeat the call.",
			retryAfter: int(math.Ceil(e.Retry.Seconds())),
		}
	}
	known := func(k kind, detail string) *problem { return &problem{kind: k, detail: detail} }
	switch {
	case errors.Is(err, lifecycle.ErrNotFound):
		return known(kindNoRequest, "The id names no request of yours.")
	case errors.Is(err, lifecycle.ErrIDTaken):
		return known(kindIDTaken, "Another request has this id.")
	case errors.Is(err, lifecycle.ErrKeyReused):
		return known(kindKeyReused, "The Idempotency-Key was used with another body.")
	case errors.Is(err, lifecycle.ErrKeyInProgress):
		return &problem{kind: kindKeyInProgress, detail: "The first call with this Idempotency-Key has not been answered yet.", retryAfter: 1}
	case errors.Is(err, lifecycle.ErrNotEnded):
		return known(kindNotEnded, "The request has not ended.")
	case errors.Is(err, dispatch.ErrNotFound):
		return known(kindNoWebhook, "The id names no webhook of yours, or no delivery to it.")
	case errors.Is(err, dispatch.ErrQuota):
		return &problem{
			kind: kindWebhooks, detail: "You have as many webhook endpoints as you may have.", retryAfter: quotaRetry,
			members: map[string]any{"violated-policies": []string{"webhooks-per-caller"}},
		}
	case errors.Is(err, dispatch.ErrOneOffs):
		return &problem{
			kind: kindWebhooks, retryAfter: quotaRetry,
			detail: "You have named as many URLs for one request alone as are kept at a time. Name one again, " +
				"or an endpoint that lasts; one that is named no more is forgotten with its deliveries.",
			members: map[string]any{"violated-policies": []string{"one-off-webhooks-per-caller"}},
		}
	case errors.Is(err, dispatch.ErrConflict):
		return known(kindWebhookState, "The webhook or the delivery does not stand where this is possible.")
	case errors.Is(err, lifecycle.ErrCursor):
		return invalid(fieldError{"?cursor", "is not a cursor of this list"})
	case errors.Is(err, lifecycle.ErrChannelName), errors.Is(err, errNoChannel):
		return known(kindChannel, "The name is not that of a channel that you may follow.")
	case errors.Is(err, hub.ErrMessage):
		return known(kindMessage, "The message is not a JSON object of this protocol.")
	case errors.Is(err, hub.ErrUnknownOp):
		return known(kindUnknownOp, "Known are subscribe, unsubscribe, ping and auth.")
	case errors.Is(err, hub.ErrNotSubscribed):
		return known(kindNotSubscribed, "There is no subscription to this channel.")
	case errors.Is(err, hub.ErrTooMany):
		return known(kindSubscriptions, "The connection has as many subscriptions as it may have.")
	case errors.Is(err, hub.ErrNoTokens):
		return known(kindNoTokens, "This gateway runs without keys and takes no tokens.")
	case errors.Is(err, hub.ErrUnproven):
		return known(kindUnauthorized, "Say who you are first, by the op auth.")
	case errors.Is(err, auth.ErrUnauthenticated):
		return known(kindUnauthorized, "The call does not prove who makes it.")
	case errors.Is(err, lifecycle.ErrFull):
		a.log.Warn("call refused", slog.Any("error", err))
		return &problem{
			kind: kindUnavailable, retryAfter: 2,
			detail: "The store has no space left: the disk of --data is full, or the memory of Redis. The request was not taken; nothing was changed. " +
				"What was accepted is kept, and goes on when there is room.",
		}
	case errors.Is(err, lifecycle.ErrUnavailable):
		a.log.Warn("call refused", slog.Any("error", err))
		return &problem{kind: kindUnavailable, detail: "The request was not taken; nothing was changed.", retryAfter: 2}
	default:
		a.log.Error("internal error", slog.Any("error", err))
		return known(kindInternal, "Something went wrong inside the gateway.")
	}
}

// fiberProblem translates what the HTTP server itself refuses.
func fiberProblem(e *fiber.Error) *problem {
	switch e.Code {
	case http.StatusNotFound:
		return &problem{kind: kindNotFound, detail: "There is nothing at this path. The API is under /v1, and /openapi.yaml describes it."}
	case http.StatusMethodNotAllowed:
		return &problem{kind: kindMethod, detail: "The resource does not know this method; the field Allow lists those that it does."}
	case http.StatusRequestTimeout:
		return &problem{kind: kindTimeout, detail: "The call did not arrive whole in time."}
	case http.StatusRequestEntityTooLarge:
		return &problem{kind: kindTooLarge, detail: "The body is larger than this gateway takes."}
	case http.StatusRequestHeaderFieldsTooLarge:
		return &problem{kind: kindHeaders, detail: "The header of the request is too large."}
	default:
		if e.Code >= 400 && e.Code < 500 {
			return &problem{kind: kindMalformed, detail: "The request is not valid HTTP."}
		}
		return &problem{kind: kindInternal, detail: "Something went wrong inside the gateway."}
	}
}

// body returns the problem as one line of JSON.
func (p *problem) body(instance string) []byte {
	members := map[string]any{
		"type": "/problems/" + p.kind.Name, "title": p.kind.Title, "status": p.kind.Status,
	}
	if p.detail != "" {
		members["detail"] = lifecycle.Clip(p.detail, maxDetail)
	}
	if instance != "" {
		members["instance"] = lifecycle.Clip(instance, maxDetail)
	}
	if len(p.errors) > 0 {
		told := make([]fieldError, len(p.errors))
		for i, e := range p.errors {
			told[i] = fieldError{lifecycle.Clip(e.Pointer, maxDetail), lifecycle.Clip(e.Detail, maxDetail)}
		}
		members["errors"] = told
	}
	if p.more > 0 {
		members["moreErrors"] = p.more
	}
	maps.Copy(members, p.members)
	b, err := json.Marshal(members)
	if err != nil { // members are plain values
		panic(err)
	}
	return b
}

// fail answers with an error. It is Fiber's error handler.
func (a *API) fail(c *fiber.Ctx, err error) error {
	p := a.asProblem(err)
	if p.retryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(p.retryAfter))
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set(fiber.HeaderContentType, "application/problem+json")
	c.Response().Header.Del(fiber.HeaderETag)
	return c.Status(p.kind.Status).Send(p.body(instance(c.Request().URI().PathOriginal())))
}

// outcomeProblem is how a request that ended without success answers whoever
// asked for its result.
func outcomeProblem(r *lifecycle.Request) *problem {
	p := &problem{kind: kindFailed, members: map[string]any{"requestId": r.ID}}
	switch r.Status {
	case lifecycle.Canceled:
		p.kind, p.detail = kindCanceled, "The request was canceled."
	case lifecycle.Expired:
		p.kind, p.detail = kindExpired, "The request's time ran out before it was done."
	}
	if r.Error != nil {
		if r.Status == lifecycle.Failed {
			p.detail = r.Error.Message
		}
		p.members["code"] = r.Error.Code
		p.members["error"] = map[string]string{"code": r.Error.Code, "message": r.Error.Message, "detail": r.Error.Detail}
	}
	return p
}
