package api

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/lifecycle"
)

// oneOff is an endpoint for one request alone.
type oneOff struct {
	URL    *string               `json:"url"`
	Secret string                `json:"secret"`
	Events []lifecycle.EventType `json:"events"`
	Type   string                `json:"contentType"`
	Form   string                `json:"form"`

	// What a pointer to one of its fields begins with; to the URL alone if it ends without a slash.
	at string
}

func (w *oneOff) pointer(field string) string {
	if !strings.HasSuffix(w.at, "/") {
		return w.at
	}
	return w.at + field
}

// readWebhook reads the field of that name.
func (r *reader) readWebhook(raw json.RawMessage) {
	if string(raw) == "null" {
		return
	}
	w := &oneOff{at: r.at + "/webhook/"}
	fields, _, err := jsonobject.Read(raw, "") // whose faults are told with those of the submission
	if err != nil {
		r.wrong("/webhook", `must be an object like {"url": "https://…", "secret": "whsec_…", "events": ["request.succeeded"]}`)
		return
	}
	errs := jsonobject.Decode(fields, w.at, w)
	if w.URL == nil && len(errs) == 0 {
		errs = []problem.FieldError{problem.At(w.pointer("url"), "is required: where deliveries go")}
	}
	for _, e := range errs {
		r.wrong(strings.TrimPrefix(e.Pointer, r.at), "%s", e.Detail)
	}
	for i, t := range w.Events {
		if !t.Known() {
			r.wrong("/webhook/events/"+strconv.Itoa(i), "is not the type of an event of a request")
		}
	}
	r.webhook = w
}
