package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/api/problem"
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

// FuzzBatchBody: each request of a batch is read as it would be by itself, and what is wrong with
// one points into it.
func FuzzBatchBody(f *testing.F) {
	for _, s := range []string{`[{"content":1},{"content":2,"id":"a"}]`, `[{"content":1,"content":2},null,7]`, `[{"content":1,"webhook":{"url":""}}]`, `{}`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return
		}
		batch := reader{limits: lifecycle.Limits{}.WithDefaults(), routes: map[string]bool{"default": true}}
		requests := batch.readRequests(body, maxBatch)
		batch.distinct(requests)
		for _, one := range requests {
			for _, e := range one.errs {
				if e.Detail == "" || !strings.HasPrefix(e.Pointer, one.at) {
					t.Errorf("%q: %+v in %s", body, e, one.at)
				}
			}
		}
	})
}

// FuzzCompact: JSON without its white space is what encoding/json makes of it.
func FuzzCompact(f *testing.F) {
	for _, text := range []string{`{}`, ` { "a\"}" : "\\" , "\u0061" : [ ] } `, `[1,"]",{"a":"]"},[[]], -1.5e+3 ]`, `" a"`, ` null `} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want, got bytes.Buffer
		if json.Compact(&want, text) == nil {
			if n := compact(&got, text); n != got.Len() || got.String() != want.String() {
				t.Errorf("%q is %q, not %q", text, &got, &want)
			}
		}
	})
}

// TestWrongIsCounted: of what is wrong with a submission no more is told than a hundred things, and
// the others are counted.
func TestWrongIsCounted(t *testing.T) {
	var r reader
	for range problem.MaxErrors + 7 {
		r.wrong("/a", "is wrong")
	}
	if p := problem.InvalidFields(r.errs...); len(p.Errors) != problem.MaxErrors || r.more != 7 {
		t.Errorf("%d are told, and %d more counted", len(p.Errors), r.more)
	}
}
