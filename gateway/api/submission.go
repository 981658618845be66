package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// rules are what a gateway takes.
type rules struct {
	Limits   lifecycle.Limits
	Routes   map[string]bool // those that exist
	MaxBody  int             // bytes
	MaxBatch int             // requests
	IDHeader string          // field whose value is the id of what has none; "": none is
}

func (rules rules) reader() *reader { return &reader{limits: rules.Limits, routes: rules.Routes} }

// reader collects what is wrong with a submission, so that a client learns all of it
// at once.
type reader struct {
	limits lifecycle.Limits
	routes map[string]bool
	at     string // pointer to the submission in the body, "" if it is the body
	sub    lifecycle.Submission
	errs   []problem.FieldError // at most problem.MaxErrors with those that others of a batch have
	more   int                  // things wrong beyond these
	told   int                  // errors of others of the batch
	bare   bool                 // it need not have a content

	delayAt  string  // pointer to the delay
	limitAt  string  // pointer to the limit of the key
	webhook  *oneOff // nil: none was asked for
	callback *oneOff // the same, by its URL alone
}

func (r *reader) wrong(pointer, format string, args ...any) {
	if r.full() {
		r.more++
		return
	}
	r.errs = append(r.errs, problem.At(r.at+pointer, fmt.Sprintf(format, args...)))
}

// full reports whether so much is wrong that what comes is only counted.
func (r *reader) full() bool { return len(r.errs)+r.told >= problem.MaxErrors }

// failed reports whether anything is wrong.
func (r *reader) failed() bool { return len(r.errs)+r.more > 0 }

// read reads the body of POST /v1/requests and, for options, its query. endpoint makes the webhook
// of a request that names one of its own.
func (rules rules) read(c *fiber.Ctx, endpoint func(*oneOff) (*lifecycle.Webhook, error)) (lifecycle.Submission, error) {
	r := rules.reader()
	content, err := httpbody.ReadContent(c, rules.MaxBody)
	if err != nil {
		return r.sub, err
	}
	for key, value := range c.Context().QueryArgs().All() {
		r.option("?", string(key), string(value))
	}
	if lifecycle.IsJSON(content.Type) && httpbody.IsJSON(content.Type) {
		if err := r.envelope(content.Data); err != nil {
			return r.sub, err
		}
	} else {
		if err := unlabeled(c, content); err != nil {
			return r.sub, err
		}
		r.sub.Content = content
		if len(content.Data) == 0 {
			r.wrong("", "the body is empty: it is the work to be done")
		}
	}
	r.idHeader(c, rules.IDHeader)
	sub, err := r.finish()
	if err != nil || r.webhook == nil {
		return sub, err
	}
	sub.Webhook, err = endpoint(r.webhook)
	return sub, err
}

// readCall reads a call of a route, whose path begins with it: a request made of the HTTP call
// itself.
func (rules rules) readCall(c *fiber.Ctx, route string) (lifecycle.Submission, error) {
	r := rules.reader()
	r.option("", "route", route)
	raw := rawPath(c)
	path, err := url.PathUnescape(raw)
	if err != nil {
		return r.sub, &problem.Details{Kind: problem.Malformed, Detail: "The path has a % that is not followed by two hexadecimal digits. Write it as %25."}
	}
	content := lifecycle.Content{}
	if httpbody.Announced(c) {
		if content, err = httpbody.ReadContent(c, rules.MaxBody); err != nil {
			return r.sub, err
		}
		if len(content.Data) == 0 {
			content = lifecycle.Content{}
		}
	}
	r.sub.Content = content
	r.idHeader(c, rules.IDHeader)
	r.sub.Call = &lifecycle.Call{
		Method: strings.Clone(c.Method()), Path: path, RawPath: raw,
		Query: string(c.Request().URI().QueryString()),
	}
	return r.finish()
}

// rawPath returns what stands behind the route in the path of a call, as it was sent; "/" if there
// is nothing.
func rawPath(c *fiber.Ctx) string {
	rest := string(c.Request().URI().PathOriginal())
	for range 4 { // "", v1, call, the route
		_, rest, _ = strings.Cut(rest, "/")
	}
	return "/" + rest
}

// unlabeled refuses a JSON object whose media type nobody chose: curl -d says that it is a form,
// fetch that it is plain text, and what says nothing is bytes. As work it would be opaque, without
// the options in it. Whoever chose a type, also application/octet-stream, means it.
func unlabeled(c *fiber.Ctx, content lifecycle.Content) error {
	says := "no Content-Type"
	if c.Get(fiber.HeaderContentType) != "" {
		t, _, _ := mime.ParseMediaType(content.Type) // which was read before
		if t != "application/x-www-form-urlencoded" && t != "text/plain" {
			return nil
		}
		says = "Content-Type: " + t
	}
	if data := bytes.TrimLeft(content.Data, " \t\r\n"); len(data) == 0 || data[0] != '{' || !json.Valid(data) {
		return nil
	}
	return &problem.Details{Kind: problem.MediaType, Detail: "The body is a JSON object, but the call says " + says + ". " + httpbody.JSONHint +
		" If the object as a whole is the work, say application/octet-stream, or a type of your own, and put the options into the query."}
}

// envelope reads a JSON body.
func (r *reader) envelope(body []byte) error {
	fields, faults, err := jsonobject.Read(body, r.at, "content")
	if err != nil {
		return err
	}
	r.errs = append(r.errs, faults...)
	raw, ok := fields["content"]
	if !ok && !r.bare {
		r.wrong("/content", "is required: the work to be done, any JSON value")
	}
	r.sub.Content = lifecycle.Content{Type: "application/json", Data: raw}
	for name, raw := range jsonobject.InOrder(fields) {
		switch {
		case name == "content":
		case name == "webhook":
			r.readWebhook(raw)
		case isOption(name):
			r.field(name, raw)
		case r.full():
			r.more++
		default:
			r.wrong("/"+strictjson.Escape(name), "is not a field of a request%s", suggest.Mean(name, submissionFields))
		}
	}
	return nil
}

// field reads the field of a body that holds an option. null: it is not given.
func (r *reader) field(name string, raw json.RawMessage) {
	text := string(raw)
	if text == "null" {
		return
	}
	if name != "priority" && name != "maxAttempts" && name != "concurrencyLimit" && json.Unmarshal(raw, &text) != nil {
		r.wrong("/"+name, "must be a string")
		return
	}
	r.option("/", name, text)
}

// submissionOptions are the options of a submission, which may stand in its body and in its query;
// submissionFields what else stands in the body, too.
var (
	submissionOptions = []string{"id", "route", "topic", "priority", "maxAttempts", "retryDelay", "delay", "timeout", "retention", "concurrencyKey", "concurrencyLimit", "callbackUrl"}
	submissionFields  = append(slices.Clone(submissionOptions), "content", "webhook")
)

// mostAtOnce is the largest limit of a key.
const mostAtOnce = 1000

// isOption reports whether a submission has an option of that name.
func isOption(name string) bool { return slices.Contains(submissionOptions, name) }

// option sets one option; what is none is passed over. where is what a pointer to it begins with.
func (r *reader) option(where, name, text string) {
	at := where + name
	switch name {
	case "id":
		r.sub.ID = text
		if !lifecycle.ValidID(text) {
			r.wrong(at, "must match [A-Za-z0-9_-]{1,128}")
		}
	case "route":
		r.sub.Route = text
		if !r.routes[text] {
			r.wrong(at, "%s", field.UnknownRoute(text, r.routes))
		}
	case "topic":
		r.sub.Topic = text
		if !lifecycle.ValidTopic(text) {
			r.wrong(at, "must be 1 to 200 of the characters A-Z a-z 0-9 . _ : @ ~ -")
		}
	case "priority":
		r.sub.Priority = r.integer(at, text, 0, 9)
	case "maxAttempts":
		r.sub.MaxAttempts = r.integer(at, text, 1, r.limits.MaxAttempts)
	case "retryDelay":
		r.sub.RetryDelay = r.duration(at, text, time.Millisecond, r.limits.MaxDelay)
	case "delay":
		r.delayAt = at
		r.sub.Delay = r.duration(at, text, 0, r.limits.MaxDelay)
	case "timeout":
		r.sub.Timeout = r.duration(at, text, time.Millisecond, r.limits.MaxTimeout)
	case "retention":
		r.sub.Retention = r.duration(at, text, time.Millisecond, r.limits.MaxRetention)
	case "concurrencyKey":
		r.sub.Concurrency.Key = text
		if !lifecycle.ValidTopic(text) {
			r.wrong(at, "must be 1 to 200 of the characters A-Z a-z 0-9 . _ : @ ~ -")
		}
	case "concurrencyLimit":
		r.limitAt = at
		r.sub.Concurrency.Limit = r.integer(at, text, 1, mostAtOnce)
	case "callbackUrl":
		r.callback = &oneOff{URL: &text, Events: ends, at: r.at + at}
	case "webhook": // in a query: the URL alone
		r.webhook = &oneOff{URL: &text, at: at}
	}
}

// ends are the events of which a request has one, its last.
var ends = []lifecycle.EventType{lifecycle.EventSucceeded, lifecycle.EventFailed, lifecycle.EventCanceled, lifecycle.EventExpired}

// oneWebhook makes what was named by a URL alone the webhook.
func (r *reader) oneWebhook() {
	switch {
	case r.callback == nil:
	case r.webhook != nil:
		r.wrong(strings.TrimPrefix(r.callback.at, r.at), "stands beside webhook, which says more: give one of them")
	default:
		r.webhook = r.callback
	}
}

// idHeader takes the id from the header field of that name, unless the submission has one itself.
func (r *reader) idHeader(c *fiber.Ctx, name string) {
	if name == "" || r.sub.ID != "" {
		return
	}
	switch values := c.Request().Header.PeekAll(name); {
	case len(values) == 0:
	case len(values) > 1:
		r.wrong(name, "is there more than once, and is the request's id")
	case !lifecycle.ValidID(string(values[0])):
		r.wrong(name, "must match [A-Za-z0-9_-]{1,128}, because it is the request's id")
	default:
		r.sub.ID = string(values[0])
	}
}

func (r *reader) integer(at, text string, least, most int) int {
	n, err := field.ParseInteger(text)
	if err != nil || n < least || n > most {
		r.wrong(at, "must be a whole number from %d to %d", least, most)
		return 0
	}
	return n
}

func (r *reader) duration(at, text string, least, most time.Duration) time.Duration {
	d, err := field.ParseDuration(text)
	if err != nil {
		r.wrong(at, "%v", err)
		return 0
	}
	if d < least || d > most {
		r.wrong(at, "must be from %v to %v", least, most)
		return 0
	}
	return d
}

// finish completes the submission and returns it, or all that is wrong with it.
func (r *reader) finish() (lifecycle.Submission, error) {
	r.complete()
	if r.failed() {
		return r.sub, r.invalid()
	}
	return r.sub, r.name()
}

// invalid is the problem of what is wrong.
func (r *reader) invalid() *problem.Details {
	p := problem.InvalidFields(r.errs...)
	p.More += r.more
	return p
}

// complete checks what depends on several options, and fills in what was left out, but for an id.
func (r *reader) complete() {
	r.oneWebhook()
	if r.sub.Delay > 0 && r.sub.Timeout > 0 && r.sub.Delay >= r.sub.Timeout {
		r.wrong(r.delayAt, "must be shorter than timeout, which counts from the submission")
	}
	switch c := r.sub.Concurrency; {
	case r.limitAt == "":
	case c.Key == "":
		r.wrong(r.limitAt, "stands alone: it says how many with the same concurrencyKey are worked on at the same time")
	default:
		if most := r.limits.PerKey[cmp.Or(r.sub.Route, "default")]; most > 0 && c.Limit > most {
			r.wrong(r.limitAt, "must be at most %d on this route", most)
		}
	}
	if r.failed() {
		return
	}
	if r.sub.Route == "" {
		r.sub.Route = "default"
		if !r.routes["default"] {
			r.wrong("/route", "is required: this gateway has no route named default; its routes are %s", field.Names(slices.Sorted(maps.Keys(r.routes))))
			return
		}
	}
	r.sub.Fingerprint = fingerprint(&r.sub, r.webhook)
	if r.sub.Delay > 0 && r.sub.Timeout == 0 {
		r.sub.Timeout = min(r.sub.Delay+r.limits.Timeout, r.limits.MaxTimeout+r.sub.Delay)
	}
}

// name gives the submission an id if it has none, else a life of that id.
func (r *reader) name() error {
	if r.sub.ID != "" {
		r.sub.Life = lifecycle.NewLife()
		return nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("%w: no randomness for an id: %w", lifecycle.ErrUnavailable, err)
	}
	r.sub.ID = id.String()
	return nil
}

// safeHeaders are the header fields that a processor gets to see: nothing that
// proves who the caller is.
var safeHeaders = []string{
	"Accept", "Accept-Language", "Content-Language", "Content-Disposition", "User-Agent",
	"X-Request-Id", "X-Correlation-Id", "Traceparent", "Tracestate", "Baggage",
}

// longestHeader is how long a field may be that is passed on, in bytes.
const longestHeader = 1024

// readHeaders returns the fields that a processor gets to see. One that the operator wants there is
// not left out because it is too long: work may go to the wrong tenant without it.
func (a *API) readHeaders(c *fiber.Ctx) (map[string]string, error) {
	headers := readSafe(c)
	for _, name := range a.ForwardHeaders {
		v := c.Get(name)
		if v == "" {
			continue
		}
		if len(v) > longestHeader {
			return nil, problem.MalformedAt(name, "must have at most "+strconv.Itoa(longestHeader)+" bytes: it is kept with the request")
		}
		if headers == nil {
			headers = make(map[string]string)
		}
		headers[http.CanonicalHeaderKey(name)] = strings.Clone(v)
	}
	return headers, nil
}

func readSafe(c *fiber.Ctx) map[string]string {
	var headers map[string]string
	for _, name := range safeHeaders {
		if v := c.Get(name); v != "" && len(v) <= longestHeader && utf8.ValidString(v) {
			if headers == nil {
				headers = make(map[string]string)
			}
			headers[name] = strings.Clone(v)
		}
	}
	return headers
}

// readKey returns the Idempotency-Key, which is a structured-field string by the
// draft (draft-ietf-httpapi-idempotency-key-header), but often sent bare.
func readKey(c *fiber.Ctx) (string, error) {
	key := field.Unquote(strings.TrimSpace(c.Get("Idempotency-Key")))
	if len(c.Request().Header.PeekAll("Idempotency-Key")) == 0 {
		return "", nil
	}
	if key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", problem.MalformedAt("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
	}
	return strings.Clone(key), nil
}
