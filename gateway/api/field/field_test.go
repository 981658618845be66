package field

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func seconds(n int) *time.Duration { return new(time.Duration(n) * time.Second) }

func TestParsePrefer(t *testing.T) {
	for _, c := range []struct {
		fields []string
		async  bool
		wait   *time.Duration
	}{
		{nil, false, nil},
		{[]string{"respond-async"}, true, nil},
		{[]string{"Respond-ASYNC"}, true, nil},
		{[]string{"respond-async, wait=5"}, true, seconds(5)},
		{[]string{"wait=5,respond-async"}, true, seconds(5)},
		{[]string{"wait = 5"}, false, seconds(5)},
		{[]string{`wait="7"`}, false, seconds(7)},
		{[]string{"wait=1, wait=2"}, false, seconds(1)}, // the first counts
		{[]string{"wait=1", "wait=2"}, false, seconds(1)},
		{[]string{"wait=x, wait=2"}, false, nil}, // also when it is malformed
		{[]string{"wait=-1"}, false, nil},
		{[]string{"wait=99999999999999999999"}, false, nil},
		{[]string{"wait=9999999999"}, false, seconds(86400)},
		{[]string{`x="respond-async, wait=3"`}, false, nil},
		{[]string{`x="a\"b", respond-async`}, true, nil},
		{[]string{"respond-async; wait=3"}, true, nil}, // a parameter, not a preference
		{[]string{"handling=lenient; a=b", "return=minimal, respond-async"}, true, nil},
		{[]string{"respond-async-not"}, false, nil},
		{[]string{`x="unclosed, respond-async`}, false, nil},
		{[]string{",,;=,"}, false, nil},
	} {
		p := ParsePrefer(c.fields)
		if p.Async != c.async || (p.Wait == nil) != (c.wait == nil) || (p.Wait != nil && *p.Wait != *c.wait) {
			t.Errorf("%q: %+v", c.fields, p)
		}
	}
}

func TestInteger(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "7": 7, "7.0": 7, "7.00": 7, "0.7e1": 7, "70e-1": 7, "-1": -1, "-1.0": -1, "2147483647.0": 2147483647} {
		var field struct{ Attempt *Integer }
		if err := json.Unmarshal([]byte(`{"Attempt":`+text+`}`), &field); err != nil || field.Attempt == nil || int(*field.Attempt) != want {
			t.Errorf("%s: %v, want %d: %v", text, field.Attempt, want, err)
		}
	}
	for text, kind := range map[string]string{
		"1.5": "number 1.5", "1e99": "number 1e99", "99999999999999999999": "number 99999999999999999999", `"7"`: "string", "true": "bool", "[7]": "array", `{"n":7}`: "object",
	} {
		var field struct{ Attempt *Integer }
		err := json.Unmarshal([]byte(`{"Attempt":`+text+`}`), &field)
		if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok || mistyped.Value != kind || mistyped.Field != "Attempt" {
			t.Errorf("%s: %v", text, err)
		}
	}
	// A query has these.
	for _, text := range []string{"", "x", "0x7", "7 ", "1_0", "inf", "nan", "7.", ".7", "null"} {
		if n, err := ParseInteger(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond, "0s": 0,
		"PT90S": 90 * time.Second, "PT1H30M": 90 * time.Minute, "P2D": 48 * time.Hour, "P1W": 168 * time.Hour,
		"P1DT1H": 25 * time.Hour, "PT0.5S": 500 * time.Millisecond, "PT0,5S": 500 * time.Millisecond,
	} {
		if d, err := ParseDuration(text); err != nil || d != want {
			t.Errorf("%q: %v %v, want %v", text, d, err, want)
		}
	}
	for _, text := range []string{"", "5", "P", "PT", "P1Y", "P1M", "P1H", "PT1D", "PT1S1H", "P1D1D", "-1s", "PT-1S", "P1DT", "PTT1S", "+1s", "-0s", "PT1.5H", "P1W1D", "PT.5S", "PT5.S", "1 s", "soon", "PT99999999999999999999S"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q was taken for %v", text, d)
		}
	}
}

func TestAccepted(t *testing.T) {
	const stream, list = "text/event-stream", "application/json"
	for _, test := range []struct {
		fields string // a line each
		want   string
	}{
		{"", stream},
		{"*/*", stream},
		{list, list},
		{"TEXT/Event-Stream", stream},
		{list + "; charset=utf-8", list},
		{"application/*", list},
		{"text/html\n" + list, list},
		{list + ", " + stream, list},
		{stream + ";q=0.1, " + list + ";q=0.9", list},
		{stream + ";q=0, */*", list},
		{"*/*;q=0.5, " + stream + ";q=0", list},
		{"text/html, */*;q=0.1", stream},
		{list + ";q=abc", list},
		{list + `;x="a,b";q=0, ` + stream, stream},
		{"text/html", ""},
		{"*/*;q=0", ""},
	} {
		if got := Accepted(bytes.Split([]byte(test.fields), []byte("\n")), []string{stream, list}); got != test.want {
			t.Errorf("Accept %q: %q, want %q", test.fields, got, test.want)
		}
	}
}

func FuzzPrefer(f *testing.F) {
	f.Add("respond-async, wait=5")
	f.Add(`x="a,b\"";y=1, wait="2"`)
	f.Fuzz(func(t *testing.T, field string) {
		p := ParsePrefer([]string{field})
		if p.Wait != nil && (*p.Wait < 0 || *p.Wait > 24*time.Hour) {
			t.Errorf("wait %v", *p.Wait)
		}
		if p.Async && !strings.Contains(strings.ToLower(field), "respond-async") {
			t.Error("async out of nothing")
		}
	})
}

func FuzzDuration(f *testing.F) {
	f.Add("PT1H30M")
	f.Add("1h30m")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := ParseDuration(text); err == nil && d < 0 {
			t.Errorf("%q is %v", text, d)
		}
	})
}

// FuzzAccept: of what is offered one is chosen, or none.
func FuzzAccept(f *testing.F) {
	for _, s := range []string{"*/*", "text/event-stream", "application/json;q=0.5, */*;q=0", `text/*;x="a,b";q=0.1`, "q=1;;,"} {
		f.Add(s)
	}
	offers := []string{"text/event-stream", "application/json"}
	f.Fuzz(func(t *testing.T, field string) {
		if got := Accepted([][]byte{[]byte(field)}, offers); got != "" && !slices.Contains(offers, got) {
			t.Errorf("%q: %q", field, got)
		}
	})
}
