package blackbox_test

import (
	"strings"
	"testing"
)

// TestForwardHeaders: a processor sees the header fields that the operator names, of requests,
// calls and batches, beside the safe ones and no others; no event and no document has them; and one
// that is too long, no UTF-8, or there twice is refused.
func TestForwardHeaders(t *testing.T) {
	s := start(t, "--samples=false", "--routes=default", "--forward-headers=X-Tenant,x-customer-ID")
	headers := func() map[string]any {
		t.Helper()
		w := s.leaseOne("")
		started := s.call("POST", "/v1/work/"+w.ID+"/start?attempt=1", nil).want(200).json()
		s.call("POST", w.path("complete"), nil).want(200)
		for _, path := range []string{"/v1/requests/" + w.ID, "/v1/requests/" + w.ID + "/history"} {
			if a := s.call("GET", path, nil).want(200); strings.Contains(strings.ToLower(string(a.body)), "tenant") || strings.Contains(string(a.body), "acme") {
				t.Errorf("%s: %s", path, a.body)
			}
		}
		got, _ := started["headers"].(map[string]any)
		return got
	}
	sent := []string{"X-Tenant: acme", "x-customer-id: 7", "X-Other: secret", "Accept-Language: de", async}
	for name, submit := range map[string]func(){
		"a request": func() { s.call("POST", "/v1/requests", `{"content":1}`, sent...).want(202) },
		"a call":    func() { s.call("PUT", "/v1/call/default/x", []byte("1"), sent...).want(202) },
		"a batch":   func() { s.call("POST", "/v1/batches", `{"requests":[{"content":1}]}`, sent...).want(202) },
	} {
		submit()
		if got := headers(); got["X-Tenant"] != "acme" || got["X-Customer-Id"] != "7" || got["Accept-Language"] != "de" || got["X-Other"] != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	s.call("POST", "/v1/requests", `{"content":1}`, async, "X-Tenant: "+strings.Repeat("x", 1024)).want(202)
	if got := headers(); len(got["X-Tenant"].(string)) != 1024 {
		t.Errorf("%v", got)
	}
	s.call("POST", "/v1/requests", `{"content":1}`, async).want(202)
	if got := headers(); got["X-Tenant"] != nil {
		t.Errorf("%v", got)
	}
	for _, bad := range [][]string{{"X-Tenant: " + strings.Repeat("x", 1025)}, {"X-Tenant: \xff"}, {"X-Tenant: a", "x-tenant: b"}} {
		a := s.call("POST", "/v1/requests", `{"content":1}`, append(bad, async)...)
		a.problem(400, "malformed-request")
		if !strings.Contains(strings.ToLower(string(a.body)), "x-tenant") {
			t.Errorf("%q: %s", bad, a.body)
		}
	}
}

// TestHeadersThatNobodyNamed: without the flag nothing but the safe ones is passed on.
func TestHeadersThatNobodyNamed(t *testing.T) {
	s := start(t, "--samples=false")
	s.call("POST", "/v1/requests", `{"content":1}`, async, "X-Tenant: acme", "X-Tenant: other", "X-Request-Id: r").want(202)
	started := s.call("POST", "/v1/work/"+s.leaseOne("").ID+"/start?attempt=1", nil).want(200).json()
	if got := started["headers"].(map[string]any); got["X-Tenant"] != nil || got["X-Request-Id"] != "r" {
		t.Errorf("%v", got)
	}
}
