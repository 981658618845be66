package api

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/lifecycle"
)

func FuzzRequestBody(f *testing.F) {
	f.Add([]byte(`{"content":{"a":[1,null]},"id":"x","route":"default","topic":"t","priority":3,"delay":"1s","timeout":"PT1H"}`))
	f.Add([]byte(`{"content":1,"a/b~":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := reader{limits: lifecycle.Limits{}.WithDefaults(), routes: map[string]bool{"default": true}}
		if r.envelope(body) != nil {
			return
		}
		sub, err := r.finish()
		if err != nil {
			for _, e := range r.errs {
				if e.Detail == "" || (e.Pointer != "" && e.Pointer[0] != '/') {
					t.Errorf("%+v", e)
				}
			}
			return
		}
		if !json.Valid(sub.Content.Data) || !utf8.Valid(sub.Content.Data) || !lifecycle.ValidID(sub.ID) || sub.Route != "default" || sub.Fingerprint == "" {
			t.Errorf("%q gave %+v", body, sub)
		}
	})
}

func FuzzIfNoneMatch(f *testing.F) {
	f.Add(`W/"3", "4"`)
	f.Fuzz(func(t *testing.T, field string) {
		if matches(field, `W/"3"`) && !strings.Contains(field, `"3"`) && !strings.Contains(field, "*") {
			t.Errorf("%q matches", field)
		}
	})
}

// TestDurationIsDocumented: clients that are made from the document send what it allows, and
// nothing else is taken.
func TestDurationIsDocumented(t *testing.T) {
	if !strings.Contains(string(OpenAPI), "pattern: '"+field.DurationForm.String()+"'") {
		t.Errorf("openapi.yaml has another pattern than %s", field.DurationForm)
	}
}
