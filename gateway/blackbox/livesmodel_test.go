package blackbox_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lives is what a client knows of all requests that it has submitted with a few ids, again and
// again. Each has a token, which is its content and comes back in its result, so whatever arrives
// anywhere can be told to be of that life or of another.
type lives struct {
	t    *testing.T
	once string // URL of a receiver that requests name

	mu     sync.Mutex
	node   *server           // changes with each kill
	tokens map[string]string // by id/life: what was submitted with it
	// By id/life: the newest sequence that the follower of the feed has got.
	feed   map[string]int
	bodies map[string]string  // by receiver and webhook-id: the body that came with it
	ends   map[string]string  // by id/life: the status in the terminal event of the feed
	seen   map[string][]int64 // by id/life: attempts that a worker was given
	places int                // events of which the feed tells only that they were forgotten
	// By id/life: a DELETE may have taken it, with what was not delivered.
	deleted map[string]bool
	stopped atomic.Bool
}

func (l *lives) server() *server {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node
}

// call is server.try at the gateway that runs, with status 0 if it was away.
func (l *lives) call(method, path string, body any, headers ...string) answer {
	a, err := l.server().try(method, path, body, headers...)
	if err != nil {
		return answer{t: l.t}
	}
	return a
}

// document is what an event or a status says.
type lifeDocument struct {
	ID, Life, Status  string
	Sequence, Attempt int
	Result            *struct{ Value *string }
}

func (d lifeDocument) ref() string { return d.ID + "/" + d.Life }

// check holds a document against the life that it names. Called under mu.
func (l *lives) check(where string, d lifeDocument) {
	token, ok := l.tokens[d.ref()]
	if !ok { // of a submission whose answer was lost, or has not come yet
		return
	}
	if d.Result != nil && d.Result.Value != nil && *d.Result.Value != token {
		l.t.Errorf("%s: %s has the result %q, want %q", where, d.ref(), *d.Result.Value, token)
	}
}

// submits submits requests, forgets them, cancels them, in any order.
func (l *lives) submits(random *rand.Rand, ids int) {
	for n := 0; !l.stopped.Load(); n++ {
		id := fmt.Sprint("again-", random.IntN(ids))
		switch roll := random.IntN(10); {
		case roll < 6:
			token := fmt.Sprintf("%s:%d:%d", id, n, random.Uint32())
			fields := map[string]any{"id": id, "content": token, "topic": "lives", "maxAttempts": 20}
			switch random.IntN(6) {
			case 0:
				fields["retention"] = "1s"
			case 1:
				fields["delay"] = fmt.Sprint(random.IntN(400), "ms")
			case 2:
				fields["timeout"] = "1s"
			case 3:
				fields["webhook"] = map[string]any{"url": l.once}
			case 4:
				fields["priority"] = random.IntN(10)
			}
			if random.IntN(8) == 0 { // as a member of a batch
				delete(fields, "id")
				member := map[string]any{"id": id, "content": token, "topic": "lives", "maxAttempts": 20}
				l.call("POST", "/v1/batches", map[string]any{"requests": []any{member, fields}}, async)
				continue
			}
			if a := l.call("POST", "/v1/requests", fields, async); a.status == 202 {
				var d lifeDocument
				if err := json.Unmarshal(a.body, &d); err != nil || d.Life == "" {
					l.t.Errorf("%v: %s", err, a.body)
				}
				l.mu.Lock()
				if other, ok := l.tokens[d.ref()]; ok && other != token {
					l.t.Errorf("%s is the life of %s and of %s", d.ref(), other, token)
				}
				l.tokens[d.ref()] = token
				l.mu.Unlock()
			}
		case roll < 7:
			l.call("POST", "/v1/requests/"+id+"/cancel", nil)
		case roll < 9:
			var d lifeDocument
			if a := l.call("GET", "/v1/requests/"+id, nil); a.status == 200 {
				_ = json.Unmarshal(a.body, &d)
			}
			l.mu.Lock()
			l.deleted[d.ref()] = true
			l.mu.Unlock()
			l.call("DELETE", "/v1/requests/"+id, nil)
		default:
			if a := l.call("GET", "/v1/requests/"+id, nil); a.status == 200 {
				var d lifeDocument
				_ = json.Unmarshal(a.body, &d)
				l.mu.Lock()
				l.check("status", d)
				l.mu.Unlock()
			}
		}
	}
}

// works takes work and reports on it: now and then late, twice, or not at all.
func (l *lives) works(random *rand.Rand) {
	type late struct {
		w    leased
		path string
	}
	var old []late
	for !l.stopped.Load() {
		a := l.call("POST", "/v1/work/lease", `{"routes":["default"],"max":3,"wait":"200ms","lease":"2s"}`)
		var given struct{ Work []leased }
		_ = json.Unmarshal(a.body, &given)
		for _, w := range given.Work {
			l.mu.Lock()
			if token, ok := l.tokens[w.ID+"/"+w.Life]; ok && w.Content != token {
				l.t.Errorf("the work of %s/%s is %v, want %s", w.ID, w.Life, w.Content, token)
			}
			ref := w.ID + "/" + w.Life
			for _, before := range l.seen[ref] {
				if before == int64(w.Attempt) {
					l.t.Errorf("attempt %d of %s was begun twice", w.Attempt, ref)
				}
			}
			l.seen[ref] = append(l.seen[ref], int64(w.Attempt))
			l.mu.Unlock()
			result := strconv.Quote(fmt.Sprint(w.Content))
			report := func(path string, body string) answer { return l.call("PUT", path, body) }
			switch random.IntN(8) {
			case 0: // silent
				old = append(old, late{w, w.reports("result")})
			case 1:
				report(w.reports("error"), `{"message":"again","retry":true}`)
			case 2:
				l.call("POST", w.reports("progress"), `{"percent":50}`)
				report(w.reports("result"), result)
				report(w.reports("result"), result)
			default:
				report(w.reports("result"), result)
			}
		}
		if len(old) > 4 {
			// It is long after its lease has run out, and often after its request was forgotten.
			report := old[0]
			old = old[1:]
			l.call("PUT", report.path, strconv.Quote(fmt.Sprint(report.w.Content)))
		}
	}
}

// followsFeed reads the owner's feed with a cursor, whatever happens to the gateway.
func (l *lives) followsFeed() {
	cursor := "0"
	for !l.stopped.Load() {
		a := l.call("GET", "/v1/history?limit=200&after="+cursor, nil)
		if a.status != 200 {
			time.Sleep(20 * time.Millisecond) // a poll
			continue
		}
		var page struct {
			Events []struct {
				ID, Type string
				Data     lifeDocument
			}
			Cursor    string
			Recovered bool
		}
		if err := json.Unmarshal(a.body, &page); err != nil || !page.Recovered {
			l.t.Errorf("feed: %v %.200s", err, a.body)
			return
		}
		l.mu.Lock()
		for _, e := range page.Events {
			d := e.Data
			if e.Type == "feed.forgotten" {
				l.places++
			}
			if d.Life == "" { // a request that is a batch, or one that was forgotten
				continue
			}
			if e.ID != fmt.Sprintf("%s/%d", d.ref(), d.Sequence) {
				l.t.Errorf("%s is an event of %s, %d", e.ID, d.ref(), d.Sequence)
			}
			if d.Sequence != l.feed[d.ref()]+1 {
				l.t.Errorf("%s: %d after %d in the feed", d.ref(), d.Sequence, l.feed[d.ref()])
			}
			if end := l.ends[d.ref()]; end != "" {
				l.t.Errorf("%s: %s after %s", d.ref(), e.Type, end)
			}
			l.feed[d.ref()] = d.Sequence
			switch d.Status {
			case "succeeded", "failed", "canceled", "expired":
				l.ends[d.ref()] = d.Status
			}
			l.check("feed", d)
		}
		l.mu.Unlock()
		if cursor = page.Cursor; len(page.Events) == 0 {
			time.Sleep(10 * time.Millisecond) // a poll
		}
	}
}

// followsRequests follows ids by their streams, coming back with the id of the last event, also
// when the id has begun another life.
func (l *lives) followsRequests(random *rand.Rand, ids int) {
	for !l.stopped.Load() {
		id, cursor, life, at := fmt.Sprint("again-", random.IntN(ids)), "", "", 0
		for range 4 {
			if l.stopped.Load() {
				return
			}
			r, _ := http.NewRequest("GET", l.server().url+"/v1/requests/"+id+"/events", nil)
			r.Header.Set("Accept", "text/event-stream")
			r.Header.Set("Last-Event-ID", cursor)
			res, err := http.DefaultClient.Do(r)
			if err != nil || res.StatusCode != 200 {
				if err == nil {
					_ = res.Body.Close()
				}
				time.Sleep(20 * time.Millisecond) // a poll
				continue
			}
			st := newStream(res)
			for blocks := random.IntN(6); blocks >= 0; blocks-- {
				e, err := st.block()
				if err != nil || e.name != "" && e.name != "start" {
					break
				}
				if e.name == "start" || e.data == "" { // or a heartbeat: the machine is busy
					continue
				}
				var event struct {
					Type string
					Data lifeDocument
				}
				if json.Unmarshal([]byte(e.data), &event) != nil {
					l.t.Errorf("stream: %s", e.data)
				}
				d := event.Data
				if e.id != fmt.Sprintf("%d-%s", d.Sequence, d.Life) {
					l.t.Errorf("the id of an event of %s is %s", d.ref(), e.id)
				}
				if life != "" && d.Life != life && event.Type != "request.reset" && cursor != "" {
					l.t.Errorf("%s: %s of life %s, without a reset behind %s", id, event.Type, d.Life, cursor)
				}
				if d.Life == life && event.Type != "request.reset" && d.Sequence != at+1 {
					l.t.Errorf("%s: %d behind %s", id, d.Sequence, cursor)
				}
				l.mu.Lock()
				l.check("stream", d)
				l.mu.Unlock()
				cursor, life, at = e.id, d.Life, d.Sequence
			}
			_ = res.Body.Close()
		}
	}
}

// receives takes a webhook.
func (l *lives) receives(where string, q *http.Request) {
	id := q.Header.Get("Webhook-Id")
	body, _ := io.ReadAll(q.Body)
	var event struct{ Data lifeDocument }
	if err := json.Unmarshal(body, &event); err != nil {
		l.t.Errorf("webhook: %s", body)
		return
	}
	d := event.Data
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, ok := l.bodies[where+id]; ok && before != string(body) {
		l.t.Errorf("%s came with another body:\n%s\n%s", id, before, body)
	}
	l.bodies[where+id] = string(body)
	if d.Life != "" && id != fmt.Sprintf("%s_%s_%d", d.ID, d.Life, d.Sequence) {
		l.t.Errorf("%s carries event %d of %s", id, d.Sequence, d.ref())
	}
	l.check("webhook", d)
}

// TestLivesModel: ids are used again at random moments, after their retention, DELETE, a
// cancellation, as members of batches, while gateways are killed, and nothing that anybody keeps or
// is told of one life is ever taken for one of another: work, reports, feeds, streams, webhooks.
func TestLivesModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("HARK_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("HARK_SEED=%d", seed)
	lasts, kills, ids := 12*time.Second, 4, 5
	data := t.TempDir()
	args := append([]string{"--samples=false", "--retry-delay=20ms", "--feed-history=200000"}, allowed...)
	p := spawn(t, data, args...)
	l := &lives{
		t: t, node: p.server, tokens: make(map[string]string), feed: make(map[string]int), bodies: make(map[string]string),
		ends: make(map[string]string), seen: make(map[string][]int64), deleted: make(map[string]bool),
	}
	receive := func(where string) string {
		return newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			l.receives(where, q)
			w.WriteHeader(http.StatusNoContent)
		}).url
	}
	l.once = receive("one-off ")
	p.hook(receive("standing "), map[string]any{"schedule": []string{"100ms", "500ms", "500ms", "500ms", "500ms", "500ms", "1s", "1s", "1s"}, "timeout": "2s"})
	random := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	var running sync.WaitGroup
	for n := range uint64(3) {
		running.Go(func() { l.submits(random(n), ids) })
		running.Go(func() { l.works(random(10 + n)) })
		running.Go(func() { l.followsRequests(random(20+n), ids) })
	}
	running.Go(l.followsFeed)
	for range kills {
		time.Sleep(lasts / time.Duration(kills+1)) // how long it is left alone
		p.kill()
		p = spawn(t, data, args...)
		l.mu.Lock()
		l.node = p.server
		l.mu.Unlock()
	}
	time.Sleep(lasts / time.Duration(kills+1))
	// What is under way ends.
	for n := range ids {
		l.call("POST", fmt.Sprintf("/v1/requests/again-%d/cancel", n), nil)
	}
	until(t, "every life of which the feed tells has ended", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		open := 0
		for ref := range l.feed {
			if l.ends[ref] == "" {
				open++
			}
		}
		// Those that were submitted just now go on, and of others the end was forgotten.
		return open <= ids+l.places && len(l.ends) > 50
	})
	l.stopped.Store(true)
	running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	// Each life that was accepted is in the feed, from its first event on, and those before the
	// last few are delivered whole.
	missing := 0
	for ref := range l.tokens {
		if l.feed[ref] == 0 {
			missing++
		}
	}
	if missing > 3+l.places { // accepted after the last page was read
		t.Errorf("%d of %d lives are not in the feed", missing, len(l.tokens))
	}
	undelivered := 0
	for ref, last := range l.feed {
		if l.ends[ref] == "" || l.deleted[ref] {
			continue
		}
		for sequence := 1; sequence <= last; sequence++ {
			if _, ok := l.bodies["standing "+strings.ReplaceAll(ref, "/", "_")+"_"+strconv.Itoa(sequence)]; !ok {
				undelivered++
			}
		}
	}
	if undelivered > 60 { // under way when it was stopped
		t.Errorf("%d events were not delivered", undelivered)
	}
	t.Logf("%d lives of %d ids, %d ended, %d webhooks, %d attempts; %d deliveries were under way, %d events were forgotten before they were read", len(l.feed), ids, len(l.ends), len(l.bodies), len(l.seen), undelivered, l.places)
}
