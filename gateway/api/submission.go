package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

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

	delayAt string  // pointer to the delay
	webhook *oneOff // nil: none was asked for
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

// readSubmission reads the body of POST /v1/requests and, for options, its query.
func (a *API) readSubmission(c *fiber.Ctx, caller auth.Caller) (lifecycle.Submission, error) {
	r := reader{limits: a.Service.Limits(), routes: a.routes}
	content, err := httpbody.ReadContent(c, a.MaxBody)
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
	sub, err := r.finish()
	if err != nil || r.webhook == nil {
		return sub, err
	}
	sub.Webhook, err = a.oneOff(caller, r.webhook)
	return sub, err
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

// maxDocument is how large a body may be, in bytes, that says what to do and is no work by itself:
// a report, an order of work, an endpoint.
func (a *API) maxDocument() int { return min(a.MaxBody, 1<<20) }

// envelope reads a JSON body.
func (r *reader) envelope(body []byte) error {
	fields, faults, err := readObject(body, r.at, "content")
	if err != nil {
		return err
	}
	r.errs = append(r.errs, faults...)
	raw, ok := fields["content"]
	if !ok {
		r.wrong("/content", "is required: the work to be done, any JSON value")
	}
	r.sub.Content = lifecycle.Content{Type: "application/json", Data: raw}
	for name, raw := range inOrder(fields) {
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
	if name != "priority" && name != "maxAttempts" && json.Unmarshal(raw, &text) != nil {
		r.wrong("/"+name, "must be a string")
		return
	}
	r.option("/", name, text)
}

// submissionOptions are the options of a submission, which may stand in its body and in its query;
// submissionFields what else stands in the body, too.
var (
	submissionOptions = []string{"id", "route", "topic", "priority", "maxAttempts", "delay", "timeout", "retention"}
	submissionFields  = append(slices.Clone(submissionOptions), "content", "webhook")
)

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
			r.wrong(at, "%s", unknownRoute(text, r.routes))
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
	case "delay":
		r.delayAt = at
		r.sub.Delay = r.duration(at, text, 0, r.limits.MaxDelay)
	case "timeout":
		r.sub.Timeout = r.duration(at, text, time.Millisecond, r.limits.MaxTimeout)
	case "retention":
		r.sub.Retention = r.duration(at, text, time.Millisecond, r.limits.MaxRetention)
	case "webhook": // in a query: the URL alone
		r.webhook = &oneOff{URL: &text, at: at}
	}
}

// unknownRoute says of a name that it is no route, and which there are.
func unknownRoute(name string, routes map[string]bool) string {
	all := slices.Sorted(maps.Keys(routes))
	return "is not a route of this gateway" + suggest.Mean(name, all) + "; its routes, which --routes names, are " + names(all)
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
	if r.sub.Delay > 0 && r.sub.Timeout > 0 && r.sub.Delay >= r.sub.Timeout {
		r.wrong(r.delayAt, "must be shorter than timeout, which counts from the submission")
	}
	if r.failed() {
		return
	}
	if r.sub.Route == "" {
		r.sub.Route = "default"
		if !r.routes["default"] {
			r.wrong("/route", "is required: this gateway has no route named default; its routes are %s", names(slices.Sorted(maps.Keys(r.routes))))
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

// fingerprint identifies what was asked for, so that a repetition can be told from
// a conflict. White space in JSON does not matter.
func fingerprint(s *lifecycle.Submission, w *oneOff) string {
	hash := sha256.New()
	length := func(n int) { // of each part, so that they cannot run into each other
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(n))
		hash.Write(b[:])
	}
	part := func(b []byte) {
		length(len(b))
		hash.Write(b)
	}
	part([]byte(s.Content.Type))
	if data := s.Content.Data; lifecycle.IsJSON(s.Content.Type) && json.Valid(data) {
		length(compact(io.Discard, data))
		compact(hash, data)
	} else {
		part(data)
	}
	part([]byte(s.ID))
	part([]byte(s.Route))
	part([]byte(s.Topic))
	for _, n := range []int64{int64(s.Priority), int64(s.MaxAttempts), int64(s.Delay), int64(s.Timeout), int64(s.Retention)} {
		part(strconv.AppendInt(nil, n, 10))
	}
	if w != nil {
		part([]byte(*w.URL))
		part([]byte(w.Secret))
		for _, t := range w.Events {
			part([]byte(t))
		}
	}
	if s.Call != nil {
		part([]byte(s.Call.Method))
		part([]byte(s.Call.Path))
		part([]byte(s.Call.Query))
		if s.Call.RawPath != s.Call.Path {
			part([]byte(s.Call.RawPath))
		}
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil))
}

// safeHeaders are the header fields that a processor gets to see: nothing that
// proves who the caller is.
var safeHeaders = []string{
	"Accept", "Accept-Language", "Content-Language", "Content-Disposition", "User-Agent",
	"X-Request-Id", "X-Correlation-Id", "Traceparent", "Tracestate", "Baggage",
}

func readHeaders(c *fiber.Ctx) map[string]string {
	var headers map[string]string
	for _, name := range safeHeaders {
		if v := c.Get(name); v != "" && len(v) <= 1024 && utf8.ValidString(v) {
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
