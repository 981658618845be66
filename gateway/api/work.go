package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// assignment is what a processor gets when it starts an attempt.
type assignment struct {
	Attempt      int               `json:"attempt"`
	ID           string            `json:"id"`
	Life         string            `json:"life"`
	Route        string            `json:"route"`
	Topic        string            `json:"topic,omitzero"`
	Priority     int               `json:"priority,omitzero"`
	Caller       string            `json:"caller"`
	CreatedAt    string            `json:"createdAt"`
	Deadline     string            `json:"deadline"`
	Headers      map[string]string `json:"headers,omitzero"`
	Call         *lifecycle.Call   `json:"call,omitzero"`
	ContentType  string            `json:"contentType,omitzero"`
	LeaseExpires string            `json:"leaseExpires,omitzero"` // of leased work
	Answers      json.RawMessage   `json:"answers,omitzero"`      // by the names of the questions

	// And what is worked on, see [assignments.add]: content of JSON work, contentBase64 of any
	// other.
}

// start answers POST /v1/work/{id}/start: with a new attempt, or again with the one of the query
// that runs.
func (a *API) start(c *fiber.Ctx, _ auth.Caller) error {
	var errs []problem.FieldError
	attempt := queryAttempt(c, "attempt", &errs)
	dead, redelivered := queryAttempt(c, "supersede", &errs), wantsTrue(c, "redelivered", &errs)
	of := lifecycle.Ref{ID: param(c, "id"), Life: readLife(c, nil, &errs)}
	message := query(c, "message")
	if message != "" && !lifecycle.ValidWorker(message) {
		errs = append(errs, problem.At("?message", "must be the message of the job from the queue, as it stands there: 1 to 128 of the characters A-Z a-z 0-9 . _ : @ ~ and -"))
	}
	sequence := queryNumber(c, "sequence", "of the job from the queue, as it stands there", &errs)
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	var r lifecycle.Request
	var content lifecycle.Content
	var err error
	if attempt > 0 {
		r, content, err = a.Service.Running(a.storeContext(), of, attempt, httpbody.RoomFor(c))
	} else {
		r, content, err = a.Service.Start(a.storeContext(), of, lifecycle.Start{
			Message: message, Sequence: uint64(sequence),
			Redelivered: dead > 0 || redelivered, Attempt: dead, Insist: dead == 0 && message == "",
		})
	}
	if err != nil {
		return err
	}
	a.Leases.Attend(r.Route)
	out := assignments{api: a}
	if err := out.add(newAssignment(&r, content), r.Ref(), content); err != nil {
		return err
	}
	return out.send(c)
}

// maxDocument is how large a body may be, in bytes, that says what to do and is no work by itself:
// a report, an order of work, an endpoint.
func (a *API) maxDocument() int { return min(a.MaxBody, 1<<20) }

// queryAttempt returns the attempt that an option of the query names, 0 if it is not there.
func queryAttempt(c *fiber.Ctx, name string, errs *[]problem.FieldError) int {
	return queryNumber(c, name, "of an attempt", errs)
}

// queryNumber returns a number of the query from 1 on, 0 if it is not there. of says what it is.
func queryNumber(c *fiber.Ctx, name, of string, errs *[]problem.FieldError) int {
	text := c.Query(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		*errs = append(*errs, problem.At("?"+name, "must be the number "+of))
	}
	return n
}

func newAssignment(r *lifecycle.Request, content lifecycle.Content) assignment {
	return assignment{
		Attempt: r.Attempt, ID: r.ID, Life: cmp.Or(r.Life, noLife), Route: r.Route, Topic: r.Topic, Priority: r.Priority, Caller: r.Owner,
		CreatedAt: timestamp(r.CreatedAt), Deadline: timestamp(r.ExpiresAt),
		Headers: r.Headers, Call: r.Call, ContentType: content.Type, Answers: r.Given,
	}
}

// timestamp writes a time as documents have it (RFC 3339).
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// encode writes v as JSON, whose strings are as they were submitted.
func encode(v any) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return body.Bytes(), err
}

// progressReport is the body of a progress report: set reads it if it is plain, encoding/json if
// not.
type progressReport struct {
	Step    *string        `json:"step"`
	Percent *float64       `json:"percent"`
	Message *string        `json:"message"`
	Attempt *field.Integer `json:"attempt"`
	Life    *string        `json:"life"`
	Timeout *string        `json:"timeout"`
}

// set takes a field of what [jsonobject.Plain] reads, unless it stands there twice.
func (p *progressReport) set(name, value []byte, text bool) bool {
	var first bool
	take := func(to **string) {
		first, *to = *to == nil, new(string(value))
	}
	switch string(name) {
	case "step":
		take(&p.Step)
	case "message":
		take(&p.Message)
	case "life":
		take(&p.Life)
	case "timeout":
		take(&p.Timeout)
	case "percent":
		first, p.Percent = p.Percent == nil, new(float64)
		n, err := strconv.ParseFloat(string(value), 64)
		*p.Percent = n
		return !text && first && err == nil
	case "attempt":
		n, err := strconv.Atoi(string(value))
		first, p.Attempt = p.Attempt == nil, new(field.Integer(n))
		return !text && first && err == nil
	default:
		return false
	}
	return text && first
}

// progress answers POST /v1/work/{id}/progress.
func (a *API) progress(c *fiber.Ctx, _ auth.Caller) error {
	var body progressReport
	if err := readReport(c, a.maxDocument(), &body, body.set); err != nil {
		return err
	}
	var errs []problem.FieldError
	tooLong(&errs, "/step", body.Step, 200)
	tooLong(&errs, "/message", body.Message, 2000)
	if body.Percent != nil && (*body.Percent < 0 || *body.Percent > 100) {
		errs = append(errs, problem.At("/percent", "must be from 0 to 100"))
	}
	change := lifecycle.Progress{Step: body.Step, Percent: body.Percent, Message: body.Message}
	if body.Timeout != nil {
		change.Extend = readDuration("/timeout", *body.Timeout, a.Service.Limits().MaxTimeout, &errs)
	}
	change.Attempt = readAttempt(c, body.Attempt, &errs)
	life := readLife(c, body.Life, &errs)
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	r, err := a.report(c, life, change)
	if err != nil {
		return err
	}
	return httpbody.SendJSON(c, fiber.StatusOK, append(strconv.AppendBool([]byte(`{"cancel":`), r.CancelRequested), '}'))
}

// readDuration reads a duration of a report, from 1ms to the given one.
func readDuration(pointer, text string, most time.Duration, errs *[]problem.FieldError) time.Duration {
	d, err := field.ParseDuration(text)
	switch {
	case err != nil:
		*errs = append(*errs, problem.At(pointer, err.Error()))
	case d < time.Millisecond || d > most:
		*errs = append(*errs, problem.At(pointer, "must be from 1ms to "+most.String()))
	}
	return d
}

// succeed answers PUT /v1/work/{id}/result.
func (a *API) succeed(c *fiber.Ctx, caller auth.Caller) error {
	content, err := httpbody.ReadContent(c, a.MaxBody)
	if err != nil {
		return err
	}
	return a.endWork(c, caller, func(attempt int) lifecycle.Change {
		return lifecycle.Succeed{Attempt: attempt, Result: &content}
	})
}

// complete answers POST /v1/work/{id}/complete.
func (a *API) complete(c *fiber.Ctx, caller auth.Caller) error {
	return a.endWork(c, caller, func(attempt int) lifecycle.Change { return lifecycle.Succeed{Attempt: attempt} })
}

func (a *API) endWork(c *fiber.Ctx, caller auth.Caller, change func(attempt int) lifecycle.Change) error {
	var errs []problem.FieldError
	attempt, life := readAttempt(c, nil, &errs), readLife(c, nil, &errs)
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	return a.answerReport(c, caller, life, change(attempt))
}

// failWork answers PUT /v1/work/{id}/error.
func (a *API) failWork(c *fiber.Ctx, caller auth.Caller) error {
	var body struct {
		Code       string         `json:"code"`
		Message    *string        `json:"message"`
		Detail     string         `json:"detail"`
		Trace      string         `json:"trace"`
		Retry      *bool          `json:"retry"`
		RetryAfter *string        `json:"retryAfter"`
		Attempt    *field.Integer `json:"attempt"`
		Life       *string        `json:"life"`
	}
	if err := readReport(c, a.maxDocument(), &body, nil); err != nil {
		return err
	}
	var errs []problem.FieldError
	if body.Message == nil || *body.Message == "" {
		errs = append(errs, problem.At("/message", "is required: what to tell the user"))
	}
	tooLong(&errs, "/code", &body.Code, 100)
	tooLong(&errs, "/message", body.Message, 2000)
	tooLong(&errs, "/detail", &body.Detail, 8000)
	tooLong(&errs, "/trace", &body.Trace, 64000)
	change := lifecycle.Fail{Retry: body.Retry != nil && *body.Retry}
	if body.RetryAfter != nil {
		change.Retry, change.Delay = true, readDuration("/retryAfter", *body.RetryAfter, a.Service.Limits().MaxDelay, &errs)
		if body.Retry != nil && !*body.Retry {
			errs = append(errs, problem.At("/retryAfter", "must not stand beside retry: false"))
		}
	}
	change.Attempt = readAttempt(c, body.Attempt, &errs)
	life := readLife(c, body.Life, &errs)
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	if body.Code == "" {
		body.Code = "error"
	}
	change.Failure = lifecycle.Failure{Code: body.Code, Message: *body.Message, Detail: body.Detail, Trace: body.Trace}
	return a.answerReport(c, caller, life, change)
}

// release answers POST /v1/work/{id}/release.
func (a *API) release(c *fiber.Ctx, caller auth.Caller) error {
	var body struct {
		RetryAfter *string        `json:"retryAfter"`
		Attempt    *field.Integer `json:"attempt"`
		Life       *string        `json:"life"`
	}
	if err := readReport(c, a.maxDocument(), &body, nil); err != nil {
		return err
	}
	var errs []problem.FieldError
	var change lifecycle.Release
	if body.RetryAfter != nil {
		change.Delay = readDuration("/retryAfter", *body.RetryAfter, a.Service.Limits().MaxDelay, &errs)
	}
	change.Attempt = readAttempt(c, body.Attempt, &errs)
	life := readLife(c, body.Life, &errs)
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	return a.answerReport(c, caller, life, change)
}

// answerReport makes a report, and answers with the request as it is then.
func (a *API) answerReport(c *fiber.Ctx, caller auth.Caller, life string, change lifecycle.Change) error {
	r, err := a.report(c, life, change)
	if err != nil {
		return err
	}
	return httpbody.SendJSON(c, fiber.StatusOK, wire.AppendDocument(nil, &r, view(caller)))
}

func (a *API) report(c *fiber.Ctx, life string, change lifecycle.Change) (lifecycle.Request, error) {
	defer httpbody.Storing(c)()
	ctx := a.storeContext()
	r, err := a.Service.Report(ctx, lifecycle.Ref{ID: param(c, "id"), Life: life}, change)
	if err == nil {
		a.Leases.Attend(r.Route)
	}
	return r, err
}

// readReport reads a JSON object of at most so many bytes into a struct. An empty body is an empty
// object. set, which may be nil, is how the struct takes the fields of a plain one.
func readReport[T any](c *fiber.Ctx, most int, into *T, set func(name, value []byte, text bool) bool) error {
	t, err := httpbody.MediaType(c)
	if err != nil {
		return err
	}
	if httpbody.Announced(c) && c.Get(fiber.HeaderContentType) != "" && !lifecycle.IsJSON(t) {
		return &problem.Details{Kind: problem.MediaType, Detail: "A report is application/json. " + httpbody.JSONHint}
	}
	data, err := httpbody.Read(c, most)
	if err != nil || len(data) == 0 {
		return err
	}
	if set != nil && utf8.Valid(data) && jsonobject.Plain(data, set) {
		return nil
	}
	*into = *new(T) // which may have begun
	fields, errs, err := jsonobject.Read(data, "")
	if err != nil {
		return err
	}
	for name := range jsonobject.InOrder(fields) {
		if !jsonobject.HasField(into, name) { // encoding/json would take Attempt for attempt
			errs = append(errs, problem.At("/"+strictjson.Escape(name), "is not a field of this report"+suggest.Mean(name, suggest.Fields(into))))
		}
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs[:min(len(errs), problem.MaxErrors)]...)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return problem.InvalidFields(problem.At("/"+t.Field, "must not be a "+t.Value))
		}
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return problem.InvalidFields(problem.At("/"+strictjson.Escape(strings.Trim(name, `"`)), "is not a field of this report"))
		}
		return &problem.Details{Kind: problem.Malformed, Detail: "The body is not JSON."}
	}
	return nil
}

// readAttempt returns the attempt that reports: from the query, the header
// Hark-Attempt or the body; 0 if it does not say.
func readAttempt(c *fiber.Ctx, body *field.Integer, errs *[]problem.FieldError) int {
	text, pointer, what := c.Query("attempt"), "?attempt", ""
	if text == "" {
		text, pointer, what = c.Get("Hark-Attempt"), "Hark-Attempt", "Hark-Attempt "
	}
	if text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			*errs = append(*errs, problem.At(pointer, what+"must be the number of an attempt"))
		}
		return n
	}
	if body == nil {
		return 0
	}
	if *body < 1 {
		// 0 is what is left when a processor forgets to say, and would get past the fence.
		*errs = append(*errs, problem.At("/attempt", "must be the number of an attempt"))
	}
	return int(*body)
}

// noLife is what a worker is given, and may say, of a request whose id was made by Hark and has no
// other life: a client may choose it later on all the same.
const noLife = "none"

// readLife returns which life of the request's id is meant: from the query, the header Hark-Life or
// the body; any if it does not say.
func readLife(c *fiber.Ctx, body *string, errs *[]problem.FieldError) string {
	text, pointer := query(c, "life"), "?life"
	if text == "" {
		text, pointer = strings.Clone(c.Get("Hark-Life")), "Hark-Life"
	}
	if text == "" && body != nil {
		if text, pointer = *body, "/life"; text == "" {
			*errs = append(*errs, problem.At(pointer, "must be the life of the request, as the start answered it; leave it out if any is meant"))
		}
	}
	switch text {
	case "":
		return lifecycle.AnyLife
	case noLife:
		return ""
	}
	if !lifecycle.ValidLife(text) {
		*errs = append(*errs, problem.At(pointer, "must be the life of the request, as the start answered it"))
	}
	return text
}

func tooLong(errs *[]problem.FieldError, pointer string, s *string, most int) {
	if s != nil && utf8.RuneCountInString(*s) > most {
		*errs = append(*errs, problem.At(pointer, "must have at most "+strconv.Itoa(most)+" characters"))
	}
}
