package blackbox_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// linkOf returns where a link of a document leads to, "" if it has none.
func linkOf(doc map[string]any, rel string) string {
	links, _ := doc["links"].([]any)
	for _, l := range links {
		if l := l.(map[string]any); l["rel"] == rel {
			return l["href"].(string)
		}
	}
	return ""
}

// finish begins work on a request and ends it, with a result or, if that is "", with an error.
func (s *server) finish(id, mediaType, result string) {
	s.t.Helper()
	s.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	if result == "" {
		s.call("PUT", "/v1/work/"+id+"/error", `{"message":"broken"}`).want(200)
		return
	}
	s.call("PUT", "/v1/work/"+id+"/result", []byte(result), "Content-Type: "+mediaType).want(200)
}

// TestFanIn: a batch ends with the results of all its requests in one array, and with a request
// that gets what became of them, which a processor takes as any other.
func TestFanIn(t *testing.T) {
	s := start(t, "--samples=false")
	body := `{"id":"b","result":"joined","onFailure":"continue","topic":"t","requests":[{"id":"b-0","content":0},{"id":"b-1","content":1},{"id":"b-2","content":2}],` +
		`"then":{"content":{"sum":true},"priority":3,"topic":"totals","maxAttempts":2,"concurrencyKey":"k"}}`
	doc := s.call("POST", "/v1/batches", body, async).want(202).json()
	b, _ := doc["batch"].(map[string]any)
	then, _ := b["then"].(string)
	if then == "" || b["result"] != "joined" || b["onFailure"] != nil || linkOf(doc, "then") != "" {
		t.Fatalf("%v", doc)
	}
	s.call("GET", "/v1/requests/"+then, nil).problem(404, "request-not-found")
	s.call("GET", "/v1/requests/b/result", nil).problem(404, "result-not-ready")
	if again := s.call("POST", "/v1/batches", body, async).want(202).json(); again["batch"].(map[string]any)["then"] != then {
		t.Errorf("made again, it is %v", again)
	}
	for _, other := range [][2]string{{`"result":"joined",`, ""}, {`"continue"`, `"cancel"`}, {`{"sum":true}`, `{"sum":1}`}, {`"priority":3`, `"priority":4`}} {
		s.call("POST", "/v1/batches", strings.Replace(body, other[0], other[1], 1), async).problem(409, "id-taken")
	}
	image := strings.Repeat("\x00\xff\x10", 200<<10)
	s.finish("b-1", "image/png", image)
	s.finish("b-0", "application/json", `{"a" : "<&>"}`)
	s.finish("b-2", "", "")
	doc = s.ended("b")
	if e, _ := doc["error"].(map[string]any); doc["status"] != "failed" || counts(doc) != [6]int{3, 0, 2, 1} || e["code"] != "batch-failed" || linkOf(doc, "then") != "/v1/requests/"+then {
		t.Errorf("%v", doc)
	}
	want := `[{"a" : "<&>"},{"contentType":"image/png","contentBase64":"` + base64.StdEncoding.EncodeToString([]byte(image)) + `"},null]`
	a := s.call("GET", "/v1/requests/b/result", nil).want(200)
	if string(a.body) != want || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v, %d bytes: %.100s", a.header, len(a.body), a.body)
	}
	part := s.call("GET", "/v1/requests/b/result", nil, "Range: bytes=300000-300099").want(206)
	if string(part.body) != want[300000:300100] {
		t.Errorf("a part is %s", part.body)
	}
	if size := doc["result"].(map[string]any)["size"]; size != float64(len(want)) {
		t.Errorf("the document says %v bytes", size)
	}

	next := s.call("GET", "/v1/requests/"+then, nil).want(200).json()
	if next["status"] != "pending" || next["route"] != "default" || next["topic"] != "totals" || next["batchId"] != nil || next["concurrencyKey"] != "k" {
		t.Errorf("%v", next)
	}
	work := s.call("POST", "/v1/work/"+then+"/start", nil).want(200).json()
	if work["priority"] != 3.0 || work["contentType"] != "application/json" {
		t.Errorf("%v", work)
	}
	life := func(id string) string {
		return s.call("GET", "/v1/requests/"+id, nil).want(200).json()["life"].(string)
	}
	wantContent := fmt.Sprintf(`{"batch":{"id":"b","life":%q,"status":"failed","total":3,"succeeded":2,"failed":1,"canceled":0,"expired":0},"requests":[`+
		`{"id":"b-0","life":%q,"status":"succeeded","result":{"type":"application/json","size":13,"value":{"a":"<&>"}}},`+
		`{"id":"b-1","life":%q,"status":"succeeded","result":{"type":"image/png","size":614400}},`+
		`{"id":"b-2","life":%q,"status":"failed","error":{"code":"error","message":"broken"}}],"content":{"sum":true}}`, life("b"), life("b-0"), life("b-1"), life("b-2"))
	var given, wanted any
	raw, _ := json.Marshal(work["content"])
	_, _ = json.Unmarshal(raw, &given), json.Unmarshal([]byte(wantContent), &wanted)
	if g, w := fmt.Sprint(given), fmt.Sprint(wanted); g != w {
		t.Errorf("it gets\n%s, want\n%s", g, w)
	}
	s.call("POST", "/v1/work/"+then+"/complete", nil).want(200)

	// The small ones stand in the document, and in the answer of a call that waits.
	var waiting sync.WaitGroup
	waiting.Go(func() {
		a, err := s.try("POST", "/v1/batches", `{"id":"small","result":"joined","requests":[{"id":"small-0","content":0}]}`, "Prefer: wait=20")
		if err != nil || a.status != 200 || !strings.Contains(string(a.body), `"status":"succeeded"`) || !strings.Contains(string(a.body), `"value":[{"n":1}]`) {
			t.Errorf("%v %d %s", err, a.status, a.body)
		}
	})
	s.eventually(func() bool { return s.call("GET", "/v1/requests/small-0", nil).status == 200 })
	s.finish("small-0", "application/json", `{"n": 1}`)
	waiting.Wait()
	events := s.call("GET", "/v1/requests/small/events?after=0", nil, "Accept: application/json").want(200)
	if !strings.Contains(string(events.body), `"type":"request.succeeded"`) || !strings.Contains(string(events.body), `"value":[{"n":1}]`) {
		t.Errorf("%s", events.body)
	}
}

// TestFanInOfSamples: what follows is worked on as soon as all have ended.
func TestFanInOfSamples(t *testing.T) {
	s := start(t, "--routes=default,sleep,echo")
	results := []string{`{"steps":1,"duration":"1ms","result":1}`, `{"steps":1,"duration":"1ms","result":[2]}`}
	body := strings.TrimSuffix(sleeping("b", results...), "}") + `,"result":"joined","then":{"route":"echo","content":{"steps":1}}}`
	doc := s.call("POST", "/v1/batches", body, "Prefer: wait=20").want(200).json()
	if value := fmt.Sprint(doc["result"].(map[string]any)["value"]); doc["status"] != "succeeded" || value != "[1 [2]]" {
		t.Errorf("%v", doc)
	}
	var next map[string]any
	s.eventually(func() bool {
		next = s.call("GET", linkOf(doc, "then"), nil, "Prefer: wait=5").want(200).json()
		return next["endedAt"] != nil
	})
	var got struct {
		Batch    struct{ ID, Status string }
		Requests []struct{ Result struct{ Value any } }
		Content  any
	}
	echo := s.call("GET", linkOf(next, "result"), nil).want(200)
	if err := json.Unmarshal(echo.body, &got); err != nil || got.Batch.ID != "b" || got.Batch.Status != "succeeded" || len(got.Requests) != 2 || fmt.Sprint(got.Requests[1].Result.Value, got.Content) != "[2] map[steps:1]" {
		t.Errorf("%v %s", err, echo.body)
	}
	// A client can cancel the whole, and nothing follows.
	body = strings.TrimSuffix(batchOf("c", "default", "1", "2"), "}") + `,"then":{"route":"sleep"}}`
	then := s.call("POST", "/v1/batches", body).want(202).json()["batch"].(map[string]any)["then"].(string)
	s.call("POST", "/v1/requests/c/cancel", nil)
	if doc := s.ended("c"); doc["status"] != "canceled" || linkOf(doc, "then") != "" {
		t.Errorf("%v", doc)
	}
	s.call("GET", "/v1/requests/"+then, nil).problem(404, "request-not-found")
}

// TestBatchFailsFast: the first failure ends the others, also those that run.
func TestBatchFailsFast(t *testing.T) {
	// For all at once: RabbitMQ may hand out the one that fails behind others.
	s := start(t, "--concurrency=32")
	long := `{"steps":1,"duration":"10m"}`
	contents := append(many(20, long), failing)
	slices.Reverse(contents)
	body := strings.TrimSuffix(sleeping("b", contents...), "}") + `,"onFailure":"cancel","result":"joined","then":{}}`
	body = strings.Replace(body, `{"route":"sleep","content":`+failing+`}`, `{"route":"sleep","maxAttempts":1,"priority":9,"content":`+failing+`}`, 1)
	doc := s.call("POST", "/v1/batches", body).want(202).json()
	if doc["batch"].(map[string]any)["onFailure"] != "cancel" {
		t.Errorf("%v", doc)
	}
	doc = s.ended("b")
	if e, _ := doc["error"].(map[string]any); doc["status"] != "failed" || counts(doc) != [6]int{21, 0, 0, 1, 20} || e["message"] != "21 of 21 requests did not succeed." {
		t.Errorf("%v", doc)
	}
	if a := s.call("GET", "/v1/requests/b/result", nil).want(200); string(a.body) != "["+strings.Repeat("null,", 20)+"null]" {
		t.Errorf("%s", a.body)
	}
	s.call("GET", linkOf(doc, "then"), nil).want(200)
}

// TestBadFanIn: all that is wrong is told, where it stands, and nothing of the batch is stored.
func TestBadFanIn(t *testing.T) {
	s := start(t)
	for _, c := range []struct{ name, more, pointers string }{
		{"no words", `"result":1,"onFailure":true`, "/onFailure /result"},
		{"other words", `"result":"Joined","onFailure":"stop"`, "/onFailure /result"},
		{"then is no object", `"then":[]`, "/then"},
		{"then is a word", `"then":"x"`, "/then"},
		{"no such route", `"then":{"route":"slep"}`, "/then/route"},
		{"an id of its own", `"then":{"id":"mine"}`, "/then/id"},
		{"no batch in a batch", `"then":{"requests":[{"content":1}]}`, "/then/requests"},
		{"what is wrong of any", `"then":{"priority":11,"delay":"2s","timeout":"1s","concurrencyLimit":2,"x":1}`, "/then/concurrencyLimit /then/delay /then/priority /then/x"},
		{"a webhook to nowhere", `"then":{"webhook":{"url":"https://10.0.0.1"}}`, "/then/webhook/url"},
		{"twice", `"then":{"topic":"a","topic":"b"}`, "/then/topic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.call("POST", "/v1/batches", `{"id":"b","requests":[{"id":"b-0","content":1}],`+c.more+`}`).want(422).json()
			var pointers []string
			for _, e := range p["errors"].([]any) {
				pointers = append(pointers, e.(map[string]any)["pointer"].(string))
			}
			slices.Sort(pointers)
			if got := strings.Join(pointers, " "); got != c.pointers {
				t.Errorf("%q, want %q", got, c.pointers)
			}
		})
	}
	if a := s.call("POST", "/v1/batches", `{"requests":[{"content":1}],"onFailure":"cancle"}`).want(422); !strings.Contains(string(a.body), `did you mean \"cancel\"?`) {
		t.Errorf("%s", a.body)
	}
	if l := s.call("GET", "/v1/requests", nil).want(200).json()["requests"].([]any); len(l) != 0 {
		t.Errorf("bad batches left %d requests", len(l))
	}
	// null is as if it was not there.
	doc := s.call("POST", "/v1/batches", `{"id":"b","requests":[{"content":1}],"result":null,"onFailure":null,"then":null}`).want(202).json()
	if b := doc["batch"].(map[string]any); len(b) != 6 {
		t.Errorf("%v", b)
	}
}

// TestJoinedIsBounded by what a body may have. The requests have their results as always.
func TestJoinedIsBounded(t *testing.T) {
	s := start(t, "--samples=false", "--max-body=2000")
	s.call("POST", "/v1/batches", `{"id":"b","result":"joined","requests":[{"id":"b-0","content":0},{"id":"b-1","content":1}],"then":{}}`).want(202)
	value := `"` + strings.Repeat("x", 1200) + `"`
	s.finish("b-0", "application/json", value)
	s.finish("b-1", "application/json", value)
	doc := s.ended("b")
	if e, _ := doc["error"].(map[string]any); doc["status"] != "failed" || e["code"] != "joined-result-too-large" || doc["result"] != nil || counts(doc) != [6]int{2, 0, 2} {
		t.Errorf("%v", doc)
	}
	s.call("GET", "/v1/requests/b/result", nil).problem(500, "request-failed")
	if a := s.call("GET", "/v1/requests/b-1/result", nil).want(200); string(a.body) != value {
		t.Errorf("%s", a.body)
	}
	work := s.call("POST", "/v1/work/"+strings.TrimPrefix(linkOf(doc, "then"), "/v1/requests/")+"/start", nil).want(200)
	if n := strings.Count(string(work.body), value); n != 1 || !strings.Contains(string(work.body), `"size":1202}`) {
		t.Errorf("%d values: %s", n, work.body)
	}
}

// fanIns is the body of a batch of quick requests on the route sleep, whose request that follows is
// found by a topic.
func fanIns(id string, n int) string {
	contents := many(n, `{"steps":1,"duration":"5ms","result":"`+strings.Repeat("r", 600)+`"}`)
	return strings.ReplaceAll(strings.TrimSuffix(sleeping(id, contents...), "}"), `"route"`, `"maxAttempts":20,"route"`) +
		`,"result":"joined","then":{"route":"sleep","maxAttempts":20,"topic":"after-` + id + `"}}`
}

// fannedIn waits until a batch and what follows have ended, and checks that there is one of each,
// and all of the result.
func (s *server) fannedIn(id string, n int) {
	s.t.Helper()
	doc := s.ended(id)
	if doc["status"] != "succeeded" || counts(doc) != [6]int{n, 0, n} {
		s.t.Errorf("%v", doc)
	}
	s.eventually(func() bool {
		return s.call("GET", linkOf(doc, "then"), nil, "Prefer: wait=10").want(200).json()["endedAt"] != nil
	})
	all := s.call("GET", "/v1/requests?topic=after-"+id, nil).want(200).json()["requests"].([]any)
	if len(all) != 1 || all[0].(map[string]any)["id"] != doc["batch"].(map[string]any)["then"] {
		s.t.Fatalf("%d follow %s: %v", len(all), id, all)
	}
	// The sample has got it, and refuses what it does not know.
	if e, _ := all[0].(map[string]any)["error"].(map[string]any); e["code"] != "bad-options" {
		s.t.Errorf("what follows %s: %v", id, all[0])
	}
	var results []string
	if a := s.call("GET", "/v1/requests/"+id+"/result", nil).want(200); json.Unmarshal(a.body, &results) != nil || len(results) != n || slices.ContainsFunc(results, func(r string) bool { return len(r) != 600 }) {
		s.t.Errorf("%s: %d results", id, len(results))
	}
	if types := s.eventTypes(id); types[len(types)-1] != "request.succeeded" {
		s.t.Errorf("%v", types)
	}
}

// TestFanInSurvivesKills kills the gateway when the requests of a batch have just ended, as often
// as there are batches. Started again it concludes them: each has its result, and one request
// follows.
func TestFanInSurvivesKills(t *testing.T) {
	t.Parallel()
	const requests, batches = 40, 12
	data := t.TempDir()
	args := []string{"--concurrency=20", "--requeue=2s"}
	p := spawn(t, data, args...)
	left := 0
	for n := range batches {
		id := fmt.Sprint("b", n)
		p.call("POST", "/v1/batches", fanIns(id, requests), async).want(202)
		at := requests - n%3 // it is concluded when the last was counted
		var last []byte
		until(t, "counted", func() bool {
			res, err := http.Get(p.url + "/v1/batches/" + id)
			if err != nil {
				return false
			}
			defer res.Body.Close()
			last, err = io.ReadAll(res.Body)
			var doc map[string]any
			if err != nil || json.Unmarshal(last, &doc) != nil {
				return false
			}
			c := counts(doc)
			return c[0]-c[1] >= at
		})
		p.kill()
		if !bytes.Contains(last, []byte(`"endedAt":"`)) {
			left++
		}
		p = spawn(t, data, args...)
	}
	t.Logf("%d of %d had not ended when the gateway was killed", left, batches)
	for n := range batches {
		p.fannedIn(fmt.Sprint("b", n), requests)
	}
}

// TestFanInOnManyNodes: gateways and workers die while batches end, with Redis and RabbitMQ. Each
// batch has its result, and one request follows.
func TestFanInOnManyNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 2)
	const requests, batches = 60, 8
	for n := range batches {
		c.node(n%2).call("POST", "/v1/batches", fanIns(fmt.Sprint("b", n), requests)).want(202)
	}
	ended := func() (n int) {
		for b := range batches {
			doc := counts(c.node(1).call("GET", fmt.Sprint("/v1/batches/b", b), nil).want(200).json())
			n += doc[0] - doc[1]
		}
		return n
	}
	for i, share := range []int{3, 5, 7, 8} {
		until(t, fmt.Sprint(share, " of 8 ended"), func() bool { return ended() >= requests*batches*share/8 })
		c.replaceWorker(i % 2)
		if i == 1 {
			c.replaceGateway(0)
		}
	}
	for n := range batches {
		c.node(1).fannedIn(fmt.Sprint("b", n), requests)
	}
}
