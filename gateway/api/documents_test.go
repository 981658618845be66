package api

import (
	"strings"
	"testing"

	"github.com/hark-push/hark/gateway/api/field"
)

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
