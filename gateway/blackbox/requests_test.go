package blackbox_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestGetConditionalAndLongPoll(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	path := "/v1/requests/" + id
	tag := s.call("GET", path, nil).want(200).header.Get("ETag")
	if a := s.call("GET", path, nil, "If-None-Match: "+tag).want(304); len(a.body) != 0 || a.header.Get("ETag") != tag {
		t.Errorf("304: %v %s", a.header, a.body)
	}
	s.call("GET", path, nil, `If-None-Match: "other", `+strings.TrimPrefix(tag, "W/")).want(304)
	s.call("GET", path, nil, `If-None-Match: "99"`).want(200)
	s.call("GET", path, nil, "Prefer: wait=0", "If-None-Match: "+tag).want(304)

	var waiting sync.WaitGroup
	began := make(chan struct{})
	waiting.Go(func() {
		close(began)
		a, err := s.try("GET", path, nil, "Prefer: wait=20", "If-None-Match: "+tag)
		if err != nil || a.status != 200 || a.json()["sequence"] != 2.0 || a.header.Get("Preference-Applied") != "wait=20" {
			t.Errorf("long poll: %v %d %s", err, a.status, a.body)
		}
	})
	<-began
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	waiting.Wait()
	// What the client does not know yet is told at once.
	s.call("GET", path, nil, "Prefer: wait=20", "If-None-Match: "+tag).want(200)
	s.call("GET", "/v1/requests/unknown", nil).problem(404, "request-not-found")
	s.call("GET", "/v1/requests/no%20id", nil).problem(404, "request-not-found")
}

func TestResult(t *testing.T) {
	s := start(t)
	first, second := s.submit("default", 1), s.submit("default", 2)
	a := s.call("GET", "/v1/requests/"+second+"/result", nil)
	if p := a.problem(404, "result-not-ready"); p["position"] != 1.0 || p["requestStatus"] != "pending" || a.header.Get("Retry-After") == "" {
		t.Errorf("not ready: %s", a.body)
	}
	s.call("POST", "/v1/work/"+first+"/start", nil).want(200)
	s.call("GET", "/v1/requests/"+first+"/result", nil).problem(404, "result-not-ready")
	blob := bytes.Repeat([]byte{0, 0xff, 1, '"', '\n'}, 1000)
	doc := s.call("PUT", "/v1/work/"+first+"/result", blob, "Content-Type: application/octet-stream").want(200).json()
	if r := doc["result"].(map[string]any); r["size"] != 5000.0 || r["type"] != "application/octet-stream" || r["value"] != nil {
		t.Errorf("result: %v", r)
	}
	path := "/v1/requests/" + first + "/result"
	whole := s.call("GET", path, nil).want(200)
	if !bytes.Equal(whole.body, blob) || whole.header.Get("Content-Type") != "application/octet-stream" {
		t.Error("the result is not what was put")
	}
	tag := whole.header.Get("ETag")
	s.call("GET", path, nil, "If-None-Match: "+tag).want(304)
	part := s.call("GET", path, nil, "Range: bytes=10-19").want(206)
	if !bytes.Equal(part.body, blob[10:20]) || part.header.Get("Content-Range") != "bytes 10-19/5000" {
		t.Errorf("range: %v", part.header)
	}
	if tail := s.call("GET", path, nil, "Range: bytes=-5").want(206); !bytes.Equal(tail.body, blob[4995:]) {
		t.Error("suffix range")
	}
	s.call("GET", path, nil, "Range: bytes=9999-").problem(416, "range-not-satisfiable")
	s.call("GET", path, nil, "Range: bytes=0-1", `If-Range: "old"`).want(200)
	if a := s.call("GET", path, nil, "Range: bytes=9-1"); a.header.Get("Content-Range") != "bytes */5000" {
		t.Errorf("416: %v", a.header)
	}
	s.call("GET", path, nil, "Range: lines=0-1").want(200) // of no unit that is known
	s.call("GET", path, nil, `If-Match: "other"`).problem(412, "precondition-failed")
	s.call("GET", path, nil, "If-Match: "+tag).want(200)
	head := s.call("HEAD", path, nil).want(200)
	if head.header.Get("Content-Length") != "5000" || len(head.body) != 0 {
		t.Errorf("HEAD: %v", head.header)
	}

	// Success without a result.
	s.call("POST", "/v1/work/"+second+"/start", nil).want(200)
	s.call("POST", "/v1/work/"+second+"/complete", nil).want(200)
	s.call("GET", "/v1/requests/"+second+"/result", nil).want(204)

	// JSON up to 16 KiB is inline, byte for byte at the result.
	third := s.submit("default", 3)
	s.call("POST", "/v1/work/"+third+"/start", nil).want(200)
	text := "{ \"a\" :\n 1.50 }"
	doc = s.call("PUT", "/v1/work/"+third+"/result", text).want(200).json()
	if v := doc["result"].(map[string]any)["value"].(map[string]any); v["a"] != 1.5 {
		t.Errorf("inline: %v", v)
	}
	if a := s.call("GET", "/v1/requests/"+third+"/result", nil).want(200); string(a.body) != text {
		t.Errorf("result: %q", a.body)
	}

	// A failure, a cancellation.
	fourth := s.submit("default", 4)
	s.call("POST", "/v1/work/"+fourth+"/start", nil).want(200)
	s.call("PUT", "/v1/work/"+fourth+"/error", `{"code":"bad-thing","message":"It broke.","detail":"at x","trace":"goroutine 1 main.go:1"}`).want(200)
	if p := s.call("GET", "/v1/requests/"+fourth+"/result", nil).problem(500, "request-failed"); p["code"] != "bad-thing" || p["detail"] != "It broke." {
		t.Errorf("failure: %v", p)
	}
	if a := s.call("GET", "/v1/requests/"+fourth, nil).want(200); strings.Contains(string(a.body), "goroutine") {
		t.Error("the trace reached a client")
	}
	fifth := s.submit("default", 5)
	s.call("POST", "/v1/requests/"+fifth+"/cancel", nil).want(200)
	s.call("GET", "/v1/requests/"+fifth+"/result", nil).problem(409, "request-canceled")
}

// TestRanges: of a result of 10 bytes.
func TestRanges(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	s.call("PUT", "/v1/work/"+id+"/result", []byte("0123456789"), "Content-Type: text/plain").want(200)
	path := "/v1/requests/" + id + "/result"
	tag := s.call("GET", path, nil).want(200).header.Get("ETag")
	for field, want := range map[string]struct {
		status int
		body   string // or what the parts of several ranges hold
	}{
		"bytes=0-":                     {206, "0123456789"},
		"bytes=0-0":                    {206, "0"},
		"bytes=9-":                     {206, "9"},
		"bytes=9-9":                    {206, "9"},
		"bytes=8-100":                  {206, "89"},
		"bytes=8-99999999999999999999": {206, "89"},
		"bytes=-1":                     {206, "9"},
		"bytes=-10":                    {206, "0123456789"},
		"bytes=-11":                    {206, "0123456789"},
		"bytes=-99999999999999999999":  {206, "0123456789"},
		"Bytes=2-3":                    {206, "23"}, // units have no case (RFC 9110, section 14.1)
		"bytes= 2-3":                   {206, "23"},
		"bytes=2-3 , , ":               {206, "23"},
		"bytes=2-3,-0":                 {206, "23"}, // what can be satisfied is
		"bytes=-0,2-3,100-":            {206, "23"},
		"bytes=0-1,8-9":                {206, "01 89"},
		"bytes=0-1, -2":                {206, "01 89"},
		"bytes=0-9,0-9":                {200, "0123456789"}, // more than the whole
		"bytes=-0":                     {416, ""},
		"bytes=-00":                    {416, ""},
		"bytes=-0,-0":                  {416, ""},
		"bytes=10-":                    {416, ""},
		"bytes=10-20,-0":               {416, ""},
		"bytes=99999999999999999999-":  {416, ""},
		"bytes=3-2":                    {416, ""},
		"bytes=0-1,3-2":                {416, ""},
		"bytes=":                       {416, ""},
		"bytes=-":                      {416, ""},
		"bytes=--1":                    {416, ""},
		"bytes=+1-2":                   {416, ""},
		"bytes=1 - 2":                  {416, ""},
		"bytes=a-b":                    {416, ""},
		"bytes=5":                      {416, ""},
		"lines=0-1":                    {200, "0123456789"},
		"bytes":                        {200, "0123456789"},
		"bytes =0-1":                   {200, "0123456789"},
		"none":                         {200, "0123456789"},
	} {
		a := s.call("GET", path, nil, "Range: "+field).want(want.status)
		got := string(a.body)
		switch parts := strings.Fields(want.body); {
		case want.status == 416:
			if a.problem(416, "range-not-satisfiable"); a.header.Get("Content-Range") != "bytes */10" {
				t.Errorf("%s: Content-Range %q", field, a.header.Get("Content-Range"))
			}
		case len(parts) > 1:
			for _, part := range parts {
				if !strings.Contains(got, "\r\n\r\n"+part+"\r\n") || !strings.HasPrefix(a.header.Get("Content-Type"), "multipart/byteranges") {
					t.Errorf("%s: %v %q", field, a.header, got)
				}
			}
		case got != want.body:
			t.Errorf("%s: %q, want %q", field, got, want.body)
		case want.status == 206:
			from := strings.Index("0123456789", got)
			if cr := fmt.Sprintf("bytes %d-%d/10", from, from+len(got)-1); a.header.Get("Content-Range") != cr || a.header.Get("Content-Type") != "text/plain" {
				t.Errorf("%s: %v", field, a.header)
			}
		}
	}
	for header, status := range map[string]int{
		"If-Range: " + tag: 206, "If-Range: W/" + tag: 200, `If-Range: "other"`: 200, "If-Range: Thu, 01 Jan 1970 00:00:00 GMT": 200, "If-None-Match: " + tag: 304, `If-Match: "other"`: 412,
	} {
		s.call("GET", path, nil, "Range: bytes=0-1", header).want(status)
		want := map[int]int{206: 416, 200: 200, 304: 304, 412: 412}[status]
		s.call("GET", path, nil, "Range: bytes=-0", header).want(want)
	}
	// Range is for GET.
	if a := s.call("HEAD", path, nil, "Range: bytes=0-1").want(200); a.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %v", a.header)
	}
}

func TestCancelAndForget(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	s.call("DELETE", "/v1/requests/"+id, nil).problem(409, "not-ended")
	if doc := s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200).json(); doc["status"] != "canceled" {
		t.Errorf("%v", doc)
	}
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(200)
	s.call("POST", "/v1/work/"+id+"/start", nil).problem(409, "invalid-transition")
	s.call("DELETE", "/v1/requests/"+id, nil).want(204)
	s.call("DELETE", "/v1/requests/"+id, nil).problem(404, "request-not-found")
	s.call("GET", "/v1/requests/"+id, nil).problem(404, "request-not-found")

	// Running work is asked to stop and ends as canceled.
	id = s.submit("default", 1)
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	s.call("POST", "/v1/work/"+id+"/progress", `{"percent":10}`).want(200)
	asked := s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(202)
	if doc := asked.json(); doc["status"] != "processing" || asked.header.Get("Location") != "/v1/requests/"+id {
		t.Errorf("%v", doc)
	}
	if a := s.call("POST", "/v1/work/"+id+"/progress", `{}`).want(200); string(a.body) != `{"cancel":true}` {
		t.Errorf("%s", a.body)
	}
	if doc := s.call("PUT", "/v1/work/"+id+"/error", `{"message":"stopped","retry":true}`).want(200).json(); doc["status"] != "canceled" {
		t.Errorf("%v", doc)
	}

	// The SDK's handler has its context canceled.
	id = s.submit("sleep", map[string]any{"steps": 100, "duration": "1s"})
	s.eventually(func() bool {
		return s.call("GET", "/v1/requests/"+id, nil).json()["status"] == "processing"
	})
	s.call("POST", "/v1/requests/"+id+"/cancel", nil).want(202)
	s.eventually(func() bool { return s.call("GET", "/v1/requests/"+id, nil).json()["status"] == "canceled" })
	done := s.submit("sleep", map[string]any{"steps": 1, "duration": "1ms"})
	s.eventually(func() bool { return s.call("GET", "/v1/requests/"+done, nil).json()["status"] == "succeeded" })
	s.call("POST", "/v1/requests/"+done+"/cancel", nil).problem(409, "invalid-transition")
}

func TestWorkOverHTTP(t *testing.T) {
	s := start(t, "--retry-delay=1ms")
	id := s.submit("default", map[string]any{"n": 1})
	work := "/v1/work/" + id
	s.call("POST", work+"/progress", `{"percent":1}`).problem(409, "invalid-transition")
	s.call("PUT", work+"/result", "1").problem(409, "invalid-transition")
	started := s.call("POST", work+"/start", nil).want(200).json()
	if started["attempt"] != 1.0 || fmt.Sprint(started["content"]) != "map[n:1]" || started["caller"] != "anonymous" || started["deadline"] == nil {
		t.Errorf("start: %v", started)
	}
	s.call("POST", work+"/start", nil).problem(409, "invalid-transition")
	if again := s.call("POST", work+"/start?attempt=1", nil).want(200).json(); fmt.Sprint(again) != fmt.Sprint(started) {
		t.Errorf("%v, at first %v", again, started)
	}
	if doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json(); doc["sequence"] != 2.0 {
		t.Errorf("to ask again changed it: %v", doc)
	}
	s.call("POST", work+"/start?attempt=2", nil).problem(409, "attempt-superseded")
	for _, bad := range []string{"0", "x", "1.5"} {
		s.call("POST", work+"/start?attempt="+bad, nil).problem(422, "invalid-request")
	}
	if a := s.call("POST", work+"/progress", `{"step":"one","percent":12.5,"message":"m"}`).want(200); string(a.body) != `{"cancel":false}` {
		t.Errorf("%s", a.body)
	}
	for _, bad := range []string{`{"percent":101}`, `{"percent":-1}`, `{"percent":"x"}`, `{"step":1}`, `{"nope":1}`, `{"timeout":"x"}`, `{"attempt":-1}`, `{"attempt":0}`, `{"Percent":5}`} {
		s.call("POST", work+"/progress", bad).problem(422, "invalid-request")
	}
	for _, bad := range []string{`{`, `[]`, `null`, `{} x`, `{}{}`, "{\"step\":\"\xff\"}"} {
		s.call("POST", work+"/progress", bad).problem(400, "malformed-request")
	}
	s.call("POST", work+"/progress", []byte(`{}`), "Content-Type: text/plain").problem(415, "unsupported-media-type")
	s.call("PUT", work+"/error", `{}`).problem(422, "invalid-request")
	s.call("POST", work+"/progress?attempt=x", `{}`).problem(422, "invalid-request")
	s.call("POST", work+"/progress", map[string]any{"step": strings.Repeat("ü", 201)}).problem(422, "invalid-request")
	s.call("POST", work+"/progress", map[string]any{"step": strings.Repeat("ü", 200)}).want(200)
	s.call("POST", work+"/progress", `{"step":"one"}`).want(200)
	doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json()
	if doc["step"] != "one" || doc["percent"] != 12.5 || doc["message"] != "m" || doc["eta"] == nil {
		t.Errorf("%v", doc)
	}
	// A retry makes a new attempt; the old one is fenced off.
	if doc := s.call("PUT", work+"/error", `{"message":"later","retry":true,"attempt":1}`).want(200).json(); doc["status"] != "pending" {
		t.Errorf("%v", doc)
	}
	if again := s.call("POST", work+"/start", nil).want(200).json(); again["attempt"] != 2.0 {
		t.Errorf("%v", again)
	}
	s.call("POST", work+"/progress", `{"attempt":1}`).problem(409, "attempt-superseded")
	s.call("PUT", work+"/result?attempt=1", "1").problem(409, "attempt-superseded")
	s.call("POST", work+"/complete", nil, "Hark-Attempt: 1").problem(409, "attempt-superseded")
	if taken := s.call("POST", work+"/start?redelivered=true", nil).want(200).json(); taken["attempt"] != 3.0 {
		t.Errorf("%v", taken)
	}
	s.call("PUT", work+"/result?attempt=3", "1").want(200)
	s.call("PUT", work+"/result?attempt=3", "2").problem(409, "invalid-transition")
	s.call("POST", work+"/start?attempt=3", nil).problem(409, "invalid-transition")
	s.call("POST", "/v1/work/unknown/start?attempt=1", nil).problem(404, "request-not-found")
	s.call("POST", "/v1/work/unknown/start", nil).problem(404, "request-not-found")
}

func TestList(t *testing.T) {
	s := start(t)
	var ids []string
	for n := range 7 {
		ids = append(ids, s.submit("default", n, fmt.Sprintf("topic=t%d", n%2)))
	}
	s.call("POST", "/v1/requests/"+ids[0]+"/cancel", nil).want(200)
	var got []string
	cursor := ""
	for {
		page := s.call("GET", "/v1/requests?limit=3&cursor="+cursor, nil).want(200).json()
		for _, r := range page["requests"].([]any) {
			got = append(got, r.(map[string]any)["id"].(string))
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		cursor = next
	}
	for i, id := range got {
		if id != ids[len(ids)-1-i] {
			t.Fatalf("newest first: %v of %v", got, ids)
		}
	}
	if len(got) != len(ids) {
		t.Errorf("%d of %d", len(got), len(ids))
	}
	count := func(query string) int {
		return len(s.call("GET", "/v1/requests?"+query, nil).want(200).json()["requests"].([]any))
	}
	if a, b, c, d := count("status=canceled"), count("topic=t1"), count("route=sleep"), count("status=pending&topic=t0"); a != 1 || b != 3 || c != 0 || d != 3 {
		t.Errorf("filters: %d %d %d %d", a, b, c, d)
	}
	for _, bad := range []string{"status=nope", "limit=0", "limit=x", "cursor=%21"} {
		s.call("GET", "/v1/requests?"+bad, nil).problem(422, "invalid-request")
	}
}

func TestExpiry(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1, "timeout=50ms")
	a := s.call("GET", "/v1/requests/"+id+"/events", nil, "Accept: text/event-stream").want(200)
	if !strings.Contains(string(a.body), "request.expired") || !strings.Contains(string(a.body), "event: end") {
		t.Errorf("stream: %s", a.body)
	}
	s.call("GET", "/v1/requests/"+id+"/result", nil).problem(504, "request-expired")
	short := s.submit("default", 1, "timeout=50ms", "retention=50ms")
	s.eventually(func() bool { return s.call("GET", "/v1/requests/"+short, nil).status == 404 })
	s.call("POST", "/v1/requests", `{"content":1,"timeout":"50ms"}`).problem(504, "request-expired")
}

func TestErrorsEverywhere(t *testing.T) {
	s := start(t)
	s.call("GET", "/nowhere", nil).problem(404, "not-found")
	s.call("GET", "/v1/nowhere", nil).problem(404, "not-found")
	if a := s.call("PUT", "/v1/requests", nil); a.header.Get("Allow") == "" {
		t.Errorf("405 without Allow: %v", a.header)
	} else {
		a.problem(405, "method-not-allowed")
	}
	s.call("BREW", "/v1/requests", nil).problem(405, "method-not-allowed")
	s.call("GET", "/v1/ws", nil).problem(426, "upgrade-required")
	s.call("GET", "/v1/ws", nil, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short").problem(400, "malformed-request")
	id := s.submit("default", 1)
	s.call("GET", "/v1/requests/"+id+"/events", nil, "Accept: image/png").problem(406, "not-acceptable")
	s.call("GET", "/v1/topics/a%20b/events", nil).problem(404, "channel-not-found")
	s.call("POST", "/v1/requests", `{"content":1}`, "Origin: https://evil.example").problem(403, "origin-not-allowed")
	s.call("POST", "/v1/requests", `{"content":1}`, "Sec-Fetch-Site: cross-site").problem(403, "origin-not-allowed")
	s.call("POST", "/v1/requests", `{"content":1}`, async, "Origin: "+s.url, "Sec-Fetch-Site: same-origin").want(202)
	s.call("GET", "/problems/request-failed", nil).want(200)
	s.call("GET", "/problems/none", nil).problem(404, "not-found")
	s.call("GET", "/health/live", nil).want(200)
	s.call("GET", "/health/ready", nil).want(200)
	for _, path := range []string{"/openapi.yaml", "/asyncapi.yaml"} {
		for accept, want := range map[string]string{
			"":                 "application/yaml",
			"*/*":              "application/yaml", // curl
			"application/yaml": "application/yaml",
			// There is nothing else, and who asks for a document takes it.
			"application/json": "application/yaml",
			"text/plain;q=0.5": "text/plain; charset=utf-8",
			// Browsers send that.
			"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/plain; charset=utf-8",
			"application/yaml,text/html;q=0.9":                                "application/yaml",
		} {
			headers := []string{"Accept: " + accept}
			if accept == "" {
				headers = nil
			}
			a := s.call("GET", path, nil, headers...).want(200)
			if got := a.header.Get("Content-Type"); got != want || a.header.Get("Vary") != "Accept" || !bytes.Contains(a.body, []byte("api: 3.")) {
				t.Errorf("%s, Accept %q: %q, Vary %q", path, accept, got, a.header.Get("Vary"))
			}
		}
	}
	if a := s.call("GET", "/metrics", nil).want(200); !strings.Contains(string(a.body), "hark_connections") {
		t.Error("metrics")
	}
}
