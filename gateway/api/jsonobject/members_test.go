package jsonobject

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/strictjson"
)

// FuzzMembers: what is told apart in a JSON text is what encoding/json finds in it.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{
		`{}`, `[]`, `{"a":1,"b":[true,{"c":null}]}`, ` { "a\"}" : "\\" , "\u0061" : [ ] } `, `[1,"]",{"a":"]"},[[]], -1.5e+3 ]`, `"a"`, `1`, ` null `, `{"":{"":""}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var object map[string]json.RawMessage
		err := json.Unmarshal(text, &object)
		fields, faults, problem := Read(text, "")
		if len(faults) > 0 || problem != nil && !utf8.Valid(text) {
			return // see package strictjson
		}
		if valid := err == nil && object != nil; valid != (problem == nil) && len(object) < MaxMembers {
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
	})
}

// TestCrowd: of what is too much no more is told apart than may be.
func TestCrowd(t *testing.T) {
	many := func(n int, one, open, end string) json.RawMessage {
		return json.RawMessage(open + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + end)
	}
	for n, text := range []json.RawMessage{many(MaxElements+1, `""`, "[", "]"), many(MaxMembers+1, `"a":1`, "{", "}")} {
		if Crowded(text) == "" {
			t.Errorf("%d: it is taken", n)
		}
	}
	for n, text := range []json.RawMessage{many(MaxElements, `""`, "[", "]"), many(MaxMembers, `"a":1`, "{", "}"), []byte(`"a"`), []byte("1")} {
		if why := Crowded(text); why != "" {
			t.Errorf("%d: %s", n, why)
		}
	}
}
