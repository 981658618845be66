package blackbox_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestBacklog: more requests than a queue keeps in memory wait through the death of the process,
// and each is worked on once, the older first.
func TestBacklog(t *testing.T) {
	if onServers() {
		t.Skip("RabbitMQ keeps its queues by itself")
	}
	data := t.TempDir()
	p := spawn(t, data, "--samples=false", "--routes=echo")
	const batches, members = 6, 1000
	for n := range batches {
		if n == batches/2 { // some are there when it starts
			p.kill()
			p = spawn(t, data, "--samples=false", "--routes=echo")
		}
		body := `{"id":"b` + fmt.Sprint(n) + `","requests":[` + strings.Repeat(`{"route":"echo","content":1},`, members-1) + `{"route":"echo","content":1}]}`
		p.call("POST", "/v1/batches", body, async).want(202)
	}
	last := p.submit("echo", "last")
	work := p.call("POST", "/v1/work/lease", `{"routes":["echo"],"max":1,"wait":"1s","lease":"2s"}`).want(200).json()["work"].([]any)
	if len(work) != 1 || !slices.ContainsFunc(p.members("b0"), func(r map[string]any) bool { return r["id"] == work[0].(map[string]any)["id"] }) {
		t.Fatalf("the first work is %v", work)
	}
	p.kill()
	p = spawn(t, data, "--routes=echo", "--concurrency=64")
	for n := range batches {
		until(t, "its requests have ended", func() bool {
			return p.call("GET", fmt.Sprint("/v1/batches/b", n), nil, "Prefer: wait=20").want(200).json()["endedAt"] != nil
		})
		doc := p.call("GET", fmt.Sprint("/v1/batches/b", n), nil).want(200).json()
		if doc["status"] != "succeeded" {
			t.Errorf("batch %d: %v", n, doc)
		}
	}
	until(t, "the last one has ended", func() bool {
		return p.call("GET", "/v1/requests/"+last, nil).want(200).json()["status"] == "succeeded"
	})
	again := 0 // attempts beside the first
	for n := range batches {
		for _, r := range p.members(fmt.Sprint("b", n)) {
			if r["status"] != "succeeded" {
				t.Fatalf("%v", r)
			}
			again += int(r["attempt"].(float64)) - 1
		}
	}
	if again != 1 { // of what was leased when the process died
		t.Errorf("%d further attempts", again)
	}
}
