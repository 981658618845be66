package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/strictjson"
)

// FuzzMembers: what is told apart in a JSON text is what encoding/json finds in it, and without its
// white space it is what that makes of it.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{
		`{}`, `[]`, `{"a":1,"b":[true,{"c":null}]}`, ` { "a\"}" : "\\" , "\u0061" : [ ] } `, `[1,"]",{"a":"]"},[[]], -1.5e+3 ]`, `"a"`, `1`, ` null `, `{"":{"":""}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var object map[string]json.RawMessage
		err := json.Unmarshal(text, &object)
		fields, faults, problem := readObject(text, "")
		if len(faults) > 0 || problem != nil && !utf8.Valid(text) {
			return // see package strictjson
		}
		if valid := err == nil && object != nil; valid != (problem == nil) && len(object) < maxMembers {
			t.Fatalf("%q: %v, and encoding/json says %v", text, problem, err)
		}
		for name, value := range fields {
			if !bytes.Equal(value, object[name]) {
				t.Errorf("%q has %q for %q, not %q", text, value, name, object[name])
			}
		}
		if problem == nil && len(fields) != len(object) {
			t.Errorf("%q has %d members, not %d", text, len(object), len(fields))
		}
		if !json.Valid(text) {
			return
		}
		var array []json.RawMessage
		if json.Unmarshal(text, &array) == nil && array != nil {
			n := 0
			strictjson.Elements(text, func(value json.RawMessage) bool {
				if !bytes.Equal(value, array[n]) {
					t.Errorf("%q has %q at %d, not %q", text, value, n, array[n])
				}
				n++
				return true
			})
			if n != len(array) {
				t.Errorf("%q has %d elements, not %d", text, len(array), n)
			}
		}
		var want, got bytes.Buffer
		if json.Compact(&want, text) == nil {
			if n := compact(&got, text); n != got.Len() || got.String() != want.String() {
				t.Errorf("%q is %q, not %q", text, &got, &want)
			}
		}
	})
}

// TestCrowd: of what is too much no more is told apart than may be, and of what is wrong no more is
// told than a hundred things and how many there are.
func TestCrowd(t *testing.T) {
	many := func(n int, one, open, end string) json.RawMessage {
		return json.RawMessage(open + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + end)
	}
	for n, text := range []json.RawMessage{many(maxElements+1, `""`, "[", "]"), many(maxMembers+1, `"a":1`, "{", "}")} {
		if crowded(text) == "" {
			t.Errorf("%d: it is taken", n)
		}
	}
	for n, text := range []json.RawMessage{many(maxElements, `""`, "[", "]"), many(maxMembers, `"a":1`, "{", "}"), []byte(`"a"`), []byte("1")} {
		if why := crowded(text); why != "" {
			t.Errorf("%d: %s", n, why)
		}
	}
	var r reader
	for range problem.MaxErrors + 7 {
		r.wrong("/a", "is wrong")
	}
	if p := problem.InvalidFields(r.errs...); len(p.Errors) != problem.MaxErrors || r.more != 7 {
		t.Errorf("%d are told, and %d more counted", len(p.Errors), r.more)
	}
	p := problem.InvalidFields(make([]problem.FieldError, problem.MaxErrors+3)...)
	if len(p.Errors) != problem.MaxErrors || !strings.Contains(string(p.JSON("")), `"moreErrors":3`) {
		t.Errorf("%d are told: %s", len(p.Errors), p.JSON(""))
	}
}
