package blackbox_test

import (
	"net/http"
	"testing"
)

// TestHealth: /health is a word, and /v1/health what the processors inside and over HTTP do now and
// have done.
func TestHealth(t *testing.T) {
	s := start(t, "--routes=default,sleep,echo", "--concurrency=3")
	if a := s.call("GET", "/health", nil).want(200); string(a.body) != "Healthy" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%v %s", a.header, a.body)
	}
	s.call("POST", "/v1/requests", `{"route":"echo","content":1}`, "Prefer: wait=20").want(200)
	s.call("POST", "/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":0,"fail":true}}`, "Prefer: wait=20").want(500)
	s.submit("sleep", map[string]any{"steps": 1, "duration": "1h"})
	s.submit("default", 1)
	s.leaseOne("")
	route := func(doc map[string]any, name string) map[string]any {
		for _, r := range doc["routes"].([]any) {
			if r := r.(map[string]any); r["route"] == name {
				return r
			}
		}
		return nil
	}
	var doc map[string]any
	s.eventually(func() bool { // an attempt is counted after its end is told
		doc = s.call("GET", "/v1/health", nil).want(200).json()
		return doc["running"] == 1.0 && doc["succeeded"] == 1.0 && doc["failed"] == 1.0
	})
	if doc["concurrency"] != 6.0 || len(doc["routes"].([]any)) != 2 {
		t.Errorf("%v", doc)
	}
	if r := route(doc, "sleep"); r["running"] != 1.0 || r["failed"] != 1.0 || r["succeeded"] != 0.0 || r["concurrency"] != 3.0 {
		t.Errorf("sleep: %v", r)
	}
	if l := doc["leases"].(map[string]any); l["running"] != 1.0 || l["started"] != 1.0 {
		t.Errorf("leases: %v", l)
	}
	kind := "memory"
	switch {
	case onRabbitMQ():
		kind = "rabbitmq"
	case onRedis():
		kind = "redis"
	}
	if q := doc["queue"].(map[string]any); q["kind"] != kind || q["connected"] != true {
		t.Errorf("queue: %v", q)
	}
	s.call("POST", "/health", nil).want(http.StatusMethodNotAllowed)
}
