package api

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/api/field"
)

func TestParseSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`0`: 0, `5`: 5 * time.Second, `5.0`: 5 * time.Second, `1e2`: 100 * time.Second, `"0"`: 0, `"90s"`: 90 * time.Second, `"PT1M"`: time.Minute,
		`9223372036`: 9223372036 * time.Second,
	} {
		if got, err := field.ParseSeconds([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{`-1`, `1.5`, `9223372037`, `""`, `"5"`, `"-5s"`, `true`, `[]`, `{}`, `"PT"`} {
		if d, err := field.ParseSeconds([]byte(bad)); err == nil {
			t.Errorf("%s is %v", bad, d)
		}
	}
}

// FuzzLease: what is taken is within its bounds, and what is not is told.
func FuzzLease(f *testing.F) {
	f.Add([]byte(`{"routes":["a","b"],"max":100,"wait":"PT20S","lease":60}`))
	f.Add([]byte(`{"routes":["a"],"max":1e1,"wait":0,"lease":"1h0m"}`))
	f.Add([]byte(`{"routes":[null],"max":null,"Wait":-1}`))
	routes := map[string]bool{"a": true, "b": true}
	f.Fuzz(func(t *testing.T, body []byte) {
		var fields map[string]json.RawMessage
		if json.Unmarshal(body, &fields) != nil {
			return
		}
		o, errs := parseLease(fields, routes)
		for _, e := range errs {
			if e.Pointer == "" || e.Pointer[0] != '/' || e.Detail == "" {
				t.Errorf("%+v", e)
			}
		}
		if len(errs) > 0 {
			return
		}
		if len(o.Routes) == 0 || o.Max < 1 || o.Max > mostLeases || o.Wait < 0 || o.Lease < leastLease || o.Lease > longestLease {
			t.Errorf("%s: %+v", body, o)
		}
		for _, r := range o.Routes {
			if !routes[r] {
				t.Errorf("%s: %q", body, r)
			}
		}
	})
}
