package blackbox_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// exactly sends a head as it is, with a body if there is one, and returns the status and the
// pointers of what is wrong.
func (s *server) exactly(head, body string) (status int, pointers []string) {
	s.t.Helper()
	l := s.line()
	l.send(head, body)
	res, err := http.ReadResponse(l.reader, &http.Request{Method: strings.Fields(head)[0]})
	if err != nil {
		s.t.Fatalf("%q: %v", head, err)
	}
	defer func() { _ = l.Close() }()
	if strings.HasPrefix(head, "HEAD") || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		return res.StatusCode, nil
	}
	var p struct {
		Errors []struct{ Pointer string }
	}
	text, err := io.ReadAll(res.Body)
	if err != nil || json.Unmarshal(text, &p) != nil {
		s.t.Fatalf("%q: %v %s", head, err, text)
	}
	for _, e := range p.Errors {
		pointers = append(pointers, e.Pointer)
	}
	slices.Sort(pointers)
	return res.StatusCode, pointers
}

// TestExactPaths: a path is the bytes that were sent, in either form of a target, so that no rule
// of a proxy is walked around.
func TestExactPaths(t *testing.T) {
	anywhere(t)
	s := start(t)
	for target, status := range map[string]int{
		"/metrics": 200, "http://localhost/metrics": 200, "HTTP://LOCALHOST:80/metrics": 200, "/metrics?": 200, "/health/live?x=%zz": 200, "/hark.js": 200, "/": 200,
		"/METRICS": 404, "/Metrics": 404, "/metrics/": 404, "/metrics//": 404, "//metrics": 404, "/./metrics": 404, "/metrics/.": 404, "/v1/../metrics": 404,
		"/%6detrics": 404, "/metric%73": 404, "/metrics%2f": 404, "/metrics%00": 404, "/metrics%20": 404, "/metrics;x": 404, "/%2e/metrics": 404, `/\metrics`: 404, `\metrics`: 400,
		"http://localhost/METRICS": 404, "http://localhost/metrics/": 404, "http://localhost//metrics": 404, "http://localhost/v1/../metrics": 404,
		"http:///metrics": 400, "ftp://localhost/metrics": 400, "http://me@localhost/metrics": 400, "http://localhost:0/metrics": 400, "metrics": 400, "/metrics#x": 400,
		"/metrics\x01": 400, "/\xff": 400, "/metrics?\xff": 400, "http://rebound.example/metrics": 403,
		"/V1/requests": 404, "/v1/Requests": 404, "/v1/requests/": 404, "/v1//requests": 404, "/v1%2frequests": 404, "/v1%2Frequests": 404, "/%76%31/requests": 404, "/v1/requests%2f": 404,
		"/v1%2fwork/lease": 404, "/v1/call/../work/lease": 404, "/Health/live": 404, "/health/live/": 404, "/HARK.JS": 404, "/hark.js/": 404, "/openapi.yaml/": 404, "/OpenAPI.yaml": 404,
		"/problems/not-found": 200, "/Problems/not-found": 404, "/problems/not-found/": 404, "/problems/Not-Found": 404, "/v1/webhooks/Public-Key": 404, "/v1/webhooks/public-key/": 404,
		"/v1/Call/default": 404, "/v1/call/Default": 404, "/v1/call/": 404, "/v1/topics/a/history/": 404, "/v1/topics/a%2fb/history": 404,
	} {
		if got, _ := s.exactly("GET "+target+" HTTP/1.1\nHost: localhost\nConnection: close", ""); got != status {
			t.Errorf("%q: %d, want %d", target, got, status)
		}
	}
	for _, method := range []string{"get", "Get", "GETX", "TRACE", "CONNECT", "PROPFIND"} {
		if got, _ := s.exactly(method+" /metrics HTTP/1.1\nHost: localhost\nConnection: close", ""); got != 405 {
			t.Errorf("%s: %d", method, got)
		}
	}
}

// TestOtherPagesMayNot: what a route does decides whether the page of another origin may have it
// done, not what its method is called.
func TestOtherPagesMayNot(t *testing.T) {
	anywhere(t)
	s := start(t, "--origins=https://friend.example")
	const upgrade = "\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
	const async = "\nPrefer: respond-async"
	for _, c := range []struct {
		call, from string
		status     int
	}{
		{"GET /v1/call/default", "Origin: https://evil.example", 403},
		{"HEAD /v1/call/default/x", "Sec-Fetch-Site: cross-site", 403},
		{"GET /v1/call/default/x", "Sec-Fetch-Site: same-site", 403},
		{"GET /v1/call/default/x", "Sec-Fetch-Site: of-a-browser-to-come", 403},
		// It is as over http from elsewhere than localhost.
		{"GET /v1/call/default/x", "Referer: https://evil.example/page", 403},
		{"GET /v1/call/default/x", "Origin: null", 403},
		{"DELETE /v1/call/default/x", "Origin: https://evil.example", 403},
		{"POST /v1/requests?delay=1h", "Referer: https://evil.example/", 403},
		{"GET /v1/ws", "Origin: https://evil.example" + upgrade, 403},
		{"GET /v1/ws", "Sec-Fetch-Site: cross-site" + upgrade, 403},
		{"GET /v1/call/default/x", "Referer: http://localhost/page", 202},
		{"GET /v1/call/default/x", "Sec-Fetch-Site: none", 202},
		{"GET /v1/call/default/x", "Sec-Fetch-Site: same-origin\nReferer: https://evil.example/", 202},
		{"GET /v1/call/default/x", "Origin: https://friend.example\nSec-Fetch-Site: cross-site", 202},
		{"GET /v1/call/default/x", "Referer: https://friend.example/a/b?c", 202},
		{"GET /v1/call/default/x", "Accept: */*", 202},
		// What only reads is kept from the page by the browser.
		{"GET /v1/requests", "Sec-Fetch-Site: cross-site", 200},
		{"GET /metrics", "Origin: https://evil.example", 200},
	} {
		if got, _ := s.exactly(c.call+" HTTP/1.1\nHost: localhost\n"+c.from+async, ""); got != c.status {
			t.Errorf("%s, %s: %d, want %d", c.call, c.from, got, c.status)
		}
	}
}

// TestOneMeaning: what can be read in more than one way is refused, with a pointer to it.
func TestOneMeaning(t *testing.T) {
	anywhere(t)
	s := startHooks(t)
	id := s.submit("default", 1)
	hook := s.hook(newReceiver(t, nil).url, nil).id
	const asJSON = "Content-Type: application/json"
	for _, c := range []struct {
		call, fields, body string
		status             int
		pointers           string
	}{
		// The target.
		{"GET /v1/requests/%zz", "", "", 400, "{id}"},
		{"GET /v1/requests/%ff", "", "", 400, "{id}"},
		{"GET /v1/requests/a%", "", "", 400, "{id}"},
		{"GET /v1/topics/%c3/history", "", "", 400, "{topic}"},
		{"GET /v1/webhooks/%zz", "", "", 400, "{webhook}"},
		{"GET /v1/webhooks/" + hook + "/deliveries/%zz", "", "", 400, "{message}"},
		{"GET /v1/call/%zz", "", "", 400, "{route}"},
		{"GET /v1/requests?limit=%zz", "", "", 400, "?limit"},
		{"GET /v1/requests?%zz=1", "", "", 400, "?%zz"},
		{"GET /v1/requests?topic=\xff", "", "", 400, "?topic"},
		{"GET /v1/call/default?x=\xff", "", "", 400, "?x"},
		{"GET /v1/requests?topic=%ff", "", "", 422, "?topic"},
		{"GET /v1/requests?limit=1&limit=2", "", "", 422, "?limit"},
		{"GET /v1/requests?status=&route=&topic=&limit=", "", "", 422, "?limit ?route ?status ?topic"},
		{"GET /v1/requests?topic=a%20b&route=a%20b", "", "", 422, "?route ?topic"},
		{"GET /v1/history?limit=", "", "", 422, "?limit"},
		{"POST /v1/requests?priority=1&priority=2", "", "x", 422, "?priority"},
		{"GET /v1/webhooks/" + hook + "/deliveries?type=request.sucseeded", "", "", 422, "?type"},
		// Truths.
		{"POST /v1/work/" + id + "/start?redelivered=yes", "", "", 422, "?redelivered"},
		{"POST /v1/work/" + id + "/start?redelivered=1", "", "", 422, "?redelivered"},
		{"POST /v1/work/" + id + "/start?redelivered", "", "", 422, "?redelivered"},
		{"POST /v1/work/" + id + "/start?redelivered=TRUE", "", "", 422, "?redelivered"},
		{"GET /v1/requests/" + id + "?ticket=yes", "", "", 422, "?ticket"},
		{"GET /v1/requests/" + id + "?ticket", "", "", 422, "?ticket"},
		{"GET /v1/requests/" + id + "/events?ticket=", "", "", 422, "?ticket"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","coalesce":"yes"}`, 422, "/coalesce"},
		{"PUT /v1/work/" + id + "/error", asJSON, `{"message":"m","retry":"yes"}`, 422, "/retry"},
		// The header.
		{"GET /v1/requests", "User-Agent: \xff", "", 400, "User-Agent"},
		{"GET /v1/requests", "X Y: z", "", 400, ""},
		{"GET /v1/requests", "Accept : text/html", "", 400, ""},
		{"GET /v1/requests", "X-A: 1\r\n Origin: http://evil.example", "", 400, ""},
		{"GET /v1/requests", "X-(a): z", "", 400, ""},
		{"GET /v1/requests", "X-Request-Id: a\xc3", "", 400, "X-Request-Id"},
		{"GET /v1/requests", "Cookie: \xff", "", 200, ""}, // which nobody reads
		{"POST /v1/requests", "Idempotency-Key: \xff", "x", 400, "Idempotency-Key"},
		{"POST /v1/requests", "Idempotency-Key: ", "x", 400, "Idempotency-Key"},
		{"POST /v1/requests", "Idempotency-Key: a\nidempotency-key: b", "x", 400, "idempotency-key"},
		{"POST /v1/requests", "Content-Type: text/plain\nContent-Type: " + "application/json", "{}", 400, "Content-Type"},
		{"GET /v1/requests", "Host: localhost", "", 400, ""},
		{"GET /v1/history", "Last-Event-ID: x", "", 422, "Last-Event-ID"},
		{"POST /v1/work/" + id + "/progress", "Hark-Attempt: one", "", 422, "Hark-Attempt"},
		{"POST /v1/work/" + id + "/progress", "Hark-Life: one", "", 422, "Hark-Life"},
		// Bodies.
		{"POST /v1/requests", asJSON, `{"content":1,"content":2}`, 422, "/content"},
		{"POST /v1/requests", asJSON, `{"content":1,"priority":1,"prior\u0069ty":1}`, 422, "/priority"},
		{"POST /v1/requests", asJSON, `{"content":1,"webhook":{"url":"http://127.0.0.1:9","url":"http://127.0.0.1:9"}}`, 422, "/webhook/url"},
		{"POST /v1/requests", asJSON, `{"content":1,"webhook":{"url":"http://127.0.0.1:9","secret":""}}`, 422, "/webhook/secret"},
		{"POST /v1/requests", asJSON, `{"content":1,"topic":"\ud800"}`, 422, "/topic /topic"},
		{"POST /v1/requests", asJSON, "{\"content\":[1,\"\xff\"]}", 400, "/content/1"},
		{"POST /v1/requests", asJSON, `{"content":1,"timeout":"0s","retention":"-1s","delay":"1000000h"}`, 422, "/delay /retention /timeout"},
		{"POST /v1/batches", asJSON, `{"requests":[{"content":1},{"content":1,"id":"a","id":"b"}],"topic":"a","topic":"b"}`, 422, "/requests/1/id /topic"},
		{"POST /v1/batches", asJSON, `{"requests":[{"content":1}],"requests":[{"content":1}]}`, 422, "/requests"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","secret":""}`, 422, "/secret"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","challenge":""}`, 422, "/challenge"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","headers":{"A":"1","A":"2"}}`, 422, "/headers/A"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","headers":{"A":null}}`, 422, "/headers/A"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","description":"\udc00"}`, 422, "/description"},
		{"POST /v1/webhooks", asJSON, "{\"url\":\"http://127.0.0.1:9\",\"description\":\"\xff\"}", 400, "/description"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","routes":["default","defualt"]}`, 422, "/routes/1"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","topics":["a b*"]}`, 422, "/topics/0"},
		{"POST /v1/webhooks", asJSON, `{"url":"http://127.0.0.1:9","events":["request.sucseeded"]}`, 422, "/events/0"},
		{"PATCH /v1/webhooks/" + hook, asJSON, `{"routes":["nowhere"]}`, 422, "/routes/0"},
		{"POST /v1/webhooks/" + hook + "/rotate", asJSON, `{"secret":""}`, 422, "/secret"},
		{"POST /v1/webhooks/" + hook + "/rotate", asJSON, `{"overlap":"1h","overlap":"0s"}`, 422, "/overlap"},
		{"POST /v1/work/" + id + "/progress", asJSON, `{"percent":1,"percent":2}`, 422, "/percent"},
		{"POST /v1/work/" + id + "/progress", asJSON, `{"step":"\ud800x"}`, 422, "/step"},
		{"POST /v1/work/" + id + "/progress", asJSON, `{"timeout":""}`, 422, "/timeout"},
		{"POST /v1/work/" + id + "/progress", asJSON, `{"timeout":"0s"}`, 422, "/timeout"},
		{"POST /v1/work/" + id + "/progress", asJSON, `{"timeout":"25h"}`, 422, "/timeout"},
		{"POST /v1/work/" + id + "/progress", asJSON, `{"life":""}`, 422, "/life"},
		{"POST /v1/work/lease", asJSON, `{"routes":["default"],"routes":["images"]}`, 422, "/routes"},
		// What is somebody else's may hold what it likes.
		{"POST /v1/requests", asJSON + "\nPrefer: respond-async", `{"content":{"a":1,"a":"\ud800"}}`, 202, ""},
		{"POST /v1/requests", "Content-Type: application/vnd.x+json\nPrefer: respond-async", `{"a":1,"a":2}`, 202, ""},
		{"POST /v1/call/default?a=1&a=&b=%zz", asJSON + "\nPrefer: respond-async", `{"a":1,"a":2}`, 202, ""},
		{"GET /v1/requests?cursor=&limit=1&", "", "", 200, ""},
		{"GET /v1/history?after=&lastEventId=1&lastEventId=1", "", "", 200, ""},
	} {
		head := c.call + " HTTP/1.1\nHost: localhost"
		if c.fields != "" {
			head += "\n" + c.fields
		}
		if c.body != "" {
			head += "\nContent-Length: " + strconv.Itoa(len(c.body))
		}
		if status, pointers := s.exactly(head, c.body); status != c.status || strings.Join(pointers, " ") != c.pointers {
			t.Errorf("%q %q %s: %d %q, want %d %q", c.call, c.fields, c.body, status, pointers, c.status, c.pointers)
		}
	}
	if status, pointers := s.exactly("GET /v1/requests HTTP/1.1\nAccept: */*", ""); status != 400 {
		t.Errorf("without Host: %d %q", status, pointers)
	}
	if status, _ := s.exactly("GET /v1/requests HTTP/1.0", ""); status != 200 {
		t.Errorf("without Host in HTTP/1.0: %d", status)
	}
	if doc := s.call("GET", "/v1/requests/"+id, nil).want(200).json(); doc["status"] != "pending" {
		t.Errorf("something was begun: %v", doc)
	}
}

// TestConnectionsThatClose: a client that says in any way that it sends nothing more has its
// connection closed behind the answer; one that says nothing of it keeps it.
func TestConnectionsThatClose(t *testing.T) {
	anywhere(t)
	s := start(t)
	answers := func(field string) (closed bool) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		head := "GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
		if _, err := io.WriteString(conn, head+field+"\r\n"); err != nil {
			t.Fatal(err)
		}
		from := bufio.NewReader(conn)
		answer, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		// Another call is answered, or nothing comes any more.
		_, _ = io.WriteString(conn, head+"Connection: close\r\n\r\n")
		_, err = http.ReadResponse(from, nil)
		return err != nil
	}
	for _, field := range []string{
		"Connection: close", "Connection: Close", "connection: CLOSE", "Connection: TE, close", "Connection: keep-alive, close",
		"Connection: close ,TE", "Connection: TE\r\nConnection: close",
	} {
		if !answers(field + "\r\n") {
			t.Errorf("%q keeps the connection", field)
		}
	}
	for _, field := range []string{"", "Connection: keep-alive\r\n", "Connection: TE, closed\r\n", "X-Connection: close\r\n"} {
		if answers(field) {
			t.Errorf("%q closes the connection", field)
		}
	}
}

// TestLongNamesAreCut: what a caller has sent makes no answer long.
func TestLongNamesAreCut(t *testing.T) {
	anywhere(t)
	s := start(t)
	for _, name := range []string{strings.Repeat("<", 2_000_000), strings.Repeat("~", 2_000_000), strings.Repeat("\u2028", 700_000), strings.Repeat("k", 2_000_000)} {
		for path, body := range map[string]string{
			"/v1/requests": `{"content":1,"` + name + `":1}`,
			"/v1/batches":  `{"requests":[{"content":1,"` + name + `":1}],"` + name + `":1}`,
			"/v1/webhooks": `{"url":"https://example.org","` + name + `":1}`,
		} {
			if a := s.call("POST", path, body); a.status != 422 && a.status != 413 || len(a.body) > 8000 {
				t.Errorf("%s with a name of %.3s…: %d, %d bytes", path, name, a.status, len(a.body))
			}
		}
	}
	if a := s.call("POST", "/v1/requests", `{"content":1,"priority":`+strings.Repeat("1", 2_000_000)+`}`); a.status != 422 || len(a.body) > 8000 {
		t.Errorf("a long number: %d, %d bytes", a.status, len(a.body))
	}
}
