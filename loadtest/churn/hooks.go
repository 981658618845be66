package churn

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hark-push/hark/webhook"
)

// receiver is the other end of all webhook endpoints, and of the pages that the sample fetch reads.
type receiver struct {
	*churn
	url    string
	server *http.Server
	served sync.WaitGroup
	once   webhook.Key   // secret of endpoints for single requests, for those that have one
	public []webhook.Key // the gateway's
	stands []*endpoint   // from the beginning to the end

	mu        sync.Mutex
	endpoints map[string]*endpoint // by path
	single    map[int]map[string]bool
	bodies    map[string][32]byte // by webhook-id
	taken     int                 // deliveries that were answered with 2xx
	again     int                 // of these, that had been before
}

// endpoint is a webhook endpoint as the receiver knows it. The receiver's lock guards what changes.
type endpoint struct {
	path    string
	owner   *caller
	key     webhook.Key
	id      string
	kinds   []string // that it wants; all if there are none
	topics  string   // prefix of those that it wants
	ordered bool
	moody   bool

	got     map[ref]map[int]bool
	next    map[ref]int // of one that gets events in order
	failing time.Time   // until when it fails
	slow    time.Time   // until when it takes its time
}

func newReceiver(c *churn) (*receiver, error) {
	r := &receiver{churn: c, once: webhook.NewSecret(), endpoints: make(map[string]*endpoint), single: make(map[int]map[string]bool), bodies: make(map[string][32]byte)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.url = "http://" + l.Addr().String()
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	r.served.Go(func() { _ = r.server.Serve(l) })
	return r, nil
}

func (r *receiver) close() {
	_ = r.server.Close()
	r.served.Wait()
}

// stand makes the endpoints that stand all the time: of each owner one for everything, one that
// wants some topics in order, and one that fails, is slow, and is paused now and then.
func (r *receiver) stand(ctx context.Context) error {
	a, err := r.ask(ctx, r.random("stand"), r.owners[0], call{method: "GET", path: "/v1/webhooks/public-key"})
	if err != nil {
		return err
	}
	var keys struct{ Keys []string }
	if err := json.Unmarshal(a.body, &keys); err != nil {
		return err
	}
	for _, text := range keys.Keys {
		key, err := webhook.ParseKey(text)
		if err != nil {
			return err
		}
		r.public = append(r.public, key)
	}
	for i, owner := range r.owners {
		for _, e := range []*endpoint{
			{path: fmt.Sprint("/all/", i)},
			{path: fmt.Sprint("/ordered/", i), ordered: true, topics: "topic."},
			{path: fmt.Sprint("/moody/", i), moody: true, kinds: []string{succeeded, failed, canceled, expired}},
		} {
			e.owner = owner
			if err := r.make(ctx, r.random(e.path), e); err != nil {
				return err
			}
			r.stands = append(r.stands, e)
		}
	}
	return nil
}

// make registers an endpoint. Its secret is its own, so that one which was made twice because an
// answer was lost is no other.
func (r *receiver) make(ctx context.Context, random *rand.Rand, e *endpoint) error {
	e.key, e.got, e.next = webhook.NewSecret(), make(map[ref]map[int]bool), make(map[ref]int)
	r.mu.Lock()
	r.endpoints[e.path] = e
	r.mu.Unlock()
	schedule := slices.Repeat([]string{"1s"}, 19)
	o := map[string]any{"url": r.url + e.path, "secret": e.key.String(), "timeout": "2s", "schedule": schedule}
	if e.topics != "" {
		o["topics"] = []string{e.topics + "*"}
	}
	if e.ordered {
		o["concurrency"] = 1
	}
	if e.moody {
		o["concurrency"] = 2
	}
	var kinds []string
	for _, k := range e.kinds {
		kinds = append(kinds, "request."+k)
	}
	if kinds != nil {
		o["events"] = kinds
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	a, err := r.ask(ctx, random, e.owner, call{method: "POST", path: "/v1/webhooks", contentType: "application/json", body: body})
	if err != nil {
		return err
	}
	var made struct{ ID string }
	if err := json.Unmarshal(a.body, &made); err != nil || a.status != http.StatusCreated {
		return fmt.Errorf("%w: webhook %v", errStatus, a)
	}
	e.id = made.ID
	if a.unknown > 0 { // one whose answer was lost may have been made, too
		return r.dropTwins(ctx, random, e)
	}
	return nil
}

// dropTwins deletes the endpoints of an owner that have the URL of another one.
func (r *receiver) dropTwins(ctx context.Context, random *rand.Rand, of *endpoint) error {
	for cursor := ""; ; {
		a, err := r.ask(ctx, random, of.owner, call{method: "GET", path: "/v1/webhooks?limit=200" + cursor})
		if err != nil {
			return err
		}
		var page struct {
			Webhooks []struct{ ID, URL string }
			Next     string
		}
		if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%w: webhooks %v", errStatus, a)
		}
		for _, w := range page.Webhooks {
			if w.URL == r.url+of.path && w.ID != of.id {
				r.ledger.count("endpoints made twice")
				twin := *of
				twin.id = w.ID
				r.change(ctx, random, &twin, "DELETE", "")
			}
		}
		if page.Next == "" {
			return nil
		}
		cursor = "&cursor=" + page.Next
	}
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // its sender has died
	}
	if n, ok := strings.CutPrefix(q.URL.Path, "/page/"); ok {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<html><head><title>n=%s;</title></head><body><p>A page of n=%s;</p></body></html>", n, n)
		return
	}
	if rest, ok := strings.CutPrefix(q.URL.Path, "/once/"); ok {
		r.receiveSingle(w, q, rest, body)
		return
	}
	r.mu.Lock()
	e := r.endpoints[q.URL.Path]
	var failing, slow bool
	if e != nil {
		failing, slow = time.Now().Before(e.failing), time.Now().Before(e.slow)
	}
	r.mu.Unlock()
	if e == nil {
		r.ledger.violate("webhook: nobody asked for deliveries to %s", q.URL.Path)
		return
	}
	if slow {
		time.Sleep(300 * time.Millisecond)
	}
	of, seq, ok := r.receive(q, e.owner.subject, body, e.key)
	if !ok || failing {
		r.ledger.count("deliveries answered with 500")
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken++
	if e.got[of] == nil {
		e.got[of] = make(map[int]bool)
	}
	if e.got[of][seq] {
		r.again++
		return
	}
	e.got[of][seq] = true
	if e.ordered {
		if seq != e.next[of]+1 {
			r.ledger.violate("webhook %s: event %d of %s after %d, although its concurrency is 1", e.path, seq, of, e.next[of])
		}
		e.next[of] = seq
	}
}

// receive verifies a delivery, and holds it against all that was ever seen of its event.
func (r *receiver) receive(q *http.Request, owner string, body []byte, keys ...webhook.Key) (of ref, seq int, ok bool) {
	id := q.Header.Get(webhook.HeaderID)
	// Both signatures have to be right, wherever there are two.
	if len(keys) == 0 || len(r.public) == 0 {
		keys = append(keys, r.public...)
	} else if err := webhook.Verify(q.Header, body, time.Now(), r.public...); err != nil {
		r.ledger.violate("webhook %s %s: v1a: %v", q.URL.Path, id, err)
		return of, 0, false
	}
	if err := webhook.Verify(q.Header, body, time.Now(), keys...); err != nil {
		r.ledger.violate("webhook %s %s: %v", q.URL.Path, id, err)
		return of, 0, false
	}
	of, seq, _, err := r.ledger.observe("webhook "+q.URL.Path, owner, body)
	if want := strings.ReplaceAll(of.String(), "/", "_") + "_" + strconv.Itoa(seq); err != nil || id != want {
		r.ledger.violate("webhook %s: the delivery %s of event %d of %s: %v", q.URL.Path, id, seq, of, err)
		return of, 0, false
	}
	hash := sha256.Sum256(body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, known := r.bodies[id]; known && before != hash {
		r.ledger.violate("webhook %s: the body of %s is not the one that it had before", q.URL.Path, id)
		return of, 0, false
	}
	r.bodies[id] = hash
	return of, seq, true
}

// receiveSingle takes a delivery to an endpoint of a single request.
func (r *receiver) receiveSingle(w http.ResponseWriter, q *http.Request, number string, body []byte) {
	n, _ := strconv.Atoi(number)
	s := r.ledger.planOf(n)
	if s == nil || s.webhook != q.URL.Path {
		r.ledger.violate("webhook: nobody asked for deliveries to %s", q.URL.Path)
		return
	}
	var keys []webhook.Key
	if s.contentType == "application/json" {
		keys = append(keys, r.once)
	}
	of, seq, ok := r.receive(q, r.owners[s.owner].subject, body, keys...)
	if !ok {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	r.ledger.mu.Lock()
	if v := r.ledger.lives[of]; v.sub != nil && v.sub != s {
		r.ledger.wrongly("webhook %s: it is n=%d's, and gets event %d of %s, which is n=%d", q.URL.Path, n, seq, of, v.sub.n)
	}
	r.ledger.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken++
	if r.single[n] == nil {
		r.single[n] = make(map[string]bool)
	}
	key := of.String() + " " + strconv.Itoa(seq)
	if r.single[n][key] {
		r.again++
	}
	r.single[n][key] = true
}

// weather has the moody endpoints fail, be slow, and be paused. In the end they stand as the
// others.
func (r *receiver) weather(ctx context.Context, random *rand.Rand) {
	var moody []*endpoint
	for _, e := range r.stands {
		if e.moody {
			moody = append(moody, e)
		}
	}
	for pause(ctx, between(random, 500*time.Millisecond, 3*time.Second)) {
		e := moody[random.IntN(len(moody))]
		switch random.IntN(3) {
		case 0:
			r.ledger.count("endpoints that failed for a while")
			r.mu.Lock()
			e.failing = time.Now().Add(between(random, 200*time.Millisecond, 1500*time.Millisecond))
			r.mu.Unlock()
		case 1:
			r.ledger.count("endpoints that were slow for a while")
			r.mu.Lock()
			e.slow = time.Now().Add(between(random, 500*time.Millisecond, 3*time.Second))
			r.mu.Unlock()
		default:
			r.ledger.count("endpoints paused and resumed")
			r.change(r.lasting, random, e, "POST", "/pause")
			pause(ctx, between(random, 0, 2*time.Second))
			r.change(r.lasting, random, e, "POST", "/resume")
		}
	}
}

func (r *receiver) change(ctx context.Context, random *rand.Rand, e *endpoint, method, path string) {
	a, err := r.ask(ctx, random, e.owner, call{method: method, path: "/v1/webhooks/" + e.id + path})
	if err == nil && a.status >= 300 && (a.unknown == 0 || a.status != http.StatusNotFound) {
		r.ledger.violate("webhook %s: %s %s is answered with %v", e.path, method, path, a)
	}
}

// comeAndGo has endpoints that live for a few seconds.
func (r *receiver) comeAndGo(ctx context.Context, random *rand.Rand) {
	for pause(ctx, between(random, 200*time.Millisecond, 3*time.Second)) {
		lasting := r.lasting
		e := &endpoint{path: fmt.Sprint("/short/", random.Uint64()), owner: r.owners[random.IntN(owners)]}
		if err := r.make(lasting, random, e); err != nil {
			r.ledger.violate("%v", err)
			return
		}
		r.ledger.count("endpoints that came and went")
		pause(ctx, between(random, 0, 4*time.Second))
		r.change(lasting, random, e, "DELETE", "")
	}
}

// want reports whether an endpoint wants an event of a life. The ledger's lock is held.
func (e *endpoint) want(v *life, ev *event) bool {
	return v.owner == e.owner.subject && (len(e.kinds) == 0 || slices.Contains(e.kinds, ev.kind)) && strings.HasPrefix(ev.topic, e.topics)
}

// missing returns what should have arrived at endpoints that stood all the time, and has not, and
// how much has.
func (r *receiver) missing() (missing []string, arrived int) {
	l := r.ledger
	r.mu.Lock()
	defer r.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.lives {
		for _, ev := range v.events {
			for _, e := range r.stands {
				if !e.want(v, ev) || v.taken && !e.got[v.ref][ev.seq] {
					continue
				}
				if arrived++; !e.got[v.ref][ev.seq] {
					missing = append(missing, fmt.Sprintf("%s at %s", v, e.path)+fmt.Sprintf(" event %d (%s)", ev.seq, ev.kind))
				}
			}
			if v.sub != nil && v.sub.webhook != "" {
				if arrived++; !r.single[v.sub.n][v.String()+" "+strconv.Itoa(ev.seq)] {
					missing = append(missing, fmt.Sprintf("n=%d %s event %d (%s) at %s", v.sub.n, v.ref, ev.seq, ev.kind, v.sub.webhook))
				}
			}
		}
	}
	return missing, arrived - len(missing)
}

// check says what has not arrived.
func (r *receiver) check() {
	missing, arrived := r.missing()
	for _, m := range missing {
		r.ledger.violate("webhook: not delivered: %s", m)
	}
	r.ledger.checked("deliveries to endpoints that stood all the time", arrived)
}
