package strictjson_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hark-push/hark/gateway/strictjson"
)

// TestCheck: what encoding/json would overlook is told with a pointer, however deep and however it
// is written, and nothing else is.
func TestCheck(t *testing.T) {
	for text, want := range map[string][]string{
		`{}`: nil, `[]`: nil, ` 1 `: nil, `"a"`: nil, `null`: nil, `{"a":{"b":1},"c":{"b":1}}`: nil, `[{"a":1},{"a":1}]`: nil,
		`{"a":1,"a":2}`:                       {"x/a"},
		` { "a" : 1 , "\u0061" : [ ] } `:      {"x/a"},
		`{"a":1,"a":1,"a":1}`:                 {"x/a", "x/a"},
		`{"a":{"b":[0,{"c":1,"c":{}}]}}`:      {"x/a/b/1/c"},
		`{"a/b":1,"a~c":1,"a/b":2}`:           {"x/a~1b"},
		`{"":1,"":2}`:                         {"x/"},
		`{"a":"}\"{","a":"\\"}`:               {"x/a"},
		`{"\ud83d\ude00":1,"😀":2}`:            {"x/😀"},
		`["\ud83d\ude00","\\ud800","\u00e4"]`: nil,
		`["\ud800"]`:                          {"x/0"},
		`["\ud800\u0041","a\udc00"]`:          {"x/0", "x/1"},
		`["\ud800\ud800\udc00"]`:              {"x/0"},
		`{"a\ud800":1}`:                       {"x/a\uFFFD"},
		"[\"\xff\"]":                          {"x/0"},
		"{\"\xff\xfe\":1,\"\xff\":2}":         {"x/\uFFFD\uFFFD", "x/\uFFFD"},
		"{\"\xff\xfe\":1,\"\xfe\xff\":2}":     {"x/\uFFFD\uFFFD", "x/\uFFFD\uFFFD"},
	} {
		var at []string
		for _, f := range strictjson.Check([]byte(text), "x", 100) {
			at = append(at, f.Pointer)
		}
		if !slices.Equal(at, want) {
			t.Errorf("%s: %q, want %q", text, at, want)
		}
	}
	if got := strictjson.Check([]byte(`[{"a":1,"a":1,"a":1},"\ud800"]`), "", 2); len(got) != 2 {
		t.Errorf("%d faults are told, want 2", len(got))
	}
}

// TestLongNames: a pointer does not grow with what it points to.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("ä", 1_000_000)
	faults := strictjson.Check([]byte(`{"`+long+`":1,"`+long+`":1}`), "", 10)
	if len(faults) != 1 || len(faults[0].Pointer) > 210 || !strings.HasPrefix(faults[0].Pointer, "/ää") || !strings.HasSuffix(faults[0].Pointer, "ä…") {
		t.Errorf("%.300q", faults)
	}
	deep := strings.Repeat(`{"`+long[:200]+`":`, 5000) + `"\ud800"` + strings.Repeat("}", 5000)
	if faults := strictjson.Check([]byte(deep), "", 10); len(faults) != 1 || len(faults[0].Pointer) > 1300 {
		t.Errorf("%.300q", faults)
	}
}

// BenchmarkCheck looks at texts of the same length, flat and nested as deep as encoding/json reads
// them: they cost about the same.
func BenchmarkCheck(b *testing.B) {
	const size = 1 << 20
	for name, text := range map[string]string{
		"flat": `"` + strings.Repeat("x", size) + `"`,
		"deep": strings.Repeat("[", 9999) + `"` + strings.Repeat("x", size) + `"` + strings.Repeat("]", 9999),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if strictjson.Check([]byte(text), "", 1) != nil {
					b.Fatal("it is right")
				}
			}
		})
	}
}

// FuzzCheck: of whatever is valid JSON the members are those that encoding/json finds, and a name
// that stands there twice is told.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":1,"b":[true,{"c":null}]}`, `{"a":1,"\u0061":2}`, `{"x":"\ud800"}`, ` [ 1 , "}" ] `, `{"a":{"b":"\"]"}}`, `-1.5e+3`, "{\"\xff\xfe\":1}", "{\"\xff\\u0061\xe2\x82\":1}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			return
		}
		faults := strictjson.Check(text, "", 10)
		members, wrong := strictjson.Object(text, 1<<20)
		if len(wrong) > 0 && len(faults) == 0 {
			t.Fatalf("%s: %v of its names alone, nothing of all", text, wrong)
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			if members != nil {
				t.Fatalf("%s is no object and has %v", text, members)
			}
			return
		}
		if !slices.Equal(slices.Sorted(maps.Keys(members)), slices.Sorted(maps.Keys(want))) {
			t.Fatalf("%s has %v, want %v", text, members, want)
		}
		for name, raw := range want {
			var a, b any
			if json.Unmarshal(raw, &a) != nil || json.Unmarshal(members[name], &b) != nil || !reflect.DeepEqual(a, b) {
				t.Fatalf("%s: %q is %s, want %s", text, name, members[name], raw)
			}
		}
	})
}
