package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/webhook/dispatch"
)

// endpointInput is an endpoint as clients write it. What is nil was not given.
type endpointInput struct {
	URL         *string            `json:"url"`
	Description *string            `json:"description"`
	Status      *dispatch.Status   `json:"status"`
	Events      *[]string          `json:"events"`
	Routes      *[]string          `json:"routes"`
	Topics      *[]string          `json:"topics"`
	Headers     map[string]*string `json:"headers"`
	ContentType *string            `json:"contentType"`
	// Left out if it was not given: fingerprints of before it have none.
	Form        *string        `json:"form,omitempty"`
	Timeout     *duration      `json:"timeout"`
	Schedule    *[]duration    `json:"schedule"`
	Rate        *float64       `json:"rate"`
	Concurrency *field.Integer `json:"concurrency"`
	Coalesce    *bool          `json:"coalesce"`

	Secret    string `json:"secret"`    // only when it is made
	Challenge string `json:"challenge"` // likewise
}

// duration is one in JSON: a string in one of the forms that parseDuration reads.
type duration time.Duration

func (d *duration) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return field.ErrDuration
	}
	v, err := field.ParseDuration(text)
	*d = duration(v)
	return err
}

func (d duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// decode reads a JSON object into a struct, and says which field is wrong.
func (a *API) decode(c *fiber.Ctx, into any) error {
	data, err := httpbody.ReadJSON(c, a.maxDocument(), "The body is to be application/json.")
	if err != nil {
		return err
	}
	fields, errs, err := jsonobject.Read(data, "")
	if err != nil {
		return err
	}
	if errs = append(errs, jsonobject.Decode(fields, "/", into)...); len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	return nil
}

// wrong are the fields that were given as nothing, which is not the same as not to give them, and
// filters that nothing passes.
func (in *endpointInput) wrong(routes map[string]bool) (errs []problem.FieldError) {
	if in.Timeout != nil && *in.Timeout == 0 {
		errs = append(errs, problem.At("/timeout", "want 1s to 60s"))
	}
	if in.Concurrency != nil && *in.Concurrency == 0 {
		errs = append(errs, problem.At("/concurrency", "want 1 to 64"))
	}
	for _, name := range slices.Sorted(maps.Keys(in.Headers)) {
		if in.Headers[name] == nil {
			errs = append(errs, problem.At("/headers/"+strictjson.Escape(name), "must be a string"))
		}
	}
	if in.Routes != nil {
		for i, route := range *in.Routes {
			if !routes[route] && len(errs) < problem.MaxErrors {
				errs = append(errs, problem.At("/routes/"+strconv.Itoa(i), field.UnknownRoute(route, routes)))
			}
		}
	}
	return errs
}

// fingerprint identifies what was asked for, so that a repetition can be told from a conflict.
func (in *endpointInput) fingerprint() (string, error) {
	text, err := json.Marshal(in) //nolint:gosec // the secret counts; its digest is stored sealed
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// fill writes what was given into an endpoint.
func (in *endpointInput) fill(e *dispatch.Endpoint) {
	set(&e.URL, in.URL)
	set(&e.Description, in.Description)
	set(&e.Status, in.Status)
	set(&e.Types, in.Events)
	set(&e.Routes, in.Routes)
	set(&e.Topics, in.Topics)
	set(&e.ContentType, in.ContentType)
	set(&e.Form, in.Form)
	set(&e.Rate, in.Rate)
	set(&e.Concurrency, (*int)(in.Concurrency))
	set(&e.Coalesce, in.Coalesce)
	if in.Headers != nil {
		e.Headers = make(map[string]string, len(in.Headers))
		for name, value := range in.Headers {
			e.Headers[name] = *value // see wrong
		}
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
	Owner       string            `json:"owner,omitempty"` // in a list of others'
	URL         string            `json:"url"`
	Description string            `json:"description"`
	Status      dispatch.Status   `json:"status"`
	Reason      string            `json:"reason,omitempty"`
	Events      []string          `json:"events"`
	Routes      []string          `json:"routes"`
	Topics      []string          `json:"topics"`
	Headers     map[string]string `json:"headers"`
	ContentType string            `json:"contentType"`
	Form        string            `json:"form,omitempty"` // unless it is full
	Timeout     duration          `json:"timeout"`
	Schedule    []duration        `json:"schedule"`
	Rate        float64           `json:"rate"`
	Concurrency int               `json:"concurrency"`
	Coalesce    bool              `json:"coalesce"`
	Challenge   string            `json:"challenge"`
	CreatedAt   stamp             `json:"createdAt"`
	UpdatedAt   stamp             `json:"updatedAt"`
	Health      *healthDocument   `json:"health,omitempty"`
	// It is told when it is made or changed, never again.
	Secret string `json:"secret,omitempty"`
	Links  []link `json:"links"`
}

// healthDocument is how an endpoint fares.
type healthDocument struct {
	Failures     int   `json:"failures"`
	Successes    int   `json:"successes"`
	FailingSince stamp `json:"failingSince,omitzero"`
	LastSuccess  stamp `json:"lastSuccess,omitzero"`
	HeldUntil    stamp `json:"heldUntil,omitzero"`
	Waiting      int   `json:"waiting"`
	Sending      int   `json:"sending"`
}

// stamp is a time as all documents have it: UTC, in milliseconds; null for none.
type stamp struct{ time.Time }

// MarshalJSON implements [json.Marshaler].
func (s stamp) MarshalJSON() ([]byte, error) {
	if s.IsZero() {
		return []byte("null"), nil
	}
	return s.UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000Z07:00"`), nil
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
		ContentType: cmp.Or(e.ContentType, dispatch.TypeCloudEvent), Timeout: duration(e.Timeout), Schedule: make([]duration, len(e.Schedule)), Rate: e.Rate, Concurrency: e.Concurrency,
		Form: thinForm(e.Form), Coalesce: e.Coalesce, Challenge: e.Challenge, CreatedAt: stamp{e.CreatedAt}, UpdatedAt: stamp{e.UpdatedAt}, Secret: secret,
		Links: []link{
			{"self", self, "GET"},
			{"deliveries", self + "/deliveries", "GET"},
			{"test", self + "/test", "POST"},
			{"rotate", self + "/rotate", "POST"},
			{"recover", self + "/recover", "POST"},
			{"public-key", "/v1/webhooks/public-key", "GET"},
		},
	}
	if health != nil {
		d.Health = &healthDocument{
			Failures: health.Failures, Successes: health.Successes, FailingSince: stamp{health.FailingSince}, LastSuccess: stamp{health.LastSuccess},
			HeldUntil: stamp{health.HeldUntil}, Waiting: health.Waiting, Sending: health.Sending,
		}
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

// thinForm returns a form unless it is that which endpoints have by themselves.
func thinForm(form string) string {
	if form == dispatch.FormFull {
		return ""
	}
	return form
}

// list is never null in JSON.
func list(items []string) []string {
	if items == nil {
		return []string{}
	}
	return items
}
